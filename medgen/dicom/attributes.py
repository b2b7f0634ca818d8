"""The attributes that this package's writers may set, by an allowlist; and the forms in which DICOM wants values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds, validate_value

from medgen.sexes import sex_of
from medgen.spelling import nearest

__all__ = [
    "ACQUISITION",
    "EQUIPMENT",
    "IMAGE",
    "PATIENT",
    "SERIES",
    "STUDY",
    "age_string",
    "assign",
    "code",
    "decimal",
    "sex_code",
]

# attributes a caller may give, with what stands there when none is given; None: left out
PATIENT: dict[str, Any] = {
    "PatientName": "",
    "PatientID": "",
    "PatientBirthDate": "",
    "PatientSex": "",
    "PatientAge": None,
    "PatientSize": None,
    "PatientWeight": None,
    "PatientComments": None,
    "PatientIdentityRemoved": None,
    "DeidentificationMethod": None,
    "DeidentificationMethodCodeSequence": None,
}
STUDY: dict[str, Any] = {
    "StudyInstanceUID": None,
    "StudyDate": "",
    "StudyTime": "",
    "StudyID": "",
    "StudyDescription": None,
    "AccessionNumber": "",
    "ReferringPhysicianName": "",
}
SERIES: dict[str, Any] = {
    "SeriesInstanceUID": None,
    "SeriesNumber": 1,
    "SeriesDescription": None,
    "SeriesDate": None,
    "SeriesTime": None,
    "ProtocolName": None,
    "BodyPartExamined": None,
    "PatientPosition": "HFS",
    "FrameOfReferenceUID": None,
    "PositionReferenceIndicator": "",
}
EQUIPMENT: dict[str, Any] = {
    "Manufacturer": "",
    "ManufacturerModelName": None,
    "InstitutionName": None,
    "StationName": None,
    "DeviceSerialNumber": None,
    "SoftwareVersions": None,
}
ACQUISITION: dict[str, Any] = {
    "ScanningSequence": "RM",
    "SequenceVariant": "NONE",
    "ScanOptions": "",
    "MRAcquisitionType": "",
    "SequenceName": None,
    "RepetitionTime": "",
    "EchoTime": "",
    "InversionTime": None,
    "EchoTrainLength": "",
    "FlipAngle": None,
    "MagneticFieldStrength": None,
    "ImagingFrequency": None,
    "ImagedNucleus": None,
    "NumberOfAverages": None,
    "PixelBandwidth": None,
    "ReceiveCoilName": None,
    "AcquisitionNumber": None,
    "AcquisitionDate": None,
    "AcquisitionTime": None,
}
IMAGE: dict[str, Any] = {
    "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
    "ContentDate": None,
    "ContentTime": None,
    "InstanceCreationDate": None,
    "InstanceCreationTime": None,
    "SyntheticData": None,
    "DerivationDescription": None,
    "DerivationCodeSequence": None,
    "ImageComments": None,
    "BurnedInAnnotation": None,
    "LossyImageCompression": None,
    "QualityControlImage": None,
    "RecognizableVisualFeatures": None,
    "ContributingEquipmentSequence": None,
    "SourceImageSequence": None,
    "WindowCenter": None,
    "WindowWidth": None,
}


def age_string(years: float | None) -> str | None:
    """Return an age as DICOM has it: ``073Y``; below two years in months, ``018M``, below one month in days,
    ``014D``; None and NaN give None.

    Raises:
        ValueError: when it is not within 0 to 999.

    Example:
        >>> age_string(73.8), age_string(0.5), age_string(14 / 365.25), age_string(None)
        ('073Y', '006M', '014D', None)
    """
    if years is None or np.isnan(years):
        return None
    if not 0 <= years < 1000:
        raise ValueError(f"years: found {years!r}, expected 0 to 999")
    if years < 1 / 12:
        return f"{round(years * 365.25):03d}D"
    return f"{int(years * 12):03d}M" if years < 2 else f"{int(years):03d}Y"


def sex_code(sex: str | None) -> str:
    """Return DICOM's code for a sex, ``F``, ``M`` or ``O``; any other word is unknown, "".

    Example:
        >>> sex_code("female"), sex_code("M"), sex_code(None)
        ('F', 'M', '')
    """
    return sex_of(sex)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return an item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def assign(dataset: Dataset, argument: str, allowed: Mapping[str, Any], given: Mapping[str, Any] | None) -> None:
    """Put the allowed attributes into a dataset, those given over the defaults.

    Raises:
        ValueError: naming ``argument`` and a keyword that is not among the allowed, with the nearest that is, or whose
            value is not of the form that the standard wants.
    """
    for keyword in given or {}:
        if keyword not in allowed:
            hint = nearest(keyword, allowed)
            raise ValueError(f"{argument}: {keyword!r} is not among the attributes that are written{hint}")
    for keyword, default in allowed.items():
        value = (given or {}).get(keyword)
        value = default if value is None else value
        if value is not None:
            if isinstance(value, str):
                _check_form(argument, keyword, value)
            setattr(dataset, keyword, decimal(value) if isinstance(value, float) else value)


def _check_form(argument: str, keyword: str, value: str) -> None:
    try:
        validate_value(dictionary_VR(keyword), value, pydicom.config.RAISE)
    except ValueError as error:
        raise ValueError(f"{argument}: {keyword} is {value!r}: {error}") from error


def decimal(value: float) -> str:
    """Return a number as a decimal string of at most 16 characters."""
    return format_number_as_ds(float(value) + 0.0)
