"""A download from ADNI's archive as a cohort."""

from __future__ import annotations

import csv
import json
import logging
import math
from collections import Counter
from pathlib import Path

import pytest
from adni_files import scan, write_adnimerge, write_download, write_dxsum
from cohort_files import write_rows

from medgen.covariates import Covariates, Range
from medgen.data import Cohort, CohortError, open_cohort
from medgen.data.images import read_image

ENROLMENT = "the diagnosis is the group at enrolment"
PERSON, OTHER = "941_S_9001", "942_S_9002"


@pytest.fixture
def covariates() -> Covariates:
    return Covariates(diagnosis=["NC", "AD"], age=Range(18, 100, "years"), sex=["F", "M"])


def three_visits() -> list[dict]:
    return [
        scan(PERSON, "I101", "2011-05-18", "sc"),
        scan(PERSON, "I102", "2011-05-18", "sc", "MPRAGE Repeat"),
        scan(PERSON, "I103", "2012-05-20", "m12", age=71),
        scan(PERSON, "I104", "2013-05-18", "m24", age=72),
        scan(OTHER, "I201", "2011-06-01", "bl", group="AD", sex="M", age=81),
        scan(OTHER, "I202", "2011-06-01", "bl", "Axial T2 FLAIR", group="AD", sex="M", age=81),
    ]


def converted(root: Path) -> Path:
    """The clinical table of someone who was well and became demented, and of another who was demented before."""
    visits = [
        {},
        {"VISCODE": "m12", "EXAMDATE": "2012-05-15", "DX": "MCI", "Years_bl": 1.014},
        {"VISCODE": "m24", "EXAMDATE": "2013-05-20", "DX": "Dementia", "Years_bl": 2.03},
        {
            "RID": 9002,
            "PTID": OTHER,
            "EXAMDATE": "2011-06-01",
            "DX_bl": "AD",
            "DX": "Dementia",
            "AGE": 80.9,
            "PTGENDER": "Male",
        },
    ]
    return write_adnimerge(root / "ADNIMERGE_15Jan2026.csv", visits)


@pytest.mark.parametrize("place", ["", "ADNI"])
def test_the_diagnosis_is_that_of_the_visit(tmp_path: Path, covariates: Covariates, place: str) -> None:
    root = write_download(tmp_path, three_visits())
    converted(root)
    cohort = Cohort(root / place, covariates)
    assert cohort.layout == "adni"
    assert cohort.clinical_table == ["ADNIMERGE_15Jan2026.csv"]
    found = [(r["subject"], r["scan"], r["diagnosis"], r["age"], r["sex"], r["site"]) for r in cohort.records]
    assert found == [
        (PERSON, "bl", "NC", 70.5, "F", "941"),
        (PERSON, "m24", "AD", 72.53, "F", "941"),
        (OTHER, "bl", "AD", 80.9, "M", "942"),
    ]
    assert cohort.records[0]["image"].endswith("I101/ADNI_I101.nii")
    assert "dropped 1 image(s) with the diagnosis 'MCI', which is not declared" in cohort.notices
    assert any("within" not in n and "183 days away at most (ADNIMERGE_15Jan2026.csv)" in n for n in cohort.notices)
    assert [(d["scan"], d["reason"]) for d in cohort.discards] == [
        ("bl", "not a T1-weighted scan by its description"),
        ("bl", "a repeat"),
        ("m12", "an image with the diagnosis 'MCI', which is not declared"),
    ]
    assert not any(PERSON in n or str(tmp_path) in n or "2011" in n for n in cohort.notices)
    assert not any("2011" in str(value) for r in cohort.records for k, value in r.items() if k != "image")
    assert not any("2011" in text or "2013" in text for row in cohort.columns for text in row.values())
    assert cohort.columns[1]["MMSE"] == "29"


def test_mci_is_a_third_class_when_declared(tmp_path: Path) -> None:
    root = write_download(tmp_path, three_visits())
    converted(root)
    for labels in (["NC", "MCI", "AD"], ["CN", "MCI", "Dementia"]):
        records = Cohort(root, Covariates(diagnosis=labels)).records
        assert [r["diagnosis"] for r in records] == [*labels, labels[2]]
    mapped = Cohort(root, Covariates(diagnosis=["NC", "AD"]), label_map={"MCI": "AD"})
    assert [r["diagnosis"] for r in mapped.records] == ["NC", "AD", "AD", "AD"]


