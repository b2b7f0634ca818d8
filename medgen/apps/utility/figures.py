"""Figures of the arms, and paired differences between them with what they could have found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.metrics import SubjectResampler
from medgen.metrics.resampling import interval_of
from medgen.metrics.roc import roc_auc_replicates
from medgen.randomness import numpy_generator

__all__ = ["FIGURES", "ArmFigures", "detectable_factor", "figures_of_runs", "verdict"]

Array = NDArray[np.float64]

FIGURES = {"accuracy": 1, "auc": 1, "cross_entropy": -1, "brier": -1}  # 1: higher is better
LEVEL, POWER = 0.95, 0.8


def detectable_factor() -> float:
    r"""How many standard errors a true difference must measure to be found with power 0.8 at level 0.95.

    :math:`z_{0.975} + z_{0.8} = 2.80` (Bloom, "Minimum detectable effects", Evaluation Review 19, 1995).

    Example:
        >>> round(detectable_factor(), 3)
        2.802
    """
    from scipy.stats import norm

    return float(norm.ppf(0.5 + LEVEL / 2) + norm.ppf(POWER))


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
    """The arms of one size, resampled together: every replicate draws test subjects and seeds, the same for all arms.

    Subjects are drawn within labels. An estimate is the mean over the seeds. Of S seeds S - 1 are drawn, so that the
    variance of their mean comes out unbiased however few they are (Rao and Wu, JASA 83, 1988, m = n - 1).

    Args:
        probabilities: arm to (S, N, K), run s of every arm with the same seed.
        cases: subject and label of each of the N cases.
        replicates: number of draws.
        seed: of the draws.

    Raises:
        ValueError: with fewer than two runs, or arms that differ in runs or cases.
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
        resampler = SubjectResampler(subjects, replicates, seed, [str(first[subject]) for subject in subjects])
        weights = np.concatenate([np.ones((1, len(cases))), resampler.weights(subjects)])
        truth = np.array([label for _, label in cases], dtype=np.int64)
        drawn = numpy_generator("utility seeds", seed, replicates).integers(0, runs, (replicates, runs - 1))
        self._values: dict[str, dict[str, Array]] = {}
        self.by_seed: dict[str, dict[str, list[float]]] = {}
        for arm, said in probabilities.items():
            whole = figures_of_runs(said, truth, weights)
            self.by_seed[arm] = {name: [round(float(v), 6) for v in runs_[:, 0]] for name, runs_ in whole.items()}
            self._values[arm] = {name: _over_seeds(runs_, drawn) for name, runs_ in whole.items()}

    def arm(self, name: str) -> dict[str, Any]:
        """The figures of one arm, each with "value", "low", "high"."""
        return {figure: _interval(values) for figure, values in self._values[name].items()}

    def difference(self, name: str, against: str) -> dict[str, Any]:
        """Arm less arm, paired.

        Returns:
            Figure to "value", "low", "high", "error" (its standard error), "detectable" (the smallest true difference
            found with power 0.8) and "verdict".
        """
        result = {}
        for figure, values in self._values[name].items():
            found = values - self._values[against][figure]
            error = float(np.nanstd(found[1:], ddof=1))
            said = _interval(found)
            said |= {"error": error, "detectable": detectable_factor() * error}
            result[figure] = said | {"verdict": verdict(said, FIGURES[figure])}
        return result


def verdict(difference: Mapping[str, float], direction: int) -> str:
    """ "helps", "harms" or "no difference seen": by which side of zero the whole interval lies on.

    Args:
        difference: with "low" and "high".
        direction: 1 where higher is better, -1 where lower is.
    """
    low, high = sorted((direction * difference["low"], direction * difference["high"]))
    if low > 0:
        return "helps"
    return "harms" if high < 0 else "no difference seen"


def _over_seeds(values: Array, drawn: NDArray[np.int64]) -> Array:
    """(S, 1 + R) to (1 + R,): the mean over all runs, then over the runs drawn in each replicate."""
    replicate = np.arange(1, values.shape[1])
    return np.concatenate([[values[:, 0].mean()], values[drawn, replicate[:, None]].mean(1)])


def _interval(values: Array) -> dict[str, float]:
    estimate, low, high = interval_of(float(values[0]), values[1:], LEVEL)
    return {"value": estimate, "low": low, "high": high}
