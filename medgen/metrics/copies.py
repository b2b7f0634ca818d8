"""Which generated images are copies of training images, judged by how near held-out images come."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, hypergeom

from medgen.metrics.resampling import Interval

__all__ = ["NearnessScale", "alarms_among_others", "chance_of_as_many", "excess_of_near", "lead", "proportion"]

Array = NDArray[np.float64]
BEYOND = 4.0  # spreads above the median held-out image
FEW = 64  # held-out images; of new ones with an exponential tail, as few as 8 held-out ones then set no false certainty
NEAR = 0.95  # quantile of held-out images above which an image is near


def lead(correlation: Array) -> Array:
    r"""By how much the nearest person leads the next nearest ones.

    .. math:: \log \frac{\mathrm{mean}_{j \ge 2}(1 - r_j)}{1 - r_1}

    A generator that draws less finely than a scanner is farther from everybody, copied or not, and a threshold on the
    nearest correlation misses its copies; of a copy the person copied still stands out from the others. Carlini et al.
    (2301.13188, section 5) divide distances by those of the next neighbours for the same reason.

    Args:
        correlation: with the nearest image of each of k subjects, nearest first ``(N, k)``.

    Returns:
        ``(N,)``, 0 or more; all 0 where k is 1.

    Example:
        >>> import numpy as np
        >>> lead(np.array([[0.96, 0.96, 0.96], [0.98, 0.92, 0.92], [0.99, 0.96, 0.96]])).round(3)
        array([0.   , 1.386, 1.386])
    """
    apart = (1 - correlation).clip(min=1e-6)
    if apart.shape[1] == 1:
        return np.zeros(len(apart))
    found: Array = np.log(apart[:, 1:].mean(1) / apart[:, 0])
    return found


class _Group(NamedTuple):
    centre: float
    spread: float


class NearnessScale:
    r"""Nearness to the training images in units that held-out images set, plane by plane.

    A held-out person's nearest training image shows how near an image comes that cannot be a copy. With nearness
    ``s = -log(1 - correlation)``, or ``-log(distance)``, of each image to its nearest training image,

    .. math:: z = \frac{s - \mathrm{median}}{(q_{95} - \mathrm{median}) / 1.645}

    over the held-out images of the same group, so that z of held-out images has median 0 and, were it normal, spread 1.
    A copy is an image with z above both ``beyond`` and the highest of all held-out images.

    Args:
        nearness: of held-out images, ``(N,)``.
        groups: of each, such as its plane; images of a group that is not here are judged by all together.
        beyond: z at which a copy begins, if no held-out image comes nearer.

    Attributes:
        held_out: z of the held-out images.
        copy: z above which an image is a copy.
        sure: z above which it is one beyond doubt: twice as much, and more where few are held out, whose highest says
            less of how near new people come (2 + 64 / N times as much).

    Raises:
        ValueError: when there are fewer than two held-out images.

    Example:
        >>> import numpy as np
        >>> scale = NearnessScale(np.linspace(0, 2, 101), np.zeros(101))
        >>> scale(np.array([1.0, 8.0]), np.zeros(2)) > scale.copy
        array([False,  True])
    """

    def __init__(self, nearness: Array, groups: Array, beyond: float = BEYOND) -> None:
        if len(nearness) < 2:
            raise ValueError(f"nearness: expected two held-out images or more, found {len(nearness)}")
        self._whole = _spread(nearness)
        self._groups = {g: _spread(nearness[groups == g]) for g in np.unique(groups) if (groups == g).sum() >= 20}
        self.held_out = self(nearness, groups)
        self.copy = max(beyond, float(self.held_out.max()))
        self.sure = (2 + FEW / len(nearness)) * self.copy

    def __call__(self, nearness: Array, groups: Array) -> Array:
        """Z of images ``(N,)`` with their groups."""
        z = np.empty(len(nearness))
        for group in np.unique(groups):
            inside = groups == group
            centre, spread = self._groups.get(group, self._whole)
            z[inside] = (nearness[inside] - centre) / spread
        return z


def alarms_among_others(
    nearness: Array, groups: Array, people: NDArray[np.intp], beyond: float = BEYOND
) -> NDArray[np.bool_] | None:
    """Held-out images called copies by a scale that other held-out people set.

    The scale of all held-out images calls none of them a copy, since it begins above the nearest. How often it would
    call one of a new person so, is seen by letting one half of the people set it and judging the other half by it, and
    the other way round. Half as many people set a lower threshold, so this is rather too many than too few.

    Args:
        nearness: of held-out images ``(N,)``, as in :class:`NearnessScale`.
        groups: of each, such as its plane.
        people: a number for each image's person; odd ones are one half.
        beyond: as in :class:`NearnessScale`.

    Returns:
        Which images are called copies ``(N,)``; None where a half has fewer than two images.

    Example:
        >>> import numpy as np
        >>> nearness = np.append(np.linspace(0, 2, 100), 20.0)
        >>> np.flatnonzero(alarms_among_others(nearness, np.zeros(101), np.arange(101)))
        array([100])
    """
    half = people % 2 == 1
    if min(half.sum(), (~half).sum()) < 2:
        return None
    flagged = np.zeros(len(nearness), dtype=bool)
    for judged in (half, ~half):
        scale = NearnessScale(nearness[~judged], groups[~judged], beyond)
        flagged[judged] = scale(nearness[judged], groups[judged]) > scale.copy
    return flagged


def chance_of_as_many(count: int, of: int, alarms: int, among: int) -> float | None:
    """How likely so many false alarms are among new people, if they are as frequent as among held-out ones.

    Fisher's exact test, one-sided: given all alarms, that so many or more fall to the new. The test takes its units to
    be independent, which people are and several images of a person are not.

    Args:
        count: new people of whom an image is called a copy.
        of: new people.
        alarms: held-out people of whom an image is called a copy by other people's scale.
        among: held-out people.

    Returns:
        None where nobody was held out, and nothing is known of false alarms.

    Example:
        >>> round(chance_of_as_many(1, 256, 0, 325), 2), chance_of_as_many(9, 256, 0, 325) < 0.001
        (0.44, True)
    """
    if among == 0:
        return None
    return float(hypergeom.sf(count - 1, of + among, count + alarms, of))


def _spread(nearness: Array) -> _Group:
    middle, high = np.quantile(nearness, [0.5, NEAR])
    return _Group(float(middle), max(float(high - middle) / 1.645, 1e-6))


def excess_of_near(generated: Array, held_out: Array, weights: tuple[Array, Array]) -> tuple[Array, Array]:
    """Fraction of generated images nearer than 95 % of held-out ones are, and how much it exceeds theirs.

    A threshold at the 95th percentile flags 5 % of images that are no copies, so only the excess says something. The
    threshold is found anew in every replicate.

    Args:
        generated: z of generated images ``(n,)``.
        held_out: z of held-out images ``(m,)``.
        weights: of each ``(R, n)`` and ``(R, m)``, by drawing subjects; the first row all ones.

    Returns:
        Rate and excess, each ``(R,)``.
    """
    of_generated, of_held_out = weights
    order = np.argsort(held_out, kind="stable")
    share = np.cumsum(of_held_out[:, order], axis=1)
    total = share[:, -1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        place = (share < NEAR * total - 1e-9).sum(1).clip(max=len(order) - 1)
        threshold = held_out[order][place]
        rate = (of_generated * (generated > threshold[:, None])).sum(1) / of_generated.sum(1)
        expected = (of_held_out * (held_out > threshold[:, None])).sum(1) / total[:, 0]
    return rate, rate - expected


def proportion(count: int, of: int, level: float = 0.95) -> Interval:
    """Return a proportion with its exact interval (Clopper and Pearson 1934).

    Args:
        count: successes.
        of: independent trials, 1 or more.
        level: coverage.

    Example:
        >>> [round(value, 3) for value in proportion(0, 48)]
        [0.0, 0.0, 0.074]
    """
    if not 0 <= count <= of or of < 1:
        raise ValueError(f"count: expected 0 to {of} of one trial or more, found {count}")
    tail = (1 - level) / 2
    low = 0.0 if count == 0 else float(beta.ppf(tail, count, of - count + 1))
    high = 1.0 if count == of else float(beta.ppf(1 - tail, count + 1, of - count))
    return Interval(count / of, low, high)
