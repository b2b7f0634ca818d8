"""The one grid that all volumes of a cohort are brought to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from medgen.data.images import foreground_extent, resample
from medgen.spelling import one_of

__all__ = ["SPACES", "ObjectBox", "VolumeGrid", "common_grid"]

SPACES = ("world", "object")
REGISTERED_MM = 10.0  # centres of nine tenths of the heads lie this near to their median where a cohort is registered
Array = NDArray[np.float64]


@dataclass(frozen=True)
class VolumeGrid:
    """Voxels of one isotropic size, axes to the right, to the front and to the head (RAS).

    Attributes:
        shape: voxels along x, y and z.
        spacing_mm: side of a voxel.
        origin_mm: centre of the first voxel.
        space: what millimetres count from. "world": as the files say, so that a template's coordinates stay as they
            are; "object": the middle of each scan's object, along the axes of its own voxels.
    """

    shape: tuple[int, int, int]
    spacing_mm: float
    origin_mm: tuple[float, float, float]
    space: str = "world"

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> VolumeGrid:
        """Return the grid that :attr:`medgen.data.VolumeDataset.settings` keep, from the manifest beside weights.

        Raises:
            ValueError: when they are not of volumes.
        """
        size, affine = settings.get("image_size"), np.asarray(settings.get("affine"), dtype=np.float64)
        if affine.shape != (4, 4) or not isinstance(size, Sequence) or len(size) != 3:
            raise ValueError(
                f"image_size and affine: found {size!r} and {settings.get('affine')!r}, expected a volume's"
            )
        x, y, z = (int(side) for side in size)
        a, b, c = (float(value) for value in affine[:3, 3])
        return cls((x, y, z), float(affine[0, 0]), (a, b, c), str(settings.get("space", "world")))

    @property
    def affine(self) -> Array:
        """(4, 4), voxel to mm."""
        matrix = np.diag([self.spacing_mm] * 3 + [1.0])
        matrix[:3, 3] = self.origin_mm
        return matrix

    @property
    def centre_mm(self) -> Array:
        """The middle, in mm."""
        return np.array(self.origin_mm) + 0.5 * self.spacing_mm * (np.array(self.shape) - 1)

    def place(self, volume: torch.Tensor, affine: Array, outside: float = -1.0) -> torch.Tensor:
        """Resample a RAS volume (C, X, Y, Z) to the grid.

        Keys' cubic kernel, widened against aliasing where voxels grow; a volume that lies on the grid's own lattice is
        copied exactly. One whose axes are turned against the world's is turned back, in "world" space, by B-splines.

        Args:
            volume: float32.
            affine: (4, 4), voxel to world mm.
            outside: what is beyond the volume.

        Returns:
            float32 (C, *shape).
        """
        if self.space == "object":
            centre = [extent.centre for extent in foreground_extent(volume)]
        elif is_turned(affine):
            from medgen.transforms.resampling import carry  # here, since medgen.transforms imports medgen.data

            return carry(volume, affine, np.eye(4), self.shape, self.affine, "cubic", outside)
        else:
            centre = (np.linalg.inv(affine) @ [*self.centre_mm, 1.0])[:3].round(9).tolist()
        step = (self.spacing_mm / voxel_sizes(affine)).tolist()
        return resample(volume - outside, centre, step, self.shape) + outside

    def cuts(self, box: ObjectBox) -> bool:
        """Whether an object reaches beyond the grid by more than a voxel."""
        size = self.spacing_mm * np.array(self.shape)
        if self.space == "object":
            return bool((box.size > size + 2 * self.spacing_mm).any())
        low = np.array(self.origin_mm) - 1.5 * self.spacing_mm
        return bool((box.low < low).any() or (box.high > low + size + 2 * self.spacing_mm).any())


class ObjectBox(NamedTuple):
    """Where the imaged object of one scan lies.

    Args:
        low: its lowest world coordinates, mm.
        high: its highest.
        size: along the axes of its voxels, mm.
        lattice: world coordinates of the first voxel's centre.
    """

    low: Array
    high: Array
    size: Array
    lattice: Array

    @classmethod
    def of(cls, volume: torch.Tensor, affine: Array) -> ObjectBox:
        """Measure a RAS volume (C, X, Y, Z)."""
        extents = foreground_extent(volume)
        sides = [(extent.low - 0.5, extent.high + 0.5) for extent in extents]
        corners = np.array([[x, y, z, 1.0] for x in sides[0] for y in sides[1] for z in sides[2]]) @ affine.T
        size = np.array([extent.size for extent in extents]) * voxel_sizes(affine)
        return cls(corners[:, :3].min(0), corners[:, :3].max(0), size, affine[:3, 3])


def common_grid(
    boxes: Sequence[ObjectBox],
    spacing_mm: float,
    multiple: int = 8,
    space: str | None = None,
    field_of_view: float | Sequence[float] | None = None,
) -> VolumeGrid:
    """Choose the grid that holds every object.

    Args:
        boxes: of the training scans.
        spacing_mm: side of a voxel.
        multiple: what every side is padded to a multiple of, in voxels, on both ends alike.
        space: "world" or "object"; None decides by the objects' centres: a registered cohort's lie together.
        field_of_view: sides in mm, one or three, in place of the objects'.

    Raises:
        ValueError: when an argument is out of range.

    Example:
        >>> box = ObjectBox(np.full(3, -9.0), np.full(3, 9.0), np.full(3, 18.0), np.zeros(3))
        >>> grid = common_grid([box], spacing_mm=2.0)
        >>> grid.shape, grid.origin_mm, grid.space
        ((16, 16, 16), (-14.0, -14.0, -14.0), 'world')
    """
    if not (math.isfinite(spacing_mm) and spacing_mm > 0):
        raise ValueError(f"spacing_mm: expected a positive size, found {spacing_mm!r}")
    if multiple < 1:
        raise ValueError(f"multiple: expected 1 or more, found {multiple!r}")
    lows, highs, sizes = (np.array([getattr(box, name) for box in boxes]) for name in ("low", "high", "size"))
    if space is None:
        centres = 0.5 * (lows + highs)
        away = np.abs(centres - np.median(centres, axis=0)).max(axis=1)
        space = "world" if np.quantile(away, 0.9) <= REGISTERED_MM else "object"
    one_of("space", space, SPACES)
    wanted = None if field_of_view is None else np.broadcast_to(np.asarray(field_of_view, np.float64), 3)
    if wanted is not None and not (np.isfinite(wanted).all() and (wanted > 0).all()):
        raise ValueError(f"field_of_view: expected one or three positive sizes in mm, found {field_of_view!r}")
    if space == "object":
        count = np.ceil((sizes.max(0) if wanted is None else wanted) / spacing_mm - 1e-6)
        count = np.ceil(count / multiple) * multiple
        origin = -0.5 * spacing_mm * (count - 1)
    else:
        low, high = lows.min(0), highs.max(0)
        if wanted is not None:
            low, high = 0.5 * (low + high - wanted), 0.5 * (low + high + wanted)
        phase = np.mod(boxes[0].lattice, spacing_mm)  # scans of one lattice and this spacing are copied, not blurred
        first = np.floor((low - phase) / spacing_mm + 0.5 + 1e-6)
        last = np.ceil((high - phase) / spacing_mm - 0.5 - 1e-6)
        count = np.ceil((last - first + 1) / multiple) * multiple
        first -= np.floor(0.5 * (count - (last - first + 1)))
        origin = phase + first * spacing_mm
    x, y, z = (int(n) for n in count)
    a, b, c = (round(float(value), 6) + 0.0 for value in origin)
    return VolumeGrid((x, y, z), float(spacing_mm), (a, b, c), space)


def voxel_sizes(affine: Any) -> Array:
    """Sides of a voxel, mm."""
    sizes: Array = np.linalg.norm(np.asarray(affine, np.float64)[:3, :3], axis=0)
    return sizes


def is_turned(affine: Any) -> bool:
    """Whether the axes of a RAS volume are turned against the world's by more than a thousandth."""
    directions = np.asarray(affine, np.float64)[:3, :3] / voxel_sizes(affine)
    return bool(np.abs(directions - np.eye(3)).max() > 1e-3)
