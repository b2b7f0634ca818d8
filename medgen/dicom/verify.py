"""Check the marks that say an image is synthetic: on what is about to be written, and on what was written.

The writers cannot be asked to leave a mark out; these checks see to it that none went missing on the way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from medgen.dicom.uids import IMPLEMENTATION_UID

__all__ = [
    "SYNTHESIZING",
    "MarkError",
    "check_derived",
    "check_generated",
    "check_segmentation",
    "check_synthetic",
    "check_written",
    "elements",
    "made_of_nobody",
    "of_nobody",
    "says_synthetic",
    "synthesizing_items",
]

SYNTHETIC_DATA = 0x0008001C
SYNTHESIZING = ("109100", "DCM", "Synthesizing Equipment")
_EMPTY_BIRTH = ("PatientBirthDate", "PatientBirthTime", "AccessionNumber", "OtherPatientIDs", "ReferringPhysicianName")


class MarkError(ValueError):
    """An instance lacks a mark that it has to bear, or bears one that is not true."""


def says_synthetic(dataset: Dataset) -> bool:
    """Whether Synthetic Data (0008,001C) is YES."""
    return SYNTHETIC_DATA in dataset and dataset[SYNTHETIC_DATA].value == "YES"


def of_nobody(dataset: Dataset) -> bool:
    """Whether it is synthetic and has no identity to lose: invented by this package, or taken away before.

    Synthetic Data alone does not tell: what was generated from a patient's image says YES as well.
    """
    if not says_synthetic(dataset):
        return False
    return _invented(dataset) or dataset.get("PatientIdentityRemoved") == "YES"


def made_of_nobody(dataset: Dataset) -> bool:
    """Whether it says that it is synthetic, and nothing in it says that it was made of a patient's image.

    What was says YES in Synthetic Data as well, but refers to its sources, or had an identity that was removed.
    """
    if not says_synthetic(dataset) or dataset.get("SourceImageSequence"):
        return False
    return _invented(dataset) or dataset.get("PatientIdentityRemoved") != "YES"


def _invented(dataset: Dataset) -> bool:
    """Whether the patient is one of this package's own."""
    name, identity = str(dataset.get("PatientName", "")), str(dataset.get("PatientID", ""))
    return name.startswith("SYNTHETIC^") and identity.startswith("SYN-")


def synthesizing_items(dataset: Dataset) -> list[Dataset]:
    """Return the items of the Contributing Equipment Sequence whose purpose is "Synthesizing Equipment"."""

    def purposes(item: Dataset) -> list[str]:
        return [purpose.get("CodeValue") for purpose in item.get("PurposeOfReferenceCodeSequence") or ()]

    return [item for item in dataset.get("ContributingEquipmentSequence") or () if SYNTHESIZING[0] in purposes(item)]


def check_generated(dataset: Dataset, where: str = "instance") -> None:
    """Check what every generated image says, whomever it was made of.

    Synthetic Data is YES; Image Type starts with DERIVED, SECONDARY; the Series Description with SYNTHETIC; an item of
    the Contributing Equipment Sequence has the purpose (109100, DCM, "Synthesizing Equipment"), with version and
    model; Manufacturer is medgen; Burned In Annotation says YES or NO.

    Raises:
        MarkError: naming ``where``, what was expected and what was found.
    """
    if not says_synthetic(dataset):
        _refuse(where, "Synthetic Data (0008,001C)", "YES", dataset.get(SYNTHETIC_DATA))
    if list(dataset.get("ImageType", []))[:2] != ["DERIVED", "SECONDARY"]:
        _refuse(where, "Image Type", "DERIVED\\SECONDARY", dataset.get("ImageType"))
    _starts(dataset, "SeriesDescription", "SYNTHETIC", where)
    _equals(dataset, "Manufacturer", "medgen", where)
    if dataset.get("BurnedInAnnotation") not in ("YES", "NO"):
        _refuse(where, "Burned In Annotation", "YES or NO", dataset.get("BurnedInAnnotation"))
    equipment = synthesizing_items(dataset)
    if not any(
        item.get("SoftwareVersions") and "model" in item.get("ContributionDescription", "") for item in equipment
    ):
        _refuse(where, "Contributing Equipment Sequence", f"{SYNTHESIZING} with version and model", equipment or None)


