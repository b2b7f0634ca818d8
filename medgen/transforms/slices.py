"""Cut slices out of a volume, each where it is in the world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform
from monai.utils.enums import TraceKeys

from medgen.data.images import PLANES, plane_view
from medgen.spelling import one_of
from medgen.transforms.volumes import Affine, InvertibleKeyedTransform, affine_of, as_volume, with_array

__all__ = ["ExtractSlices", "ExtractSlicesd"]

UNITS = ("fraction", "mm")
INTERPOLATIONS = ("linear", "nearest")
AXES = {"sagittal": (1, 2, 0), "coronal": (0, 2, 1), "axial": (0, 1, 2)}  # across, up, through the slices: RAS axes


class ExtractSlices(InvertibleTransform):
    """Cut slices of one plane out of a volume, as the field shows them (:func:`medgen.data.images.plane_view`).

    The planes are those of the voxel grid that are nearest to sagittal, coronal and axial: a tilted scan is not cut
    obliquely (register it first). The affine says where each slice is: its third column leads from one to the next. A
    slice between two planes of voxels is interpolated.

    ``inverse`` puts every slice into the voxel plane nearest to it, in a volume that is 0 elsewhere.

    Args:
        plane: ``axial``, ``coronal`` or ``sagittal``.
        position: of the middle of the slices: a fraction in [0, 1] of the way from the first to the last voxel plane
            (left to right, back to front, foot to head), or mm: the coordinate R, A or S on the volume's middle line.
        unit: of the position: ``fraction`` or ``mm``.
        count: how many slices, centred on the position.
        spacing: from one slice to the next, in mm; None for the voxels' own.
        interpolation: ``linear``, or ``nearest`` (for labels: takes the nearest voxel plane, and its place).

    Raises:
        ValueError: for a name that is unknown, a fraction outside [0, 1], or numbers that are not above 0.

    Example:
        >>> import torch
        >>> volume = torch.arange(4.0).reshape(1, 1, 1, 4).expand(1, 8, 9, 4)  # brighter towards the head
        >>> middle = ExtractSlices("axial", position=1.5, unit="mm")(volume)
        >>> tuple(middle.shape), float(middle.max())
        ((1, 9, 8), 1.5)
        >>> tuple(ExtractSlices("coronal", count=3)(volume).shape)
        (1, 4, 8, 3)
    """

    def __init__(
        self,
        plane: str = "axial",
        position: float = 0.5,
        unit: str = "fraction",
        count: int = 1,
        spacing: float | None = None,
        interpolation: str = "linear",
    ) -> None:
        self.plane, self.unit = one_of("plane", plane, tuple(PLANES)), one_of("unit", unit, UNITS)
        self.interpolation = one_of("interpolation", interpolation, INTERPOLATIONS)
        self.position, self.count = float(position), int(count)
        self.spacing = None if spacing is None else float(spacing)
        if self.unit == "fraction" and not 0.0 <= self.position <= 1.0:
            raise ValueError(f"position is {position}, expected a fraction in [0, 1], or unit='mm'")
        if self.count < 1:
            raise ValueError(f"count is {count}, expected 1 or more")
        if self.spacing is not None and not self.spacing > 0.0:
            raise ValueError(f"spacing is {spacing}, expected a number of mm above 0")

    def __call__(self, image: Any) -> MetaTensor:
        """Cut the slices.

        Args:
            image: (C, X, Y, Z), of any orientation.

        Returns:
            float32 (C, H, W) for one slice, (C, H, W, count) for several, with the affine (4, 4) from row, column and
            slice to the volume's world.

        Raises:
            ValueError: for an image that is not a volume, or slices outside of it.
        """
        volume = as_volume(image, "ExtractSlices", dims=(3,))
        canonical, to_voxel = _canonical(volume)
        affine = affine_of(volume) @ to_voxel
        axis = PLANES[self.plane]
        places = self._places(affine, canonical.shape[1:], axis)
        low = np.clip(np.floor(places).astype(int), 0, canonical.shape[axis + 1] - 1)
        high = np.minimum(low + 1, canonical.shape[axis + 1] - 1)
        weight = torch.from_numpy(places - low).float().reshape([-1 if d == axis + 1 else 1 for d in range(4)])
        picked = [canonical.index_select(axis + 1, torch.from_numpy(index)) for index in (low, high)]
        pictures = plane_view(picked[0] * (1.0 - weight) + picked[1] * weight, self.plane)  # (S, C, H, W)
        result = pictures[:, :, :, :].permute(1, 2, 3, 0)

        across, up, through = AXES[self.plane]
        step = float(places[1] - places[0]) if self.count > 1 else self._step(affine, axis)
        to_canonical = np.zeros((4, 4))
        to_canonical[up, 0], to_canonical[up, 3] = -1.0, canonical.shape[up + 1] - 1  # row 0 is the highest
        to_canonical[across, 1], to_canonical[through, 2] = 1.0, step
        to_canonical[through, 3], to_canonical[3, 3] = places[0], 1.0
        sliced = with_array(volume, (result[..., 0] if self.count == 1 else result).contiguous(), affine @ to_canonical)
        extra = {
            "native_affine": torch.from_numpy(affine_of(volume)),
            "to_voxel": torch.from_numpy(to_voxel),
            "places": torch.from_numpy(places),
        }
        return self.push_transform(sliced, orig_size=list(volume.shape[1:]), extra_info=extra)

    def inverse(self, image: MetaTensor) -> MetaTensor:
        """Put the slices back into a volume of the original grid, 0 where there was none."""
        image = with_array(image, image.as_tensor())  # the caller's keeps its trace
        trace = self.pop_transform(image)
        extra, size = trace[TraceKeys.EXTRA_INFO], [int(n) for n in trace[TraceKeys.ORIG_SIZE]]
        to_voxel = np.asarray(extra["to_voxel"])
        values = image.as_tensor().reshape(*image.shape[:3], -1)
        axis = PLANES[self.plane]
        across, up, _ = AXES[self.plane]
        order = [0, 0, 0, 0]
        order[across + 1], order[up + 1], order[axis + 1] = 2, 1, 3
        slices = values.flip(1).permute(order)
        shape = [int(n) for n in np.abs(to_voxel[:3, :3]).T @ np.asarray(size)]
        canonical = values.new_zeros((values.shape[0], *shape))
        places = torch.from_numpy(np.rint(np.asarray(extra["places"])).astype(np.int64)).clamp(0, shape[axis] - 1)
        canonical.index_copy_(axis + 1, places, slices)
        return with_array(image, _uncanonical(canonical, to_voxel), np.asarray(extra["native_affine"]))

    def _step(self, affine: Affine, axis: int) -> float:
        """Return the distance of the slices in voxel planes."""
        return 1.0 if self.spacing is None else self.spacing / float(np.linalg.norm(affine[:3, axis]))

    def _places(self, affine: Affine, shape: Sequence[int], axis: int) -> Affine:
        """Return where the slices are, in voxel planes of the RAS view."""
        last = shape[axis] - 1
        if self.unit == "fraction":
            middle = self.position * last
        else:
            line = 0.5 * (np.asarray(shape, dtype=np.float64) - 1.0)
            line[axis] = 0.0
            middle = (self.position - affine[axis, 3] - affine[axis, :3] @ line) / affine[axis, axis]
        places = middle + (np.arange(self.count) - 0.5 * (self.count - 1)) * self._step(affine, axis)
        if self.interpolation == "nearest":
            places = np.rint(places)
        if places[0] < -0.5 or places[-1] > last + 0.5:
            low, high = affine[axis, :] @ np.vstack([np.eye(3)[:, [axis]] * [0, last], [1, 1]])
            raise ValueError(
                f"ExtractSlices: position {self.position:g} ({self.unit}) with {self.count} slice(s) goes from plane "
                f"{places[0]:.1f} to {places[-1]:.1f}, expected 0 to {last} ({low:.0f} to {high:.0f} mm)"
            )
        return np.clip(places, 0, last)


def _canonical(volume: MetaTensor) -> tuple[torch.Tensor, Affine]:
    """Return voxels turned to RAS (C, X, Y, Z), and the change (4, 4) from their indices to the volume's."""
    turn = nibabel.orientations.io_orientation(affine_of(volume))
    to_voxel = nibabel.orientations.inv_ornt_aff(turn, tuple(volume.shape[1:]))
    order = np.argsort(turn[:, 0])
    turned = volume.as_tensor().permute(0, *(int(a) + 1 for a in order))
    flips = [int(turn[a, 0]) + 1 for a in range(3) if turn[a, 1] < 0]
    return turned.flip(flips) if flips else turned, np.asarray(to_voxel, dtype=np.float64)


def _uncanonical(canonical: torch.Tensor, to_voxel: Affine) -> torch.Tensor:
    """Turn voxels back from RAS."""
    flips = [a + 1 for a in range(3) if to_voxel[:3, a].sum() < 0]
    order = [int(np.abs(to_voxel[a, :3]).argmax()) + 1 for a in range(3)]
    return (canonical.flip(flips) if flips else canonical).permute(0, *order)


class ExtractSlicesd(InvertibleKeyedTransform):
    """Dictionary form of :class:`ExtractSlices`.

    Args:
        keys: of the volumes.
        plane: see the array form.
        position: see the array form.
        unit: see the array form.
        count: see the array form.
        spacing: see the array form.
        interpolation: see the array form.
        allow_missing_keys: whether a key may be absent.
    """

    def __init__(
        self,
        keys: Any,
        plane: str = "axial",
        position: float = 0.5,
        unit: str = "fraction",
        count: int = 1,
        spacing: float | None = None,
        interpolation: str = "linear",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, ExtractSlices(plane, position, unit, count, spacing, interpolation), allow_missing_keys)
