"""Reading, orienting, normalising and resampling one image."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from cohort_files import write_volume
from PIL import ExifTags, Image

from medgen.data import CohortError
from medgen.data.images import Extent, foreground_extent, normalise, plane_view, read_image, resample


def test_volume_is_turned_to_ras(tmp_path: Path) -> None:
    ras = np.random.default_rng(0).random((4, 5, 6)).astype(np.float32)
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    image = nibabel.Nifti1Image(ras, affine)
    orientation = nibabel.orientations.axcodes2ornt(("P", "S", "L"))  # as Siemens writes sagittal series
    nibabel.save(image.as_reoriented(nibabel.io_orientation(affine)), tmp_path / "a.nii.gz")
    turned = image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(affine), orientation))
    assert nibabel.aff2axcodes(turned.affine) == ("P", "S", "L")
    nibabel.save(turned, tmp_path / "b.nii.gz")
    for name in ("a", "b"):
        volume = read_image(str(tmp_path / f"{name}.nii.gz"))
        assert np.allclose(volume.as_tensor()[0].numpy(), ras)
        assert volume.pixdim.tolist() == [2.0, 3.0, 4.0]


def test_plane_views_lie_as_a_reader_expects() -> None:
    x, y, z = torch.meshgrid(torch.arange(3.0), torch.arange(4.0), torch.arange(5.0), indexing="ij")
    volume = (100 * x + 10 * y + z)[None]  # x to the right, y to the front, z to the head
    axial, coronal, sagittal = (plane_view(volume, p)[:, 0] for p in ("axial", "coronal", "sagittal"))
    assert axial.shape == (5, 4, 3)
    assert axial[2].tolist() == [[100 * i + 10 * j + 2 for i in range(3)] for j in (3, 2, 1, 0)]  # front on top
    assert coronal.shape == (4, 5, 3)
    assert coronal[1].tolist() == [[100 * i + 10 + k for i in range(3)] for k in (4, 3, 2, 1, 0)]  # head on top
    assert sagittal.shape == (3, 5, 4)
    assert sagittal[2].tolist() == [[200 + 10 * j + k for j in range(4)] for k in (4, 3, 2, 1, 0)]  # front on the right


def test_channels_on_another_grid_are_brought_to_the_first(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(12.0)[:, None, None], (12, 10, 8))
    write_volume(tmp_path / "t1.nii.gz", ramp)
    write_volume(tmp_path / "flair.nii.gz", ramp[::2, ::2, ::2], (2, 2, 2))
    image = read_image([str(tmp_path / "t1.nii.gz"), str(tmp_path / "flair.nii.gz")])
    assert image.shape == (2, 12, 10, 8)
    common = (slice(0, 11), slice(0, 9), slice(0, 7))  # the coarse grid ends before the fine one does
    assert torch.allclose(image[0][common], image[1][common], atol=0.01)  # the same ramp in mm


def test_channel_count_is_checked(tmp_path: Path) -> None:
    write_volume(tmp_path / "t1.nii.gz", np.ones((4, 4, 4)))
    with pytest.raises(CohortError, match=r"found 1 channel\(s\) in 1 file\(s\), expected 2"):
        read_image(str(tmp_path / "t1.nii.gz"), channels=2)


def test_four_dimensions_are_channels_and_nan_is_background(tmp_path: Path) -> None:
    array = np.ones((4, 5, 6, 2))
    array[0, 0, 0, 0] = np.nan
    write_volume(tmp_path / "two.nii.gz", array)
    image = read_image(str(tmp_path / "two.nii.gz"))
    assert image.shape == (2, 4, 5, 6)
    assert image[0, 0, 0, 0] == 0
    assert torch.isfinite(image.as_tensor()).all()


@pytest.mark.parametrize("kind", [nibabel.MGHImage, nibabel.Nifti1Pair])
def test_freesurfer_and_pairs(tmp_path: Path, kind: type) -> None:
    array = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    name = tmp_path / ("a.mgz" if kind is nibabel.MGHImage else "a.img")
    nibabel.save(kind(array, np.diag([1.0, 2.0, 3.0, 1.0])), name)
    volume = read_image(str(name))
    assert np.allclose(volume.as_tensor()[0].numpy(), array)
    assert volume.pixdim.tolist() == [1.0, 2.0, 3.0]


def test_pictures_are_grey_or_colour(tmp_path: Path) -> None:
    red = np.zeros((6, 4, 3), dtype=np.uint8)
    red[..., 0] = 200
    Image.fromarray(red).save(tmp_path / "red.png")
    grey = read_image(str(tmp_path / "red.png"))
    assert grey.shape == (1, 6, 4)
    assert grey[0, 0, 0] == round(0.299 * 200)
    assert read_image(str(tmp_path / "red.png"), channels=3)[:, 0, 0].tolist() == [200.0, 0.0, 0.0]


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (6, -1), (3, 2), (8, 1)])
def test_pictures_are_turned_as_they_say(tmp_path: Path, suffix: str, orientation: int, turns: int) -> None:
    stored = np.zeros((16, 24), dtype=np.uint8)
    stored[:8, :8] = 200
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(stored).save(tmp_path / f"a.{suffix}", exif=exif)
    read = read_image(str(tmp_path / f"a.{suffix}"))
    np.testing.assert_allclose(read[0].numpy(), np.rot90(stored, turns), atol=3)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.png", "a.mha"])
def test_unreadable_files_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"this is no image")
    with pytest.raises(CohortError, match=rf"{name}: cannot be read as an image"):
        read_image(str(tmp_path / name))
    with pytest.raises(CohortError, match=r"gone.nii: cannot be read as an image \(no such file\)"):
        read_image(str(tmp_path / "gone.nii"))


def test_normalisation_is_linear_with_a_fixed_background() -> None:
    random = np.random.default_rng(0)
    volume = torch.zeros(1, 20, 20, 20)
    volume[0, 5:15, 5:15, 5:15] = torch.from_numpy(random.uniform(100, 200, (10, 10, 10))).float()
    volume[0, 10, 10, 10] = 10_000  # a spike must not set the scale
    scaled = normalise(volume)
    assert scaled[0, 0, 0, 0] == -1
    assert scaled.max() == 1
    assert scaled[0, 10, 10, 10] == 1
    inner = volume[0, 5:15, 5:15, 5:15]
    top = np.quantile(inner[inner < 1000].numpy(), 0.995)
    assert torch.allclose(scaled[0, 6, 6, 6], 2 * volume[0, 6, 6, 6] / top - 1, atol=0.01)
    for gain in (0.01, 7.0):
        assert torch.allclose(normalise(gain * volume), scaled, atol=1e-5)


def test_normalisation_with_noise_in_air() -> None:
    random = torch.Generator().manual_seed(0)
    volume = 20 * torch.rand(1, 30, 30, 30, generator=random)
    volume[0, 10:20, 10:20, 10:20] += 500
    scaled = normalise(volume)
    assert scaled[0, :8].mean() < -0.95
    assert scaled[0, 10:20, 10:20, 10:20].mean() > 0.9
    assert [(e.low, e.high) for e in foreground_extent(volume)] == [(10, 19)] * 3


def test_constant_image_is_background() -> None:
    assert normalise(torch.full((1, 4, 4, 4), 7.0)).unique().tolist() == [-1.0]


def test_extent_ignores_specks() -> None:
    volume = torch.zeros(1, 30, 30, 30)
    volume[0, 8:20, 4:28, 10:22] = 1.0
    volume[0, 0, 0, 0] = 1.0
    assert foreground_extent(volume) == [Extent(8, 19), Extent(4, 27), Extent(10, 21)]
    assert Extent(8, 19).centre == 13.5
    assert Extent(8, 19).size == 12


def test_resampling_to_the_same_grid_is_the_identity() -> None:
    image = torch.rand(2, 7, 9)
    assert torch.allclose(resample(image, (3, 4), (1, 1), (7, 9)), image, atol=1e-6)


def test_keys_cubic_reproduces_a_parabola_between_pixels() -> None:
    x = torch.arange(20.0)
    image = (x**2)[None].expand(20, 20)
    found = resample(image, (9.5, 9.3), (1, 0.25), (20, 20))[10]
    wanted = (9.3 + 0.25 * (torch.arange(20.0) - 9.5)) ** 2
    assert torch.allclose(found, wanted, atol=1e-3)  # a = -0.5 is exact for polynomials up to degree two


def test_downsampling_keeps_the_mean_and_does_not_alias() -> None:
    stripes = (torch.arange(64) % 2).float()[None].expand(64, 64)
    coarse = resample(stripes, (31.5, 31.5), (4, 4), (16, 16))
    assert torch.allclose(coarse[4:-4, 4:-4], torch.tensor(0.5), atol=0.02)


def test_outside_is_zero() -> None:
    found = resample(torch.ones(4, 4), (1.5, 1.5), (1, 1), (12, 4))
    assert found[:2].abs().max() == 0
    assert torch.allclose(found[4:8], torch.ones(4, 4))
