"""Images made of a patient's image as DICOM: translation, super-resolution, in-painting, or plain processing.

They are patient data. What is taken over from the source is an allowlist, and without the identity unless that is asked
for; what was generated is marked as synthetic images are.
"""

from __future__ import annotations

import copy
import functools
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

from medgen import __version__
from medgen.dicom.attributes import code
from medgen.dicom.deidentify import DEIDENTIFICATION, check_unnamed, deidentify, mapped_uid
from medgen.dicom.files import dicom_files, quiet_pydicom, read_header
from medgen.dicom.instances import mr_instances, write_instances
from medgen.dicom.keys import secret_key
from medgen.dicom.synthetic import draw_notice, generated_marks, now, stored_intensities
from medgen.dicom.verify import MarkError, check_derived, check_written, elements, says_synthetic

__all__ = ["derived_instances", "read_sources", "write_derived"]

logger = logging.getLogger("medgen.dicom")

Source = str | os.PathLike[str] | Sequence[Dataset]

_PATIENT = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
)
_STUDY = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_SERIES = ("FrameOfReferenceUID", "PositionReferenceIndicator", "BodyPartExamined", "PatientPosition")
_DESCRIBING = ("BodyPartExamined", "PatientPosition", "PositionReferenceIndicator")
# Body Part Examined of what may show a face (defined terms of PS3.16 annex L); "": unknown
_HEAD = ("", "BRAIN", "FACE", "HEAD", "HEADNECK", "SKULL", "WHOLEBODY")
_REFERENCE = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "BurnedInAnnotation")
# parameters of a generation that are of the method, never of the patient
_GENERATION = (
    "eta",
    "guidance",
    "guidance_interval",
    "network",
    "process",
    "scale",
    "seed",
    "solver",
    "steps",
    "strength",
)
_PROCESSED = ("121322", "DCM", "Source image for image processing operation")


@quiet_pydicom()
def derived_instances(
    image: Any,
    affine: Any,
    source: Source,
    *,
    generated: bool = True,
    deidentified: bool = True,
    key: bytes | None = None,
    same_space: bool = True,
    model_sha256: str | None = None,
    generation: Mapping[str, Any] | None = None,
    description: str = "",
    slice_axis: int | str = "axial",
    burned_in: bool | None = None,
    value_range: tuple[float, float] = (-1.0, 1.0),
) -> list[Dataset]:
    """Build one MR series of an image that was made of a patient's, a dataset for each slice.

    Every instance refers to its sources in the Source Image Sequence. De-identified, it has none of the patient's
    names, IDs, dates, age and sex, and the UIDs of study, frame of reference and sources are mapped under the key, as
    those of the sources are by :func:`medgen.dicom.deidentify.deidentify`. The pixels stay as they are: a head can be
    recognised by its face, which is what Recognizable Visual Features (0028,0302) YES says of images of a head or of an
    unknown part of the body; whether the face was removed is not looked into.

    Args:
        image: (X, Y, Z), or (1, X, Y, Z).
        affine: (4, 4), voxel to RAS mm, axes at right angles.
        source: the patient's images: a folder, a file, or their headers.
        generated: whether a model generated pixels: the instances then bear the marks of
            :func:`medgen.dicom.verify.check_generated`; else Synthetic Data says NO.
        deidentified: remove the patient's identity. False keeps it, for images that stay in the hospital.
        key: secret of the map of UIDs, 16 bytes or more; None for :func:`medgen.dicom.keys.secret_key`.
        same_space: whether the image lies where its source does; False gives it a frame of reference of its own, as
            after a registration.
        model_sha256: of the model's weights.
        generation: parameters of the method, of those named eta, guidance, guidance_interval, network, process, scale,
            seed, solver, steps, strength; never what is known of the patient.
        description: follows SYNTHETIC DERIVED, or DERIVED, in the Series Description; it must not name the patient.
        slice_axis: see :func:`medgen.dicom.slicing.cut`.
        burned_in: write "SYNTHETIC - NOT FOR DIAGNOSIS" into the pixels; None does where they are generated.
        value_range: intensities that become the smallest and the largest stored value; what lies outside is cut off.

    Raises:
        ValueError: an argument is not as above, the sources are of several patients or studies, or text is burned
            into them.
        OptionalImportError: dicom-anonymizer is not installed; ``pip install "medgen[dicom]"``.
    """
    sources = read_sources(source)
    if unknown := sorted(set(generation or {}) - set(_GENERATION)):
        raise ValueError(f"generation: found {unknown}, expected only what is of the method: {list(_GENERATION)}")
    burned_in = generated if burned_in is None else burned_in
    if burned_in and not generated:
        raise ValueError("burned_in is True, and generated is False: the notice would not be true")
    key = secret_key() if deidentified and key is None else key
    header = _kept(sources[0], (*_PATIENT, *_STUDY, *_SERIES))
    if deidentified:
        for argument, text in (("description", description), ("generation", str(dict(generation or {})))):
            check_unnamed(argument, text, [header])
        header = deidentify(header, key)
    if not same_space:
        header.pop("FrameOfReferenceUID", None)
    _check_forms(header)
    series = {name: header.get(name) for name in _SERIES}
    series["PatientPosition"] = series["PatientPosition"] or ""  # unknown, where the source does not say
    references = [_reference(item, key if deidentified else None) for item in sources]
    recognizable = "YES" if str(header.get("BodyPartExamined") or "") in _HEAD else None
    instances = mr_instances(
        stored_intensities(image, value_range),
        affine,
        patient={name: header.get(name) for name in (*_PATIENT, *DEIDENTIFICATION[:3])},
        study={name: header.get(name) for name in _STUDY},
        series=series | {"SeriesDescription": _series_description(generated, description)},
        image={"SourceImageSequence": references, "RecognizableVisualFeatures": recognizable},
        slice_axis=slice_axis,
        draw=draw_notice if burned_in else None,
    )
    marks = _marks(generated, model_sha256, dict(generation or {}), description, burned_in, not deidentified)
    if deidentified:
        marks.LongitudinalTemporalInformationModified = "REMOVED"
    for dataset in instances:
        dataset.update(marks)
        check_derived(dataset, generated=generated, deidentified=deidentified)
        if deidentified:
            _check_unknown(dataset, sources)
    return instances