def check_synthetic(dataset: Dataset, where: str = "instance") -> None:
    """Check the marks of an image that was made of nobody: those of every generated image, and that it has no patient.

    Raises:
        MarkError: naming ``where``, what was expected and what was found.
    """
    check_generated(dataset, where)
    _starts(dataset, "PatientName", "SYNTHETIC^", where)
    _starts(dataset, "PatientID", "SYN-", where)
    for keyword in _EMPTY_BIRTH:
        if dataset.get(keyword):
            _refuse(where, keyword, "nothing", dataset.get(keyword))


def check_derived(dataset: Dataset, where: str = "instance", generated: bool = True, deidentified: bool = True) -> None:
    """Check the marks of an image that was made of a patient's.

    Args:
        dataset: the instance.
        where: what it is, for the message.
        generated: whether pixels were generated, so that it must say so.
        deidentified: whether the identity was to be removed.

    Raises:
        MarkError: naming ``where``, what was expected and what was found.
    """
    if generated:
        check_generated(dataset, where)
    elif says_synthetic(dataset) or SYNTHETIC_DATA not in dataset:
        _refuse(where, "Synthetic Data (0008,001C)", "NO", dataset.get(SYNTHETIC_DATA))
    if not dataset.get("SourceImageSequence"):
        _refuse(where, "Source Image Sequence", "one item or more", None)
    if deidentified:
        _equals(dataset, "PatientIdentityRemoved", "YES", where)
        methods = [item.get("CodeValue") for item in dataset.get("DeidentificationMethodCodeSequence", [])]
        if "113100" not in methods:
            _refuse(where, "De-identification Method Code Sequence", "113100", methods)


def check_segmentation(dataset: Dataset, where: str = "instance", synthetic: bool = False) -> None:
    """Check that a segmentation of synthetic images says that it is of such.

    Raises:
        MarkError: naming ``where``, what was expected and what was found.
    """
    if synthetic:
        if not says_synthetic(dataset):
            _refuse(where, "Synthetic Data (0008,001C)", "YES", dataset.get(SYNTHETIC_DATA))
        _starts(dataset, "SeriesDescription", "SYNTHETIC", where)


def check_written(
    paths: Iterable[str | os.PathLike[str]], instances: Sequence[Dataset], check: Callable[[Dataset, str], None]
) -> None:
    """Read files back and check that each is the instance it was written from, with its marks.

    Args:
        paths: the files.
        instances: what was written to them, in their order.
        check: one of this module's checks.

    Raises:
        MarkError: naming the file; it and those after it, which were not checked, are removed.
    """
    written = list(map(Path, paths))
    for number, (path, instance) in enumerate(zip(written, instances, strict=True)):
        try:
            read = pydicom.dcmread(path)
            if read.preamble != bytes(128):
                _refuse(str(path), "preamble", "128 zero bytes", read.preamble)
            if read.file_meta.ImplementationClassUID != IMPLEMENTATION_UID:
                _refuse(str(path), "Implementation Class UID", IMPLEMENTATION_UID, read.file_meta)
            check(read, str(path))
            if _encoded(read) != _encoded(instance):
                _refuse(str(path), "content", "what was written", "a difference")
        except Exception:
            for unchecked in written[number:]:
                unchecked.unlink(missing_ok=True)
            raise


def elements(dataset: Dataset) -> Iterator[DataElement]:
    """Go through all elements, those of nested sequences too."""
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value or ():
                yield from elements(item)


def _encoded(dataset: Dataset) -> bytes:
    """Return a dataset's bytes in explicit little endian."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def _starts(dataset: Dataset, keyword: str, start: str, where: str) -> None:
    if not str(dataset.get(keyword) or "").startswith(start):
        _refuse(where, keyword, f"{start}...", dataset.get(keyword))


def _equals(dataset: Dataset, keyword: str, value: str, where: str) -> None:
    if dataset.get(keyword) != value:
        _refuse(where, keyword, value, dataset.get(keyword))


def _refuse(where: str, name: str, expected: str, found: Any) -> None:
    raise MarkError(f"{where}: {name} must be {expected}, found {'nothing' if found is None else found}")
