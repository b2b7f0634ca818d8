"""Figures of the arms, and paired differences between them with what they could have found."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgen.metrics import SubjectResampler
from medgen.metrics.roc import roc_auc_replicates

__all__ = ["FIGURES", "ArmFigures", "Uncertain", "detectable_factor", "figures_of_runs", "mean_of_runs", "verdict"]

Array = NDArray[np.float64]

FIGURES = {"accuracy": 1, "auc": 1, "cross_entropy": -1, "brier": -1}  # 1: higher is better
_RANGES = {"accuracy": (0.0, 1.0), "auc": (0.0, 1.0), "cross_entropy": (0.0, math.inf), "brier": (0.0, 2.0)}
LEVEL, POWER = 0.95, 0.8


class Uncertain(NamedTuple):
    """A mean over runs and how well it is known.

    Attributes:
        value: the mean.
        error: its standard error.
        degrees: degrees of freedom of the error.
    """

    value: float
    error: float
    degrees: float

    def interval(self) -> tuple[float, float]:
        """Ends of the interval, by Student's t."""
        from scipy.stats import t

        half = float(t.ppf(0.5 + LEVEL / 2, self.degrees)) * self.error
        return self.value - half, self.value + half


def detectable_factor(degrees: float = math.inf) -> float:
    r"""How many standard errors a true difference must measure to be found with power 0.8 at level 0.95.

    :math:`t_{0.975} + t_{0.8}`, 2.80 where the error is known well, 3.72 where five runs alone say it (Bloom, "Minimum
    detectable effects", Evaluation Review 19, 1995).

    Args:
        degrees: degrees of freedom of the standard error.

    Example:
        >>> round(detectable_factor(), 2), round(detectable_factor(4), 2)
        (2.8, 3.72)
    """
    from scipy.stats import t

    return float(t.ppf(0.5 + LEVEL / 2, degrees) + t.ppf(POWER, degrees))


def mean_of_runs(values: Array, fewest: int) -> Uncertain:
    r"""Mean over runs, with the error that both few test subjects and few runs bring.

    .. math:: v = v_\mathrm{subjects} + s^2_\mathrm{runs} / S, \qquad
              \nu = v^2 \Big/ \Big(\frac{v_\mathrm{subjects}^2}{n - 1} + \frac{(s^2_\mathrm{runs}/S)^2}{S - 1}\Big)

    The first part is the variance of the mean over replicates that draw subjects, runs held; the second that between
    runs, subjects held. What a run makes of a subject is in both, so that v is rather too large than too small.
    Degrees of freedom: Satterthwaite, Biometrics Bulletin 2, 1946; no fewer than the smaller of S - 1 and n - 1.

    Args:
        values: (S, 1 + R) of S runs: as found, then in R replicates. NaN where a replicate is degenerate.
        fewest: n, subjects of the label that has the fewest; draws of n have a variance too small by (n - 1) / n.

    Raises:
        ValueError: when over half of the replicates are degenerate.
    """
    runs = len(values)
    found, drawn = values[:, 0], values[:, 1:].mean(0)
    usable = drawn[np.isfinite(drawn)]
    if len(usable) < max(2, 0.5 * len(drawn)):
        raise ValueError(
            f"replicates: {len(drawn) - len(usable)} of {len(drawn)} are degenerate; expected more subjects of each "
            "label"
        )
    of_subjects = float(usable.var(ddof=1)) * fewest / (fewest - 1)
    of_runs = float(found.var(ddof=1)) / runs
    whole = of_subjects + of_runs
    if whole <= 1e-18:  # nothing varies but by rounding
        return Uncertain(float(found.mean()), 0.0, math.inf)
    degrees = whole**2 / (of_subjects**2 / (fewest - 1) + of_runs**2 / (runs - 1))
    return Uncertain(float(found.mean()), math.sqrt(whole), degrees)


def figures_of_runs(probabilities: Array, truth: NDArray[np.int64], weights: Array) -> dict[str, Array]:
    r"""Accuracy, AUC, cross entropy and Brier score of some runs under many weightings of the cases.

    AUC is that of each label against the others, averaged over labels; cross entropy :math:`-\ln p_y` in nats, with p
    at least 1e-7; the Brier score :math:`\sum_k (p_k - [y = k])^2`, 0 to 2 (Brier 1950).

    Args:
        probabilities: (S, N, K) of S runs.
        truth: (N,) labels.
        weights: (R, N).

    Returns:
        Name to (S, R); NaN where a label has no weight.
    """
    runs, _, classes = probabilities.shape
    hot = np.eye(classes)[truth]
    total = weights.sum(1)
    right = (probabilities.argmax(2) == truth).astype(np.float64)
    surprise = -np.log(np.clip((probabilities * hot).sum(2), 1e-7, None))
    squared = ((probabilities - hot) ** 2).sum(2)
    asked = range(1, 2) if classes == 2 else range(classes)
    auc = [
        np.mean([roc_auc_replicates(truth == k, probabilities[s, :, k], weights) for k in asked], axis=0)
        for s in range(runs)
    ]
    return {
        "accuracy": right @ weights.T / total,
        "auc": np.stack(auc),
        "cross_entropy": surprise @ weights.T / total,
        "brier": squared @ weights.T / total,
    }


