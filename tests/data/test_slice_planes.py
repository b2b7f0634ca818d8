"""Slices of several planes, and cohorts of pictures of planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cohort_files import write_picture, write_rows, write_volume
from PIL import Image

from medgen.covariates import Covariates
from medgen.data import Cohort, CohortError, SliceDataset
from medgen.data.slice_choice import SliceChoice

PLANES = ["axial", "coronal", "sagittal"]
COVARIATES = Covariates(age={"low": 18, "high": 100}, diagnosis=["NC", "AD"], plane=PLANES, slice={"low": 0, "high": 1})


@pytest.fixture
def record(tmp_path: Path) -> dict:
    """An ellipsoid of 40 x 56 x 48 mm in a grid of 1 mm, brighter to the head."""
    x, y, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (60, 70, 64)), indexing="ij")
    inside = (x / 20) ** 2 + (y / 28) ** 2 + (z / 24) ** 2 < 1
    write_volume(tmp_path / "a.nii.gz", np.where(inside, 100 + z, 0.0))
    return {"image": str(tmp_path / "a.nii.gz"), "subject": "a", "age": 70.0, "diagnosis": "n/a"}


def test_slices_of_every_plane_share_one_field_of_view(record):
    dataset = SliceDataset(
        [record], covariates=COVARIATES, image_size=64, plane=PLANES, slice_range=(0.4, 0.6), slices=2, progress=False
    )
    assert dataset.field_of_view == 64.0
    assert len(dataset) == 6
    assert dataset.covariates[:, 2].tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.allclose(dataset.covariates[:, 3], dataset.positions)
    sizes = [(int((i[0] > -0.9).any(1).sum()), int((i[0] > -0.9).any(0).sum())) for i in dataset.images[::2]]
    for found, expected in zip(sizes, [(56, 40), (48, 40), (48, 56)], strict=True):
        assert np.allclose(found, expected, atol=4)
    assert dataset.observed == {"age": [70.0, 70.0], "plane": PLANES, "slice": pytest.approx([0.4, 0.6], abs=0.1)}
    assert dataset.unobserved == ["diagnosis"]


def test_one_plane_of_several_is_the_same_as_that_plane_alone(record):
    arguments = {"image_size": 64, "slices": 3, "seed": None, "field_of_view": 64, "progress": False}
    several = SliceDataset([record], plane=["coronal", "axial"], slice_range={"axial": (0.4, 0.5), "coronal": (0, 1)},
                           **arguments)  # fmt: skip
    axial = SliceDataset([record], plane="axial", slice_range=(0.4, 0.5), **arguments)
    assert torch.equal(several.images[3:], axial.images)
    assert torch.equal(several.positions[3:], axial.positions)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"plane": ["axial", "axial"]}, "different ones"),
        ({"plane": []}, "expected one plane"),
        ({"plane": "axiel"}, "nearest: 'axial'"),
        ({"plane": PLANES, "slice_range": {"axial": (0, 1)}}, "found none for \\['coronal', 'sagittal'\\]"),
        ({"slice_range": (0.6, 0.4)}, "low <= high"),
        ({"slices": 0}, "at least 1"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        SliceChoice(**arguments)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    people = [("OAS1_0901_MR1", 71, 0), ("OAS1_0901_MR2", 73, 0.5), ("OAS1_0902_MR1", 93, ""), ("OAS1_0903_MR1", 66, 0)]
    for name, _, _ in people:
        for letter, size in (("a", (40, 36)), ("c", (36, 36)), ("s", (36, 40))):
            write_picture(tmp_path / "images" / f"{name}_{letter}.jpg", size=size)
    write_rows(tmp_path / "participants.tsv", [{"participant_id": n, "age": age, "cdr": cdr} for n, age, cdr in people])
    return tmp_path


def test_pictures_of_planes_are_a_cohort(pictures):
    cohort = Cohort(pictures, COVARIATES, required=["age"])
    assert cohort.layout == "planes"
    assert cohort.subjects == ["OAS1_0901", "OAS1_0902", "OAS1_0903"]  # two visits of one person
    assert [(r["plane"], r["age"], r["diagnosis"]) for r in cohort.records[3:6]] == [
        (plane, 73.0, "AD") for plane in PLANES
    ]
    assert cohort.records[6]["diagnosis"] == "n/a"
    assert any("NC where CDR is 0" in notice for notice in cohort.notices)
    assert not any("plane is unknown" in notice for notice in cohort.notices)
    split = cohort.split({"train": 0.4, "validation": 0.3, "test": 0.3})
    dataset = SliceDataset(split["train"], covariates=COVARIATES, image_size=20, plane=PLANES, progress=False)
    assert {tuple(image.shape) for image in dataset.images} == {(1, 20, 20)}
    assert dataset.field_of_view == 40.0
    assert dataset.unobserved == ["slice"]
    everybody = SliceDataset(cohort.records, covariates=COVARIATES, image_size=20, plane=PLANES, progress=False)
    assert everybody.observed["age"] == [66.0, 90.0]  # kept beside weights, so top-coded
    axial = SliceDataset(cohort.records, covariates=COVARIATES, image_size=20, plane="axial", progress=False)
    assert axial.covariates[:, 2].tolist() == [0.0] * 4


def test_pictures_that_are_of_nobody(pictures):
    table = pictures / "participants.tsv"
    table.write_text(table.read_text().replace("OAS1_0903_MR1", "OAS1_0909_MR1"))
    cohort = Cohort(pictures, COVARIATES)
    assert any("3 picture(s) are of nobody" in notice for notice in cohort.notices)
    table.write_text("participant_id\tage\nsomebody\t70\n")
    with pytest.raises(CohortError, match="names none of the subjects"):
        Cohort(pictures, COVARIATES)
    table.unlink()
    with pytest.raises(CohortError, match=r"participants\.tsv: found no such file"):
        Cohort(pictures, COVARIATES)
    table.write_text("participant_id\tage\tcdr\nOAS1_0903_MR1\t70\tmild\n")
    with pytest.raises(CohortError, match="cdr is 'mild', expected 0"):
        Cohort(pictures, COVARIATES)


def test_the_field_of_view_is_kept_beside_weights(tmp_path):
    Image.fromarray(np.full((40, 30), 90, np.uint8)).save(tmp_path / "a.png")
    data = SliceDataset([{"image": str(tmp_path / "a.png"), "subject": "a"}], image_size=16, progress=False)
    assert data.settings["field_of_view"] == data.field_of_view == 40
    assert data.settings["pixel_mm"] is None
