"""Size of the lateral ventricles in T1 slices and volumes, measured without learning."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from medgen.metrics.checks import check_finite, finite_array

__all__ = ["brain_mask", "fluid_fraction", "ventricle_area", "ventricle_volume"]

FLUID, TISSUE = 0.35, 0.65  # intensities, relative to white matter, taken as all fluid and as none
CENTRAL = (0.55, 0.58)  # half-axes of the central ellipse, relative to the brain's: across and along
CORE = 0.4  # fluid further out counts only when it hangs together with some inside this radius
HEIGHT = (-0.2, 0.35)  # slices of a volume that count, from the brain's centre up, relative to its half-axis
MIDLINE = (0.07, 0.05)  # below that height no fluid nearer to the middle than that counts: the third ventricle
_TOUCHING = np.ones((3, 3), dtype=bool)


def ventricle_area(images: ArrayLike, pixel_mm: float | tuple[float, float] = 1.0) -> NDArray[np.float64]:
    """Area of dark fluid in the central part of the brain, one value for each axial slice.

    No learning is involved, so the measure cannot be flattered by a generator. Per image: the brain is the largest
    bright component with its holes filled; white matter is the median of its bright pixels, which makes the measure
    independent of gain; a pixel counts by how far it lies between white matter and fluid, so that pixels which are
    partly fluid count partly; and only fluid in a central ellipse that is connected to the core of the brain counts,
    which leaves out the fissures. On the simulated cohort (64 x 64, 3.4 mm pixels) it correlates at 0.96 with the area
    of the true masks, at 0.95 within a slice position, with a slope of 1.0. It means what it says in axial slices
    through the lateral ventricles (about 0 to 30 mm above the commissures), skull removed.

    Args:
        images: ``(N, H, W)`` or ``(N, C, H, W)`` in [-1, 1], background -1; the first channel is T1-weighted.
        pixel_mm: size of a pixel in mm, or (row, column) sizes.

    Returns:
        Areas in mm², shape ``(N,)``; 0 where no brain is found.

    Raises:
        ValueError: on another shape, a pixel size that is not positive, or pixels that are not finite.
    """
    check_finite(images, "images")
    array = np.asarray(images)  # one image at a time in float64
    if array.ndim == 4:
        array = array[:, 0]
    if array.ndim != 3:
        raise ValueError(f"images: expected (N, H, W) or (N, C, H, W), found {np.shape(images)}")
    size = np.broadcast_to(np.asarray(pixel_mm, np.float64), (2,))
    if not (np.isfinite(size).all() and (size > 0).all()):
        raise ValueError(f"pixel_mm: expected a positive size in mm, found {pixel_mm}")
    return np.array([fluid_fraction(image.astype(np.float64)).sum() for image in array]) * float(size.prod())


def ventricle_volume(volumes: ArrayLike, voxel_mm: float | tuple[float, float, float] = 1.0) -> NDArray[np.float64]:
    """Volume of fluid in the lateral ventricles, one value for each volume; no learning is involved.

    The fluid of :func:`ventricle_area`, slice by axial slice, from a fifth of the brain's half-height below its centre
    to a third above, where the lateral ventricles lie; in the lower slices without a strip about the midline, where the
    third ventricle lies. Both follow the brain's own size and place, whatever the grid. The temporal horns are left
    out. On the simulated cohort (216 people, 2 mm) it correlates at 0.97 with the volume of the true masks, with a
    slope of 0.89; 40 ml are found in the mean, where 38 ml are true.

    Args:
        volumes: ``(N, X, Y, Z)`` or ``(N, C, X, Y, Z)`` in RAS and [-1, 1], background -1, skull removed; the first
            channel is T1-weighted.
        voxel_mm: side of a voxel in mm, or three sides.

    Returns:
        Volumes in ml, shape ``(N,)``; 0 where no brain is found.

    Raises:
        ValueError: on another shape, a voxel size that is not positive, or voxels that are not finite.
    """
    array = np.asarray(volumes)  # one volume at a time in float64
    if array.ndim == 5:
        array = array[:, 0]
    if array.ndim != 4 or not len(array):
        raise ValueError(f"volumes: expected (N, X, Y, Z) or (N, C, X, Y, Z), found {np.shape(volumes)}")
    size = np.broadcast_to(np.asarray(voxel_mm, np.float64), (3,))
    if not (np.isfinite(size).all() and (size > 0).all()):
        raise ValueError(f"voxel_mm: expected a positive size in mm, found {voxel_mm}")
    found = [_ventricular(finite_array(volume, "volumes")) for volume in array]
    return np.array(found, dtype=np.float64) * float(size.prod()) / 1000.0


def _ventricular(volume: NDArray[np.float64]) -> float:
    """Voxels of ventricular fluid in one volume (X, Y, Z) in [-1, 1]."""
    brain = np.argwhere(brain_mask((volume + 1) / 2))
    if len(brain) < 64:
        return 0.0
    # half-axes of an ellipsoid are the square root of five times the standard deviations of its points
    centre, half = brain.mean(0), np.sqrt(5) * brain.std(0) + 1e-6
    across, height = (np.abs(np.arange(volume.shape[0]) - centre[0]) / half[0], np.arange(volume.shape[2]) - centre[2])
    height = height / half[2]
    total = 0.0
    for place in np.flatnonzero((height >= HEIGHT[0]) & (height <= HEIGHT[1])):
        fluid = fluid_fraction(volume[:, :, place])
        total += float(fluid[across >= (MIDLINE[0] if height[place] < MIDLINE[1] else 0)].sum())
    return total


def fluid_fraction(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of each pixel ``(H, W)`` of one slice in [-1, 1] is ventricular fluid, 0 to 1 (see `ventricle_area`)."""
    intensity = (image + 1) / 2
    nothing = np.zeros_like(intensity)
    brain = brain_mask(intensity)
    if brain.sum() < 16:
        return nothing
    rows, columns = np.nonzero(brain)
    # half-axes of an ellipse are twice the standard deviations of its points
    half_rows, half_columns = 2 * rows.std() + 1e-6, 2 * columns.std() + 1e-6
    y, x = np.ogrid[: image.shape[0], : image.shape[1]]
    y, x = (y - rows.mean()) / half_rows, (x - columns.mean()) / half_columns
    radius = np.hypot(y, x)
    inside = intensity[brain & (radius < 0.85)]
    if inside.size == 0:
        return nothing
    white = np.median(inside[inside >= 0.6 * np.percentile(inside, 95)])
    fluid = np.clip((TISSUE * white - intensity) / ((TISSUE - FLUID) * white), 0, 1)
    across, along = CENTRAL if half_rows >= half_columns else CENTRAL[::-1]
    central = brain & (np.hypot(y / along, x / across) < 1)
    labels, _ = ndimage.label((fluid > FLUID) & central, structure=_TOUCHING)
    connected = np.isin(labels, np.unique(labels[(radius < CORE) & (labels > 0)]))
    result: NDArray[np.float64] = np.where(ndimage.binary_dilation(connected) & central, fluid, 0.0)
    return result


def brain_mask(intensity: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Largest bright component of one slice or volume in [0, 1], holes filled."""
    visible = intensity[intensity > 0.2]
    if visible.size == 0:
        return np.zeros(intensity.shape, dtype=bool)
    bright = ndimage.binary_opening(intensity > 0.25 * np.percentile(visible, 95))
    labels, count = ndimage.label(bright)
    if count > 1:
        bright = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(bright)
    return filled
