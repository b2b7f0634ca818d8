"""Transforms that write generated images as DICOM and NIfTI, each marked synthetic in the file itself.

Each returns its image unchanged but for the entry ``saved_to`` of its metadata.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from monai.transforms import Transform

from medgen.dicom.synthetic import write_synthetic
from medgen.io import check_nifti, save_nifti
from medgen.transforms.writing import (
    KeyedWriter,
    affine_in_space,
    check_of_nobody,
    checked_name,
    empty_folder,
    placed,
    saved,
)

__all__ = ["SaveSyntheticDicom", "SaveSyntheticDicomd", "SaveSyntheticNifti", "SaveSyntheticNiftid"]


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
        >>> import torch
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


class _KeyedGenerated(KeyedWriter):
    """What the dictionary forms of the writers of generated images share: all but the array form."""

    writer: ClassVar[type[Transform]]

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
        super().__init__(keys, self.writer(output_dir, **options), name_key, allow_missing_keys)  # type: ignore[call-arg]
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

    writer = SaveSyntheticDicom


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

    writer = SaveSyntheticNifti
