"""What the transforms that write images share: names, places, folders, and the dictionary form."""

from __future__ import annotations

import re
import secrets
from abc import abstractmethod
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils.enums import MetaKeys
from numpy.typing import NDArray

from medgen.dicom.header import SYNTHETIC
from medgen.dicom.read import HEADER_META
from medgen.dicom.slicing import centred_affine
from medgen.transforms.volumes import affine_of

__all__ = [
    "KeyedWriter",
    "affine_in_space",
    "check_of_nobody",
    "checked_name",
    "empty_folder",
    "placed",
    "saved",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,50}")


class KeyedWriter(MapTransform):
    """What the dictionary forms share: on each key the array form, with a name and arguments from the dictionary."""

    def __init__(self, keys: Any, transform: Transform, name_key: str | None, allow_missing_keys: bool) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform, self.name_key = transform, name_key

    @abstractmethod
    def arguments(self, data: Mapping[Hashable, Any]) -> dict[str, Any]:
        """Return what the array form is called with, beside image and name."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary, each key's image written."""
        result = dict(data)
        name = None if self.name_key is None else str(result[self.name_key])
        for key in self.key_iterator(result):
            own = name if name is None or len(self.keys) == 1 else f"{name}_{key}"
            result[key] = self.transform(result[key], name=own, **self.arguments(result))  # type: ignore[call-arg]
        return result


def checked_name(name: str | None) -> str:
    """Return a name that is fit for files, a random one for None.

    Raises:
        ValueError: on other characters than letters, digits, ``_``, ``.`` and ``-``, or more than 51.
    """
    if name is None:
        return secrets.token_hex(6)
    if not _NAME.fullmatch(str(name)):
        raise ValueError(f"name is {name!r}, expected 1 to 51 letters, digits and _ . -, the first no sign")
    return str(name)


def check_of_nobody(image: Any) -> None:
    """Check that an image was not read from a patient's DICOM.

    Transforms keep an image's metadata: what was made of a patient's image has the header that was read with it.

    Raises:
        ValueError: pointing to the writer of derived images.
    """
    header = image.meta.get(HEADER_META) if isinstance(image, MetaTensor) else None
    if header is not None and not (isinstance(header, Mapping) and header.get(SYNTHETIC)):
        raise ValueError(
            "image: its metadata is that of a DICOM series which does not say that it is synthetic (of nobody), so it "
            "is a patient's or was made of a patient's; write it with medgen.transforms.SaveDerivedDicom, which "
            "refers to its source"
        )


def affine_in_space(image: Any, plane: str | None = None, voxel_mm: float = 1.0) -> NDArray[np.float64]:
    """Return an image's affine; without one, or with a picture's identity, the one that centres it.

    Raises:
        ValueError: when it has none and ``plane`` is None.
    """
    if isinstance(image, MetaTensor):
        affine = affine_of(image)
        if plane is None or image.ndim == 4 or not np.array_equal(affine, np.eye(4)):
            return affine
    if plane is None:
        raise ValueError(f"image: found a {type(image).__name__} without an affine, expected a MetaTensor")
    return centred_affine(tuple(image.shape[1:]), plane, voxel_mm)


def placed(image: Any, plane: str | None = None, voxel_mm: float = 1.0) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return an image (1, H, W) or (1, X, Y, Z) as a volume (X, Y, Z) with its affine.

    Raises:
        ValueError: on another shape, or as :func:`affine_in_space`.
    """
    if np.ndim(image) not in (3, 4) or image.shape[0] != 1:
        raise ValueError(f"image: found shape {tuple(np.shape(image))}, expected (1, H, W) or (1, X, Y, Z)")
    array = image.detach().cpu().float().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    return array[0] if array.ndim == 4 else array[0][..., None], affine_in_space(image, plane, voxel_mm)


def empty_folder(folder: Path) -> Path:
    """Return the folder if there is nothing in it.

    Raises:
        FileExistsError: two series in one folder would be mixed up.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"{folder}: holds files already, expected an empty or no folder")
    return folder


def saved(image: Any, path: Path) -> Any:
    """Note in an image's metadata where it was written, as MONAI's SaveImage does."""
    if isinstance(image, MetaTensor):
        image.meta[MetaKeys.SAVED_TO] = str(path)
    return image
