"""Cohorts in every layout: what is read, what is said, what is refused."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cohort_files import people, write_picture, write_rows, write_volume

from medgen.covariates import Covariates, Range
from medgen.data import Cohort, CohortError, open_cohort

Writer = Callable[..., Path]
BY_SCAN = "split by scan, not by subject"


# BIDS


def test_bids_is_recognised_and_its_table_understood(bids: Writer, covariates: Covariates) -> None:
    cohort = Cohort(bids(), covariates)
    assert cohort.layout == "bids"
    assert len(cohort) == 8
    third = cohort.records[2]
    assert third["subject"] == "sub-02"
    assert third["image"].endswith("sub-02/anat/sub-02_T1w.nii.gz")
    assert (third["age"], third["sex"], third["diagnosis"]) == (62.0, "M", "AD")  # male -> M, Group -> diagnosis
    assert covariates.encode(third, unknown_keys="ignore")[:3].tolist() == [1.0, 62.0, 1.0]
    assert cohort.notices == []
    assert cohort.split_unit == "subject"


def test_several_suffixes_are_channels(bids: Writer, covariates: Covariates) -> None:
    cohort = Cohort(bids(2, suffixes=("T1w", "FLAIR")), covariates, suffix=["T1w", "FLAIR"])
    assert [Path(p).name for p in cohort.records[0]["image"]] == ["sub-00_T1w.nii.gz", "sub-00_FLAIR.nii.gz"]


def test_sessions_are_visits_of_one_subject(bids: Writer, covariates: Covariates) -> None:
    root = bids(2, sessions=("ses-1", "ses-2"))
    write_rows(
        root / "sub-01" / "sub-01_sessions.tsv",
        [{"session_id": "ses-1", "Age": 70}, {"session_id": "ses-2", "Age": 73}],
    )
    records = Cohort(root, covariates).records
    assert [(r["subject"], r["scan"], r["age"]) for r in records] == [
        ("sub-00", "ses-1", 60.0),
        ("sub-00", "ses-2", 60.0),
        ("sub-01", "ses-1", 70.0),
        ("sub-01", "ses-2", 73.0),
    ]


def test_rows_per_session_and_names_without_prefix(bids: Writer, covariates: Covariates) -> None:
    root = bids(1, sessions=("ses-a", "ses-b"))
    rows = [{"participant_id": "00", "session_id": s, "age": a} for s, a in (("a", 60), ("b", 64))]
    write_rows(root / "participants.tsv", rows)
    assert [r["age"] for r in Cohort(root, covariates).records] == [60.0, 64.0]


def test_bids_without_a_table_knows_nothing(bids: Writer, covariates: Covariates) -> None:
    root = bids(2)
    (root / "participants.tsv").unlink()
    cohort = Cohort(root, covariates)
    assert math.isnan(cohort.records[0]["age"])
    assert cohort.records[0]["diagnosis"] == "n/a"
    assert any("participants.tsv is absent" in n for n in cohort.notices)
    assert np.isnan(covariates.encode(cohort.records[0], unknown_keys="ignore").numpy()).all()


def test_missing_image_is_an_error_or_dropped(
    bids: Writer, covariates: Covariates, caplog: pytest.LogCaptureFixture
) -> None:
    root = bids(4)
    (root / "sub-03/anat/sub-03_T1w.nii.gz").unlink()
    with pytest.raises(CohortError, match=r"1 image\(s\) missing: sub-03 has no \*_T1w.nii.gz"):
        Cohort(root, covariates)
    cohort = Cohort(root, covariates, missing="drop")
    assert len(cohort) == 3
    assert cohort.notices == ["dropped 1 image(s) that should be there and are not"]
    assert "sub-03" in caplog.text


def test_notices_name_neither_people_nor_places(bids: Writer, tmp_path: Path) -> None:
    covariates = Covariates(diagnosis=["NC", "AD"], cdr=Range(0, 3))
    told = []
    for drop, alone in (("table", False), ("image", True)):
        root = bids(3)
        (root / ("participants.tsv" if drop == "table" else "sub-01/anat/sub-01_T1w.nii.gz")).unlink()
        if alone:
            (root / "sub-77").mkdir()
        told += Cohort(root, covariates, missing="drop").notices
    assert len(told) > 3
    assert not any(str(tmp_path) in notice or "sub-" in notice for notice in told)


def test_participant_without_folder_and_folder_without_participant(bids: Writer, covariates: Covariates) -> None:
    root = bids(3)
    write_rows(root / "participants.tsv", [*people(2), {**people(1)[0], "participant_id": "sub-99"}])
    with pytest.raises(CohortError, match=r"sub-99 is in participants\.tsv but has no folder"):
        Cohort(root, covariates)
    cohort = Cohort(root, covariates, missing="drop")
    assert len(cohort) == 3
    assert any("1 subject folder(s) are not in participants.tsv" in n for n in cohort.notices)


def test_wrong_suffix_says_what_is_there(bids: Writer, covariates: Covariates) -> None:
    with pytest.raises(CohortError, match=r"no image \*_T2w.nii.gz in 2 subject folder\(s\); found .*sub-00/"):
        Cohort(bids(2), covariates, suffix="T2w")


def test_participant_listed_twice(bids: Writer, covariates: Covariates) -> None:
    root = bids(2)
    write_rows(root / "participants.tsv", [*people(2), people(1)[0]])
    with pytest.raises(CohortError, match="sub-00 occurs twice"):
        Cohort(root, covariates)


# slice folders


@pytest.mark.parametrize("below", ["", "AD_NC"])
def test_slice_folders(slice_folders: Writer, covariates: Covariates, below: str) -> None:
    root = slice_folders()
    write_rows(
        root / "participants.tsv", [{"participant_id": "dem1", "age": 77}, {"participant_id": "con1", "age": 66}]
    )
    cohort = Cohort(root / below, covariates)
    assert cohort.layout == "slices"
    assert len(cohort) == 5 * 4
    assert cohort.subjects == ["con1", "con2", "con3", "dem1", "dem2"]
    first = cohort.records[0]
    assert (first["subject"], first["diagnosis"], first["age"]) == ("dem1", "AD", 77.0)
    assert [(r["slice_index"], r["slice"]) for r in cohort.records[:4]] == [(3, 0.0), (4, 0.25), (5, 0.5), (7, 1.0)]
    assert not any(BY_SCAN in n for n in cohort.notices)


@pytest.mark.parametrize(
    ("names", "person"),
    [
        (["OAS1_0928_MR1_mpr-1", "OAS1_0928_MR1_mpr-2", "OAS1_0928_MR2_mpr-1"], "OAS1_0928"),
        (["sub-01_ses-1", "sub-01_ses-2"], "sub-01"),
        (["ADNI_991_S_9001_MR_1", "ADNI_991_S_9001_MR_2"], "991_S_9001"),
    ],
)
@pytest.mark.parametrize("fold", ["", "train/"])
def test_visits_and_repeats_are_scans_of_one_subject(
    slice_folders: Writer, covariates: Covariates, names: list[str], person: str, fold: str
) -> None:
    cohort = Cohort(slice_folders({f"{fold}AD": names, f"{fold}NC": ["sub-07", "sub-08"]}), covariates)
    assert cohort.subjects == sorted([person, "sub-07", "sub-08"])
    assert {r["scan"] for r in cohort.records if r["subject"] == person} == set(names)
    assert cohort.split_unit == "subject"


def test_image_ids_with_a_letter_are_no_subjects(slice_folders: Writer, covariates: Covariates) -> None:
    cohort = Cohort(slice_folders({"AD": ["I218391"], "NC": ["I300", "I301"]}), covariates)
    assert cohort.split_unit == "scan"


def test_label_order_is_the_declared_one_whatever_the_folders(slice_folders: Writer) -> None:
    root = slice_folders()
    for labels in (["NC", "AD"], ["AD", "NC"]):
        covariates = Covariates(diagnosis=labels)
        record = Cohort(root, covariates).records[0]
        assert record["diagnosis"] == "AD"
        assert covariates.encode(record, unknown_keys="ignore").tolist() == [labels.index("AD")]


def test_folder_that_contradicts_the_table(slice_folders: Writer, covariates: Covariates) -> None:
    root = slice_folders()
    write_rows(root / "participants.tsv", [{"participant_id": "dem1", "diagnosis": "NC"}])
    with pytest.raises(CohortError, match=r"dem1_3.jpeg: lies in the class folder 'AD', but the table says 'NC'"):
        Cohort(root, covariates)


def test_name_without_slice_number(slice_folders: Writer, covariates: Covariates) -> None:
    root = slice_folders()
    write_picture(root / "AD_NC/AD/portrait.jpeg")
    with pytest.raises(CohortError, match=r"portrait.jpeg: expected a name like <subject>_<slice>.jpeg"):
        Cohort(root, covariates)


def test_subject_in_both_class_folders(slice_folders: Writer, covariates: Covariates) -> None:
    with pytest.raises(CohortError, match=r"scan 'x1' lies in both AD and NC"):
        Cohort(slice_folders({"AD": ["x1"], "NC": ["x1", "x2"]}), covariates)


ARCHIVE = {"train/AD": ["101", "102", "103"], "train/NC": ["201", "202", "203"], "test/AD": ["104"], "test/NC": ["204"]}


def test_course_archive_says_that_it_is_split_by_scan(slice_folders: Writer, covariates: Covariates) -> None:
    cohort = Cohort(slice_folders(ARCHIVE), covariates)
    assert any(BY_SCAN in notice for notice in cohort.summary()["notices"])
    assert cohort.summary()["scans"] == 8
    splits = cohort.split({"train": 0.7, "validation": 0.1, "test": 0.2})
    assert {r["subject"] for r in splits["test"]} == {"104", "204"}  # the archive's own
    assert {r["subject"] for r in splits["train"] + splits["validation"]} == {"101", "102", "103", "201", "202", "203"}
    assert all(splits.values())
    merged = Cohort(slice_folders(ARCHIVE), covariates, folders="merge").split({"train": 0.5, "test": 0.5})
    assert len({r["subject"] for r in merged["test"]}) == 4


def test_course_archive_needs_a_test_split(slice_folders: Writer, covariates: Covariates) -> None:
    with pytest.raises(ValueError, match=r"its own \['test'\]"):
        Cohort(slice_folders(ARCHIVE), covariates).split({"train": 0.9, "validation": 0.1})


def test_subject_map_makes_it_a_split_by_subject(slice_folders: Writer, covariates: Covariates) -> None:
    root = slice_folders(ARCHIVE)
    owners = {"101": "p1", "102": "p1", "103": "p2", "201": "q1", "202": "q2", "203": "q3", "104": "p4", "204": "q4"}
    table = root / "map.csv"
    write_rows(table, [{"image_id": i, "subject": s} for i, s in owners.items()])
    cohort = Cohort(root, covariates, subject_map=table)
    assert not any(BY_SCAN in n for n in cohort.notices)
    assert {(r["scan"], r["subject"]) for r in cohort.records} == set(owners.items())
    home: dict[str, str] = {}
    for name, records in cohort.split().items():
        for record in records:
            assert home.setdefault(record["subject"], name) == name


def test_subject_in_the_archives_train_and_test(slice_folders: Writer, covariates: Covariates) -> None:
    root = slice_folders(ARCHIVE)
    owners = {i: ("p" if i in ("101", "104") else i) for members in ARCHIVE.values() for i in members}
    write_rows(root / "map.csv", [{"image_id": i, "subject": s} for i, s in owners.items()])
    with pytest.raises(CohortError, match=r'a subject is in two splits: .p. in test and train.*folders="merge"'):
        Cohort(root, covariates, subject_map=root / "map.csv")
    cohort = Cohort(root, covariates, subject_map=root / "map.csv", folders="merge")
    splits = cohort.split({"train": 0.5, "test": 0.5})
    assert sum("p" in {r["subject"] for r in records} for records in splits.values()) == 1


def test_scan_in_train_and_test(slice_folders: Writer, covariates: Covariates) -> None:
    with pytest.raises(CohortError, match="scan '101' lies in both test/AD and train/AD"):
        Cohort(slice_folders({**ARCHIVE, "test/AD": ["101"]}), covariates)


def test_subject_map_that_lacks_an_image(slice_folders: Writer, covariates: Covariates) -> None:
    root = slice_folders(ARCHIVE)
    write_rows(root / "map.csv", [{"image_id": "101", "subject": "p1"}])
    with pytest.raises(CohortError, match="no row for image id"):
        Cohort(root, covariates, subject_map=root / "map.csv")


# tables


@pytest.mark.parametrize(("name", "separator"), [("table.csv", ","), ("table.csv", ";"), ("table.tsv", "\t")])
def test_table_with_a_path_column(tmp_path: Path, covariates: Covariates, name: str, separator: str) -> None:
    write_volume(tmp_path / "scans" / "a.nii.gz", np.ones((4, 4, 4)))
    write_volume(tmp_path / "scans" / "b.nii.gz", np.ones((4, 4, 4)))
    rows = [
        ["PTID", "Research Group", "Age", "M/F", "File"],
        ["p1", "CN", "71.5", "F", "scans/a.nii.gz"],
        ["p2", "AD", "90+", "M", "scans/b.nii.gz"],
    ]
    path = tmp_path / name
    path.write_text("\ufeff" + "\n".join(separator.join(row) for row in rows) + "\n", encoding="utf-8")
    for root in (path, tmp_path):
        cohort = Cohort(root, covariates, label_map={"CN": "NC"})
        assert cohort.layout == "table"
        first, second = cohort.records
        assert (first["subject"], first["diagnosis"], first["age"], first["sex"]) == ("p1", "NC", 71.5, "F")
        assert (second["diagnosis"], second["age"]) == ("AD", 90.0)
        assert Path(first["image"]) == tmp_path / "scans" / "a.nii.gz"


def test_table_of_channels_and_slices(tmp_path: Path, covariates: Covariates) -> None:
    for k in (10, 12, 14):
        for channel in ("t1", "flair"):
            write_picture(tmp_path / f"{channel}_{k}.png")
    rows = [{"subject": "s", "slice": k, "t1": f"t1_{k}.png", "flair": f"flair_{k}.png"} for k in (10, 12, 14)]
    write_rows(tmp_path / "table.csv", rows)
    cohort = Cohort(tmp_path / "table.csv", covariates, path_columns=["t1", "flair"])
    assert [len(r["image"]) for r in cohort.records] == [2, 2, 2]
    assert [r["slice"] for r in cohort.records] == [0.0, 0.5, 1.0]


def test_table_of_pictures_that_says_plane_and_position(tmp_path: Path, covariates: Covariates) -> None:
    rows = [
        ("a.png", "Axial", "0.45"),
        ("b.png", "coronal", ""),
        ("c.png", "oblique", "1.5"),
        ("d.nii.gz", "axial", "0.5"),
    ]
    for name, _, _ in rows:
        (tmp_path / name).touch()
    write_rows(tmp_path / "table.csv", [{"path": n, "subject": n[0], "plane": p, "slice": s} for n, p, s in rows])
    records = Cohort(tmp_path / "table.csv", covariates).records
    assert [(r.get("plane"), r.get("slice")) for r in records] == [
        ("axial", 0.45), ("coronal", None), (None, None), (None, None),
    ]  # fmt: skip


def test_table_without_subjects_is_split_by_scan(tmp_path: Path, covariates: Covariates) -> None:
    write_picture(tmp_path / "a.png")
    write_rows(tmp_path / "table.csv", [{"path": "a.png", "age": 50}])
    cohort = Cohort(tmp_path / "table.csv", covariates)
    assert any(BY_SCAN in n for n in cohort.notices)


def test_table_without_a_path_column(tmp_path: Path, covariates: Covariates) -> None:
    write_rows(tmp_path / "table.csv", [{"subject": "s", "age": 50}])
    with pytest.raises(CohortError, match=r"no column with image paths; found \['subject', 'age'\]"):
        Cohort(tmp_path, covariates)
    with pytest.raises(CohortError, match=r"no column 'subjekt' for path \(nearest: 'subject'\)"):
        Cohort(tmp_path, covariates, path_columns="subjekt")


def test_table_with_a_missing_image(tmp_path: Path, covariates: Covariates) -> None:
    write_picture(tmp_path / "a.png")
    write_rows(tmp_path / "t.csv", [{"id": "p", "path": "a.png"}, {"id": "q", "path": "gone.png"}])
    with pytest.raises(CohortError, match=r"row 3: .*gone.png"):
        Cohort(tmp_path / "t.csv", covariates)
    assert len(Cohort(tmp_path / "t.csv", covariates, missing="drop")) == 1


def test_image_of_two_subjects(tmp_path: Path, covariates: Covariates) -> None:
    write_picture(tmp_path / "a.png")
    write_rows(tmp_path / "t.csv", [{"id": "p", "path": "a.png"}, {"id": "q", "path": "a.png"}])
    with pytest.raises(CohortError, match=r"a.png belongs to 'p' and 'q'"):
        Cohort(tmp_path / "t.csv", covariates)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty"),
        ("id,path,path\n", "column 'path' occurs twice"),
        ("id,path\np,a.png,extra\n", "row 2: found 3 cells, expected 2"),
        ("id,path\n", "no image left of 0 row"),
    ],
)
def test_damaged_tables(tmp_path: Path, covariates: Covariates, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(CohortError, match=message):
        Cohort(tmp_path / "t.csv", covariates)


# values


def test_undeclared_labels_are_all_named_with_count_and_nearest(bids: Writer, covariates: Covariates) -> None:
    rows = people(6)
    for row, label in zip(rows, ["NC", "ADD", "MCI", "MCI", "AD", "NC"], strict=True):
        row["Group"] = label
    root = bids(rows=rows)
    with pytest.raises(CohortError) as error:
        Cohort(root, covariates)
    message = str(error.value)
    assert "'ADD' in 1 image(s) of 1 subject(s) (nearest: 'AD')" in message
    assert "'MCI' in 2 image(s) of 2 subject(s)" in message
    assert "declared: ['NC', 'AD']" in message
    cohort = Cohort(root, covariates, exclude_labels=["MCI"], label_map={"diagnosis": {"ADD": "AD"}})
    assert [r["diagnosis"] for r in cohort.records] == ["NC", "AD", "AD", "NC"]
    assert "dropped 2 image(s) with the excluded label 'MCI'" in cohort.notices


def test_cn_is_not_nc_unless_declared(bids: Writer, covariates: Covariates) -> None:
    rows = people(2)
    rows[0]["Group"] = "CN"
    root = bids(rows=rows)
    with pytest.raises(CohortError, match="undeclared label 'CN'"):
        Cohort(root, covariates)
    assert Cohort(root, covariates, label_map={"CN": "NC"}).records[0]["diagnosis"] == "NC"


def test_missing_column_is_unknown_with_a_notice_unless_required(bids: Writer) -> None:
    covariates = Covariates(diagnosis=["NC", "AD"], cdr=Range(0, 3))
    cohort = Cohort(bids(2), covariates)
    assert math.isnan(cohort.records[0]["cdr"])
    assert any(n.startswith("cdr is unknown for every image") for n in cohort.notices)
    with pytest.raises(CohortError, match=r"no column for the required covariate 'cdr'.*found \['participant_id'"):
        Cohort(bids(2), covariates, required=["cdr"])


def test_required_values_may_be_missing_for_some_but_not_for_all(bids: Writer, covariates: Covariates) -> None:
    rows = people(3)
    rows[1]["Age"] = "n/a"
    assert math.isnan(Cohort(bids(rows=rows), covariates, required=["age"]).records[1]["age"])
    for row in rows:
        row["Age"] = "n/a"
    with pytest.raises(CohortError, match="required 'age' is unknown for each of the 3 images"):
        Cohort(bids(rows=rows), covariates, required=["age"])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("Age", "old", "sub-00: age is 'old', expected a number"),
        ("Age", "17", "age: 17 in .*sub-00 lies outside 18 to 100 years"),
        ("Gender", "X", "sex has the undeclared label 'X'"),
    ],
)
def test_bad_values(bids: Writer, covariates: Covariates, column: str, value: str, message: str) -> None:
    rows = people(2)
    rows[0][column] = value
    with pytest.raises(CohortError, match=message):
        Cohort(bids(rows=rows), covariates)


def test_columns_name_what_cannot_be_guessed(bids: Writer, covariates: Covariates) -> None:
    rows = [{**row, "dx_2020": "NC"} for row in people(4)]
    root = bids(rows=rows)
    assert {r["diagnosis"] for r in Cohort(root, covariates, columns={"diagnosis": "dx_2020"}).records} == {"NC"}
    with pytest.raises(CohortError, match=r"no column 'dx_2021' for diagnosis \(nearest: 'dx_2020'\)"):
        Cohort(root, covariates, columns={"diagnosis": "dx_2021"})
    with pytest.raises(ValueError, match=r"columns: 'diagnose' is no declared covariate \(nearest: 'diagnosis'\)"):
        Cohort(root, covariates, columns={"diagnose": "dx_2020"})


def test_two_columns_for_one_covariate(bids: Writer, covariates: Covariates) -> None:
    rows = [{**row, "AGE": 1} for row in people(2)]
    with pytest.raises(CohortError, match=r"columns \['Age', 'AGE'\] could all be age"):
        Cohort(bids(rows=rows), covariates)


# wrong places


def test_empty_folder(tmp_path: Path, covariates: Covariates) -> None:
    with pytest.raises(CohortError, match=r"no known layout; found nothing; expected one of\n  bids"):
        Cohort(tmp_path, covariates)


def test_wrong_folder_names_what_is_there_and_a_better_one(bids: Writer, covariates: Covariates) -> None:
    with pytest.raises(CohortError, match=r"its subfolder 'bids' has one; found bids/"):
        Cohort(bids(1).parent, covariates)


def test_absent_folder(tmp_path: Path, covariates: Covariates) -> None:
    with pytest.raises(CohortError, match=r'no such file or folder: .*nowhere; expected a cohort or "simulated"'):
        open_cohort(tmp_path / "nowhere", covariates)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "bidz"}, r"layout: found 'bidz' \(nearest: 'bids'\)"),
        ({"missing": "skip"}, "missing: found 'skip'"),
        ({"folders": "join"}, "folders: found 'join'"),
        ({"label_map": {"CN": "NCC"}}, r"label_map: 'NCC' is no declared label \(nearest: 'NC'\)"),
        ({"required": ["agee"]}, r"required: 'agee' is no declared covariate \(nearest: 'age'\)"),
    ],
)
def test_arguments_are_checked(bids: Writer, covariates: Covariates, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cohort(bids(1), covariates, **arguments)


def test_forced_layout_that_is_not_there(bids: Writer, covariates: Covariates) -> None:
    with pytest.raises(CohortError, match=r"no class folders with pictures; found .*sub-00/"):
        Cohort(bids(1), covariates, layout="slices")


def test_check_names_every_unreadable_file(bids: Writer, covariates: Covariates) -> None:
    root = bids(4)
    for subject in ("sub-01", "sub-03"):
        (root / subject / "anat" / f"{subject}_T1w.nii.gz").write_bytes(b"not an image")
    cohort = Cohort(root, covariates)
    with pytest.raises(CohortError, match=r"2 of 4 image file\(s\) cannot be read") as error:
        cohort.check()
    assert "sub-01_T1w.nii.gz" in str(error.value)
    assert "sub-03_T1w.nii.gz" in str(error.value)
    with pytest.raises(CohortError, match="cannot be read"):
        Cohort(root, covariates, check=True)


# what a cohort says about itself


def test_fingerprint_follows_values_and_images(bids: Writer, covariates: Covariates) -> None:
    root = bids(3)
    before = Cohort(root, covariates).fingerprint()
    assert before == Cohort(root, covariates).fingerprint()
    assert len(before) == 16
    rows = people(3)
    rows[0]["Age"] = 61
    write_rows(root / "participants.tsv", rows)
    changed = Cohort(root, covariates).fingerprint()
    write_volume(root / "sub-00/anat/sub-00_T1w.nii.gz", np.random.default_rng(0).random((20, 14, 10)))
    assert len({before, changed, Cohort(root, covariates).fingerprint()}) == 3


def test_summary_is_json_without_names(bids: Writer, covariates: Covariates) -> None:
    summary = Cohort(bids(8), covariates, data_terms="OASIS agreement").summary()
    assert json.loads(json.dumps(summary)) == summary
    assert summary["subjects"] == 8
    assert summary["covariates"]["diagnosis"] == {"NC": 4, "AD": 4, "n/a": 0}
    assert summary["covariates"]["age"] == {"known": 8, "mean": 63.5, "low": 60.0, "high": 67.0}
    assert summary["data_terms"] == "OASIS agreement"
    assert "sub-0" not in json.dumps(summary)


def test_a_folder_that_states_its_license_states_its_terms(bids: Writer, covariates: Covariates) -> None:
    folder = bids(8)
    (folder / "dataset_description.json").write_text('{"Name": "study", "License": "by agreement 12"}')

    assert Cohort(folder, covariates).data_terms == "by agreement 12"
    assert Cohort(folder, covariates, data_terms="mine").data_terms == "mine"


def test_summary_top_codes_real_ages(bids: Writer, covariates: Covariates) -> None:
    rows = people(2)
    rows[1]["Age"] = 97
    cohort = Cohort(bids(rows=rows), covariates)
    assert cohort.records[1]["age"] == 97.0
    assert cohort.summary()["covariates"]["age"] == {"known": 2, "mean": 75.0, "low": 60.0, "high": 90.0}


def test_only_simulated_data_is_free_to_share(bids: Writer, small_cohort: Path, covariates: Covariates) -> None:
    real, simulated = Cohort(bids(1), covariates), Cohort(small_cohort, covariates)
    assert (real.simulated, real.share, real.ground_truth) == (False, False, None)
    assert "do not share" in real.data_terms
    assert (simulated.simulated, simulated.share) == (True, True)
    assert simulated.ground_truth is not None
    assert simulated.ground_truth["direct_diagnosis_effect_ml"] == 12.0
    assert float(simulated.columns[0]["ventricle_ml"]) > 0


def test_simulated_cohort_is_announced(
    small_cohort: Path, covariates: Covariates, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        cohort = open_cohort(
            "simulated", covariates, {"root": small_cohort.parent, "subjects": 16, "spacing": 4.0, "progress": False}
        )
    assert cohort.simulated
    assert cohort.root == small_cohort
    assert "SIMULATED DATA" in caplog.text
    assert len(caplog.records) >= 4


def test_covariates_may_be_plain_json(bids: Writer) -> None:
    declared = {"diagnosis": ["NC", "AD"], "age": {"low": 18, "high": 100, "unit": "years"}}
    assert Cohort(bids(1), declared).records[0]["age"] == 60.0
