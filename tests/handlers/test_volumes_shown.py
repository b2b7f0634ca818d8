"""Generated volumes: where they lie in NIfTI and DICOM, and their three planes in pictures."""

from types import SimpleNamespace

import nibabel as nib
import numpy as np
import torch
from ignite.engine import Engine
from PIL import Image

from medgen import Covariates, Range
from medgen.data.requests import GenerationRequests
from medgen.dicom.read import read_series
from medgen.handlers import SampleGrid, SaveSamples, SaveSweep
from medgen.io import check_nifti

COVARIATES = Covariates(age=Range(18, 100, "years"), plane=["axial", "coronal", "sagittal"])
AFFINE = [[2.0, 0, 0, -40.0], [0, 2.0, 0, -62.0], [0, 0, 2.0, -18.0], [0, 0, 0, 1]]
LANDMARK_VOXEL = (21, 17, 11)  # at 2, -28 and 4 mm


def volumes(count):
    made = torch.full((count, 1, 40, 48, 32), -1.0)
    made[(slice(None), 0, *LANDMARK_VOXEL)] = 1.0
    return made


def run(handler, images):
    engine = Engine(lambda engine, data: {"pred": data["pred"]})
    handler.attach(engine)
    engine.run([{"index": torch.arange(len(images)), "pred": images}])


def brightest_mm(array, affine):
    return (np.asarray(affine) @ [*np.unravel_index(np.argmax(array), array.shape), 1.0])[:3]


def test_a_landmark_is_where_it_was_on_the_training_grid(tmp_path):
    requests = GenerationRequests(COVARIATES, n=2, age=[60, 80])
    run(SaveSamples(requests, tmp_path, affine=AFFINE, pixel_mm=2.0, dicom=True, burned_in=False), volumes(4))
    nifti = nib.load(tmp_path / "nifti" / "image_00003.nii.gz")
    check_nifti(tmp_path / "nifti" / "image_00003.nii.gz")
    assert nib.aff2axcodes(nifti.affine) == ("R", "A", "S")
    assert nifti.header.get_zooms() == (2.0, 2.0, 2.0)
    np.testing.assert_allclose(brightest_mm(nifti.get_fdata(), nifti.affine), [2.0, -28.0, 4.0], atol=1e-4)
    series = read_series(tmp_path / "dicom" / "image_00000")
    assert series.shape == (1, 40, 48, 32)
    np.testing.assert_allclose(brightest_mm(series[0].numpy(), series.affine), [2.0, -28.0, 4.0], atol=1e-3)
    with Image.open(tmp_path / "images" / "image_00000.png") as png:
        assert png.size == (3 * 48, 48)
    with Image.open(tmp_path / "grid.png") as grid:  # two conditions, each in three planes, of two volumes
        assert grid.size[1] == 6 * (2 * 48 + 2) + 2
        assert grid.text["Synthetic"] == "YES"


def test_without_a_grid_the_middle_is_the_origin(tmp_path):
    run(SaveSamples(GenerationRequests(COVARIATES, n=1), tmp_path, pixel_mm=3.0), volumes(1))
    nifti = nib.load(tmp_path / "nifti" / "image_00000.nii.gz")
    np.testing.assert_allclose(nifti.affine @ [19.5, 23.5, 15.5, 1], [0, 0, 0, 1])
    assert nifti.header.get_zooms() == (3.0, 3.0, 3.0)


def test_a_sweep_has_a_row_for_each_plane(tmp_path):
    requests = GenerationRequests(COVARIATES, n=2, age=[60, 70, 80])
    run(SaveSweep(requests, tmp_path, rows=1), volumes(6))
    with Image.open(tmp_path / "sweep_age.png") as png:
        pixels = np.asarray(png.convert("L"))
    assert pixels.shape[0] >= 3 * 98
    with Image.open(tmp_path / "sweep_age.gif") as gif:
        assert gif.n_frames == 3


def test_a_grid_by_plane_shows_three_planes_of_one_volume(tmp_path):
    asked = []

    def sampler(network, process, shape, seeds, covariates=None, **more):
        asked.append((shape, len(seeds), covariates))
        return SimpleNamespace(images=volumes(len(seeds)))

    sampler.to_dict = lambda: {}
    handler = SampleGrid(sampler, columns=2, by="plane", run_dir=tmp_path)
    state = SimpleNamespace(iteration=5, device="cpu")
    handler.write(
        SimpleNamespace(
            covariates=COVARIATES,
            image_shape=(1, 40, 48, 32),
            inference_network=None,
            process=None,
            codec=None,
            state=state,
        )
    )
    ((shape, count, covariates),) = asked
    assert (shape, count) == ((1, 40, 48, 32), 2)
    assert covariates.isnan().all()
    with Image.open(tmp_path / "samples" / "grid_00000005.png") as grid:
        assert grid.size[1] == 3 * (2 * 48 + 2) + 2
