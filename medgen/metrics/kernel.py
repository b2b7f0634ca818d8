"""Kernel distance (squared maximum mean discrepancy) between two sets of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgen.metrics.checks import feature_pair, group_indices
from medgen.metrics.jackknife import jackknife_error

__all__ = ["KernelDistance", "kernel_distance"]

Array = NDArray[np.float64]
Members = NDArray[np.intp]
Groups = Sequence[str | int] | None


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
    groups_a: Groups = None,
    groups_b: Groups = None,
) -> KernelDistance:
    r"""Unbiased squared maximum mean discrepancy with the polynomial kernel :math:`k(x, y) = (x \cdot y / D + 1)^3`.

    The estimator of Bińkowski et al. 2018 (Eq. 4, arXiv:1801.01401), called KID when the features are those of the
    Inception network. Unlike the Fréchet distance its expectation does not depend on the number of samples. Slices of
    one brain are not independent: with groups, pairs within one group are left out as a sample's pair with itself is,
    which keeps the estimate unbiased over subjects. A group named on both sides is one subject (a held-out person, and
    the images generated with that person's covariates): its pairs across the sides are left out too, since they are
    more alike than pairs of different people are and would pull the estimate below 0. The standard error is the
    jackknife over groups, which leaves a subject out of both sides at once; where the distributions agree it is
    somewhat too large.

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
    of_a, of_b = _members(groups_a, groups_b, len(features_a), len(features_b))
    found = (len(np.unique(of_a)), len(np.unique(of_b)))
    if min(found) < 3:
        raise ValueError(f"kernel_distance: expected three groups or more on each side, found {found}")
    total = int(max(of_a.max(), of_b.max())) + 1
    sums = [_Pairs.of(*sides, total) for sides in (
        (features_a, features_a, of_a, of_a), (features_b, features_b, of_b, of_b), (features_a, features_b, of_a, of_b)
    )]  # fmt: skip
    same_a, same_b, across = (pairs.mean() for pairs in sums)
    left_a, left_b, left_across = (pairs.means_without() for pairs in sums)
    without = left_a + left_b - 2 * left_across
    in_a, in_b = (np.bincount(of, minlength=total) > 0 for of in (of_a, of_b))
    strata = np.where(in_a & in_b, 0, np.where(in_a, 1, 2))
    return KernelDistance(float(same_a + same_b - 2 * across), jackknife_error(without, strata))


class _Pairs(NamedTuple):
    """Kernel values of pairs of different groups, summed over each group's rows; nothing is kept pair by pair.

    Args:
        rows: sums over the rows of each group on the first side, ``(G,)``.
        columns: the same of the second side.
        sizes: samples of each group on either side, two of ``(G,)``.
    """

    rows: Array
    columns: Array
    sizes: tuple[Array, Array]

    @classmethod
    def of(cls, x: Array, y: Array, of_x: Members, of_y: Members, groups: int, block: int = 1024) -> _Pairs:
        rows, columns = np.zeros(groups), np.zeros(len(y))
        for start in range(0, len(x), block):
            part = slice(start, start + block)
            values = (x[part] @ y.T / x.shape[1] + 1) ** 3
            values[of_x[part, None] == of_y] = 0
            rows += np.bincount(of_x[part], values.sum(1), groups)
            columns += values.sum(0)
        of_each = np.bincount(of_y, columns, groups)
        sizes = [np.bincount(of, minlength=groups).astype(np.float64) for of in (of_x, of_y)]
        return cls(rows.astype(np.float64), of_each.astype(np.float64), (sizes[0], sizes[1]))

    def mean(self) -> float:
        """Over all pairs."""
        first, second = self.sizes
        return float(self.rows.sum() / (first.sum() * second.sum() - (first * second).sum()))

    def means_without(self) -> Array:
        """Over the pairs that are left without each group, ``(G,)``."""
        first, second = self.sizes
        pairs = (first.sum() - first) * (second.sum() - second) - ((first * second).sum() - first * second)
        result: Array = (self.rows.sum() - self.rows - self.columns) / pairs
        return result


def _members(groups_a: Groups, groups_b: Groups, count_a: int, count_b: int) -> tuple[Members, Members]:
    """Number the groups of both sides; those of the same name are one where both sides have names."""
    of_a, of_b = group_indices(groups_a, count_a, "groups_a"), group_indices(groups_b, count_b, "groups_b")
    if groups_a is None or groups_b is None:
        return of_a, of_b + of_a.max() + 1
    both = group_indices([*groups_a, *groups_b], count_a + count_b, "groups")
    return both[:count_a], both[count_a:]
