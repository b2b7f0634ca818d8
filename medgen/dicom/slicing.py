"""Cut an array in RAS space into DICOM planes: pixels, orientation, positions and spacing in LPS.

Planes are turned as they are displayed (PS3.3 C.7.6.2): rows run to the patient's left (sagittal: to the back), columns
to the back (coronal and sagittal: to the feet), and slices along the normal of the two.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.data.images import PLANES
from medgen.spelling import one_of

__all__ = ["TO_LPS", "SliceStack", "centred_affine", "cut"]

TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# world directions (RAS) of a picture's rows, its columns and its normal: its first row is the front or the head
_PICTURE = {
    "axial": np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
    "coronal": np.array([[0, 1, 0], [0, 0, 1], [-1, 0, 0]]),
    "sagittal": np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
}
# by the world axis that the slices' normal follows: where rows and columns run in LPS
_DISPLAY = {
    0: (np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0])),
    1: (np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, -1.0])),
    2: (np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])),
}


@dataclass(frozen=True)
class SliceStack:
    """Parallel planes at equal distances.

    Args:
        pixels: (S, rows, columns), or (S, rows, columns, 3) for colour.
        row_direction: unit vector along which the column index grows (the first three of Image Orientation), LPS.
        column_direction: unit vector along which the row index grows (the last three), LPS.
        positions: (S, 3), centre of each plane's first pixel, LPS, mm.
        pixel_spacing: distance of rows and distance of columns, mm.
        slice_spacing: distance of the planes' centres, mm.
    """

    pixels: NDArray[Any]
    row_direction: NDArray[np.float64]
    column_direction: NDArray[np.float64]
    positions: NDArray[np.float64]
    pixel_spacing: tuple[float, float]
    slice_spacing: float

    @property
    def orientation(self) -> list[float]:
        """Image Orientation (Patient): the six direction cosines."""
        return [*map(float, self.row_direction), *map(float, self.column_direction)]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector along which the slices follow each other, LPS."""
        return np.cross(self.row_direction, self.column_direction)


def cut(volume: Any, affine: Any, slice_axis: int | str = "axial") -> SliceStack:
    """Cut a volume into planes.

    Args:
        volume: (X, Y, Z), or (X, Y, Z, 3) for colour.
        affine: (4, 4), voxel to RAS mm; axes at right angles.
        slice_axis: the array's axis 0, 1 or 2 that counts slices, or "axial", "coronal" or "sagittal" for the one that
            is nearest to that plane's normal.

    Raises:
        ValueError: when the shape, the affine or the axis is not as above.

    Example:
        >>> stack = cut(np.zeros((4, 5, 6)), np.eye(4), "axial")
        >>> stack.pixels.shape, stack.orientation, stack.positions[0].tolist()
        ((6, 5, 4), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [-3.0, -4.0, 0.0])
    """
    array = np.asarray(volume)
    if array.ndim != 3 and not (array.ndim == 4 and array.shape[3] == 3):
        raise ValueError(f"volume: found shape {array.shape}, expected (X, Y, Z), or (X, Y, Z, 3) for colour")
    if 0 in array.shape:
        raise ValueError(f"volume: found no voxel in shape {array.shape}")
    lps = TO_LPS @ _affine(affine)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    directions = lps[:3, :3] / spacing
    if np.abs(directions.T @ directions - np.eye(3)).max() > 1e-3:
        raise ValueError("affine: its axes are not at right angles, which DICOM planes must be: resample first")

    axis = _slice_axis(slice_axis, directions)
    along_row, along_column = _in_plane(directions, axis)
    order = [axis, along_column, along_row]
    flips = [np.sign(directions[:, i] @ target) < 0 for i, target in _targets(directions, order)]
    array = array.transpose(*order, *range(3, array.ndim))
    array = np.flip(array, axis=tuple(d for d in range(3) if flips[d]))

    signed = np.stack([-directions[:, i] if flip else directions[:, i] for i, flip in zip(order, flips, strict=True)])
    corner = np.zeros(3)
    for d, i in enumerate(order):
        corner[i] = array.shape[d] - 1 if flips[d] else 0
    first = (lps @ np.append(corner, 1.0))[:3]
    positions = first + np.arange(array.shape[0])[:, None] * signed[0] * spacing[axis]
    return SliceStack(
        pixels=np.ascontiguousarray(array),
        row_direction=_clean(signed[2]),
        column_direction=_clean(signed[1]),
        positions=positions + 0.0,
        pixel_spacing=(float(spacing[along_column]), float(spacing[along_row])),
        slice_spacing=float(spacing[axis]),
    )


