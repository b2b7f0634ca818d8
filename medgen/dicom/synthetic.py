"""Synthetic images as DICOM: built from an allowlist, of no patient's header, marked as synthetic on every instance."""

from __future__ import annotations

import datetime
import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medgen import __version__
from medgen.dicom.attributes import age_string, code, sex_code
from medgen.dicom.burn_in import burn_in
from medgen.dicom.instances import mr_instances, write_instances
from medgen.dicom.verify import SYNTHESIZING, check_synthetic, check_written
from medgen.files import plain
from medgen.io import NOTICE

__all__ = ["draw_notice", "generated_marks", "now", "stored_intensities", "synthetic_instances", "write_synthetic"]

_WHITE = 4095
_SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,50}")
_LONGEST_TEXT = 1024  # characters of the value representation ST
_BODY_PART = "BRAIN"


def synthetic_instances(
    image: Any,
    affine: Any,
    *,
    subject: str | None = None,
    covariates: Mapping[str, Any] | None = None,
    generation: Mapping[str, Any] | None = None,
    model_sha256: str | None = None,
    description: str = "",
    slice_axis: int | str = "axial",
    burned_in: bool = True,
    value_range: tuple[float, float] = (-1.0, 1.0),
    body_part: str = _BODY_PART,
) -> list[Dataset]:
    """Build one MR series of a synthetic image, a dataset for each slice; UIDs are new, in a study of its own.

    Every instance bears the marks that :func:`medgen.dicom.verify.check_synthetic` looks for; no argument removes
    one. Age and sex of ``covariates`` become Patient's Age and Patient's Sex; all covariates, the parameters of the
    generation and the model's hash are in the Derivation Description as JSON, the hash in the Contributing Equipment
    Sequence too.

    Args:
        image: (X, Y, Z), or (1, X, Y, Z).
        affine: (4, 4), voxel to RAS mm, axes at right angles.
        subject: what follows ``SYN-`` in the Patient ID and ``SYNTHETIC^`` in the name; letters, digits, ``_.-``, 51
            at most; by default random. Never a real person's.
        covariates: what the image was conditioned on, for example ``{"diagnosis": "AD", "age": 73, "sex": "F"}``.
        generation: for example ``{"seed": 0, "solver": "ddim", "steps": 50, "guidance": 1.5}``.
        model_sha256: of the model's weights.
        description: follows SYNTHETIC in the Series Description; 54 characters at most.
        slice_axis: see :func:`medgen.dicom.slicing.cut`.
        burned_in: write "SYNTHETIC - NOT FOR DIAGNOSIS" into the pixels. False for training data: the marks in the
            header stay, and Burned In Annotation says NO.
        value_range: intensities that become the smallest and the largest stored value, 0 and 4095; what lies outside
            is cut off.
        body_part: Body Part Examined, a defined term of PS3.16 annex L.

    Raises:
        ValueError: on an argument that is not as above, or an image that is too small for the notice.

    Example:
        >>> first = synthetic_instances(np.zeros((96, 96, 2)), np.eye(4), subject="7", covariates={"age": 73})[0]
        >>> str(first.PatientName), first.PatientID, first.PatientAge, first.BurnedInAnnotation
        ('SYNTHETIC^7', 'SYN-7', '073Y', 'YES')
    """
    subject = secrets.token_hex(6) if subject is None else str(subject)
    if not _SUBJECT.fullmatch(subject):
        raise ValueError(f"subject is {subject!r}, expected 1 to 51 letters, digits and _ . -, the first no sign")
    said = dict(covariates or {})
    date, time = now()
    instances = mr_instances(
        stored_intensities(image, value_range),
        affine,
        patient={
            "PatientName": f"SYNTHETIC^{subject}",
            "PatientID": f"SYN-{subject}",
            "PatientAge": age_string(None if said.get("age") is None else float(said["age"])),
            "PatientSex": sex_code(said.get("sex")),
            "PatientComments": NOTICE,
        },
        study={"StudyDate": date, "StudyTime": time, "StudyID": "SYNTHETIC", "StudyDescription": NOTICE},
        series={"SeriesDate": date, "SeriesTime": time, "BodyPartExamined": body_part},
        slice_axis=slice_axis,
        draw=draw_notice if burned_in else None,
    )
    marks = generated_marks(
        model_sha256, {"covariates": said, **(generation or {})}, description, burned_in, date + time
    )
    for dataset in instances:
        dataset.update(marks)
        dataset.InstanceCreationDate = dataset.ContentDate = date
        dataset.InstanceCreationTime = dataset.ContentTime = time
        check_synthetic(dataset)
    return instances


