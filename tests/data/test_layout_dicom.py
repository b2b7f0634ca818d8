"""Folders of DICOM files as a cohort."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from adni_files import write_dicom

from medgen.covariates import Covariates, Range
from medgen.data import Cohort, CohortError
from medgen.data.images import read_image


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDGEN_PATIENT_KEY", "a key of the tests")
    return tmp_path / "cache"


@pytest.fixture
def covariates() -> Covariates:
    return Covariates(diagnosis=["NC", "AD"], age=Range(18, 100), sex=["F", "M"])


def study(number: int, date: str) -> dict[str, str]:
    return {"StudyInstanceUID": f"2.25.{number}", "StudyDate": date}


def test_one_series_per_patient_and_visit(tmp_path: Path, covariates: Covariates) -> None:
    root = tmp_path / "export"
    write_dicom(root / "a" / "1", "Q1", study=study(1, "20120101"), PatientAge="073Y", PatientSex="F")
    write_dicom(root / "a" / "2", "Q1", study=study(2, "20110101"), PatientAge="072Y", PatientSex="F")
    write_dicom(root / "a" / "3", "Q1", study=study(2, "20110101"), description="T2 FLAIR", number=2)
    write_dicom(root / "a" / "4", "Q1", study=study(2, "20110101"), description="MPRAGE REPEAT", number=3)
    write_dicom(root / "b", "Q2", study=study(3, "20130101"))
    (root / "readme.txt").write_text("no image")
    cohort = Cohort(root, covariates)
    assert cohort.layout == "dicom"
    found = {(r["image"].removeprefix(f"{root}/"), r["scan"], r["age"], r["sex"]) for r in cohort.records}
    assert found == {("a/2", "v01", 72.0, "F"), ("a/1", "v02", 73.0, "F"), ("b", "v01", 71.0, "M")}
    assert len(cohort.subjects) == 2
    assert not any("Q1" in str(r) or "Q2" in str(r) for r in cohort.records)
    assert sorted(d["reason"] for d in cohort.discards) == ["a repeat", "not a T1-weighted scan by its description"]
    assert any(n.startswith("set aside 2 of 5 series") for n in cohort.notices)
    assert cohort.columns[0]["field_strength"] == "3"
    assert Cohort(root, covariates).fingerprint() == cohort.fingerprint()
    cohort.check()


def test_series_in_one_folder_get_folders_of_links(tmp_path: Path, covariates: Covariates, cache: Path) -> None:
    root = tmp_path / "flat"
    for k, person in enumerate(("Q1", "Q2")):
        write_dicom(root, person, [f"IM{10 * k + i}" for i in range(4)], study(k, "20110101"))
    cohort = Cohort(root, covariates)
    folders = [Path(r["image"]) for r in cohort.records]
    assert [folder.parent for folder in folders] == [cache / "dicom-series"] * 2
    linked = {os.path.basename(os.path.realpath(path)) for path in folders[0].iterdir()}
    assert linked in ({"IM0", "IM1", "IM2", "IM3"}, {"IM10", "IM11", "IM12", "IM13"})
    assert read_image(str(folders[0])).shape == (1, 4, 5, 4)
    assert [r["image"] for r in Cohort(root, covariates).records] == list(map(str, folders))


@pytest.mark.parametrize("length", [0, 100, 300])
def test_a_series_with_a_broken_file_is_set_aside(tmp_path: Path, covariates: Covariates, length: int) -> None:
    for person in ("Q1", "Q2"):
        write_dicom(tmp_path / person, person)
    last = tmp_path / "Q1" / "image_0004.dcm"
    last.write_bytes(last.read_bytes()[:length])
    cohort = Cohort(tmp_path, covariates)
    assert [r["image"] for r in cohort.records] == [str(tmp_path / "Q2")]
    (discard,) = cohort.discards
    assert discard["reason"].endswith(
        "1 file(s) in its folder cannot be read, such as image_0004.dcm: slices may be missing"
    )


def test_nothing_to_take_says_what_there_is(tmp_path: Path, covariates: Covariates) -> None:
    write_dicom(tmp_path / "x", description="Anatomie sagittal")
    with pytest.raises(CohortError, match=r"none of 1 series can be taken: .*descriptions: 1 'Anatomie sagittal'"):
        Cohort(tmp_path, covariates)
    assert len(Cohort(tmp_path, covariates, scan_rule={"include": "anatomie"})) == 1