def centred_affine(shape: Sequence[int], plane: str = "axial", voxel_mm: float = 1.0) -> NDArray[np.float64]:
    """Return voxel to world (RAS, mm) for an image that has no place yet: its middle at the origin.

    Args:
        shape: (H, W) of a picture as :func:`medgen.data.images.plane_view` shows it, or (X, Y, Z) of a RAS volume.
        plane: "axial", "coronal" or "sagittal", of a picture.
        voxel_mm: side of a pixel or voxel, mm.

    Raises:
        ValueError: on another plane.

    Example:
        >>> centred_affine((3, 5), "axial", 2.0).tolist()
        [[0.0, 2.0, 0.0, -4.0], [-2.0, 0.0, 0.0, 2.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    """
    axes = np.eye(3) if len(shape) == 3 else _PICTURE[one_of("plane", plane, tuple(_PICTURE))]
    affine = np.eye(4)
    affine[:3, :3] = axes * voxel_mm
    affine[:3, 3] = -affine[:3, :3] @ ((np.array([*shape, 1][:3]) - 1) / 2) + 0.0
    return affine


def _affine(affine: Any) -> NDArray[np.float64]:
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise ValueError(f"affine: expected a finite, invertible (4, 4) matrix, found {matrix.tolist()}")
    return matrix


def _slice_axis(slice_axis: int | str, directions: NDArray[np.float64]) -> int:
    """Return the array axis that counts slices."""
    if isinstance(slice_axis, str):
        world = PLANES[one_of("slice_axis", slice_axis, tuple(PLANES))]
        best = max(itertools.permutations(range(3)), key=lambda p: sum(abs(directions[w, p[w]]) for w in range(3)))
        return best[world]
    if slice_axis not in (0, 1, 2):
        raise ValueError(f"slice_axis is {slice_axis!r}, expected 0, 1, 2 or one of {list(PLANES)}")
    return int(slice_axis)


def _in_plane(directions: NDArray[np.float64], axis: int) -> tuple[int, int]:
    """Return the array axes along a displayed row and along a displayed column."""
    row, column = _DISPLAY[int(np.argmax(np.abs(directions[:, axis])))]
    one, two = (i for i in range(3) if i != axis)
    straight = abs(directions[:, one] @ row) + abs(directions[:, two] @ column)
    crossed = abs(directions[:, two] @ row) + abs(directions[:, one] @ column)
    return (one, two) if straight >= crossed else (two, one)


def _targets(directions: NDArray[np.float64], order: list[int]) -> list[tuple[int, NDArray[np.float64]]]:
    """Return for slice, column and row axis the direction that each should have on the whole."""
    axis, along_column, along_row = order
    row, column = _DISPLAY[int(np.argmax(np.abs(directions[:, axis])))]
    rows = directions[:, along_row] * (1.0 if directions[:, along_row] @ row >= 0 else -1.0)
    columns = directions[:, along_column] * (1.0 if directions[:, along_column] @ column >= 0 else -1.0)
    return [(axis, np.cross(rows, columns)), (along_column, column), (along_row, row)]


def _clean(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vector with what rounding left of zero taken out, and no negative zero."""
    return np.where(np.abs(vector) < 1e-12, 0.0, vector) + 0.0
