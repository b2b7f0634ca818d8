"""configs/volume.json on every bundle: trains on whole volumes, generates them where the training volumes lie."""

import csv
import json

import monai.bundle
import nibabel
import numpy as np
import pytest
from sweep import REPOSITORY

from medgen.data import simulated_cohort

pytestmark = pytest.mark.xdist_group("bundle_runs")
VOLUME = str(REPOSITORY / "configs" / "volume.json")


def run(root, name, overlays=(), **overrides):
    config = [str(root / "configs" / name), *overlays]
    monai.bundle.run(config_file=config, logging_file=False, **{"device": "cpu"} | overrides)


def test_volumes_are_learned_and_generated_in_place(copied, tiny, tmp_path):
    size = {key: value for key, value in tiny.items() if key not in ("image_size", "cohort#simulated#spacing")}
    places = {"output_dir": str(tmp_path / "runs"), "ckpt_dir": str(tmp_path / "models")}
    steps = {"max_iterations": 1, "val_interval": 1, "sample_interval": 1}
    cohort = {"cohort#simulated#spacing": 8.0, "dataset_def#spacing_mm": 8.0}
    run(copied, "train.json", [VOLUME], **size | places | steps | cohort)
    config = json.loads((tmp_path / "models" / "manifest.json").read_text())["config"]
    assert all(side % 8 == 0 for side in config["image_size"])
    assert (config["space"], config["pixel_mm"]) == ("world", 8.0)
    assert set(config["unobserved"]) >= {"slice"}

    out = tmp_path / "out"
    run(copied, "inference.json", n=1, steps=1, diagnosis="AD", ckpt_dir=places["ckpt_dir"], output_dir=str(out))
    with open(out / "manifest.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    nifti = nibabel.load(out / row["nifti"])
    assert nifti.shape == tuple(config["image_size"])
    np.testing.assert_allclose(nifti.affine, config["affine"])
    # the brain of the template lies about (0, -20, 10) mm, and the grid holds it
    brain = next(simulated_cohort(size["cohort#simulated#root"], subjects=12, spacing=8.0).glob("sub-*/anat/*.nii.gz"))
    voxels = np.argwhere(nibabel.load(brain).get_fdata() > 0)
    world = voxels @ nibabel.load(brain).affine[:3, :3].T + nibabel.load(brain).affine[:3, 3]
    there = (world - nifti.affine[:3, 3]) / 8.0
    assert ((there > -0.6) & (there < np.array(nifti.shape) - 0.4)).mean() > 0.98
