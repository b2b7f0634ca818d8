"""Loading scans as transforms."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from dicom_series import SAGITTAL, picture, write_series
from monai.data import MetaTensor, list_data_collate

from medgen.data import CohortError
from medgen.dicom.header import HEADER_KEYS
from medgen.transforms import LoadDicomSeries, LoadDicomSeriesd, LoadScan, LoadScand


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDGEN_PATIENT_KEY", "a key for the tests alone")


@pytest.fixture
def series(tmp_path: Path) -> Path:
    write_series(tmp_path / "series", picture(), SAGITTAL)
    return tmp_path / "series"


def test_any_scan_is_loaded_in_ras(tmp_path: Path, series: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6), np.float32), np.diag([-1.0, 2, 3, 1])), tmp_path / "a.nii.gz")
    nifti, dicom = LoadScan()(tmp_path / "a.nii.gz"), LoadScan()(series)
    for volume in (nifti, dicom):
        assert isinstance(volume, MetaTensor)
        assert volume.dtype == torch.float32
        assert (torch.diagonal(volume.affine)[:3] > 0).all()
    assert nifti.shape == (1, 4, 5, 6)
    assert dicom.shape == (1, 5, 4, 6)
    two = LoadScan(channels=2)([str(tmp_path / "a.nii.gz"), str(tmp_path / "a.nii.gz")])
    assert two.shape == (2, 4, 5, 6)
    with pytest.raises(CohortError, match=r"found 1 channel\(s\)"):
        LoadScan(channels=2)(tmp_path / "a.nii.gz")
    with pytest.raises(ValueError, match="channels is 0"):
        LoadScan(channels=0)


def test_array_and_dictionary_forms_agree(series: Path) -> None:
    volume = LoadDicomSeries()(series)
    loaded = LoadDicomSeriesd(["image", "other"], allow_missing_keys=True)({"image": str(series), "subject": "a"})
    assert set(loaded) == {"image", "subject"}
    assert torch.equal(loaded["image"], volume)
    assert torch.equal(LoadScand("image")({"image": str(series)})["image"], volume)
    with pytest.raises(KeyError):
        LoadScand("image")({})


def test_covariates_fill_what_the_record_lacks(series: Path) -> None:
    record = {"image": series, "age": math.nan, "sex": "M"}
    loaded = LoadDicomSeriesd("image", covariates=True)(record)
    assert set(loaded) == {"image", *HEADER_KEYS}
    assert (loaded["age"], loaded["sex"], loaded["repetition_time"]) == (73.0, "M", 2300.0)
    assert math.isnan(record["age"])
    some = LoadDicomSeriesd("image", covariates=["field_strength"], prefix="dicom_")({"image": series})
    assert set(some) == {"image", "dicom_field_strength"}
    with pytest.raises(ValueError, match=r"covariates is 'PatientName', expected one of 'age'"):
        LoadDicomSeriesd("image", covariates=["PatientName"])


def test_loaded_series_make_a_batch(tmp_path: Path, series: Path) -> None:
    def strip(i: int, ds):
        del ds.PatientAge, ds.PatientBirthDate, ds.PatientSex
        return ds

    write_series(tmp_path / "b", picture(), SAGITTAL, change=strip)
    load = LoadDicomSeriesd("image", covariates=True)
    batch = list_data_collate([load({"image": str(series)}), load({"image": str(tmp_path / "b")})])
    assert batch["image"].shape == (2, 1, 5, 4, 6)
    assert batch["age"][0] == 73
    assert batch["age"][1].isnan()
    assert batch["sex"] == ["F", ""]


def test_transforms_can_be_pickled(series: Path) -> None:
    for transform in (LoadScan(), LoadDicomSeries(), LoadScand("image"), LoadDicomSeriesd("image", covariates=True)):
        copy = pickle.loads(pickle.dumps(transform))
        given = str(series) if isinstance(transform, (LoadScan, LoadDicomSeries)) else {"image": str(series)}
        loaded = copy(given)
        assert (loaded["image"] if isinstance(loaded, dict) else loaded).shape == (1, 5, 4, 6)
