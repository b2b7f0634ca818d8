"""Sites: where they are known from, and splits that leave some out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cohort_files import people, write_picture, write_rows

from medgen.covariates import Covariates
from medgen.data import Cohort, CohortError

Writer = Callable[..., Path]


@pytest.fixture
def sites(bids: Writer, covariates: Covariates) -> Cohort:
    """Sixteen people of the sites 011, 022, 033 and 044, each with two visits."""
    rows = [{**row, "Site": f"0{1 + k % 4}{1 + k % 4}"} for k, row in enumerate(people(16))]
    return Cohort(bids(sessions=("ses-bl", "ses-m12"), rows=rows), covariates)


def of(records: list[dict]) -> set[str]:
    return {record["site"] for record in records}


def test_sites_come_from_a_column_or_the_names_of_adni(sites: Cohort, bids: Writer, covariates: Covariates) -> None:
    assert of(sites.records) == {"011", "022", "033", "044"}
    rows = [{"participant_id": f"sub-94{k}S900{k}", "Age": 70} for k in (1, 2)]
    import shutil

    shutil.rmtree(sites.root)
    assert [r["site"] for r in Cohort(bids(rows=rows), covariates).records] == ["941", "942"]


def test_unknown_sites_are_no_key(bids: Writer, covariates: Covariates) -> None:
    cohort = Cohort(bids(4), covariates)
    assert all("site" not in record for record in cohort.records)
    with pytest.raises(ValueError, match="no site '011'; nothing says from which sites the images are"):
        cohort.split(leave_site_out=["011"])


def test_left_out_sites_are_the_test_split_and_nobody_else(sites: Cohort) -> None:
    splits = sites.split(leave_site_out=["011", "033"])
    assert of(splits["test"]) == {"011", "033"}
    assert of(splits["train"] + splits["validation"]) == {"022", "044"}
    assert len({r["subject"] for r in splits["test"]}) == 8
    # the others in proportion: 0.7 to 0.1 of eight people
    assert {name: len({r["subject"] for r in splits[name]}) for name in ("train", "validation")} == {
        "train": 7,
        "validation": 1,
    }
    assert of(sites.split(leave_site_out="022")["test"]) == {"022"}


def test_sites_are_checked(sites: Cohort) -> None:
    with pytest.raises(ValueError, match=r"leave_site_out: no site '012' \(nearest: '011'\); .*\['011', '022'"):
        sites.split(leave_site_out=["012"])
    with pytest.raises(ValueError, match="leave_site_out: its subjects become 'test', which is none of"):
        sites.split({"train": 0.8, "validation": 0.2}, leave_site_out=["011"])


def test_the_file_remembers_the_sites(sites: Cohort, tmp_path: Path) -> None:
    file = tmp_path / "splits.json"
    first = sites.split(file=file, leave_site_out=["044"])
    assert json.loads(file.read_text())["leave_site_out"] == ["044"]
    assert sites.split(file=file) == first  # as the evaluation asks
    assert sites.split(file=file, leave_site_out=["044"]) == first
    with pytest.raises(CohortError, match=r"was made with leave_site_out \['044'\], expected \['011'\]"):
        sites.split(file=file, leave_site_out=["011"])


@pytest.mark.parametrize(
    ("names", "persons", "scans"),
    [
        (["OAS1_0901_MR1", "OAS1_0901_MR2"], ["OAS1_0901"] * 2, ["OAS1_0901_MR1", "OAS1_0901_MR2"]),
        (["ADNI_941_S_9001_MR_I1", "941_S_9001"], ["941_S_9001"] * 2, ["ADNI_941_S_9001_MR_I1", ""]),
        (["OAS30901_MR_d0129", "IXI901-HH-1001"], ["OAS30901", "IXI901"], ["OAS30901_MR_d0129", "IXI901-HH-1001"]),
        (["p1", "p2"], ["p1", "p2"], ["", ""]),
    ],
)
def test_scans_in_a_tables_subject_column(
    tmp_path: Path, covariates: Covariates, names: list[str], persons: list[str], scans: list[str]
) -> None:
    for k in range(2):
        write_picture(tmp_path / f"{k}.png")
    write_rows(tmp_path / "table.csv", [{"ID": name, "path": f"{k}.png", "age": 70} for k, name in enumerate(names)])
    cohort = Cohort(tmp_path, covariates)
    assert [r["subject"] for r in cohort.records] == persons
    assert [r["scan"] for r in cohort.records] == scans
    assert any("names scans" in n for n in cohort.notices) == any(scans)
    assert cohort.split_unit == "subject"


def test_top_coded_ages_are_announced(bids: Writer, covariates: Covariates) -> None:
    rows = people(3)
    rows[1]["Age"] = "90+"
    cohort = Cohort(bids(rows=rows), covariates)
    assert cohort.records[1]["age"] == 90.0
    assert "age is top-coded in 1 image(s): 90+ is 90 or more, and counts as 90" in cohort.notices


def test_images_dropped_for_their_label_are_listed(bids: Writer, covariates: Covariates) -> None:
    rows = people(4)
    rows[2]["Group"] = "MCI"
    cohort = Cohort(bids(rows=rows), covariates, exclude_labels=["MCI"])
    assert [(d["subject"], d["reason"]) for d in cohort.discards] == [
        ("sub-02", "an image with the excluded label 'MCI'")
    ]
