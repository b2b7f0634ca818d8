import csv
import json

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from ignite.engine import Engine
from PIL import Image

from medgen import Covariates, Range
from medgen.data.images import plane_view
from medgen.data.requests import GenerationRequests
from medgen.dicom.verify import check_synthetic
from medgen.handlers.save_samples import SaveSamples

COVARIATES = Covariates(diagnosis=["NC", "AD"], age=Range(18, 100, "years"))


def run(handler, images, batch=2):
    """Feed the handler as an evaluator would, ``batch`` images at a time."""
    engine = Engine(lambda engine, data: {"pred": data["pred"]})
    handler.attach(engine)
    indices = range(len(images))
    engine.run(
        [{"index": torch.tensor(indices[i : i + batch]), "pred": images[i : i + batch]} for i in indices[::batch]]
    )


def test_files_grid_and_manifest(tmp_path):
    requests = GenerationRequests(COVARIATES, n=3, seed=1, diagnosis=["NC", "AD"], age=70)
    images = torch.linspace(-1, 1, 6).reshape(6, 1, 1, 1).expand(6, 1, 8, 8)
    run(SaveSamples(requests, tmp_path, {"steps": 5, "guidance": None}, {"sha256": "abc"}, pixel_mm=2.0), images)

    with open(tmp_path / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["diagnosis"] for row in rows] == ["NC"] * 3 + ["AD"] * 3
    assert [row["seed"] for row in rows] == [str(seed) for seed in requests.seeds] * 2
    assert {(row["age"], row["steps"], row["synthetic"], row["model_sha256"]) for row in rows} == {
        ("70.0", "5", "YES", "abc")
    }
    for index, row in enumerate(rows):
        with Image.open(tmp_path / row["png"]) as png:
            assert png.text["Synthetic"] == "YES"
            assert json.loads(png.text["covariates"]) == {"diagnosis": row["diagnosis"], "age": 70.0}
            assert png.text["model_sha256"] == "abc"
            assert np.asarray(png)[0, 0] == round(index / 5 * 255)
        nifti = nib.load(tmp_path / row["nifti"])
        assert nifti.header.get_zooms() == (2.0, 2.0, 2.0)
        np.testing.assert_allclose(nifti.get_fdata(), float(images[index, 0, 0, 0]), atol=1e-6)
        sidecar = json.loads((tmp_path / row["nifti"].replace(".nii.gz", ".json")).read_text())
        assert sidecar["Synthetic"] is True
        assert sidecar["seed"] == requests.seeds[index % 3]
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.text["Synthetic"] == "YES"
        assert json.loads(grid.text["conditions"]) == ["NC, 70 years", "AD, 70 years"]


def test_a_folder_holds_one_request_and_foreign_files_stay(tmp_path):
    def generate(n):
        requests = GenerationRequests(COVARIATES, n=n, diagnosis="AD")
        run(SaveSamples(requests, tmp_path), torch.zeros(n, 1, 4, 4))

    generate(5)
    (tmp_path / "images" / "mine.png").write_bytes(b"x")
    generate(2)
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [
        "image_00000.png",
        "image_00001.png",
        "mine.png",
    ]
    assert len(list((tmp_path / "nifti").iterdir())) == 4


@pytest.mark.parametrize("plane", ["axial", "sagittal"])
def test_dicom_series_bear_covariates_and_settings(tmp_path, plane):
    requests = GenerationRequests(COVARIATES, n=1, seed=1, diagnosis=["NC", "AD"], age=70)

    def generate(n):
        images = torch.linspace(-1, 1, 64 * 64).reshape(1, 1, 64, 64).expand(n, 1, 64, 64)
        options = {"png": False, "nifti": False, "dicom": True, "burned_in": False, "plane": plane, "pixel_mm": 2.0}
        run(SaveSamples(requests, tmp_path, {"steps": 5}, {"sha256": "abc"}, **options), images)

    for images in (2, 1):  # what the first run wrote is gone after the second
        generate(images)
        files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.dcm"))
        assert files == [f"dicom/image_{index:05d}/image_0001.dcm" for index in range(images)]
    dataset = pydicom.dcmread(tmp_path / "dicom" / "image_00000" / "image_0001.dcm")
    check_synthetic(dataset)
    assert (dataset.PatientAge, list(dataset.PixelSpacing)) == ("070Y", [2, 2])
    record = json.loads(dataset.DerivationDescription.partition(": ")[2])
    assert record == {
        "model_sha256": "abc",
        "covariates": {"diagnosis": "NC", "age": 70.0},
        "seed": requests.seeds[0],
        "steps": 5,
    }


def test_kinds_can_be_left_out(tmp_path):
    requests = GenerationRequests(COVARIATES, n=1, diagnosis="AD")
    run(SaveSamples(requests, tmp_path, png=False, nifti=False), torch.zeros(1, 1, 4, 4))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.png", "manifest.csv"]


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_slice_lies_in_space_as_it_lay_in_its_volume(tmp_path, plane):
    axis = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
    volume = torch.rand(1, 5, 6, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    requests = GenerationRequests(COVARIATES, n=1)
    run(SaveSamples(requests, tmp_path, plane=plane, png=False), plane_view(volume, plane)[[2]])
    back = nib.as_closest_canonical(nib.load(tmp_path / "nifti" / "image_00000.nii.gz")).get_fdata()
    np.testing.assert_allclose(back, volume[0].narrow(axis, 2, 1).numpy(), atol=1e-6)


def test_an_unknown_plane_is_refused(tmp_path):
    with pytest.raises(ValueError, match="plane is 'oblique'"):
        SaveSamples(GenerationRequests(COVARIATES, n=1), tmp_path, plane="oblique")
