"""Brain size and tissue fractions by intensity, measured without learning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgen.metrics.checks import check_finite
from medgen.metrics.ventricles import brain_mask

__all__ = ["tissue_measures"]

FLUID, WHITE = 0.5, 0.85  # intensities, relative to white matter: fluid below, grey between, white above


def tissue_measures(images: ArrayLike, pixel_mm: float | Sequence[float] = 1.0) -> dict[str, NDArray[np.float64]]:
    """Size of the brain, and the fractions of it that are dark, middling and bright in T1.

    No learning is involved, so the measures cannot be flattered by a generator. The brain is the largest bright
    component with its holes filled; white matter is the median of its bright pixels, which makes fractions independent
    of gain; a pixel is fluid below 0.5 of that, white matter above 0.85, and grey matter between. These are bands of
    intensity, not a segmentation: pixels at the border of fluid and white matter count as grey. They are read beside
    those of real images of the same size. T1-weighted, skull removed, of any plane.

    Args:
        images: ``(N, C, *spatial)`` in [-1, 1], background -1, 2D or 3D; the first channel counts.
        pixel_mm: size of a pixel in mm, or one size an axis.

    Returns:
        "brain" in mm² (of volumes mm³), and "fluid", "grey", "white" as fractions of it; each ``(N,)``. Without a brain
        the size is 0 and the fractions are NaN.

    Raises:
        ValueError: on another shape, a pixel size that is not positive, or pixels that are not finite.
    """
    check_finite(images, "images")
    array = np.asarray(images)  # one image at a time in float64
    if array.ndim not in (4, 5):
        raise ValueError(f"images: expected (N, C, H, W) or (N, C, X, Y, Z), found {array.shape}")
    size = np.broadcast_to(np.asarray(pixel_mm, np.float64), (array.ndim - 2,))
    if not (np.isfinite(size).all() and (size > 0).all()):
        raise ValueError(f"pixel_mm: expected a positive size in mm, found {pixel_mm}")
    rows = np.array([_measure((image[0].astype(np.float64) + 1) / 2) for image in array])
    found = dict(zip(("brain", "fluid", "grey", "white"), rows.T, strict=True))
    return found | {"brain": found["brain"] * float(size.prod())}


def _measure(intensity: NDArray[np.float64]) -> tuple[float, float, float, float]:
    brain = brain_mask(intensity)
    inside = intensity[brain]
    if inside.size < 16:
        return 0.0, np.nan, np.nan, np.nan
    white = np.median(inside[inside >= 0.6 * np.percentile(inside, 95)])
    fluid, bright = float((inside < FLUID * white).mean()), float((inside > WHITE * white).mean())
    return float(inside.size), fluid, 1 - fluid - bright, bright
