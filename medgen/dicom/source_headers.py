"""The headers of a patient's images that something is made of: read, checked, and what of them is taken over."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence

import pydicom
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

from medgen.dicom.attributes import code
from medgen.dicom.deidentify import mapped_uid
from medgen.dicom.files import dicom_files, quiet_pydicom, read_header
from medgen.dicom.verify import MarkError, elements, says_synthetic

__all__ = ["PATIENT", "SERIES", "STUDY", "Source", "check_forms", "check_unknown", "kept", "read_sources", "reference"]

Source = str | os.PathLike[str] | Sequence[Dataset]

PATIENT = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
)
STUDY = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
)
SERIES = ("FrameOfReferenceUID", "PositionReferenceIndicator", "BodyPartExamined", "PatientPosition")
_DESCRIBING = ("BodyPartExamined", "PatientPosition", "PositionReferenceIndicator")
_REFERENCE = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "BurnedInAnnotation")
_PROCESSED = ("121322", "DCM", "Source image for image processing operation")


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
        wanted = (*PATIENT, *STUDY, *SERIES, *_REFERENCE, "SpecificCharacterSet", "SyntheticData", *tags)
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


def reference(source: Dataset, key: bytes | None) -> Dataset:
    """Return the item of the Source Image Sequence that refers to an image; its UID mapped under a key, if any."""
    item = Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    uid = str(source.SOPInstanceUID)
    item.ReferencedSOPInstanceUID = uid if key is None else mapped_uid(uid, key)
    item.PurposeOfReferenceCodeSequence = [code(*_PROCESSED)]
    return item


def check_forms(header: Dataset) -> None:
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


def kept(source: Dataset, keywords: Sequence[str]) -> Dataset:
    """Return the named attributes that a header has, as copies."""
    found = Dataset()
    for keyword in keywords:
        if keyword in source:
            found[keyword] = copy.deepcopy(source[keyword])
    return found


def check_unknown(dataset: Dataset, sources: Sequence[Dataset]) -> None:
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
