"""Transforms that write what was made of a patient's image: derived images as DICOM, masks as DICOM SEG.

Each returns its image unchanged but for the entry ``saved_to`` of its metadata.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.transforms import Transform

from medgen.dicom.derived import Source, write_derived
from medgen.dicom.segmentation import Segment, write_segmentation
from medgen.transforms.writing import KeyedWriter, checked_name, empty_folder, placed, saved

__all__ = ["SaveDerivedDicom", "SaveDerivedDicomd", "SaveSegmentationDicom", "SaveSegmentationDicomd"]


class SaveDerivedDicom(Transform):
    """Write an image that was made of a patient's image, by default without the patient's identity.

    See :func:`medgen.dicom.derived.derived_instances`.

    Args:
        output_dir: gets a folder for each image.
        generated: whether a model generated pixels; the instances then say that they are synthetic.
        deidentified: remove the identity by the basic profile of PS3.15.
        key: secret of the map of UIDs, 16 characters or more; None for the user's own.
        same_space: whether the images lie where their sources do.
        model_sha256: of the model's weights.
        generation: parameters of the method for all images.
        description: follows SYNTHETIC DERIVED in the Series Description; it must not name a patient.
        slice_axis: the axis (0, 1, 2) or plane along which a volume is cut into instances.
        burned_in: write the notice into the pixels; None does where they are generated.
        value_range: intensities that become the smallest and the largest stored value.
    """

    def __init__(
        self,
        output_dir: str | Path,
        generated: bool = True,
        deidentified: bool = True,
        key: str | bytes | None = None,
        same_space: bool = True,
        model_sha256: str | None = None,
        generation: Mapping[str, Any] | None = None,
        description: str = "",
        slice_axis: int | str = "axial",
        burned_in: bool | None = None,
        value_range: Sequence[float] = (-1.0, 1.0),
    ) -> None:
        self.output_dir = Path(output_dir)
        self.options = {
            "generated": generated,
            "deidentified": deidentified,
            "key": _key(key),
            "same_space": same_space,
            "model_sha256": model_sha256,
            "generation": dict(generation or {}),
            "description": description,
            "slice_axis": slice_axis,
            "burned_in": burned_in,
            "value_range": tuple(value_range),
        }

    def __call__(self, image: Any, source: Source, name: str | None = None) -> Any:  # type: ignore[override]
        """Write an image.

        Args:
            image: (1, H, W) or (1, X, Y, Z) with its affine.
            source: the DICOM it was made of: a folder, a file, or headers.
            name: of its folder; by default random. It must not name the patient.

        Raises:
            ValueError: on an image, a source or a value that cannot be written.
            FileExistsError: when there are files in the folder already.
            MarkError: when what was written is not what should have been.
        """
        volume, affine = placed(image)
        folder = empty_folder(self.output_dir / checked_name(name))
        options = self.options | ({"slice_axis": 2} if np.ndim(image) == 3 else {})
        write_derived(volume, affine, source, folder, **options)
        return saved(image, folder)


class SaveSegmentationDicom(Transform):
    """Write a mask as a DICOM Segmentation of the images it was drawn on.

    See :func:`medgen.dicom.segmentation.segmentation_instance`.

    Args:
        output_dir: folder for the files.
        segments: by label, what it stands for: a name, a :class:`medgen.dicom.segmentation.Segment`, or a mapping of
            its arguments.
        deidentified: remove a patient's identity.
        key: see :class:`SaveDerivedDicom`.
        description: of the series.
    """

    def __init__(
        self,
        output_dir: str | Path,
        segments: Mapping[int | str, Any],
        deidentified: bool = True,
        key: str | bytes | None = None,
        description: str = "",
    ) -> None:
        self.output_dir = Path(output_dir)
        self.segments = {int(label): _segment(given) for label, given in segments.items()}
        self.options = {"deidentified": deidentified, "key": _key(key), "description": description}

    def __call__(self, mask: Any, source: Source, name: str | None = None) -> Any:  # type: ignore[override]
        """Write a mask (1, X, Y, Z) of labels to ``<name>.dcm``; see :class:`SaveDerivedDicom`."""
        volume, affine = placed(mask)
        path = self.output_dir / f"{checked_name(name)}.dcm"
        write_segmentation(volume, affine, source, self.segments, path, **self.options)
        return saved(mask, path)


class _KeyedWithSource(KeyedWriter):
    """What the dictionary forms share."""

    def __init__(
        self, keys: Any, transform: Transform, source_key: str, name_key: str | None, allow_missing_keys: bool
    ) -> None:
        super().__init__(keys, transform, name_key, allow_missing_keys)
        self.source_key = source_key

    def arguments(self, data: Mapping[Hashable, Any]) -> dict[str, Any]:
        """Return the source."""
        return {"source": data[self.source_key]}


class SaveDerivedDicomd(_KeyedWithSource):
    """Dictionary form of :class:`SaveDerivedDicom`.

    Args:
        keys: of the images.
        output_dir: gets a folder for each image.
        source_key: of the DICOM they were made of: a folder, a file, or headers.
        name_key: of the image's name, which must not name a patient; None: random names.
        allow_missing_keys: whether an image may be absent.
        options: further arguments of :class:`SaveDerivedDicom`.
    """

    def __init__(
        self,
        keys: Any,
        output_dir: str | Path,
        source_key: str = "source",
        name_key: str | None = None,
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(keys, SaveDerivedDicom(output_dir, **options), source_key, name_key, allow_missing_keys)


class SaveSegmentationDicomd(_KeyedWithSource):
    """Dictionary form of :class:`SaveSegmentationDicom`.

    Args:
        keys: of the masks.
        output_dir: folder for the files.
        segments: see :class:`SaveSegmentationDicom`.
        source_key: of the DICOM the masks were drawn on: a folder, a file, or headers.
        name_key: of the file's name, which must not name a patient; None: random names.
        allow_missing_keys: whether a mask may be absent.
        options: further arguments of :class:`SaveSegmentationDicom`.
    """

    def __init__(
        self,
        keys: Any,
        output_dir: str | Path,
        segments: Mapping[int | str, Any],
        source_key: str = "source",
        name_key: str | None = None,
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        transform = SaveSegmentationDicom(output_dir, segments, **options)
        super().__init__(keys, transform, source_key, name_key, allow_missing_keys)


def _key(key: str | bytes | None) -> bytes | None:
    return key.encode() if isinstance(key, str) else key


def _segment(given: Any) -> Any:
    """Return a Segment from a mapping of its arguments, in which codes are lists; anything else as it is."""
    if not isinstance(given, Mapping):
        return given
    arguments: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    return Segment(**arguments)
