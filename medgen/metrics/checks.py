"""Checks that metrics share: what may be compared with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "IntensityRange",
    "OneColourError",
    "ScaleError",
    "check_finite",
    "check_same_scale",
    "feature_pair",
    "finite_array",
    "group_indices",
]

ONE_COLOUR = 1e-3  # extent of the pixels of images that show nothing


class ScaleError(ValueError):
    """Two sets of images are scaled by different conventions.

    Attributes:
        fault: what is wrong, in a few words.
        advice: what to do about it.
    """

    fault = "Wrong intensity range"
    advice = (
        "A distance between images that are scaled by different conventions measures the mistake, not the generator. "
        "Mend the range in which images are generated or read, and evaluate again."
    )


class OneColourError(ScaleError):
    """Nearly all pixels of a set of images are of one colour."""

    fault = "Images of one colour"
    advice = (
        "Images that show nothing cannot be compared with any. Look at them: a generator may have collapsed in "
        "training or diverged in sampling, or images may be read from empty files."
    )


class IntensityRange(NamedTuple):
    """Where the pixels of a set of images lie.

    Args:
        low: 1st percentile over all pixels.
        high: 99th percentile over all pixels.
        negative: fraction of pixels below -0.05.
    """

    low: float
    high: float
    negative: float

    @classmethod
    def of(cls, images: ArrayLike) -> IntensityRange:
        """Measure a set of images of any shape."""
        pixels = np.asarray(images, dtype=np.float32).ravel()
        low, high = np.percentile(pixels, [1, 99])
        return cls(float(low), float(high), float((pixels < -0.05).mean()))

    def __str__(self) -> str:
        return f"[{self.low:.3g}, {self.high:.3g}]"


def check_same_scale(
    a: ArrayLike | IntensityRange, b: ArrayLike | IntensityRange, names: tuple[str, str] = ("a", "b")
) -> list[str]:
    """Refuse two sets of images whose intensities are scaled by different conventions.

    A distance between images in [0, 1] and images in [-1, 1], or [0, 255], measures the mistake, not the generator.
    A poor generator on the right scale passes: what is refused is a side without negative pixels against a side with
    many, and extents that differ more than fourfold. Lesser differences are returned as notices.

    Args:
        a: images of any shape, or their range.
        b: the same.
        names: what to call the two sides in messages.

    Returns:
        Notices in words, empty when the ranges agree.

    Raises:
        OneColourError: when nearly all pixels of a side are of one colour; a ``ScaleError``.
        ScaleError: when the sides are scaled differently; a ``ValueError``.
        ValueError: when a pixel is not finite.
    """
    ranges = []
    for images, name in zip((a, b), names, strict=True):
        if not isinstance(images, IntensityRange):
            check_finite(images, name)
            images = IntensityRange.of(images)
        ranges.append(images)
    first, second = ranges
    extents = [max(r.high - r.low, 1e-12) for r in ranges]
    for name, found, extent in zip(names, ranges, extents, strict=True):
        if extent < ONE_COLOUR:
            raise OneColourError(f"{name}: nearly all pixels are of one colour, {found.low:.3g}; expected pictures")
    described = f"{names[0]} lies in {first}, {names[1]} in {second} (1st to 99th percentile)"
    one_sided = min(first.negative, second.negative) < 0.005 and max(first.negative, second.negative) > 0.05
    if one_sided or not 0.25 <= extents[0] / extents[1] <= 4:
        raise ScaleError(f"the two sides are scaled differently: {described}; bring both to [-1, 1] before comparing")
    allowed = 0.4 * min(extents)
    if abs(first.low - second.low) > allowed or abs(first.high - second.high) > allowed:
        return [f"Intensities differ widely: {described}. The generator may be far from trained."]
    return []


def finite_array(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return ``values`` as float64, or raise ``ValueError`` naming what is empty or not finite."""
    array = np.asarray(values, dtype=np.float64)
    check_finite(array, name)
    return array


def check_finite(values: ArrayLike, name: str) -> None:
    """Raise ``ValueError`` as :func:`finite_array`; ``values`` such as a set of images are not copied."""
    array = np.asarray(values)
    if array.size == 0:
        raise ValueError(f"{name}: expected values, found an empty array of shape {array.shape}")
    parts = array if array.ndim > 2 else [array]  # images one by one
    bad = sum(int((~np.isfinite(part)).sum()) for part in parts)
    if bad:
        raise ValueError(f"{name}: {bad} of {array.size} values are NaN or infinite; expected finite values")


def feature_pair(a: ArrayLike, b: ArrayLike, least: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two feature sets as float64 matrices of one width and at least ``least`` rows, or raise ``ValueError``."""
    pair = []
    for name, values in (("a", a), ("b", b)):
        array = finite_array(values, name)
        if array.ndim != 2:
            raise ValueError(f"{name}: expected features of shape (samples, width), found {array.shape}")
        if len(array) < least:
            raise ValueError(f"{name}: expected at least {least} samples, found {len(array)}")
        pair.append(array)
    if pair[0].shape[1] != pair[1].shape[1]:
        raise ValueError(f"a and b differ in width: {pair[0].shape[1]} against {pair[1].shape[1]} features")
    return pair[0], pair[1]


def group_indices(groups: Sequence[str | int] | None, count: int, name: str) -> NDArray[np.intp]:
    """Number the groups of ``count`` rows from 0; each row is its own without any. ``ValueError`` on another length."""
    if groups is None:
        return np.arange(count)
    if len(groups) != count:
        raise ValueError(f"{name}: expected one group for each of {count} rows, found {len(groups)}")
    # ravel: numpy 2.0 returned the inverse in the shape of its input
    return np.unique(np.asarray([str(g) for g in groups]), return_inverse=True)[1].ravel()
