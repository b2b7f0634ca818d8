"""Real data sets as their users find them; skipped where the folder is absent."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from medgen.covariates import Covariates, Range
from medgen.data import SliceDataset, open_cohort
from medgen.data.images import read_image

pytestmark = pytest.mark.real_data


@pytest.mark.parametrize("below", ["", "AD_NC"])
def test_oasis_slices(real_data: Path, below: str) -> None:
    covariates = Covariates(diagnosis=["NC", "AD"], cdr=Range(0, 3), slice=Range(0, 1))
    cohort = open_cohort(real_data / "oasis_slices" / below, covariates)
    assert len(cohort.subjects) == 150
    assert Counter(r["diagnosis"] for r in cohort.records) == {"NC": 75 * 32, "AD": 75 * 32}
    assert {r["cdr"] for r in cohort.records if r["diagnosis"] == "NC"} == {0.0}
    assert min(r["cdr"] for r in cohort.records if r["diagnosis"] == "AD") == 0.5
    assert cohort.notices == []
    assert not cohort.simulated
    splits = cohort.split()
    assert {name: len({r["subject"] for r in records}) for name, records in splits.items()} == {
        "train": 105,
        "validation": 15,
        "test": 30,
    }
    dataset = SliceDataset(
        splits["validation"], covariates=covariates, image_size=64, slices=2, slice_range=(0.4, 0.6), progress=False
    )
    assert dataset.images.shape == (30, 1, 64, 64)
    assert dataset.field_of_view == 208
    assert dataset.images[:, 0, 0].max() < -0.9  # air above the head
    assert dataset.images.float().amax(dim=(1, 2, 3)).min() > 0.8


def test_ixi(real_data: Path) -> None:
    covariates = Covariates(diagnosis=["NC", "AD"], age=Range(18, 100), sex=["F", "M"], slice=Range(0, 1))
    cohort = open_cohort(real_data / "ixi_bids", covariates, check=True)
    assert len(cohort.records) == 6
    assert {r["sex"] for r in cohort.records} == {"F", "M"}
    assert [n.split(" is unknown")[0] for n in cohort.notices] == ["diagnosis"]
    for plane in ("axial", "coronal", "sagittal"):
        dataset = SliceDataset(cohort.records, covariates=covariates, plane=plane, slices=1, seed=None, progress=False)
        assert dataset.pixel_mm is not None
        assert 192 <= dataset.field_of_view <= 288  # a head with its neck
        corners = dataset.images[:, 0, [0, 0], [0, -1]]
        assert corners.float().mean() < -0.9
        assert dataset.covariates[:, 0].isnan().all()
        middle = dataset.images[:, 0, 24:40, 24:40].float()
        assert middle.mean() > -0.7


def test_folder_of_one_dicom_series(real_data: Path) -> None:
    image = read_image(str(real_data / "dicom_t1"))
    assert image.shape == (1, 176, 256, 256)
    assert torch.allclose(image.pixdim, torch.ones(3, dtype=torch.float64), atol=1e-3)


def test_table_of_dicom_folders(real_data: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f"subject,age,path\nP1,40,{real_data / 'dicom_t1'}\n")
    covariates = Covariates(age=Range(18, 100))
    cohort = open_cohort(table, covariates)
    dataset = SliceDataset(cohort.records, covariates=covariates, slices=1, seed=None, progress=False)
    assert dataset.images.shape == (1, 1, 64, 64)
    assert dataset.images[0, 0, 24:40, 24:40].float().mean() > -0.7


def test_a_folder_of_dicom_is_a_cohort(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path))
    covariates = Covariates(age=Range(18, 100), sex=["F", "M"])
    cohort = open_cohort(real_data / "dicom_t1", covariates, check=True)
    assert cohort.layout == "dicom"
    assert len(cohort) == 1
    assert cohort.records[0]["sex"] in ("F", "M")
    assert 18 <= cohort.records[0]["age"] < 90
    assert cohort.columns[0]["field_strength"] == "3"
    assert cohort.notices == []
