"""Take a patient's identity out of a DICOM header: the Basic Application Level Confidentiality Profile.

PS3.15 E.1: which attribute is removed, emptied or replaced is the profile's table (E.1-1) as the package
dicom-anonymizer has it, applied to every level of nesting. Beyond it: no private attribute, no date and no unknown
element stays; each UID that is not one of the standard's own is mapped under a secret key; text that repeats a name, an
ID or a date of the original is emptied. Pixels are not changed: a face that can be made out of a head stays one.
"""

from __future__ import annotations

import copy
import functools
import logging
import re
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any

from monai.utils import optional_import
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID_dictionary

from medgen.dicom.attributes import code
from medgen.dicom.files import quiet_pydicom
from medgen.dicom.keys import keyed_name, secret_key
from medgen.dicom.uids import keyed_uid
from medgen.dicom.verify import SYNTHETIC_DATA, elements, says_synthetic, synthesizing_items

__all__ = ["DEIDENTIFICATION", "DUMMIES", "check_unnamed", "deidentify", "mapped_uid"]

logger = logging.getLogger("medgen.dicom")
_EDITION = "dicomfields_2026c"
DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000"}  # for what must not be empty
_TEXT = ("LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
_IDENTITY = (
    "AccessionNumber",
    "AdmissionID",
    "DeviceSerialNumber",
    "InstitutionAddress",
    "InstitutionName",
    "OtherPatientIDs",
    "PatientAddress",
    "PatientID",
    "PatientTelephoneNumbers",
    "StationName",
    "StudyID",
)
_SHORTEST = 3  # characters; shorter words stand in any text
# what is added to a header that lost the identity
DEIDENTIFICATION = (
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
)
_EQUIPMENT = (
    "Manufacturer",
    "ManufacturerModelName",
    "SoftwareVersions",
    "ContributionDescription",
    "PurposeOfReferenceCodeSequence",
)

Action = Callable[[Dataset, Any], None]


@quiet_pydicom()
def deidentify(dataset: Dataset, key: bytes | None = None) -> Dataset:
    """Return a copy of a header without the patient's identity.

    The same key gives the same new UIDs and the same new Patient ID, so that instances keep belonging together; the
    originals cannot be had back without it. The marks of a synthetic image stay.

    Args:
        dataset: header, with pixels or without; it is not changed.
        key: secret, 16 bytes or more; None for :func:`medgen.dicom.keys.secret_key`.

    Raises:
        OptionalImportError: dicom-anonymizer is not installed; ``pip install "medgen[dicom]"``.
        ValueError: the key is too short.

    Example:
        >>> patient = Dataset()
        >>> patient.PatientName, patient.PatientID, patient.StudyInstanceUID = "Doe^Jane", "123-45", "1.2.3"
        >>> found = deidentify(patient, key=b"0123456789abcdef")
        >>> str(found.PatientName), found.PatientID, found.StudyInstanceUID == mapped_uid("1.2.3", b"0123456789abcdef")
        ('DEIDENTIFIED^9df281c23016', 'patient-9df281c23016', True)
    """
    key = secret_key() if key is None else key
    cleaned = Dataset()
    cleaned.update(copy.deepcopy(dataset))
    _clean(cleaned, key)
    identity = _identity(dataset)
    _remove_repeated(cleaned, identity)
    _name(cleaned, dataset, key)
    if says_synthetic(dataset):
        _restore_marks(cleaned, dataset, identity - {"synthetic"})
    cleaned.PatientIdentityRemoved = "YES"
    cleaned.DeidentificationMethod = [
        "PS3.15 E.1 Basic Application Level Confidentiality Profile",
        f"dicom-anonymizer {version('dicom_anonymizer')}, {_EDITION.removeprefix('dicomfields_')}",
    ]
    cleaned.DeidentificationMethodCodeSequence = [code("113100", "DCM", "Basic Application Confidentiality Profile")]
    cleaned.LongitudinalTemporalInformationModified = "REMOVED"
    return cleaned


def mapped_uid(uid: str, key: bytes) -> str:
    """Return what a UID becomes under a key; those that the standard itself defines, and none, stay."""
    text = str(uid).strip()
    return text if not text or text in UID_dictionary else keyed_uid(text, key)


def _clean(dataset: Dataset, key: bytes) -> None:
    """Apply the profile to one level, then to those below that are left."""
    anonymizer, _ = optional_import(
        "dicomanonymizer.simpledicomanonymizer", descriptor='{}: pip install "medgen[dicom]"'
    )
    anonymizer.anonymize_dataset(dataset, base_rules_gen=_rules)
    for element in list(dataset):
        if element.VR == "UI":
            element.value = _map_all(element.value, key)
        elif element.VR == "UN" or (element.VR in DUMMIES and element.value not in (None, "", DUMMIES[element.VR])):
            del dataset[element.tag]
        elif element.VR == "SQ":
            for item in element.value or ():
                _clean(item, key)


def _map_all(value: Any, key: bytes) -> Any:
    if value is None or isinstance(value, str):
        return mapped_uid(value or "", key)
    return [mapped_uid(part, key) for part in value]


@functools.cache
def _rules() -> dict[tuple[int, ...], Action]:
    """Return the profile's table with this module's actions for UIDs, sequences and dates.

    UIDs are mapped later, all of them; the package would give each a random one. A sequence or a date that may be
    removed is, where the package would put a dummy in its place, and its dummy for a date is no valid one.
    """
    anonymizer, _ = optional_import(
        "dicomanonymizer.simpledicomanonymizer", descriptor='{}: pip install "medgen[dicom]"'
    )
    return {tag: _action(rule) for tag, rule in anonymizer.initialize_actions(_EDITION).items()}


def _action(rule: Action) -> Action:
    removable = rule.__name__.startswith("delete")
    empties = rule.__name__ == "empty"

    def apply(dataset: Dataset, tag: Any) -> None:
        element = dataset.get(tag)
        if element is None or element.VR == "UI":
            return
        if removable and (element.VR in ("SQ", *DUMMIES) or rule.__name__ == "delete"):
            del dataset[element.tag]
        elif element.VR in DUMMIES:
            element.value = "" if empties else DUMMIES[element.VR]
        else:
            try:
                rule(dataset, tag)
            except NotImplementedError:  # the package has no dummy for this representation
                del dataset[element.tag]

    return apply


def _identity(dataset: Dataset) -> set[str]:
    """Return the words and numbers by which the original can be recognised."""
    found: set[str] = set()
    for element in elements(dataset):
        if element.is_empty:
            continue
        if element.VR == "PN" or element.keyword in _IDENTITY:
            found |= {part.casefold() for part in re.split(r"[\^=\\,\s]+", _text(element))}
            found.add(_text(element).casefold())
        elif element.VR in ("DA", "DT"):
            found |= set(re.findall(r"\d{8}", _text(element)))
            found |= {f"{day[:4]}-{day[4:6]}-{day[6:]}" for day in re.findall(r"\d{8}", _text(element))}
        elif element.VR == "UI":
            found |= {uid for uid in _text(element).split("\\") if uid not in UID_dictionary}
    return {word for word in found if len(word) >= _SHORTEST}


def _remove_repeated(dataset: Dataset, identity: Iterable[str]) -> None:
    """Empty text in which a name, an ID, a date or a UID of the original stands."""
    words = sorted(identity)
    if not words:
        return
    pattern = _any_of(words)
    for element in list(dataset):
        if element.VR == "SQ":
            for item in element.value or ():
                _remove_repeated(item, words)
        elif element.VR in _TEXT and not element.is_empty and pattern.search(_text(element)):
            logger.warning("%s %s repeated part of the patient's identity and was emptied", element.name, element.tag)
            element.value = ""


def _any_of(words: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, words))})(?![A-Za-z0-9])", re.IGNORECASE)


