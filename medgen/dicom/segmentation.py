"""Masks as DICOM Segmentation, through highdicom."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medgen import __version__
from medgen.dicom.deidentify import DEIDENTIFICATION, DUMMIES, check_unnamed, deidentify
from medgen.dicom.files import quiet_pydicom
from medgen.dicom.instances import write_instances
from medgen.dicom.slicing import TO_LPS
from medgen.dicom.source_headers import Source, read_sources
from medgen.dicom.uids import new_uid
from medgen.dicom.verify import check_segmentation, check_written, of_nobody, says_synthetic

__all__ = ["Segment", "segmentation_instance", "write_segmentation"]

# what highdicom reads of the source images, and whether they have an identity to lose
_NEEDED = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "Rows",
    "Columns",
    "Modality",
    "InstanceNumber",
    "SeriesNumber",
    "PatientIdentityRemoved",
)
_MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
_PLACE = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "Rows", "Columns")
_OFF_GRID = 0.05  # voxels


@dataclass(frozen=True)
class Segment:
    """What a label of a mask stands for.

    Args:
        label: a name for people, 64 characters at most.
        category: (value, scheme, meaning) of a code, of CID 7150.
        kind: (value, scheme, meaning) of a code, of CID 7151 and others.
        algorithm: name of the method that drew it, with its version; None for a mask drawn by hand.
    """

    label: str
    category: tuple[str, str, str] = ("123037004", "SCT", "Anatomical Structure")
    kind: tuple[str, str, str] = ("85756007", "SCT", "Tissue")
    algorithm: str | None = "medgen"


@quiet_pydicom()
def segmentation_instance(
    mask: Any,
    affine: Any,
    source: Source,
    segments: Mapping[int, Segment | str],
    *,
    deidentified: bool = True,
    key: bytes | None = None,
    description: str = "",
) -> Dataset:
    """Build a binary Segmentation of the images it was drawn on.

    Where those are synthetic, it says so too: Synthetic Data YES and SYNTHETIC before its Series Description. Those of
    a patient, and those that were made of a patient's, lose the identity first; under the same key, the segmentation
    belongs to the images of :func:`medgen.dicom.derived.derived_instances`.

    Args:
        mask: labels (X, Y, Z) or (1, X, Y, Z), 0 for none; on the grid of the source images.
        affine: (4, 4), voxel to RAS mm.
        source: a folder, a file, or the headers of the images, one slice each.
        segments: by label; a text is a Segment's label.
        deidentified: see :func:`medgen.dicom.derived.derived_instances`; synthetic images have no identity to lose.
        key: see there.
        description: of the series, 54 characters at most.

    Raises:
        ValueError: a label is not in ``segments``, there is none, the mask is not on the grid of the images, or
            labelled voxels are in none of them.
        OptionalImportError: highdicom is not installed; ``pip install "medgen[dicom]"``.
    """
    hd, _ = optional_import("highdicom", descriptor='{}: pip install "medgen[dicom]"')
    hd_seg, _ = optional_import("highdicom.seg", descriptor='{}: pip install "medgen[dicom]"')
    sources = read_sources(source, _NEEDED)
    labels = _labels(mask)
    if unknown := sorted(set(np.unique(labels).tolist()) - {0, *segments}):
        raise ValueError(f"mask: found the labels {unknown}, expected 0 and those of segments, {sorted(segments)}")
    if not segments or min(segments) < 1:
        raise ValueError(f"segments: found the labels {sorted(segments)}, expected one or more, from 1")
    planes = np.stack([_plane(labels, affine, dataset) for dataset in sources])
    if (beyond := np.count_nonzero(labels) - np.count_nonzero(planes)) > 0:
        raise ValueError(f"mask: {beyond} of its labelled voxels lie in none of the {len(sources)} source images")
    synthetic = [says_synthetic(dataset) for dataset in sources]
    if len(set(synthetic)) > 1:
        raise ValueError("source: some of its images are synthetic and some are not, expected one kind")
    deidentified = deidentified and not all(map(of_nobody, sources))
    if deidentified:
        check_unnamed("description", description, sources)
        check_unnamed("segments", str(list(segments.values())), sources)
        sources = [deidentify(dataset, key) for dataset in sources]
    for dataset in sources:
        _complete(dataset)
    instance = hd_seg.Segmentation(
        source_images=sources,
        pixel_array=np.stack([planes == label for label in sorted(segments)], axis=-1).astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=[
            _described(hd, hd_seg, number, segments[label]) for number, label in enumerate(sorted(segments), start=1)
        ],
        series_instance_uid=new_uid(),
        series_number=1 + max(int(dataset.get("SeriesNumber") or 0) for dataset in sources),
        sop_instance_uid=new_uid(),
        instance_number=1,
        manufacturer="medgen",
        manufacturer_model_name="medgen",
        software_versions=__version__,
        device_serial_number="none",
        series_description=f"{'SYNTHETIC ' if synthetic[0] else ''}{description}".strip()[:64] or "Segmentation",
    )
    plain = Dataset()
    plain.update(instance)
    if synthetic[0]:
        plain.add_new(0x0008001C, "CS", "YES")  # Synthetic Data
    if deidentified:
        _say_deidentified(plain, sources[0])
    check_segmentation(plain, synthetic=synthetic[0])
    return plain


def write_segmentation(
    mask: Any,
    affine: Any,
    source: Source,
    segments: Mapping[int, Segment | str],
    path: str | os.PathLike[str],
    **options: Any,
) -> Path:
    """Build a Segmentation by :func:`segmentation_instance`, write it, read it back and check it.

    Args:
        mask: see :func:`segmentation_instance`.
        affine: see :func:`segmentation_instance`.
        source: see :func:`segmentation_instance`.
        segments: see :func:`segmentation_instance`.
        path: the file.
        options: further arguments of :func:`segmentation_instance`.
    """
    instance = segmentation_instance(mask, affine, source, segments, **options)
    synthetic = says_synthetic(instance)
    (written,) = write_instances([instance], Path(path).parent, [Path(path).name])
    check_written([written], [instance], lambda dataset, where: check_segmentation(dataset, where, synthetic))
    return written


def _labels(mask: Any) -> NDArray[np.int64]:
    array = np.asarray(mask)
    array = array[0] if array.ndim == 4 and array.shape[0] == 1 else array
    if array.ndim != 3:
        raise ValueError(f"mask: found shape {np.shape(mask)}, expected (X, Y, Z) or (1, X, Y, Z)")
    if not np.isfinite(array).all() or (array != np.rint(array)).any():
        raise ValueError("mask: found values that are no whole numbers, expected labels")
    return array.astype(np.int64)


def _plane(labels: NDArray[np.int64], affine: Any, dataset: Dataset) -> NDArray[np.int64]:
    """Return the labels (rows, columns) of the plane in which an image lies."""
    to_voxel = np.linalg.inv(TO_LPS @ np.asarray(affine, dtype=np.float64))
    if lacking := [keyword for keyword in _PLACE if not dataset.get(keyword)]:
        raise ValueError(f"source: found an image without {', '.join(lacking)}, expected one slice each")
    orientation = np.array(dataset.ImageOrientationPatient, dtype=np.float64)
    row_spacing, column_spacing = map(float, dataset.PixelSpacing)
    along_rows = to_voxel[:3, :3] @ (orientation[:3] * column_spacing)
    along_columns = to_voxel[:3, :3] @ (orientation[3:] * row_spacing)
    first = to_voxel[:3, :3] @ np.array(dataset.ImagePositionPatient, dtype=np.float64) + to_voxel[:3, 3]
    rows, columns = np.arange(dataset.Rows), np.arange(dataset.Columns)
    exact = first + rows[:, None, None] * along_columns + columns[None, :, None] * along_rows
    nearest = np.rint(exact).astype(int)
    if np.abs(exact - nearest).max() > _OFF_GRID or (nearest < 0).any() or (nearest >= labels.shape).any():
        raise ValueError(
            "mask: its voxels are not those of the source images: resample it to their grid first, or pass its affine"
        )
    return labels[nearest[..., 0], nearest[..., 1], nearest[..., 2]]


def _described(hd: Any, hd_seg: Any, number: int, segment: Segment | str) -> Any:
    """Return highdicom's description of a segment."""
    segment = Segment(segment) if isinstance(segment, str) else segment
    identification = None
    if segment.algorithm is not None:
        identification = hd.AlgorithmIdentificationSequence(
            name=segment.algorithm,
            version=__version__,
            family=hd.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"),
        )
    return hd_seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.label,
        segmented_property_category=hd.sr.CodedConcept(*segment.category),
        segmented_property_type=hd.sr.CodedConcept(*segment.kind),
        algorithm_type="MANUAL" if identification is None else "AUTOMATIC",
        algorithm_identification=identification,
    )


def _complete(dataset: Dataset) -> None:
    """Add the attributes that may be empty and have to be there."""
    for keyword in _MAY_BE_EMPTY:
        if keyword not in dataset:
            setattr(dataset, keyword, "")


def _say_deidentified(instance: Dataset, source: Dataset) -> None:
    """Say how the source lost the identity, and take out the day of the segmentation, which may be that of the scan."""
    for keyword in DEIDENTIFICATION:
        instance[keyword] = source[keyword]
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        instance.pop(keyword, None)
    instance.ContentDate, instance.ContentTime = DUMMIES["DA"], DUMMIES["TM"]
    for item in instance.get("ContributingEquipmentSequence", []):
        item.pop("ContributionDateTime", None)
