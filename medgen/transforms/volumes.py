"""What the preprocessing transforms share: MetaTensors in and out, affines, SimpleITK, one class for dictionaries."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing, to_affine_nd
from monai.transforms import InvertibleTransform, MapTransform
from numpy.typing import NDArray

__all__ = [
    "Affine",
    "InvertibleKeyedTransform",
    "KeyedTransform",
    "affine_of",
    "as_volume",
    "from_itk",
    "spacing_of",
    "to_itk",
    "with_array",
]

Affine = NDArray[np.float64]
RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def as_volume(image: Any, name: str, dims: Sequence[int] = (2, 3)) -> MetaTensor:
    """Return an image as a float32 MetaTensor on the CPU, with the identity for its affine where it has none.

    Args:
        image: channel-first array, tensor or MetaTensor.
        name: of the transform, for messages.
        dims: accepted numbers of spatial dimensions.

    Raises:
        ValueError: for another number of dimensions, no voxels, or values that are not finite.
    """
    given = image if isinstance(image, torch.Tensor) else torch.as_tensor(np.asarray(image))
    if given.ndim - 1 not in dims or given.numel() == 0:
        wanted = " or ".join("(C, X, Y, Z)" if n == 3 else "(C, H, W)" for n in dims)
        raise ValueError(f"{name}: found an image of the shape {tuple(given.shape)}, expected {wanted}")
    values = (given.as_tensor() if isinstance(given, MetaTensor) else given).to("cpu", torch.float32)
    if not bool(torch.isfinite(values).all()):
        raise ValueError(f"{name}: the image holds values that are not finite, expected finite intensities")
    volume = MetaTensor(values, affine=torch.eye(4, dtype=torch.float64))
    return volume.copy_meta_from(given) if isinstance(given, MetaTensor) else volume


def affine_of(image: MetaTensor) -> Affine:
    """Return an image's affine as float64 (4, 4), voxel -> mm; a 2D one leaves the third axis alone."""
    affine = np.asarray(image.affine, dtype=np.float64)
    if affine.shape == (4, 4):
        return affine
    lifted = np.eye(4)
    lifted[:2, :2], lifted[:2, 3] = affine[:2, :2], affine[:2, 2]
    return lifted


def spacing_of(image: MetaTensor) -> Affine:
    """Return the voxel size in mm, one number per spatial axis."""
    return np.asarray(affine_to_spacing(affine_of(image), r=image.ndim - 1), dtype=np.float64)


def with_array(image: MetaTensor, array: Any, affine: Affine | None = None) -> MetaTensor:
    """Return other voxels, float32, with the metadata of ``image`` and, where given, another affine (4, 4)."""
    values = torch.as_tensor(np.ascontiguousarray(array) if isinstance(array, np.ndarray) else array)
    result = MetaTensor(values.to(torch.float32)).copy_meta_from(image)
    if affine is not None:
        keep = image.affine.shape[-1] == 3 and values.ndim == 3
        result.affine = torch.from_numpy(np.ascontiguousarray(to_affine_nd(2, affine) if keep else affine))
    return result


def to_itk(channel: torch.Tensor | NDArray[Any], affine: Affine) -> sitk.Image:
    """Return one channel (*spatial) as a SimpleITK image, whose world is LPS.

    A plane (X, Y) keeps its own two world axes: only the upper left part of its affine is used.
    """
    array = np.asarray(channel)
    dims = array.ndim
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    world = (RAS_LPS @ affine) if dims == 3 else affine
    spacing = np.linalg.norm(world[:dims, :dims], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((world[:dims, :dims] / spacing).reshape(-1).tolist())
    image.SetOrigin(world[:dims, 3].tolist())
    return image


def from_itk(image: sitk.Image) -> NDArray[np.float32]:
    """Return a SimpleITK image's voxels as float32 (*spatial)."""
    return sitk.GetArrayFromImage(image).T.astype(np.float32, copy=False)


class KeyedTransform(MapTransform):
    """The dictionary form of an array transform: the same transform on each key.

    Args:
        keys: of the images.
        transform: the array form.
        allow_missing_keys: whether a key may be absent.
        mask_key: of a mask that the array form takes as its second argument, or None.
    """

    def __init__(
        self, keys: Any, transform: Any, allow_missing_keys: bool = False, mask_key: str | None = None
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform, self.mask_key = transform, mask_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary with each key's image transformed."""
        result = dict(data)
        if self.mask_key is not None and self.mask_key not in result:
            raise KeyError(
                f"{type(self).__name__}: mask_key {self.mask_key!r} is not in the data: {sorted(map(str, result))}"
            )
        mask = () if self.mask_key is None else (result[self.mask_key],)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key], *mask)
        return result


class InvertibleKeyedTransform(KeyedTransform, InvertibleTransform):
    """The dictionary form of an array transform that can be undone."""

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary with each key's image brought back."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform.inverse(result[key])
        return result