def check_unnamed(argument: str, text: str, sources: Iterable[Dataset]) -> None:
    """Check that a text does not repeat part of a name, an ID, a date or a UID of the sources.

    Raises:
        ValueError: naming the argument, and not what was found.
    """
    words = set().union(*map(_identity, sources))
    if words and _any_of(sorted(words)).search(text):
        raise ValueError(f"{argument}: repeats part of the patient's identity, which is to be removed")


def _text(element: DataElement) -> str:
    value = element.value  # a name can be iterated as well, by its letters
    return "\\".join(map(str, value)) if isinstance(value, (list, tuple, MultiValue)) else str(value)


def _name(cleaned: Dataset, original: Dataset, key: bytes) -> None:
    """Give the patient a name and an ID that stand for the original ones."""
    identity = str(original.get("PatientID") or original.get("PatientName") or original.get("StudyInstanceUID") or "")
    cleaned.PatientID = keyed_name("patient", identity, key=key)
    cleaned.PatientName = f"DEIDENTIFIED^{cleaned.PatientID.rsplit('-', 1)[1]}"
    cleaned.setdefault("PatientBirthDate", "")
    cleaned.setdefault("PatientSex", "")


def _restore_marks(cleaned: Dataset, original: Dataset, identity: Iterable[str]) -> None:
    """Put back by what a generated image says so, as far as the profile took it."""
    cleaned[SYNTHETIC_DATA] = copy.deepcopy(original[SYNTHETIC_DATA])
    cleaned.SeriesDescription = "SYNTHETIC"
    if original.get("Manufacturer") == "medgen":
        cleaned.Manufacturer = "medgen"
    restored = []
    for item in synthesizing_items(original):
        if item.get("Manufacturer") == "medgen":
            kept = Dataset()
            for keyword in _EQUIPMENT:
                if keyword in item:
                    kept[keyword] = copy.deepcopy(item[keyword])
            _remove_repeated(kept, identity)
            restored.append(kept)
    if restored:
        cleaned.ContributingEquipmentSequence = restored
    if str(original.get("PatientName", "")).startswith("SYNTHETIC^"):
        cleaned.PatientName, cleaned.PatientID = f"SYNTHETIC^{cleaned.PatientID}", f"SYN-{cleaned.PatientID}"
