"""Age sweeps, and what lies outside the training range."""

import csv
import json
import logging

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from PIL import Image

from medgen import Covariates, Range
from medgen.data.requests import GenerationRequests
from medgen.handlers import SaveSamples, SaveSweep
from medgen.handlers.save_samples import extrapolated

COVARIATES = Covariates(age=Range(18, 100, "years"), sex=["F", "M"], plane=["axial", "coronal", "sagittal"])


def run(handler, images):
    """Feed the handler as an evaluator would, four images at a time."""
    engine = Engine(lambda engine, data: {"pred": data["pred"]})
    handler.attach(engine)
    parts = torch.arange(len(images)).split(4)
    engine.run([{"index": part, "pred": images[part]} for part in parts])


def test_a_column_is_an_age_and_a_row_a_noise(tmp_path):
    requests = GenerationRequests(COVARIATES, n=3, sex=["F", "M"], age=[80, 60, 70])
    ages = torch.tensor([c["age"] for c in requests.conditions]).repeat_interleave(3)
    noises = torch.arange(3).repeat(6)
    grey = (ages - 60) / 20 - 0.3 * noises - 0.4
    handler = SaveSweep(requests, tmp_path, rows=2, manifest={"sha256": "abc"})
    run(handler, grey[:, None, None, None].expand(18, 1, 96, 96))
    with Image.open(tmp_path / "sweep_age.png") as png:
        assert json.loads(png.text["values"]) == [60, 70, 80]
        assert (png.text["Synthetic"], png.text["model_sha256"]) == ("YES", "abc")
        pixels = np.asarray(png)[:, :, 0].astype(int)
    top = pixels.shape[0] - 4 * 98 - 2
    tiles = pixels[top + 50 :: 98, 50::98]
    assert tiles.shape == (4, 3)
    assert (np.diff(tiles, axis=1) > 50).all()  # older to the right
    assert (tiles[0] > tiles[1]).all()  # another noise below
    assert (tiles[:2] == tiles[2:]).all()  # the other sex, same noise
    with Image.open(tmp_path / "sweep_age.gif") as gif:
        assert gif.n_frames == 3
        assert b'"Synthetic": "YES"' in gif.info["comment"]
    run(SaveSweep(GenerationRequests(COVARIATES, n=3, age=70), tmp_path), torch.zeros(3, 1, 8, 8))
    assert not list(tmp_path.iterdir())


def test_only_a_number_is_swept():
    with pytest.raises(ValueError, match="'sex' is a label"):
        SaveSweep(GenerationRequests(COVARIATES, n=1), ".", covariate="sex")


def test_what_training_never_saw_is_flagged(tmp_path, caplog):
    assert extrapolated({"age": 50.0, "sex": "M", "plane": None}, {"age": [55, 88.5], "sex": ["F"]}) == ["age", "sex"]
    assert extrapolated({"age": 70.0, "sex": "F"}, {"age": [55, 88.5], "sex": ["F"]}) == []
    assert extrapolated({"age": 93.0}, {"age": [55, 90.0]}) == []  # 90 stands for any above
    assert extrapolated({"age": 93.0}, {}) == []
    requests = GenerationRequests(COVARIATES, n=1, age=[50, 70], plane="coronal")
    manifest = {"sha256": "abc", "config": {"observed": {"age": [60.0, 90.0], "plane": ["coronal"]}}}
    with caplog.at_level(logging.WARNING, logger="medgen.handlers"):
        run(SaveSamples(requests, tmp_path, manifest=manifest), torch.zeros(2, 1, 8, 8))
    assert "50 years, coronal: age lies outside what training saw (60 to 90): extrapolated" in caplog.text
    with open(tmp_path / "manifest.csv", newline="") as file:
        assert [row["extrapolated"] for row in csv.DictReader(file)] == ["age", ""]
    affine = nib.load(tmp_path / "nifti" / "image_00000.nii.gz").affine
    assert set(nib.aff2axcodes(affine)[:2]) <= set("ISLR")  # a coronal slice, without a plane of its own
