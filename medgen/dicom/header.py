"""What of a DICOM header reaches a record: an allowlist of covariates, never a name, an ID, a date or free text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydicom.dataset import Dataset

from medgen.dicom.keys import keyed_name
from medgen.dicom.verify import made_of_nobody
from medgen.sexes import sex_of

__all__ = ["HEADER_KEYS", "HEADER_TAGS", "SYNTHETIC", "allowed_header", "first", "numbers", "text"]

HEADER_KEYS: dict[str, type] = {
    "age": float,  # years
    "sex": str,  # "F", "M", "O"
    "field_strength": float,  # T
    "manufacturer": str,
    "model": str,
    "repetition_time": float,  # ms
    "echo_time": float,  # ms
    "inversion_time": float,  # ms
    "site": str,
}
SYNTHETIC = "synthetic"  # beside these: no covariate, but by what the writers know whether there is a patient
HEADER_TAGS = (
    "PatientAge",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "SeriesDate",
    "AcquisitionDate",
    "AcquisitionDateTime",
    "MagneticFieldStrength",
    "Manufacturer",
    "ManufacturerModelName",
    "RepetitionTime",
    "EchoTime",
    "InversionTime",
    "ClinicalTrialSiteID",
    "InstitutionName",
    "SyntheticData",
    "SourceImageSequence",
    "PatientIdentityRemoved",
    "PatientName",
    "PatientID",
)
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_PER_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}
_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_SITE_CODE = re.compile(r"[A-Za-z0-9_-]{1,16}")
_OLDEST = 120.0
_STRONGEST_TESLA = 30.0


def text(dataset: Dataset, keyword: str) -> str:
    r"""Return an element as stripped text, several values joined by ``\``; "" when absent or damaged."""
    try:
        value = dataset.get(keyword)
        parts = value if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]
        return "\\".join("" if v is None else str(v) for v in parts).replace("\0", "").strip()
    except Exception:  # pydicom raises whatever the damage leads to when it converts a value
        return ""


def numbers(dataset: Dataset, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
    """Return an element's values as finite floats; None when absent, damaged, or not ``count`` of them."""
    try:
        value = dataset.get(keyword)
        if value is None:
            return None
        parts = list(value) if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]
        found = tuple(float(v) for v in parts)
    except Exception:  # as in `text`
        return None
    if not found or not all(map(math.isfinite, found)) or (count is not None and len(found) != count):
        return None
    return found


def first(datasets: Iterable[Dataset], keyword: str) -> float:
    """Return the first number of an element in the first of the datasets that has it, else NaN."""
    for dataset in datasets:
        if found := numbers(dataset, keyword):
            return found[0]
    return math.nan


def allowed_header(dataset: Dataset, groups: Iterable[Dataset] = (), key: bytes | None = None) -> dict[str, Any]:
    """Return the allowlisted fields, each of :data:`HEADER_KEYS`; what is missing is NaN, or "" for text.

    ``age`` is Patient's Age in years, or whole years from birth to the study; above 120 it is unknown. ``site`` is the
    Clinical Trial Site ID where that is a code, else a keyed name made of it or of the Institution Name, so that sites
    can be told apart and not be named; it is unknown where no key can be kept. One more field, ``synthetic``, says
    whether the image is of nobody (:func:`medgen.dicom.verify.made_of_nobody`).

    Args:
        dataset: header of an image.
        groups: items of functional groups of an enhanced image, where acquisition times are.
        key: secret for keyed names; None for :func:`medgen.dicom.keys.secret_key`.
    """
    everywhere = [dataset, *groups]
    milliseconds = {
        "repetition_time": ("RepetitionTime",),
        "echo_time": ("EchoTime", "EffectiveEchoTime"),
        "inversion_time": ("InversionTime", "InversionTimes"),
    }
    times = {
        name: next(_positive(first(everywhere, keyword) for keyword in keywords), math.nan)
        for name, keywords in milliseconds.items()
    }
    return {
        "age": _age(dataset),
        "sex": sex_of(text(dataset, "PatientSex")),
        "field_strength": _tesla(first(everywhere, "MagneticFieldStrength")),
        "manufacturer": text(dataset, "Manufacturer")[:64],
        "model": text(dataset, "ManufacturerModelName")[:64],
        **times,
        "site": _site(dataset, key),
        SYNTHETIC: _synthetic(dataset),
    }


def _positive(values: Iterable[float]) -> Iterator[float]:
    return (value for value in values if value > 0)


def _age(dataset: Dataset) -> float:
    if match := _AGE.fullmatch(text(dataset, "PatientAge").upper()):
        age = int(match[1]) / _PER_YEAR[match[2]]
    else:
        born = _date(text(dataset, "PatientBirthDate"))
        scanned = next(filter(None, (_date(text(dataset, k)) for k in ("StudyDate", "SeriesDate"))), None)
        if born is None or scanned is None:
            return math.nan
        age = float(scanned[0] - born[0] - (scanned[1:] < born[1:]))
    return round(age, 3) if 0 <= age <= _OLDEST else math.nan


def _date(value: str) -> tuple[int, int, int] | None:
    """Return year, month and day; ``1993.08.22`` is the form of ACR-NEMA."""
    match = _DATE.fullmatch(value)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def _tesla(value: float) -> float:
    """Return a field strength in T; old headers give it in gauss."""
    if value > _STRONGEST_TESLA:
        value /= 10_000.0
    return value if 0 < value <= _STRONGEST_TESLA else math.nan


def _synthetic(dataset: Dataset) -> bool:
    try:
        return made_of_nobody(dataset)
    except Exception:  # as in `text`
        return False


def _site(dataset: Dataset, key: bytes | None) -> str:
    code = text(dataset, "ClinicalTrialSiteID")
    if _SITE_CODE.fullmatch(code):
        return code
    name = code or text(dataset, "InstitutionName")
    try:
        return keyed_name("site", name.casefold(), key=key, length=6) if name else ""
    except ValueError:  # no key can be kept here: a volume is worth reading without the name of its site
        return ""
