"""Slices in memory: geometry, positions, channels, errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from cohort_files import people, write_picture, write_rows, write_volume
from monai.transforms import Lambdad

from medgen.covariates import Covariates
from medgen.data import Cohort, CohortError, SliceDataset

Writer = Callable[..., Path]


def ellipsoid(shape: tuple[int, ...], spacing: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    """1 inside an ellipsoid with ``radii`` in mm about the middle of the grid."""
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    grid = np.meshgrid(*axes, indexing="ij")
    return (sum((g / r) ** 2 for g, r in zip(grid, radii, strict=True)) < 1).astype(np.float32)


def width_and_height(image: torch.Tensor) -> tuple[int, int]:
    mask = image > 0
    return int(mask.any(0).sum()), int(mask.any(1).sum())


@pytest.mark.parametrize(("plane", "across", "up"), [("axial", 0, 1), ("coronal", 0, 2), ("sagittal", 1, 2)])
def test_anisotropic_voxels_keep_their_shape(tmp_path: Path, plane: str, across: int, up: int) -> None:
    radii, sizes = (30.0, 45.0, 36.0), []
    for k, spacing in enumerate([(1.0, 1.0, 1.0), (3.0, 1.5, 1.0), (1.0, 2.0, 5.0)]):
        shape = tuple(round(110 / s) for s in spacing)
        write_volume(tmp_path / f"{k}.nii.gz", 100 * ellipsoid(shape, spacing, radii), spacing)
        record = {"image": str(tmp_path / f"{k}.nii.gz"), "subject": str(k)}
        dataset = SliceDataset(
            [record], image_size=96, plane=plane, slices=1, seed=None, field_of_view=96, progress=False
        )
        assert dataset.pixel_mm == 1.0
        width, height = width_and_height(dataset.images[0, 0])
        assert width == pytest.approx(2 * radii[across], abs=1.5 * spacing[across] + 1)
        assert height == pytest.approx(2 * radii[up], abs=1.5 * spacing[up] + 1)
        sizes.append(dataset.images[0, 0].float())
    iou = ((sizes[0] > 0) & (sizes[1] > 0)).sum() / ((sizes[0] > 0) | (sizes[1] > 0)).sum()
    assert iou > 0.9


def test_one_field_of_view_for_all(bids: Writer, covariates: Covariates, tmp_path: Path) -> None:
    for name, shape, scale in (("small", (40, 40, 40), 10.0), ("large", (90, 70, 60), 28.0)):
        write_volume(tmp_path / f"{name}.nii.gz", ellipsoid(shape, (1, 1, 1), (scale,) * 3) * 9)
    records = [{"image": str(tmp_path / f"{n}.nii.gz"), "subject": n} for n in ("small", "large")]
    dataset = SliceDataset(records, image_size=64, slices=1, seed=None, progress=False)
    assert dataset.field_of_view == 64.0  # 57 mm, rounded up to 16
    assert dataset.pixel_mm == 1.0
    areas = [(image > 0).sum().item() for image in dataset.images]
    assert areas[0] == pytest.approx(np.pi * 10**2, rel=0.1)
    assert areas[1] == pytest.approx(np.pi * 28**2, rel=0.05)
    middle = torch.nonzero(dataset.images[1, 0] > 0).float().mean(0)
    assert torch.allclose(middle, torch.full((2,), 31.5), atol=0.6)
    fixed = SliceDataset(records[:1], image_size=32, slices=1, field_of_view=64, progress=False)
    assert fixed.pixel_mm == 2.0


def test_positions_run_over_the_object_and_reach_the_covariates(tmp_path: Path, covariates: Covariates) -> None:
    volume = np.zeros((10, 10, 20))
    for z in range(5, 16):
        volume[2:8, 2:8, z] = 100 + z
    write_volume(tmp_path / "a.nii.gz", volume)
    record = {"image": str(tmp_path / "a.nii.gz"), "subject": "a", "age": 70.0, "diagnosis": "AD", "sex": "n/a"}
    dataset = SliceDataset([record], covariates=covariates, image_size=16, progress=False)
    assert torch.allclose(dataset.positions, torch.linspace(0, 1, 11))
    assert torch.allclose(dataset.covariates[:, covariates.index("slice")], dataset.positions)
    assert dataset.covariates[0, :2].tolist() == [1.0, 70.0]
    assert dataset.covariates[0, 2].isnan()
    brightness = dataset.images.float().amax(dim=(1, 2, 3))
    assert torch.all(brightness[1:] >= brightness[:-1])  # from inferior to superior
    narrow = SliceDataset([record], covariates=covariates, image_size=16, slice_range=(0.4, 0.6), progress=False)
    assert narrow.positions.tolist() == pytest.approx([0.4, 0.5, 0.6])
    assert dataset.unobserved == ["sex"]


def test_chosen_slices_are_spread_and_repeatable(small_cohort: Path, covariates: Covariates) -> None:
    records = Cohort(small_cohort, covariates).records[:4]
    arguments = {"covariates": covariates, "image_size": 16, "slice_range": (0.3, 0.7), "slices": 3, "progress": False}
    first, again, other = (SliceDataset(records, seed=seed, **arguments) for seed in (0, 0, 1))
    assert len(first) == 12
    assert torch.equal(first.positions, again.positions)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.positions, other.positions)
    for subject in first.positions.reshape(4, 3):
        for i, position in enumerate(subject.tolist()):
            assert 0.3 + 0.4 * i / 3 - 0.03 <= position <= 0.3 + 0.4 * (i + 1) / 3 + 0.03
    alone = SliceDataset(records[2:3], seed=0, field_of_view=first.field_of_view, **arguments)
    assert torch.equal(alone.images, first.images[6:9])  # a subject's slices do not depend on the others
    middle = SliceDataset(records[:1], seed=None, **{**arguments, "slices": 1})
    assert middle.positions.item() == pytest.approx(0.5, abs=0.02)


def test_channels_stay_together(bids: Writer, covariates: Covariates) -> None:
    cohort = Cohort(bids(3, suffixes=("T1w", "FLAIR")), covariates, suffix=["T1w", "FLAIR"])
    dataset = SliceDataset(cohort.records, covariates=covariates, image_size=16, slices=2, channels=2, progress=False)
    assert dataset.images.shape == (6, 2, 16, 16)
    assert dataset.subjects == ["sub-00", "sub-00", "sub-01", "sub-01", "sub-02", "sub-02"]
    with pytest.raises(CohortError, match=r"found 2 channel\(s\) in 2 file\(s\), expected 1"):
        SliceDataset(cohort.records, image_size=16, channels=1, progress=False)


def test_item_and_attributes(bids: Writer, covariates: Covariates) -> None:
    dataset = SliceDataset(Cohort(bids(2), covariates).records, covariates=covariates, image_size=24, progress=False)
    item = dataset[3]
    assert set(item) == {"image", "covariates", "subject", "index"}
    assert item["image"].dtype == torch.float32
    assert item["image"].shape == (1, 24, 24)
    assert item["index"] == 3
    assert dataset.images.min() == -1
    assert dataset.images.max() == 1
    assert dataset.covariates.dtype == torch.float32
    for attribute in (dataset.images, dataset.subjects, dataset.positions, dataset.records, dataset.covariates):
        assert len(attribute) == len(dataset)


def test_slice_pictures(slice_folders: Writer, covariates: Covariates) -> None:
    cohort = Cohort(slice_folders(slices=range(11)), covariates)
    dataset = SliceDataset(
        cohort.records, covariates=covariates, image_size=24, slice_range=(0.2, 0.8), slices=3, progress=False
    )
    assert dataset.images.shape == (15, 1, 24, 24)
    assert dataset.pixel_mm is None
    assert dataset.field_of_view == 24.0
    assert dataset.positions.min() >= 0.2
    assert dataset.positions.max() <= 0.8
    assert torch.allclose(dataset.covariates[:, 3], dataset.positions)
    # 20 rows and 24 columns in a square: two rows of background above and below
    assert dataset.images[0, 0, :5].max() < -0.9
    assert dataset.images[0, 0, 8:16, 6:-6].min() > -0.5
    # normalised over the scan, so that slices keep their relative brightness (60 + 10 k)
    top = dataset.images[:3, 0, 12, 12].float()
    values = [60 + 10 * r["slice_index"] for r in dataset.records[:3]]
    assert torch.allclose((top + 1) / (top[-1] + 1), torch.tensor(values) / values[-1], atol=0.03)


def test_eight_bits_survive(tmp_path: Path) -> None:
    from PIL import Image

    array = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(array).save(tmp_path / "a.png")
    dataset = SliceDataset(
        [{"image": str(tmp_path / "a.png"), "subject": "a"}],
        transform=Lambdad("image", lambda x: x / 127.5 - 1),
        intensity="none",
        image_size=16,
        progress=False,
    )
    assert np.array_equal(np.rint((dataset.images[0, 0].float().numpy() + 1) * 127.5), array)


def test_monai_transform_sees_the_record(bids: Writer, covariates: Covariates) -> None:
    seen = []

    def transform(record: dict) -> dict:
        seen.append((record["subject"], tuple(record["image"].shape), float(record["image"].pixdim[0])))
        return {**record, "image": record["image"] * 0}

    dataset = SliceDataset(
        Cohort(bids(2), covariates).records, transform=transform, image_size=8, slices=1, workers=1, progress=False
    )
    assert seen == [("sub-00", (1, 12, 14, 10), 1.0), ("sub-01", (1, 12, 14, 10), 1.0)]
    assert dataset.images.unique().tolist() == [-1.0]


def test_every_unreadable_file_is_named_at_once(bids: Writer, covariates: Covariates) -> None:
    root = bids(5)
    for subject in ("sub-01", "sub-04"):
        (root / subject / "anat" / f"{subject}_T1w.nii.gz").write_bytes(b"broken")
    with pytest.raises(CohortError, match=r"2 of 5 image\(s\) cannot be used") as error:
        SliceDataset(Cohort(root, covariates).records, image_size=8, progress=False)
    assert "sub-01_T1w" in str(error.value)
    assert "sub-04_T1w" in str(error.value)


def test_pictures_and_volumes_do_not_mix(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    write_volume(tmp_path / "b.nii.gz", np.ones((3, 3, 3)))
    records = [{"image": str(tmp_path / n), "subject": n} for n in ("a.png", "b.nii.gz")]
    with pytest.raises(CohortError, match="found pictures and volumes"):
        SliceDataset(records, progress=False)


def test_no_slice_in_range(slice_folders: Writer, covariates: Covariates) -> None:
    records = Cohort(slice_folders(slices=(0, 10)), covariates).records
    with pytest.raises(CohortError, match=r"no slice lies in slice_range \(0.4, 0.6\)"):
        SliceDataset(records, slice_range=(0.4, 0.6), progress=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"plane": "axiall"}, r"plane: found 'axiall' \(nearest: 'axial'\)"),
        ({"slice_range": (0.6, 0.4)}, "slice_range"),
        ({"slice_range": (0, 100)}, "slice_range"),
        ({"slices": 0}, "slices: expected at least 1"),
        ({"image_size": 0}, "image_size"),
        ({"field_of_view": -1}, "field_of_view"),
        ({"intensity": "zscore"}, "intensity: found 'zscore'"),
        ({"data": []}, "data: expected at least one record"),
    ],
)
def test_arguments_are_checked(bids: Writer, covariates: Covariates, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SliceDataset(**{"data": Cohort(bids(1), covariates).records, "progress": False, **arguments})


def test_larger_ventricles_are_more_dark_pixels(small_cohort: Path, covariates: Covariates) -> None:
    cohort = Cohort(small_cohort, covariates)
    dataset = SliceDataset(
        cohort.records, image_size=64, slice_range=(0.45, 0.7), slices=4, field_of_view=192, seed=None, progress=False
    )
    dark = (dataset.images[:, 0, 20:44, 22:42] < -0.1).sum(dim=(1, 2)).reshape(16, 4).sum(1)
    volume = torch.tensor([float(row["ventricle_ml"]) for row in cohort.columns])
    assert torch.corrcoef(torch.stack([dark.float(), volume]))[0, 1] > 0.8


def test_table_order_does_not_change_a_subject(tmp_path: Path, bids: Writer, covariates: Covariates) -> None:
    root = bids(3)
    write_rows(root / "participants.tsv", list(reversed(people(3))))
    dataset = SliceDataset(Cohort(root, covariates).records, covariates=covariates, image_size=8, progress=False)
    ages = dict(zip(dataset.subjects, dataset.covariates[:, 1].tolist(), strict=True))
    assert ages == {"sub-00": 60.0, "sub-01": 61.0, "sub-02": 62.0}