class ArmFigures:
    """The arms of one size, on the same draws of test subjects, who are drawn within labels.

    An estimate is the mean over the seeds; intervals are those of :func:`mean_of_runs`.

    Args:
        probabilities: arm to (S, N, K), run s of every arm with the same seed.
        cases: subject and label of each of the N cases.
        replicates: number of draws.
        seed: of the draws.

    Raises:
        ValueError: with fewer than two runs, or two subjects of a label, or arms that differ in runs or cases.
    """

    def __init__(
        self,
        probabilities: Mapping[str, Array],
        cases: Sequence[tuple[str, int]],
        replicates: int = 2000,
        seed: int = 0,
    ) -> None:
        shapes = {name: values.shape for name, values in probabilities.items()}
        if len(set(shapes.values())) != 1 or next(iter(shapes.values()))[1] != len(cases):
            raise ValueError(f"arms: expected one shape (runs, {len(cases)} cases, labels), found {shapes}")
        runs = next(iter(shapes.values()))[0]
        if runs < 2:
            raise ValueError(
                f"seeds: expected two or more, found {runs}; the chance of training cannot be judged by one"
            )
        subjects = [subject for subject, _ in cases]
        first: dict[str, int] = {}
        for subject, label in cases:
            first.setdefault(subject, label)
        self._fewest = min(Counter(first.values()).values())
        if self._fewest < 2:
            raise ValueError("cases: expected two subjects or more of each label, found one")
        resampler = SubjectResampler(subjects, replicates, seed, [str(first[subject]) for subject in subjects])
        weights = np.concatenate([np.ones((1, len(cases))), resampler.weights(subjects)])
        truth = np.array([label for _, label in cases], dtype=np.int64)
        self._values: dict[str, dict[str, Array]] = {}
        self.by_seed: dict[str, dict[str, list[float]]] = {}
        for arm, said in probabilities.items():
            self._values[arm] = whole = figures_of_runs(said, truth, weights)
            self.by_seed[arm] = {name: [round(float(v), 6) for v in runs_[:, 0]] for name, runs_ in whole.items()}

    def arm(self, name: str) -> dict[str, Any]:
        """The figures of one arm, each with "value", "low", "high"; no ends where neither subjects nor seeds vary."""
        result = {}
        for figure, values in self._values[name].items():
            result[figure] = _said(mean_of_runs(values, self._fewest), *_RANGES[figure])
        return result

    def difference(self, name: str, against: str) -> dict[str, Any]:
        """Arm less arm, paired.

        Returns:
            Figure to "value", "low", "high", "error" (its standard error), "degrees" (of freedom), "detectable" (the
            smallest true difference found with power 0.8) and "verdict". Where neither subjects nor seeds make a
            difference vary, ends, degrees and "detectable" are None.
        """
        result = {}
        for figure, values in self._values[name].items():
            found = mean_of_runs(values - self._values[against][figure], self._fewest)
            varies = found.error > 0
            said = _said(found) | {
                "error": found.error,
                "degrees": found.degrees if varies else None,
                "detectable": detectable_factor(found.degrees) * found.error if varies else None,
            }
            result[figure] = said | {"verdict": verdict(said, FIGURES[figure])}
        return result


def verdict(difference: Mapping[str, Any], direction: int) -> str:
    """ "helps", "harms" or "no difference seen": by which side of zero the whole interval lies on.

    "cannot be judged" without an interval: arms that are right everywhere differ by nothing, however few were asked.

    Args:
        difference: with "low" and "high".
        direction: 1 where higher is better, -1 where lower is.
    """
    if difference["low"] is None:
        return "cannot be judged"
    low, high = sorted((direction * difference["low"], direction * difference["high"]))
    if low > 0:
        return "helps"
    return "harms" if high < 0 else "no difference seen"


def _said(found: Uncertain, least: float = -math.inf, most: float = math.inf) -> dict[str, float | None]:
    if found.error == 0:
        return {"value": found.value, "low": None, "high": None}
    low, high = found.interval()
    return {"value": found.value, "low": max(low, least), "high": min(high, most)}
