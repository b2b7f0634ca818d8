"""Transforms that write generated images as DICOM and NIfTI, each marked synthetic in the file itself.

Each returns its image unchanged but for the entry ``saved_to`` of its metadata.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Hashable, Mapping, Sequence
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
from medgen.dicom.synthetic import write_synthetic
from medgen.io import check_nifti, save_nifti
from medgen.transforms.volumes import affine_of

__all__ = ["SaveSyntheticDicom", "SaveSyntheticDicomd", "SaveSyntheticNifti", "SaveSyntheticNiftid"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,50}")


class SaveSyntheticDicom(Transform):
    """Write a generated image as one MR series that says on every instance that it is synthetic.

    See :func:`medgen.dicom.synthetic.synthetic_instances` for the marks, which no argument removes. Only for images
    that were generated of nobody: what was made of a patient's is for :class:`medgen.transforms.SaveDerivedDicom`.

    Args:
        output_dir: gets a folder for each image.
        model_sha256: of the model's weights.
        generation: parameters of all images, for example ``{"solver": "ddim", "steps": 50}``.
        description: follows SYNTHETIC in the Series Description; 54 characters at most.
        slice_axis: the axis (0, 1, 2) or plane along which a volume is cut into instances.
        plane: plane of a 2D image that has no affine.
        voxel_mm: side of a pixel or voxel of an image that has no affine, mm.
        burned_in: write "SYNTHETIC - NOT FOR DIAGNOSIS" into the pixels; False for training data.
        value_range: intensities that become the smallest and the largest stored value.
        body_part: Body Part Examined.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     written = SaveSyntheticDicom(folder)(torch.zeros(1, 96, 96, 4), "first", {"age": 73, "sex": "F"})
        ...     sorted(path.name for path in Path(folder, "first").iterdir())[-1]
        'image_0004.dcm'
    """

    def __init__(
        self,
        output_dir: str | Path,
        model_sha256: str | None = None,
        generation: Mapping[str, Any] | None = None,
        description: str = "",
        slice_axis: int | str = "axial",
        plane: str = "axial",
        voxel_mm: float = 1.0,
        burned_in: bool = True,
        value_range: Sequence[float] = (-1.0, 1.0),
        body_part: str = "BRAIN",
    ) -> None:
        self.output_dir, self.plane, self.voxel_mm = Path(output_dir), plane, voxel_mm
        self.generation = dict(generation or {})
        self.options = {
            "model_sha256": model_sha256,
            "description": description,
            "slice_axis": slice_axis,
            "burned_in": burned_in,
            "value_range": tuple(value_range),
            "body_part": body_part,
        }

    def __call__(
        self,
        image: Any,
        name: str | None = None,
        covariates: Mapping[str, Any] | None = None,
        generation: Mapping[str, Any] | None = None,
    ) -> Any:
        """Write an image.

        Args:
            image: (1, H, W) or (1, X, Y, Z).
            name: of its folder, and of its Patient ID after ``SYN-``; by default random. Never a real person's.
            covariates: what it was conditioned on; "age" (years) and "sex" go into the header as such.
            generation: parameters of this image, for example ``{"seed": 7}``.

        Raises:
            ValueError: on a shape, a name or a value that cannot be written, or an image that was read from a patient's
                DICOM, whatever was done to it since.
            FileExistsError: when there are files in the folder already.
            MarkError: when what was written is not what should have been.
        """
        check_of_nobody(image)
        name = checked_name(name)
        volume, affine = placed(image, self.plane, self.voxel_mm)
        folder = empty_folder(self.output_dir / name)
        options = self.options | ({"slice_axis": 2} if np.ndim(image) == 3 else {})
        parameters = self.generation | dict(generation or {})
        write_synthetic(volume, affine, folder, subject=name, covariates=covariates, generation=parameters, **options)
        return saved(image, folder)


class SaveSyntheticNifti(Transform):
    """Write a generated image as NIfTI that says so in its description, in a header extension and in a JSON sidecar.

    Args:
        output_dir: folder for the files.
        model_sha256: of the model's weights, for the record.
        generation: parameters of all images, for the record.
        plane: plane of a 2D image that has no affine.
        voxel_mm: side of a pixel or voxel of an image that has no affine, mm.
    """

    def __init__(
        self,
        output_dir: str | Path,
        model_sha256: str | None = None,
        generation: Mapping[str, Any] | None = None,
        plane: str = "axial",
        voxel_mm: float = 1.0,
    ) -> None:
        self.output_dir, self.plane, self.voxel_mm = Path(output_dir), plane, voxel_mm
        self.record = {"model_sha256": model_sha256 or "unknown", **(generation or {})}

    def __call__(
        self,
        image: Any,
        name: str | None = None,
        covariates: Mapping[str, Any] | None = None,
        generation: Mapping[str, Any] | None = None,
    ) -> Any:
        """Write an image (C, H, W) or (C, X, Y, Z) to ``<name>.nii.gz``; see :class:`SaveSyntheticDicom`."""
        check_of_nobody(image)
        if np.ndim(image) not in (3, 4):
            raise ValueError(f"image: found shape {tuple(np.shape(image))}, expected (C, H, W) or (C, X, Y, Z)")
        path = self.output_dir / f"{checked_name(name)}.nii.gz"
        affine = affine_in_space(image, self.plane, self.voxel_mm)
        record = self.record | dict(generation or {}) | {"covariates": dict(covariates or {})}
        save_nifti(image, path, affine, record)
        check_nifti(path)
        return saved(image, path)


class KeyedWriter(MapTransform):
    """What the dictionary forms share: on each key the array form, with a name and arguments from the dictionary."""

    def __init__(self, keys: Any, transform: Transform, name_key: str | None, allow_missing_keys: bool) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform, self.name_key = transform, name_key

    def arguments(self, data: Mapping[Hashable, Any]) -> dict[str, Any]:
        """Return what the array form is called with, beside image and name."""
        raise NotImplementedError

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary, each key's image written."""
        result = dict(data)
        name = None if self.name_key is None else str(result[self.name_key])
        for key in self.key_iterator(result):
            own = name if name is None or len(self.keys) == 1 else f"{name}_{key}"
            result[key] = self.transform(result[key], name=own, **self.arguments(result))  # type: ignore[call-arg]
        return result


