"""Whole volumes in memory: where things lie in mm, one grid for all splits, sides, errors."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from cohort_files import write_picture
from scipy import ndimage

from medgen.covariates import Covariates
from medgen.data import BatchAugmentation, BatchLoader, Cohort, CohortError, SliceDataset, VolumeDataset
from medgen.data.images import middle_planes, plane_view
from medgen.data.volume_grid import VolumeGrid

LANDMARK = np.array([10.0, -14.0, 12.0])  # mm


def rotation(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    turn = np.eye(3)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn


def write_head(path: Path, directions: np.ndarray, spacing: float, shift: np.ndarray | float = 0.0) -> dict[str, str]:
    """Write a head of radii 30, 40 and 35 mm about ``shift`` with a bright soft ball at the landmark from there."""
    shape = np.ceil(np.abs(directions) @ [96, 112, 104] / spacing).astype(int) + 8
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = shift - affine[:3, :3] @ ((shape - 1) / 2)
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    world = voxels @ affine[:3, :3].T + affine[:3, 3] - shift
    head = 60.0 * (((world / [30, 40, 35]) ** 2).sum(-1) < 1)
    head += 140 * np.clip((10 - np.linalg.norm(world - LANDMARK, axis=-1)) / 3, 0, 1)
    nibabel.save(nibabel.Nifti1Image(head.astype(np.float32), affine), path)
    return {"image": str(path), "subject": path.name}


def landmark(dataset: VolumeDataset, index: int) -> np.ndarray:
    """Where the bright ball lies, mm."""
    brightness = np.clip(dataset.images[index, 0].float().numpy() + 0.2, 0, None)
    return (dataset.affine @ [*ndimage.center_of_mass(brightness), 1.0])[:3]


ORIENTATIONS = {
    "RAS": np.eye(3),
    "LPI": np.diag([-1.0, -1.0, -1.0]),
    "PSR": np.array([[0, 0, 1.0], [-1, 0, 0], [0, 1, 0]]),
    "turned": rotation(12.0),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_landmark_stays_at_its_millimetres_however_the_file_lies(tmp_path: Path, orientation: str) -> None:
    records = [
        write_head(tmp_path / "first.nii", ORIENTATIONS[orientation], 1.7),
        write_head(tmp_path / "second.nii", np.eye(3), 2.3, np.array([1.0, 2.0, -1.0])),
    ]
    dataset = VolumeDataset(records, spacing_mm=2.0, progress=False)
    assert dataset.grid.space == "world"
    np.testing.assert_allclose(landmark(dataset, 0), LANDMARK, atol=0.3)
    np.testing.assert_allclose(landmark(dataset, 1), LANDMARK + np.array([1.0, 2.0, -1.0]), atol=0.3)
    assert all(n % 8 == 0 for n in dataset.images.shape[2:])
    assert dataset.images.dtype == torch.float16
    size = dataset.pixel_mm * np.array(dataset.grid.shape)
    assert (size >= [60, 80, 70]).all()
    assert (size < np.array([60, 80, 70]) * 1.3 + 16).all()


def test_heads_of_an_unregistered_cohort_are_centred(tmp_path: Path) -> None:
    shifts = [np.array([0.0, 30.0, 0.0]), np.array([-25.0, 0.0, 40.0]), np.array([20.0, -20.0, -50.0])]
    records = [write_head(tmp_path / f"{i}.nii", np.eye(3), 2.0, shift) for i, shift in enumerate(shifts)]
    dataset = VolumeDataset(records, progress=False)
    assert dataset.grid.space == "object"
    np.testing.assert_allclose(dataset.grid.centre_mm, 0.0, atol=1e-6)
    for index in range(3):
        np.testing.assert_allclose(landmark(dataset, index), LANDMARK, atol=1.1)
    kept = VolumeDataset(records, space="world", progress=False)
    np.testing.assert_allclose(landmark(kept, 0), LANDMARK + shifts[0], atol=0.3)


def test_a_volume_on_the_lattice_is_copied_exactly(small_cohort: Path, covariates: Covariates) -> None:
    records = Cohort(small_cohort, covariates).records[:3]
    dataset = VolumeDataset(records, covariates=covariates, spacing_mm=4.0, intensity="none", progress=False)
    image = nibabel.load(records[2]["image"])
    scaled = np.asarray(image.dataobj) / np.asarray(image.dataobj).max() * 2 - 1
    held = VolumeDataset(
        records[2:], transform=lambda record: {"image": record["image"] / record["image"].max() * 2 - 1},
        like=dataset, intensity="none", progress=False,
    )  # fmt: skip
    first = np.linalg.inv(image.affine) @ dataset.affine
    low = first[:3, 3].round().astype(int)
    np.testing.assert_allclose(first, np.round(first), atol=1e-5)
    inside = [slice(max(0, a), min(n, a + m)) for a, n, m in zip(low, image.shape, dataset.grid.shape, strict=True)]
    there = [slice(s.start - a, s.stop - a) for s, a in zip(inside, low, strict=True)]
    np.testing.assert_allclose(held.images[0, 0][tuple(there)].numpy(), scaled[tuple(inside)], atol=1e-3)


def test_all_splits_share_the_training_grid(small_cohort: Path, covariates: Covariates) -> None:
    records = Cohort(small_cohort, covariates).records
    train = VolumeDataset(records[:6], covariates=covariates, spacing_mm=4.0, progress=False)
    test = VolumeDataset(records[6:8], covariates=covariates, spacing_mm=9.0, multiple=3, like=train, progress=False)
    assert test.grid == train.grid
    assert test.images.shape[1:] == train.images.shape[1:] == (1, *train.grid.shape)
    assert train.settings["image_size"] == list(train.grid.shape)
    assert np.allclose(train.settings["affine"], train.affine)
    assert train.unobserved == ["slice"]
    assert train.observed["diagnosis"] == ["NC", "AD"]
    kept = VolumeGrid.from_settings(json.loads(json.dumps(train.settings)))  # as the manifest beside weights has it
    assert kept == train.grid
    assert VolumeDataset(records[:1], covariates=covariates, like=kept, progress=False).grid == train.grid
    with pytest.raises(ValueError, match="found 64 and None, expected a volume's"):
        VolumeGrid.from_settings({"image_size": 64})
    with pytest.raises(ValueError, match="like: expected a VolumeDataset, found str"):
        VolumeDataset(records, like="train", progress=False)


def test_sides_and_field_of_view_can_be_chosen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = write_head(tmp_path / "head.nii", np.eye(3), 2.0)
    dataset = VolumeDataset([record], spacing_mm=4.0, multiple=1, field_of_view=(96, 120, 88), progress=False)
    assert dataset.grid.shape in {(24, 30, 22), (25, 31, 23)}
    assert VolumeDataset([record], spacing_mm=4.0, multiple=16, progress=False).grid.shape == (16, 32, 32)
    with caplog.at_level(logging.WARNING):
        VolumeDataset([record], field_of_view=40, progress=False)
    assert "1 of 1 volumes reach beyond the grid" in caplog.text
    for name, value in (("spacing_mm", 0.0), ("multiple", 0), ("space", "moon"), ("field_of_view", -1)):
        with pytest.raises(ValueError, match=name):
            VolumeDataset([record], progress=False, **{name: value})


def test_batches_are_augmented_and_a_flip_is_left_to_right(small_cohort: Path, covariates: Covariates) -> None:
    records = Cohort(small_cohort, covariates).records[:2]
    dataset = VolumeDataset(records, covariates=covariates, spacing_mm=8.0, progress=False)
    flip = BatchAugmentation(flip=1.0, rotate=0, scale=0, translate=0, intensity=0)
    batch = next(iter(BatchLoader(dataset, 2, augment=flip)))
    np.testing.assert_allclose(batch["image"], dataset.images[batch["index"]].float().flip(2), atol=1e-5)


def test_every_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.nii").write_bytes(b"nothing")
    (tmp_path / "empty.nii").write_bytes(b"")
    good = write_head(tmp_path / "head.nii", np.eye(3), 4.0)
    bad = [{"image": str(tmp_path / f"{name}.nii"), "subject": name} for name in ("broken", "empty")]
    with pytest.raises(CohortError, match=r"2 of 3 image\(s\) cannot be used(?s:.*)broken(?s:.*)empty"):
        VolumeDataset([good, *bad], progress=False)
    write_picture(tmp_path / "slice.png", 100)
    with pytest.raises(CohortError, match=r"slice.png: is a picture; whole volumes need"):
        VolumeDataset([{"image": str(tmp_path / "slice.png"), "subject": "one"}], progress=False)
    with pytest.raises(CohortError, match="without affine"):
        VolumeDataset([good], transform=lambda record: {"image": record["image"].numpy()}, progress=False)


@pytest.mark.parametrize("make", [SliceDataset, VolumeDataset])
def test_both_kinds_of_data_set_refuse_alike(make: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="expected at least one record"):
        make([], progress=False)
    with pytest.raises(ValueError, match="intensity"):
        make([{"image": "a.nii", "subject": "a"}], intensity="zscore", progress=False)


def test_three_planes_of_a_volume_are_squares_of_one_size() -> None:
    volume = torch.rand(1, 6, 8, 5)
    axial, coronal, sagittal = middle_planes(volume)
    assert {tuple(p.shape) for p in (axial, coronal, sagittal)} == {(1, 8, 8)}
    assert torch.equal(axial[:, :, 1:7], plane_view(volume[..., 2:3], "axial")[0])
    assert torch.equal(coronal[:, 1:6, 1:7], plane_view(volume[:, :, 4:5], "coronal")[0])
    assert torch.equal(sagittal[:, 1:6], plane_view(volume[:, 3:4], "sagittal")[0])
    picture = torch.rand(3, 4, 4)
    assert middle_planes(picture)[0] is picture
