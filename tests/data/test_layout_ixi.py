"""IXI as distributed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from cohort_files import write_rows, write_volume

from medgen.covariates import Covariates, Range
from medgen.data import Cohort

NAMES = ("IXI901-HH-1001-T1", "IXI902-Guys-1002-T1", "IXI903-IOP-1003-T1", "IXI903-IOP-1003-T2")


def row(number: int, sex: int, age: object) -> dict:
    return {"IXI_ID": number, "SEX_ID (1=m, 2=f)": sex, "HEIGHT": 170, "DOB": "1950-01-01", "AGE": age}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in NAMES:
        write_volume(tmp_path / "IXI-T1" / f"{name}.nii.gz", np.ones((4, 4, 4)))
    return tmp_path


def table(root: Path, rows: Sequence[dict]) -> None:
    write_rows(root / "IXI.csv", rows)


@pytest.mark.parametrize("below", ["", "IXI-T1"])
def test_images_and_table(images: Path, below: str) -> None:
    table(images, [row(901, 1, 35.8), row(902, 2, 61.25), row(903, 2, 0), row(904, 1, 50)])
    cohort = Cohort(images / below, Covariates(age=Range(18, 100), sex=["F", "M"], site=["HH", "Guys", "IOP"]))
    assert cohort.layout == "ixi"
    assert [(r["subject"], r["age"], r["sex"], r["site"]) for r in cohort.records[:2]] == [
        ("IXI901", 35.8, "M", "HH"),
        ("IXI902", 61.25, "F", "Guys"),
    ]
    assert math.isnan(cohort.records[2]["age"])
    assert (cohort.records[2]["sex"], cohort.records[2]["site"]) == ("F", "IOP")
    assert cohort.columns[0]["HEIGHT"] == "170"
    assert "DOB" not in cohort.columns[0]
    assert cohort.notices == []


def test_rows_that_contradict_each_other(images: Path) -> None:
    table(images, [row(901, 1, 35.8), row(901, 1, 35.8), row(902, 2, 60), row(902, 2, 48), row(902, 2, 60)])
    cohort = Cohort(images, Covariates(age=Range(18, 100), sex=["F", "M"]))
    assert [r["age"] for r in cohort.records][:1] == [35.8]
    assert math.isnan(cohort.records[1]["age"])
    assert cohort.records[1]["sex"] == "F"
    assert "1 image(s) are not in the table: covariates unknown" in cohort.notices
    assert any(n.startswith("1 image(s) have rows that contradict each other") for n in cohort.notices)


def test_without_a_table(images: Path) -> None:
    (images / "IXI.xls").write_bytes(b"")
    cohort = Cohort(images, Covariates(age=Range(18, 100)))
    assert "IXI.csv is absent, age and sex are unknown: save IXI.xls as CSV beside the images" in cohort.notices
    splits = cohort.split({"train": 0.5, "test": 0.5}, leave_site_out="IOP")
    assert [r["subject"] for r in splits["test"]] == ["IXI903"]
