"""OASIS-1 as distributed."""

from __future__ import annotations

import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
from cohort_files import write_rows

from medgen.covariates import Covariates, Range
from medgen.data import Cohort, CohortError
from medgen.data.images import read_image

SIDE = "Analyze images do not say which side is left"


def person(session: str, age: float, cdr: str, sex: str = "F") -> dict:
    scores = {"Educ": 3, "SES": 2, "CDR": cdr, "MMSE": 29 if cdr else "", "eTIV": 1500, "nWBV": 0.75, "ASF": 1.1}
    return {"ID": session, "M/F": sex, "Hand": "R", "Age": age, **scores, "Delay": "N/A"}


PEOPLE = [person("OAS1_0901_MR1", 74, "0"), person("OAS1_0902_MR1", 81, "0.5", "M"), person("OAS1_0903_MR1", 25, "")]
PEOPLE += [person("OAS1_0903_MR2", 25, ""), person("OAS1_0904_MR1", 79, "1"), person("OAS1_0999_MR1", 60, "0")]


def write_session(root: Path, session: str, disc: str, voxels: np.ndarray | None = None) -> Path:
    """Write an image of 4 dimensions, as OASIS-1's are, in plain Analyze."""
    name = f"{session}_mpr_n4_anon_111_t88_masked_gfc.img"
    path = root / disc / session / "PROCESSED" / "MPRAGE" / "T88_111" / name
    path.parent.mkdir(parents=True)
    data = np.ones((6, 7, 8), np.int16) if voxels is None else voxels
    image = nibabel.AnalyzeImage(data[..., None], None)
    image.header.set_zooms((1, 1, 1, 0))
    nibabel.save(image, path)
    return path


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    for k, row in enumerate(PEOPLE[:5]):
        write_session(tmp_path, row["ID"], f"disc{1 + k // 3}")
    write_rows(tmp_path / "oasis_cross-sectional.csv", PEOPLE)
    return tmp_path


@pytest.fixture
def covariates() -> Covariates:
    return Covariates(diagnosis=["NC", "AD"], age=Range(18, 100), sex=["F", "M"], nwbv=Range(0.5, 1), mmse=Range(0, 30))


def test_discs_and_their_table(discs: Path, covariates: Covariates) -> None:
    cohort = Cohort(discs, covariates)
    assert cohort.layout == "oasis"
    assert [(r["subject"], r["scan"], r["diagnosis"], r["age"], r["sex"]) for r in cohort.records] == [
        ("OAS1_0901", "MR1", "NC", 74.0, "F"),
        ("OAS1_0902", "MR1", "AD", 81.0, "M"),
        ("OAS1_0903", "MR1", "n/a", 25.0, "F"),
        ("OAS1_0903", "MR2", "n/a", 25.0, "F"),
        ("OAS1_0904", "MR1", "AD", 79.0, "F"),
    ]
    assert cohort.records[0]["nwbv"] == 0.75
    assert math.isnan(cohort.records[2]["mmse"])
    assert any(n.startswith(SIDE) for n in cohort.notices)
    assert any("NC where CDR is 0 and AD where it is above" in n for n in cohort.notices)
    cohort.check()
    splits = cohort.split({"train": 0.5, "test": 0.5})
    assert not {r["subject"] for r in splits["train"]} & {r["subject"] for r in splits["test"]}
    one = Cohort(discs / "disc1", Covariates(diagnosis=["CN", "Dementia"]))  # the table lies beside the disc
    assert [r["diagnosis"] for r in one.records] == ["CN", "Dementia", "n/a"]


def test_left_and_up_are_where_oasis_stores_them(tmp_path: Path) -> None:
    voxels = np.zeros((6, 7, 8), np.int16)
    voxels[0, 0, 0] = 100  # the first voxel stored: right, back, below
    image = read_image(str(write_session(tmp_path, "OAS1_0901_MR1", "disc1", voxels)))
    assert image.shape == (1, 6, 7, 8)
    assert image[0, -1, 0, 0] == 100  # RAS: the right is the end of the first axis
    assert np.allclose(np.asarray(image.affine)[:3, :3], np.eye(3))


def test_a_session_without_its_image(discs: Path, covariates: Covariates) -> None:
    image = next(discs.rglob("OAS1_0902_MR1*.hdr"))
    image.unlink()
    with pytest.raises(CohortError, match=r"1 image\(s\) missing: OAS1_0902_MR1 has no .*_t88_masked_gfc.img with its"):
        Cohort(discs, covariates)
    assert len(Cohort(discs, covariates, missing="drop")) == 4


def test_without_the_table_and_with_a_session_twice(discs: Path, covariates: Covariates) -> None:
    write_rows(discs / "oasis_cross-sectional.csv", [*PEOPLE, PEOPLE[0]])
    with pytest.raises(CohortError, match="OAS1_0901_MR1 occurs twice"):
        Cohort(discs, covariates)
    (discs / "oasis_cross-sectional.csv").unlink()
    cohort = Cohort(discs, covariates)
    assert {r["diagnosis"] for r in cohort.records} == {"n/a"}
    assert any("oasis_cross-sectional.csv is absent" in n for n in cohort.notices)
