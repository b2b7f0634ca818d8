"""Bring images to one size without bending anyone's head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform
from monai.utils.enums import TraceKeys

from medgen.spelling import one_of
from medgen.transforms.resampling import carry, resample_with_edges
from medgen.transforms.volumes import Affine, InvertibleKeyedTransform, affine_of, as_volume, spacing_of, with_array

__all__ = ["FitToSize", "FitToSized"]

INTERPOLATIONS = ("cubic", "nearest")


class FitToSize(InvertibleTransform):
    """Resize an image to a given size about its middle, keeping its proportions in mm.

    The new voxels are as large along every axis: as large as they must be for the whole image to fit (what is left over
    is padded), or ``spacing`` mm (what is too much is cut off). Nothing aliases where voxels grow. The middle of the
    image stays in the middle.

    ``inverse`` resizes back; what was cut off comes back as the pad value.

    Args:
        size: one number for every axis, or one for each.
        spacing: voxel size of the result in mm; None for the smallest that shows the whole image.
        pad_value: of what the image does not reach.
        interpolation: ``cubic`` (Keys' kernel, cut to the image's range), or ``nearest`` for labels.

    Raises:
        ValueError: for a size or spacing that is not above 0, or an unknown interpolation.

    Example:
        >>> import torch
        >>> from monai.data import MetaTensor
        >>> wide = MetaTensor(torch.ones(1, 20, 40), affine=torch.eye(4))
        >>> square = FitToSize(64, pad_value=-1)(wide)
        >>> tuple(square.shape), round(float(square.pixdim[0]), 4)  # 40 mm over 64 pixels
        ((1, 64, 64), 0.625)
        >>> float(square[0, 0, 0]), float(square[0, 32, 32])
        (-1.0, 1.0)
    """

    def __init__(
        self,
        size: int | Sequence[int],
        spacing: float | None = None,
        pad_value: float = 0.0,
        interpolation: str = "cubic",
    ) -> None:
        self.size = [int(size)] if isinstance(size, int) else [int(n) for n in size]
        if not self.size or min(self.size) < 1:
            raise ValueError(f"size is {size}, expected numbers above 0")
        self.spacing = None if spacing is None else float(spacing)
        if self.spacing is not None and not self.spacing > 0.0:
            raise ValueError(f"spacing is {spacing}, expected a number of mm above 0")
        self.pad_value = float(pad_value)
        self.interpolation = one_of("interpolation", interpolation, INTERPOLATIONS)

    def __call__(self, image: Any) -> MetaTensor:
        """Resize an image.

        Args:
            image: (C, *spatial), 2D or 3D.

        Returns:
            float32 (C, *size), with the affine of the new voxels.

        Raises:
            ValueError: for a size of another number of axes than the image's.
        """
        volume = as_volume(image, "FitToSize")
        shape, old = np.asarray(volume.shape[1:]), spacing_of(volume)
        size = np.asarray(self.size * len(shape) if len(self.size) == 1 else self.size)
        if len(size) != len(shape):
            raise ValueError(f"size is {self.size}, expected one number, or {len(shape)} for an image {tuple(shape)}")
        new = float((shape * old / size).max()) if self.spacing is None else self.spacing
        step = new / old
        extra = {"native_affine": torch.from_numpy(affine_of(volume)), "step": torch.from_numpy(step)}
        result = self._resized(volume, step, size, affine_of(volume) @ _change(shape, step, size))
        return self.push_transform(result, orig_size=[int(n) for n in shape], extra_info=extra)

    def inverse(self, image: MetaTensor) -> MetaTensor:
        """Resize back to the size and affine from before."""
        image = with_array(image, image.as_tensor())  # the caller's keeps its trace
        trace = self.pop_transform(image)
        extra, shape = trace[TraceKeys.EXTRA_INFO], np.asarray([int(n) for n in trace[TraceKeys.ORIG_SIZE]])
        return self._resized(image, 1.0 / np.asarray(extra["step"]), shape, np.asarray(extra["native_affine"]))

    def _resized(self, volume: MetaTensor, step: Affine, size: Affine, affine: Affine) -> MetaTensor:
        """Resample about the middle: new voxels are ``step`` old ones apart."""
        values, shape = volume.as_tensor(), np.asarray(volume.shape[1:])
        if self.interpolation == "nearest":
            change = _change(shape, step, size)
            result = carry(values, np.eye(4), np.eye(4), [int(n) for n in size], change, "nearest", self.pad_value)
            return with_array(volume, result, affine)
        centre = (0.5 * (shape - 1.0)).tolist()
        result = resample_with_edges(values, centre, step.tolist(), [int(n) for n in size])
        result = result.clamp(float(values.min()), float(values.max()))  # the kernel overshoots
        for axis, (count, s, n) in enumerate(zip(shape, step, size, strict=True), start=1):
            places = 0.5 * (count - 1.0) + (torch.arange(int(n), dtype=torch.float64) - 0.5 * (n - 1.0)) * s
            beyond = (places < -0.5 - 1e-6) | (places > count - 0.5 + 1e-6)
            result.index_fill_(axis, torch.nonzero(beyond)[:, 0], self.pad_value)
        return with_array(volume, result, affine)


def _change(shape: Affine, step: Affine, size: Affine) -> Affine:
    """Return the change (4, 4) from new voxel indices to old ones that keeps the middle."""
    dims = len(shape)
    change = np.eye(4)
    change[range(dims), range(dims)] = step
    change[:dims, 3] = 0.5 * (shape - 1.0) - 0.5 * (np.asarray(size) - 1.0) * step
    return change


class FitToSized(InvertibleKeyedTransform):
    """Dictionary form of :class:`FitToSize`.

    Args:
        keys: of the images.
        size: see the array form.
        spacing: see the array form.
        pad_value: see the array form.
        interpolation: see the array form.
        allow_missing_keys: whether a key may be absent.
    """

    def __init__(
        self,
        keys: Any,
        size: int | Sequence[int],
        spacing: float | None = None,
        pad_value: float = 0.0,
        interpolation: str = "cubic",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, FitToSize(size, spacing, pad_value, interpolation), allow_missing_keys)