def test_the_group_at_enrolment_is_a_fallback_with_a_warning(
    tmp_path: Path, covariates: Covariates, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        scan(f"941_S_900{i}", f"I{i}", "2011-05-18", group=g) for i, g in enumerate(("CN", "AD", "SMC", "EMCI", "LMCI"))
    ]
    root = write_download(tmp_path, rows)
    cohort = open_cohort(root, covariates)
    assert [(r["diagnosis"], r["age"]) for r in cohort.records] == [("NC", 70.0), ("AD", 70.0)]
    assert any(ENROLMENT in n for n in cohort.notices)
    assert f"WARNING: {ENROLMENT}" in caplog.text
    assert sum("which is not declared" in n for n in cohort.notices) == 3
    three = Cohort(root, Covariates(diagnosis=["NC", "MCI", "AD"]), label_map={"SMC": "NC"})
    assert [r["diagnosis"] for r in three.records] == ["NC", "AD", "NC", "MCI", "MCI"]


def test_a_complaint_at_enrolment_stays_apart_from_nc(tmp_path: Path, covariates: Covariates) -> None:
    root = write_download(tmp_path, [scan(PERSON, "I1", "2011-05-18", group="SMC"), scan(OTHER, "I2", "2011-05-18")])
    write_adnimerge(root / "ADNIMERGE.csv", [{"DX_bl": "SMC"}, {"RID": 9002, "PTID": OTHER}])
    assert [r["subject"] for r in Cohort(root, covariates).records] == [OTHER]
    assert len(Cohort(root, covariates, label_map={"SMC": "NC"})) == 2


def test_dxsum_by_rid_and_named_tables(tmp_path: Path, covariates: Covariates) -> None:
    root = write_download(tmp_path / "download", three_visits())
    dxsum = write_dxsum(
        tmp_path / "DXSUM.csv", [{"DXCHANGE": 1}, {"VISCODE2": "m24", "EXAMDATE": "2013-05-20", "DXCHANGE": 5}]
    )
    cohort = Cohort(root, covariates, clinical_table=str(dxsum))
    assert [(r["subject"], r["diagnosis"], r["age"]) for r in cohort.records] == [
        (PERSON, "NC", 70.0),
        (PERSON, "n/a", 71.0),
        (PERSON, "AD", 72.0),
        (OTHER, "n/a", 81.0),
    ]
    assert cohort.clinical_table == ["DXSUM.csv"]
    assert any("2 scan(s) have no diagnosis within 183 days" in n for n in cohort.notices)
    assert not any(ENROLMENT in n for n in cohort.notices)
    both = Cohort(root, covariates, clinical_table=[dxsum, converted(tmp_path)])
    assert [r["diagnosis"] for r in both.records] == ["NC", "AD", "AD"]
    with pytest.raises(CohortError, match=r"clinical_table: no such file: DXSUM\.csv"):
        Cohort(root, covariates, clinical_table="DXSUM.csv")  # as a manifest names it; not beside these images