class _KeyedGenerated(KeyedWriter):
    """What the dictionary forms of the writers of generated images share."""

    def __init__(
        self,
        keys: Any,
        transform: Transform,
        name_key: str | None,
        covariate_keys: Sequence[str],
        generation_key: str | None,
        allow_missing_keys: bool,
    ) -> None:
        super().__init__(keys, transform, name_key, allow_missing_keys)
        self.covariate_keys, self.generation_key = tuple(covariate_keys), generation_key

    def arguments(self, data: Mapping[Hashable, Any]) -> dict[str, Any]:
        return {
            "covariates": {key: data[key] for key in self.covariate_keys if key in data},
            "generation": None if self.generation_key is None else data[self.generation_key],
        }


class SaveSyntheticDicomd(_KeyedGenerated):
    """Dictionary form of :class:`SaveSyntheticDicom`.

    Args:
        keys: of the images.
        output_dir: gets a folder for each image.
        name_key: of the image's name; with several ``keys``, each one's own is added. None: random names.
        covariate_keys: of what the images were conditioned on; those that are absent are left out.
        generation_key: of a mapping of the generation's parameters; None for none.
        allow_missing_keys: whether an image may be absent.
        options: further arguments of :class:`SaveSyntheticDicom`.
    """

    def __init__(
        self,
        keys: Any,
        output_dir: str | Path,
        name_key: str | None = None,
        covariate_keys: Sequence[str] = ("diagnosis", "age", "sex"),
        generation_key: str | None = None,
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        transform = SaveSyntheticDicom(output_dir, **options)
        super().__init__(keys, transform, name_key, covariate_keys, generation_key, allow_missing_keys)


class SaveSyntheticNiftid(_KeyedGenerated):
    """Dictionary form of :class:`SaveSyntheticNifti`.

    Args:
        keys: of the images.
        output_dir: folder for the files.
        name_key: see :class:`SaveSyntheticDicomd`.
        covariate_keys: see there.
        generation_key: see there.
        allow_missing_keys: whether an image may be absent.
        options: further arguments of :class:`SaveSyntheticNifti`.
    """

    def __init__(
        self,
        keys: Any,
        output_dir: str | Path,
        name_key: str | None = None,
        covariate_keys: Sequence[str] = ("diagnosis", "age", "sex"),
        generation_key: str | None = None,
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        transform = SaveSyntheticNifti(output_dir, **options)
        super().__init__(keys, transform, name_key, covariate_keys, generation_key, allow_missing_keys)


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
