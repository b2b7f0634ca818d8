"""Errors by leaving out groups of subjects: for statistics that drawing subjects twice would bias."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medgen.metrics.resampling import Interval
from medgen.randomness import numpy_generator

__all__ = ["SubjectJackknife", "jackknife_error"]

Array = NDArray[np.float64]
Z = 1.959963984540054  # normal quantile of 95 %


def jackknife_error(without: Array, strata: NDArray[np.intp], removed: Array | None = None) -> float:
    r"""Standard error of a statistic from its values without each part of the sample.

    .. math:: \left[\sum_h \frac{G_h - 1}{G_h} \sum_{g \in h} (\theta_{(g)} - \bar\theta_h)^2\right]^{1/2}

    (the jackknife of several samples: Shao and Tu 1995, section 2.3 and, with groups left out at once, 2.2.)

    Where the statistic depends on the number of samples, as the Fréchet distance does, parts of unequal size differ by
    that alone; with their sizes given, the mean is replaced by a straight line in them.

    Args:
        without: the statistic without each part, ``(R,)``.
        strata: the sample that each part is of, ``(R,)``.
        removed: samples that each part takes from each side, ``(R, S)``; None where their number does not matter.

    Returns:
        The error; NaN where a value is not finite.
    """
    if not np.isfinite(without).all():
        return float("nan")
    variance = 0.0
    for stratum in np.unique(strata):
        values, count = without[strata == stratum], int((strata == stratum).sum())
        design = np.ones((count, 1))
        if removed is not None:
            design = np.column_stack([design, removed[strata == stratum] - removed[strata == stratum].mean(0)])
        solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=1e-9)
        if count < 2 * rank:  # too few to draw a line through
            design, rank, solution = design[:, :1], 1, np.array([values.mean()])
        left = float(((values - design @ solution) ** 2).sum())
        variance += (count - 1) ** 2 / count * left / max(count - rank, 1)
    return float(np.sqrt(variance))


class SubjectJackknife:
    """Delete-a-group jackknife over the subjects of several sides, each subject left out of all sides at once.

    The bootstrap draws subjects twice, and a set with copies in it is further from any other than one without: for
    distances and neighbourhoods its spread is about twice the true one. Nothing is drawn twice here. Subjects are
    divided at random into groups, separately for each set of sides that they occur on, and the statistic is computed
    without each group.

    Args:
        sides: the subject of every sample, side by side; a name on two sides is one subject.
        groups: groups of each kind of subject, at most.
        seed: of the division.

    Attributes:
        strata: the kind of subject that each part left out is of, ``(R,)``.
        removed: samples that each part takes from each side, ``(R, sides)``.

    Example:
        >>> import numpy as np
        >>> values = np.arange(12.0)
        >>> people = [f"person {i}" for i in range(12)]
        >>> jackknife = SubjectJackknife([people], groups=12)
        >>> means = np.array([values[kept[0]].mean() for kept in jackknife.kept()])
        >>> bool(np.isclose(jackknife.error(means), values.std(ddof=1) / np.sqrt(12)))
        True
    """

    def __init__(self, sides: Sequence[Sequence[str]], groups: int = 20, seed: int = 0) -> None:
        self._sides = [np.asarray([str(name) for name in side]) for side in sides]
        kinds: dict[str, int] = {}
        for place, side in enumerate(self._sides):
            for name in np.unique(side).tolist():
                kinds[name] = kinds.get(name, 0) | 1 << place
        random = numpy_generator("jackknife", seed)
        self._parts: list[list[str]] = []
        strata = []
        for kind in sorted(set(kinds.values())):
            names = sorted(name for name, of in kinds.items() if of == kind)
            shuffled = [names[place] for place in random.permutation(len(names)).tolist()]
            count = min(groups, len(names))
            self._parts += [shuffled[start::count] for start in range(count)]
            strata += [kind] * count
        self.strata = np.array(strata, dtype=np.intp)
        self.removed = np.array([[float((~side).sum()) for side in sides] for sides in self.kept()])

    def kept(self) -> list[list[NDArray[np.bool_]]]:
        """For each part left out, which samples of every side remain."""
        return [[~np.isin(side, part) for side in self._sides] for part in self._parts]

    def error(self, without: Array) -> float:
        """Standard error of a statistic from its values ``(R,)`` without each part; see :func:`jackknife_error`."""
        return jackknife_error(np.asarray(without, np.float64), self.strata, self.removed)

    def interval(self, estimate: float, without: Array, least: float = -np.inf, most: float = np.inf) -> Interval:
        """95 % interval of an estimate, within what it can be; NaN ends where a value is not finite."""
        reach = Z * self.error(without)
        return Interval(estimate, max(least, estimate - reach), min(most, estimate + reach))
