"""Kernel distance (squared maximum mean discrepancy) between two sets of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgen.metrics.checks import feature_pair, group_indices

__all__ = ["KernelDistance", "PairSums", "kernel_distance"]


class KernelDistance(NamedTuple):
    """A kernel distance and its error.

    Args:
        value: the unbiased estimate; may be slightly negative when the sets agree.
        error: its standard error, by leaving out one group at a time.
    """

    value: float
    error: float


def kernel_distance(
    a: ArrayLike,
    b: ArrayLike,
    groups_a: Sequence[str | int] | None = None,
    groups_b: Sequence[str | int] | None = None,
) -> KernelDistance:
    r"""Unbiased squared maximum mean discrepancy with the polynomial kernel :math:`k(x, y) = (x \cdot y / D + 1)^3`.

    The estimator of Bińkowski et al. 2018 (Eq. 4, arXiv:1801.01401), called KID when the features are those of the
    Inception network. Unlike the Fréchet distance its expectation does not depend on the number of samples. Slices of
    one brain are not independent: with groups, pairs within one group are left out as a sample's pair with itself is,
    which keeps the estimate unbiased over subjects. The standard error is the two-sample jackknife over groups; where
    the distributions agree it is somewhat too large.

    Args:
        a: features, shape ``(N, D)``.
        b: features, shape ``(M, D)``.
        groups_a: the subject of each row of ``a``; each row its own group when absent.
        groups_b: the subject of each row of ``b``.

    Returns:
        Value and standard error, float64.

    Raises:
        ValueError: when widths differ, a value is not finite, or a side has fewer than three groups.
    """
    features_a, features_b = feature_pair(a, b, least=3)
    sums = PairSums(features_a, features_b, groups_a, groups_b)
    groups = sums.groups
    if min(groups) < 3:
        raise ValueError(f"kernel_distance: expected three groups or more on each side, found {groups}")
    ones = [np.ones(n) for n in groups]
    value = sums.distance(ones[0][None], ones[1][None])[0]
    left_a, left_b = (1 - np.eye(n) for n in groups)
    without_a = sums.distance(left_a, np.broadcast_to(ones[1], (groups[0], groups[1])))
    without_b = sums.distance(np.broadcast_to(ones[0], (groups[1], groups[0])), left_b)
    variance = sum((len(v) - 1) / len(v) * ((v - v.mean()) ** 2).sum() for v in (without_a, without_b))
    return KernelDistance(float(value), float(np.sqrt(variance)))


class PairSums:
    """Kernel values summed over pairs of groups: all that the distance of any weighting of groups needs.

    Args:
        a: features, shape ``(N, D)``.
        b: features, shape ``(M, D)``.
        groups_a: the group of each row of ``a``, or None.
        groups_b: the group of each row of ``b``, or None.
        block: rows whose kernel values are held at once.
    """

    def __init__(
        self,
        a: NDArray[np.float64],
        b: NDArray[np.float64],
        groups_a: Sequence[str | int] | None = None,
        groups_b: Sequence[str | int] | None = None,
        block: int = 2048,
    ) -> None:
        member_a, member_b = group_indices(groups_a, len(a), "groups_a"), group_indices(groups_b, len(b), "groups_b")
        self.groups = (int(member_a.max()) + 1, int(member_b.max()) + 1)
        self.sizes = (np.bincount(member_a).astype(np.float64), np.bincount(member_b).astype(np.float64))
        self._aa = _between_groups(a, a, member_a, member_a, block)
        self._bb = _between_groups(b, b, member_b, member_b, block)
        self._ab = _between_groups(a, b, member_a, member_b, block)
        for within in (self._aa, self._bb):
            np.fill_diagonal(within, 0)

    def distance(self, weights_a: NDArray[np.float64], weights_b: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distances for how often each group counts, ``(R, groups of a)`` and ``(R, groups of b)``; shape ``(R,)``."""
        with np.errstate(divide="ignore", invalid="ignore"):
            same_a = _quadratic(weights_a, self._aa) / _pairs(weights_a, self.sizes[0])
            same_b = _quadratic(weights_b, self._bb) / _pairs(weights_b, self.sizes[1])
            total = (weights_a @ self.sizes[0]) * (weights_b @ self.sizes[1])
            across = np.einsum("rg,rg->r", weights_a @ self._ab, weights_b) / total
        result: NDArray[np.float64] = same_a + same_b - 2 * across
        return result


def _between_groups(
    x: NDArray[np.float64], y: NDArray[np.float64], of_x: NDArray[np.intp], of_y: NDArray[np.intp], block: int
) -> NDArray[np.float64]:
    indicator = np.zeros((len(y), of_y.max() + 1))
    indicator[np.arange(len(y)), of_y] = 1
    sums = np.zeros((of_x.max() + 1, indicator.shape[1]))
    for start in range(0, len(x), block):
        part = slice(start, start + block)
        values = (x[part] @ y.T / x.shape[1] + 1) ** 3
        np.add.at(sums, of_x[part], values @ indicator)
    return sums


def _quadratic(weights: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.einsum("rg,rg->r", weights @ matrix, weights)
    return result


def _pairs(weights: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted number of pairs of samples from different groups."""
    counts = weights * sizes
    result: NDArray[np.float64] = counts.sum(1) ** 2 - (counts**2).sum(1)
    return result
