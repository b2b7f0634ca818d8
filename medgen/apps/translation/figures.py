"""The figures of translation: each an average over people with its interval, beside what it must be compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import rankdata
from torch import Tensor

from medgen.apps.evaluation.figures import Figure, figure_of
from medgen.metrics import SubjectResampler, nearest_neighbours

__all__ = ["Resampled", "identity_rate", "left_out_means", "overlap", "rim"]

Array = NDArray[np.float64]


class Resampled:
    """Averages, slopes and correlations over images, with intervals by drawing people.

    Args:
        subjects: the person of each of N images.
        replicates: of the bootstrap.
        seed: of the bootstrap.
    """

    def __init__(self, subjects: Sequence[str], replicates: int = 1000, seed: int = 0) -> None:
        drawn = SubjectResampler(subjects, replicates, seed).weights(subjects)
        self.weights = np.concatenate([np.ones((1, len(subjects))), drawn])

    def mean(self, values: Any) -> Figure:
        """Mean of (N,) values; those that are not finite are left out."""
        return figure_of(self.means(values))

    def means(self, values: Any) -> Array:
        """The mean and its replicates."""
        array = np.asarray(values, np.float64)
        known = np.isfinite(array)
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Array = self.weights[:, known] @ array[known] / self.weights[:, known].sum(1)
        return found

    def slope(self, x: Any, y: Any, through_zero: bool = False) -> Figure:
        """Least squares slope of (N,) or (N, M) y on x, the columns taken together."""
        return figure_of(self.slopes(x, y, through_zero))

    def slopes(self, x: Any, y: Any, through_zero: bool = False) -> Array:
        """The slope and its replicates."""
        a, b = (np.atleast_2d(np.asarray(v, np.float64).T).T for v in (x, y))
        known = np.isfinite(a).all(1) & np.isfinite(b).all(1)
        a, b, w = a[known], b[known], self.weights[:, known]
        total = w.sum(1) * a.shape[1]
        mean_a, mean_b = (w @ v.sum(1) / total for v in (a, b))
        if through_zero:
            mean_a, mean_b = 0 * mean_a, 0 * mean_b
        with np.errstate(divide="ignore", invalid="ignore"):
            xy = w @ (a * b).sum(1) / total - mean_a * mean_b
            xx = w @ (a * a).sum(1) / total - mean_a**2
            return np.where(xx > 1e-12, xy / xx, np.nan)

    def correlation(self, x: Any, y: Any) -> Figure:
        """Pearson's correlation of (N,) values."""
        a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
        known = np.isfinite(a) & np.isfinite(b)
        a, b, w = a[known] - a[known].mean(), b[known] - b[known].mean(), self.weights[:, known]
        total = w.sum(1)
        moments = {n: w @ v / total for n, v in (("a", a), ("b", b), ("aa", a * a), ("bb", b * b), ("ab", a * b))}
        spread = (moments["aa"] - moments["a"] ** 2) * (moments["bb"] - moments["b"] ** 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = (moments["ab"] - moments["a"] * moments["b"]) / np.sqrt(spread)
        return figure_of(np.where(spread > 1e-24, found, np.nan))


def identity_rate(
    changed: Tensor, images: Tensor, subjects: Sequence[str], places: Sequence[int]
) -> tuple[Array, float]:
    """Whether the image most like a changed one, among all people's at the same place, is the person's own.

    Args:
        changed: (N, C, *spatial).
        images: like ``changed``, the people's own.
        subjects: N names.
        places: N, which slice it is; images are compared within a place.

    Returns:
        (N,) 1 where it is and 0 where not, and the rate that chance would give.
    """
    hit = np.zeros(len(subjects))
    chance = np.zeros(len(subjects))
    for place in sorted(set(places)):
        rows = np.array([row for row, own in enumerate(places) if own == place])
        nearest = nearest_neighbours(changed[rows].numpy(), images[rows].numpy()).rows[:, 0]
        hit[rows] = [subjects[rows[found]] == subjects[row] for found, row in zip(nearest, rows, strict=True)]
        chance[rows] = 1 / len(rows)
    return hit, float(chance.mean())


def left_out_means(values: Array, subjects: Sequence[str], groups: Sequence[Any]) -> Array:
    """For each sample the mean of all other people's values in its group: what the group says of a new person.

    Args:
        values: (N, ...) values.
        subjects: N names.
        groups: N groups, for example places of slices.

    Returns:
        Like ``values``; NaN where nobody else is in the group.

    Example:
        >>> left_out_means(np.array([1.0, 3.0, 8.0]), ["a", "b", "c"], [0, 0, 0]).tolist()
        [5.5, 4.5, 2.0]
    """
    names, kinds = np.asarray(subjects), np.asarray(groups)
    result = np.full(values.shape, np.nan)
    for row in range(len(values)):
        others = (names != names[row]) & (kinds == kinds[row])
        if others.any():
            result[row] = values[others].mean(0)
    return result


def rim(before: NDArray[np.bool_], after: NDArray[np.bool_], reach: int = 1) -> NDArray[np.bool_]:
    """Where the truth changed: pixels that are in one mask alone, and ``reach`` pixels around."""
    changed: NDArray[np.bool_] = before ^ after
    return ndimage.binary_dilation(changed, iterations=reach) if reach else changed


def overlap(change: Array, region: NDArray[np.bool_], inside: NDArray[np.bool_]) -> dict[str, float]:
    """How well the size of a change tells where the truth changed.

    Args:
        change: (H, W), absolute difference.
        region: (H, W), where the truth changed.
        inside: (H, W), the pixels that count (the brain).

    Returns:
        "auc": of the size for the region among the pixels inside; "share": of the summed change that lies in the
        region, over the region's share of the pixels (1 for no relation); "dice": of the region with as many of the
        largest changes. NaN where the region is empty or everything.
    """
    values, truth = change[inside], region[inside]
    count = int(truth.sum())
    if not 0 < count < len(truth) or values.sum() <= 0:
        return {"auc": np.nan, "share": np.nan, "dice": np.nan}
    ranks = rankdata(values)
    below = ranks[truth].sum() - count * (count + 1) / 2
    top = np.argsort(values, kind="stable")[-count:]
    return {
        "auc": float(below / (count * (len(truth) - count))),
        "share": float(values[truth].sum() / values.sum() / (count / len(truth))),
        "dice": float(truth[top].mean()),
    }