def write_synthetic(image: Any, affine: Any, folder: str | os.PathLike[str], **options: Any) -> list[Path]:
    """Build a series by :func:`synthetic_instances`, write it, read it back and check it.

    Args:
        image: see :func:`synthetic_instances`.
        affine: see :func:`synthetic_instances`.
        folder: made when absent.
        options: further arguments of :func:`synthetic_instances`.

    Returns:
        The files, in the order of the slices.

    Raises:
        MarkError: when what was written is not what should have been.
    """
    instances = synthetic_instances(image, affine, **options)
    paths = write_instances(instances, folder)
    check_written(paths, instances, check_synthetic)
    return paths


def generated_marks(
    model_sha256: str | None,
    generation: Mapping[str, Any],
    description: str,
    burned_in: bool,
    moment: str | None,
) -> Dataset:
    """Return the attributes by which every generated image says so.

    Args:
        model_sha256: of the weights; None is recorded as unknown.
        generation: JSON object of the Derivation Description.
        description: follows SYNTHETIC in the Series Description.
        burned_in: whether the notice is in the pixels.
        moment: date and time of the generation, "YYYYMMDDHHMMSS"; None says nothing.

    Raises:
        ValueError: when a text is longer than the standard allows.
    """
    marks = Dataset()
    marks.add_new(0x0008001C, "CS", "YES")  # Synthetic Data
    marks.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    marks.Manufacturer = "medgen"
    marks.ManufacturerModelName = "medgen"
    marks.SoftwareVersions = __version__
    marks.SeriesDescription = _within(64, "description", f"SYNTHETIC {description}".strip())
    marks.BurnedInAnnotation = "YES" if burned_in else "NO"
    marks.ImageComments = NOTICE
    record = {"model_sha256": model_sha256 or "unknown", **generation}
    text = f"Generated by medgen {__version__}: {json.dumps(record, default=plain)}"
    marks.DerivationDescription = _within(_LONGEST_TEXT, "generation", text)
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [code(*SYNTHESIZING)]
    equipment.Manufacturer = "medgen"
    equipment.ManufacturerModelName = "medgen"
    equipment.SoftwareVersions = __version__
    equipment.ContributionDescription = f"Generated the pixels with the model of SHA-256 {record['model_sha256']}"
    if moment is not None:
        equipment.ContributionDateTime = moment
    marks.ContributingEquipmentSequence = [equipment]
    return marks


def stored_intensities(image: Any, value_range: tuple[float, float] = (-1.0, 1.0)) -> NDArray[np.uint16]:
    """Return an image (X, Y, Z) in 12 bits, 0 and 4095 being the ends of the range; what lies outside is cut off.

    Raises:
        ValueError: on a shape other than (X, Y, Z) or (1, X, Y, Z), values that are not finite, or an empty range.

    Example:
        >>> stored_intensities([[[-1.0, 0.0, 1.0, 7.0]]]).tolist()
        [[[0, 2048, 4095, 4095]]]
    """
    array = np.asarray(image)
    array = array[0] if array.ndim == 4 and array.shape[0] == 1 else array
    if array.ndim != 3:
        raise ValueError(f"image: found shape {np.shape(image)}, expected (X, Y, Z) or (1, X, Y, Z), one channel")
    low, high = map(float, value_range)
    if not low < high:
        raise ValueError(f"value_range: expected low < high, found {value_range!r}")
    if not np.isfinite(array).all():
        raise ValueError(f"image: found {np.count_nonzero(~np.isfinite(array))} values that are not finite")
    scaled = np.clip((array.astype(np.float64) - low) / (high - low), 0.0, 1.0) * _WHITE
    return np.rint(scaled).astype(np.uint16)


def draw_notice(slices: NDArray[Any]) -> NDArray[Any]:
    """Burn the notice into slices of 12 bits."""
    return burn_in(slices, 0, _WHITE)


def _within(most: int, argument: str, text: str) -> str:
    if len(text) > most:
        raise ValueError(f"{argument}: makes a text of {len(text)} characters, of which {most} can be written")
    return text


def now() -> tuple[str, str]:
    """Return date and time as DICOM has them, "YYYYMMDD" and "HHMMSS", local."""
    moment = datetime.datetime.now()
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