def write_derived(
    image: Any, affine: Any, source: Source, folder: str | os.PathLike[str], **options: Any
) -> list[Path]:
    """Build a series by :func:`derived_instances`, write it, read it back and check it.

    Args:
        image: see :func:`derived_instances`.
        affine: see :func:`derived_instances`.
        source: see :func:`derived_instances`.
        folder: made when absent.
        options: further arguments of :func:`derived_instances`.

    Returns:
        The files, in the order of the slices.

    Raises:
        MarkError: when what was written is not what should have been.
    """
    sources = read_sources(source)
    instances = derived_instances(image, affine, sources, **options)
    paths = write_instances(instances, folder)
    states = {name: options.get(name, True) for name in ("generated", "deidentified")}
    check_written(paths, instances, functools.partial(check_derived, **states))
    return paths


@quiet_pydicom()
def read_sources(source: Source, tags: Sequence[str] = ()) -> list[Dataset]:
    """Return the headers of a patient's images, without pixels.

    Args:
        source: a folder, a file, or the headers.
        tags: further keywords to read from files.

    Raises:
        ValueError: there is none, they are of several patients or studies, or text is burned into one.
        ImageFileError: a file cannot be read.
    """
    if isinstance(source, (str, os.PathLike)):
        wanted = (*_PATIENT, *_STUDY, *_SERIES, *_REFERENCE, "SpecificCharacterSet", "SyntheticData", *tags)
        sources = [read_header(path, wanted)[0] for path in dicom_files(source)]
    else:
        sources = list(source)
    if not sources:
        raise ValueError("source: found no image, expected one or more")
    for keyword in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        values = {str(dataset.get(keyword) or "") for dataset in sources}
        if len(values) > 1:
            raise ValueError(f"source: its {len(sources)} images have {len(values)} different {keyword}, expected one")
    for dataset in sources:
        if not dataset.get("SOPInstanceUID") or not dataset.get("SOPClassUID"):
            raise ValueError("source: found an image without SOP Class UID or SOP Instance UID")
        if dataset.get("BurnedInAnnotation") == "YES" and not says_synthetic(dataset):
            raise ValueError("source: text is burned into its pixels (Burned In Annotation YES), which may be a name")
    return sources


def _series_description(generated: bool, description: str) -> str:
    return f"{'SYNTHETIC ' if generated else ''}DERIVED {description}".strip()


def _marks(
    generated: bool,
    model_sha256: str | None,
    generation: dict[str, Any],
    description: str,
    burned_in: bool,
    dated: bool,
) -> Dataset:
    """Return what an instance says of how it was made; dated only where the patient's dates stay as well."""
    date, time = now()
    if generated:
        moment = date + time if dated else None
        return generated_marks(model_sha256, generation, f"DERIVED {description}".strip(), burned_in, moment)
    marks = Dataset()
    marks.add_new(0x0008001C, "CS", "NO")  # Synthetic Data
    marks.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    marks.Manufacturer = "medgen"
    marks.ManufacturerModelName = "medgen"
    marks.SoftwareVersions = __version__
    marks.BurnedInAnnotation = "NO"
    marks.DerivationDescription = f"Processed by medgen {__version__}"
    return marks


def _reference(source: Dataset, key: bytes | None) -> Dataset:
    """Return the item of the Source Image Sequence that refers to an image."""
    item = Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    uid = str(source.SOPInstanceUID)
    item.ReferencedSOPInstanceUID = uid if key is None else mapped_uid(uid, key)
    item.PurposeOfReferenceCodeSequence = [code(*_PROCESSED)]
    return item


def _check_forms(header: Dataset) -> None:
    """Correct or take out what describes the series and breaks the standard's form, as source headers often do.

    Raises:
        ValueError: another value does; it is named and not told, since it may be of the patient.
    """
    for element in list(header):
        value = element.value
        if not isinstance(value, str) or _well_formed(element.VR, value):
            continue
        if element.keyword not in _DESCRIBING:
            raise ValueError(f"source: its {element.name} is not of the form that the standard has for {element.VR}")
        header[element.keyword].value = value.upper() if _well_formed(element.VR, value.upper()) else ""


def _well_formed(vr: str, value: str) -> bool:
    try:
        validate_value(vr, value, pydicom.config.RAISE)
    except ValueError:
        return False
    return True


def _kept(source: Dataset, keywords: Sequence[str]) -> Dataset:
    kept = Dataset()
    for keyword in keywords:
        if keyword in source:
            kept[keyword] = copy.deepcopy(source[keyword])
    return kept


def _check_unknown(dataset: Dataset, sources: Sequence[Dataset]) -> None:
    """Check that no name, ID, UID or date of the sources is the value of any element.

    Raises:
        MarkError: naming the element.
    """
    keywords = ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyDate", "StudyInstanceUID")
    known = {str(source.get(k)) for source in sources for k in (*keywords, "FrameOfReferenceUID", "SOPInstanceUID")}
    known -= {"", "None"}
    for element in elements(dataset):
        if element.VR not in ("SQ", "OW", "OB", "CS", "US") and str(element.value) in known:
            raise MarkError(
                f"instance: {element.name} {element.tag} has a value of the source, which was to be removed"
            )
