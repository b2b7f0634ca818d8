"""Fields of the header that reach a record."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from dicom_series import KEY
from pydicom.dataset import Dataset

from medgen.dicom.header import HEADER_KEYS, allowed_header

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR")


def header(**values: object) -> dict:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return allowed_header(dataset, key=KEY)


@pytest.mark.parametrize(
    ("values", "age"),
    [
        ({"PatientAge": "073Y"}, 73),
        ({"PatientAge": "018M"}, 1.5),
        ({"PatientAge": "026W"}, 0.498),
        ({"PatientAge": "073"}, math.nan),
        ({"PatientAge": "200Y"}, math.nan),
        ({"PatientBirthDate": "19400305", "StudyDate": "20130304"}, 72),
        ({"PatientBirthDate": "19400304", "StudyDate": "20130304"}, 73),
        ({"PatientBirthDate": "19400304", "SeriesDate": "20130304"}, 73),
        ({"PatientBirthDate": "19000101", "StudyDate": "20300101"}, math.nan),
        ({"PatientAge": "", "PatientBirthDate": "", "StudyDate": "20130304"}, math.nan),
    ],
)
def test_age_is_in_years(values: dict, age: float) -> None:
    assert header(**values)["age"] == pytest.approx(age, nan_ok=True)


def test_sex_is_one_letter() -> None:
    found = {text: header(PatientSex=text)["sex"] for text in ("F", "M", "O", "f", "female", "U", "")}
    assert found == {"F": "F", "M": "M", "O": "O", "f": "F", "female": "F", "U": "", "": ""}


@pytest.mark.parametrize(("stated", "tesla"), [(1.5, 1.5), (15000, 1.5), (0, math.nan), (-3, math.nan)])
def test_field_strength_is_in_tesla(stated: float, tesla: float) -> None:
    assert header(MagneticFieldStrength=stated)["field_strength"] == pytest.approx(tesla, nan_ok=True)


def test_what_is_missing_is_nan_or_empty() -> None:
    found = header()
    assert found.pop("synthetic") is False
    assert list(found) == list(HEADER_KEYS)
    for name, kind in HEADER_KEYS.items():
        assert isinstance(found[name], kind)
        assert found[name] == "" or math.isnan(found[name])


def test_a_site_is_a_code_or_a_keyed_name() -> None:
    assert header(ClinicalTrialSiteID="011")["site"] == "011"
    named = header(InstitutionName="General Hospital")["site"]
    assert named.startswith("site-")
    assert "General" not in named
    assert header(InstitutionName="GENERAL HOSPITAL ")["site"] == named
    assert header(ClinicalTrialSiteID="General Hospital of the Town", InstitutionName="x")["site"].startswith("site-")


def test_without_a_place_for_the_key_the_site_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("MEDGEN_PATIENT_KEY", raising=False)
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "file" / "cache"))
    dataset = Dataset()
    dataset.InstitutionName = "General Hospital"
    assert allowed_header(dataset)["site"] == ""


def test_values_that_cannot_be_read_are_missing() -> None:
    import pydicom

    broken = Dataset()
    broken[0x00180087] = pydicom.dataelem.RawDataElement(pydicom.tag.Tag(0x00180087), "DS", 4, b"a\\bc", 0, False, True)
    assert math.isnan(allowed_header(broken, key=KEY)["field_strength"])
