"""Intervals by resampling subjects, never slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medgen.randomness import numpy_generator

__all__ = ["Interval", "SubjectResampler", "bootstrap", "interval_of", "subject_weights"]


class Interval(NamedTuple):
    """An estimate and its interval.

    Args:
        estimate: the value on the samples as they are.
        low: lower end.
        high: upper end.
    """

    estimate: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether ``value`` lies outside the interval."""
        return not self.low <= value <= self.high


def bootstrap(
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    subjects: Sequence[str],
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    centred: bool = False,
    strata: Sequence[str] | None = None,
) -> Interval:
    """Percentile interval of a statistic under resampling of whole subjects (cluster bootstrap).

    Slices of one brain are near copies; resampling slices would give intervals that are too narrow (Davison and
    Hinkley 1997, section 3.8). Every replicate draws as many subjects as there are, with replacement; all samples of
    a drawn subject come along.

    Args:
        statistic: takes weights ``(R, N)``, how often each of the N samples counts in each of R replicates, and
            returns ``(R,)``; NaN where a replicate is degenerate (a class without subjects).
        subjects: the subject of each sample, length N.
        replicates: number of replicates.
        level: coverage, between 0 and 1.
        seed: the replicates are a function of it.
        centred: shift the replicates so that their mean is the estimate. For statistics that resampling itself
            biases, as it does the Fréchet distance, whose replicates all lie above.
        strata: the stratum of each sample (its class, its split), the same for all samples of a subject; subjects are
            then drawn within strata, whose sizes stay as they are.

    Returns:
        Estimate, low and high.

    Raises:
        ValueError: with fewer than two subjects, or when over half of the replicates are degenerate.

    Example:
        >>> import numpy as np
        >>> values = np.array([1.0, 1.0, 3.0, 3.0])
        >>> mean = lambda weights: weights @ values / weights.sum(1)
        >>> bootstrap(mean, ["s1", "s1", "s2", "s2"]).estimate
        2.0
    """
    if not 0 < level < 1:
        raise ValueError(f"level: expected a coverage between 0 and 1, found {level}")
    estimate = float(statistic(np.ones((1, len(subjects))))[0])
    weights = subject_weights(subjects, replicates, seed, strata)
    return interval_of(estimate, statistic(weights), level, centred)


def interval_of(
    estimate: float, replicates: NDArray[np.float64], level: float = 0.95, centred: bool = False
) -> Interval:
    """Percentile interval from an estimate and its replicates ``(R,)``; arguments and errors as :func:`bootstrap`."""
    usable = replicates[np.isfinite(replicates)]
    if len(usable) < 0.5 * len(replicates) or len(usable) == 0:
        raise ValueError(
            f"bootstrap: {len(replicates) - len(usable)} of {len(replicates)} replicates are degenerate; "
            "expected more subjects in each class"
        )
    if centred:
        usable = usable - (usable.mean() - estimate)
    low, high = np.quantile(usable, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))


def subject_weights(
    subjects: Sequence[str], replicates: int, seed: int = 0, strata: Sequence[str] | None = None
) -> NDArray[np.float64]:
    """How often each sample counts when whole subjects are drawn with replacement.

    Arguments are those of :func:`bootstrap`.

    Returns:
        Shape ``(replicates, N)``.

    Raises:
        ValueError: with fewer than two subjects, or when a subject is in two strata.
    """
    if strata is not None and len(strata) != len(subjects):
        raise ValueError(f"strata: expected one for each of {len(subjects)} samples, found {len(strata)}")
    return SubjectResampler(subjects, replicates, seed, strata).weights(subjects)


class SubjectResampler:
    """One set of draws of subjects, shared by all samples that hang on them.

    Real slices, and the images generated for the profiles of the same subjects, are resampled together, so that a ratio
    of the two has an honest interval.

    Args:
        subjects: of the samples; repeated names are one subject.
        replicates: number of draws.
        seed: the draws are a function of it.
        strata: the stratum of each sample; subjects are drawn within strata.

    Raises:
        ValueError: with fewer than two subjects, or when a subject is in two strata.
    """

    def __init__(
        self, subjects: Sequence[str], replicates: int = 1000, seed: int = 0, strata: Sequence[str] | None = None
    ) -> None:
        names, first, member = np.unique(np.asarray(subjects), return_index=True, return_inverse=True)
        if len(names) < 2:
            raise ValueError(f"subjects: expected at least two, found {len(names)}; nothing can be resampled")
        stratum = np.zeros(len(names), dtype=np.intp)
        if strata is not None:
            of_sample = np.unique(np.asarray(strata), return_inverse=True)[1].ravel()
            stratum = of_sample[first]
            if (stratum[member.ravel()] != of_sample).any():
                raise ValueError("strata: a subject is in two of them")
        random = numpy_generator("bootstrap", seed, replicates)
        self._place = {name: place for place, name in enumerate(names.tolist())}
        self._counts = np.empty((replicates, len(names)))
        for value in np.unique(stratum):
            inside = stratum == value
            size = int(inside.sum())
            self._counts[:, inside] = random.multinomial(size, np.full(size, 1 / size), size=replicates)

    def weights(self, subjects: Sequence[str]) -> NDArray[np.float64]:
        """How often each of N samples of known subjects counts, shape ``(replicates, N)``."""
        return self._counts[:, [self._place[str(subject)] for subject in subjects]]