def test_one_log_line_says_which_column_is_which(
    tmp_path: Path, covariates: Covariates, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_download(tmp_path, three_visits())
    converted(root)
    with caplog.at_level(logging.INFO, "medgen"):
        Cohort(root, covariates)
    assert (
        "diagnosis from DX of ADNIMERGE_15Jan2026.csv, the visit nearest the scan, age from AGE + Years_bl"
        in caplog.text
    )


def test_visits_without_a_code_are_numbered_or_named_by_the_clinic(tmp_path: Path, covariates: Covariates) -> None:
    dates = ("2011-05-18", "2012-05-20", "2014-05-20")
    rows = [
        scan(PERSON, f"I{i}", date, visit) for i, (date, visit) in enumerate(zip(dates, ("", "y1", ""), strict=True))
    ]
    root = write_download(tmp_path, rows)
    assert [r["scan"] for r in Cohort(root, covariates).records] == ["v01", "y1", "v02"]
    converted(root)
    cohort = Cohort(root, Covariates(diagnosis=["NC", "MCI", "AD"]))
    assert [r["scan"] for r in cohort.records] == ["bl", "m12", "v01"]


def test_images_of_another_subject_than_the_csv_says(tmp_path: Path, covariates: Covariates) -> None:
    root = write_download(tmp_path, [scan(PERSON, "I1", "2011-05-18")])
    write_rows(root / "collection_1_15_2026.csv", [scan(OTHER, "I1", "2011-05-18")])
    with pytest.raises(CohortError, match=f"lies in the folder of {PERSON}, but the search CSV says '{OTHER}'"):
        Cohort(root, covariates)


def test_a_visit_that_was_not_downloaded(tmp_path: Path, covariates: Covariates) -> None:
    rows = [
        scan(PERSON, "I1", "2011-05-18"),
        scan(PERSON, "I2", "2011-05-18", description="MPRAGE Repeat", absent=True),  # the visit has I1
        scan(PERSON, "I3", "2011-05-18", "m06", "Axial T2", absent=True),  # no T1
        scan(PERSON, "I4", "2012-05-18", "m12", absent=True),
    ]
    root = write_download(tmp_path, rows)
    with pytest.raises(CohortError, match=rf"1 image\(s\) missing: {PERSON}, visit m12: image I4 is not there"):
        Cohort(root, covariates)
    cohort = Cohort(root, covariates, missing="drop")
    assert len(cohort) == 1
    assert "dropped 1 image(s) that should be there and are not" in cohort.notices


def test_images_without_a_csv_and_beside_it(tmp_path: Path, covariates: Covariates) -> None:
    root = write_download(tmp_path, [scan(PERSON, "I1", "2011-05-18"), scan(OTHER, "I2", "2011-05-18", unlisted=True)])
    cohort = Cohort(root, covariates)
    assert [r["diagnosis"] for r in cohort.records] == ["NC", "n/a"]
    assert "1 image(s) are not in the search CSV" in cohort.notices
    (root / "collection_1_15_2026.csv").unlink()
    cohort = Cohort(root, covariates)
    assert [(r["scan"], r["diagnosis"]) for r in cohort.records] == [("v01", "n/a")] * 2
    assert math.isnan(cohort.records[0]["age"])
    assert any("there is no search CSV" in n for n in cohort.notices)


def test_the_advanced_search_and_ids_without_prefix(tmp_path: Path, covariates: Covariates) -> None:
    root = write_download(tmp_path, [scan(PERSON, "I45108", "2011-05-18"), scan(PERSON, "I45109", "2011-05-18")])
    (root / "collection_1_15_2026.csv").unlink()
    plain = {"Subject ID": PERSON, "Research Group": "AD", "Sex": "F", "Age": 70.3, "Visit": "ADNI Baseline"}
    plain |= {"Study Date": "5/18/2011", "Modality": "MRI", "Description": "MP-RAGE"}
    rows = [
        {"Image ID": 45108, "Imaging Protocol": "Weighting=T1;Field Strength=1.5", **plain},
        {"Image ID": 45109, "Imaging Protocol": "Weighting=T1;Field Strength=3.0", **plain},
    ]
    write_rows(root / "idaSearch_1_15_2026.csv", rows)
    cohort = Cohort(root, covariates)
    assert [(r["scan"], r["diagnosis"], r["age"]) for r in cohort.records] == [("bl", "AD", 70.3)]
    assert cohort.columns[0]["field_strength"] == "3"
    weak = Cohort(root, covariates, scan_rule={"field_strength": 1.5})
    assert weak.columns[0]["field_strength"] == "1.5"


def test_dicom_series_and_their_headers(tmp_path: Path, covariates: Covariates) -> None:
    rows = [
        scan(PERSON, "I1", "2011-05-18", "sc", age="", sex="", dicom={"tesla": 1.5}),
        scan(PERSON, "I2", "2011-06-18", "bl", age="", sex="", dicom={"tesla": 3.0}),
        scan(PERSON, "I3", "2012-05-18", "m12", age="", sex="", dicom={"tesla": 1.5}),
    ]
    cohort = Cohort(write_download(tmp_path, rows), covariates)
    assert [(Path(r["image"]).name, r["scan"]) for r in cohort.records] == [("I1", "bl"), ("I3", "m12")]
    assert (cohort.records[0]["age"], cohort.records[0]["sex"]) == (71.0, "M")
    assert [d["reason"] for d in cohort.discards] == ["not at 1.5 T"]
    cohort.check()
    before = cohort.fingerprint()
    next(iter(sorted(Path(cohort.records[0]["image"]).iterdir()))).write_bytes(b"")
    assert Cohort(tmp_path, covariates).fingerprint() != before


def test_empty_folders_and_several_volumes_are_no_images(tmp_path: Path, covariates: Covariates) -> None:
    rows = [scan(PERSON, "I1", "2011-05-18"), scan(PERSON, "I2", "2012-05-18", "m12"), scan(OTHER, "I3", "2011-05-18")]
    root = write_download(tmp_path, rows)
    image = next(root.rglob("ADNI_I2.nii"))
    image.rename(image.with_name("notes.txt"))
    second = next(root.rglob("ADNI_I3.nii"))
    (second.parent / "b.nii").write_bytes(second.read_bytes())
    cohort = Cohort(root, covariates, missing="drop")
    assert len(cohort) == 1
    assert [d["reason"] for d in cohort.discards] == [
        "no DICOM or NIfTI file in its folder",
        "2 NIfTI files in one folder, expected one",
    ]


def test_a_table_that_lists_images_of_a_download_is_read_as_one(tmp_path: Path, covariates: Covariates) -> None:
    root = write_download(tmp_path, three_visits())
    assert Cohort(root, covariates).layout == "adni"
    path = next(root.rglob("ADNI_I101.nii")).relative_to(root)
    write_rows(root / "mine.csv", [{"subject": PERSON, "path": path, "diagnosis": "NC"}])
    assert Cohort(root, covariates).layout == "table"
    assert Cohort(root, covariates, layout="adni").layout == "adni"


def test_a_clinical_table_belongs_to_adni(bids, covariates: Covariates) -> None:
    with pytest.raises(ValueError, match="clinical_table: belongs to the layout adni, found the layout bids"):
        Cohort(bids(1), covariates, clinical_table="ADNIMERGE.csv")


def test_a_simulated_download_is_read_as_it_truly_is(small_download: Path) -> None:
    covariates = Covariates(diagnosis=["NC", "MCI", "AD"], age=Range(18, 100), sex=["F", "M"])
    cohort = Cohort(small_download, covariates, label_map={"SMC": "NC"})
    truth = json.loads((small_download / "ground_truth.json").read_text())
    assert cohort.simulated
    names = {"CN": "NC", "MCI": "MCI", "Dementia": "AD", "AD": "AD", None: "n/a"}
    for record in cohort.records:
        true = truth["scans"][Path(record["image"]).name]
        visit = truth["subjects"][record["subject"]]["visits"][true["visit"]]
        assert record["scan"] == true["visit"]
        assert record["diagnosis"] == names[visit["diagnosis"]]
        assert record["age"] == pytest.approx(visit["age"], abs=0.02)
        assert record["sex"] == truth["subjects"][record["subject"]]["sex"]
    visits = {(s, v) for s, person in truth["subjects"].items() for v, at in person["visits"].items() if at["scanned"]}
    assert {(r["subject"], r["scan"]) for r in cohort.records} == visits
    assert len(cohort) == len(visits)
    with open(small_download / "SIMULATED_COLLECTION.csv", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(cohort) + len(cohort.discards)
    assert {"a repeat", "accelerated", "a processed version of a scan"} <= set(
        Counter(d["reason"] for d in cohort.discards)
    )


@pytest.mark.parametrize("length", [0, 100, 300])
def test_a_broken_dicom_file_is_never_a_slice_less(tmp_path: Path, covariates: Covariates, length: int) -> None:
    scans = [scan(PERSON, "I1", "2011-05-18", dicom={}), scan(OTHER, "I2", "2011-05-18", dicom={})]
    (last,) = write_download(tmp_path, scans).rglob("I1/image_0004.dcm")
    last.write_bytes(last.read_bytes()[:length])
    cohort = Cohort(tmp_path, covariates, missing="drop")
    if length == 0:
        assert [r["subject"] for r in cohort.records] == [OTHER]
        assert any("1 of 4 DICOM files are empty, such as image_0004.dcm" in d["reason"] for d in cohort.discards)
    else:
        with pytest.raises(CohortError, match=r"image_0004\.dcm"):
            read_image(cohort.records[0]["image"])
