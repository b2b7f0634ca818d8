import json
import os
import stat

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from medgen.io import atomic_write, file_sha256, image_grid, save_gif, save_nifti, save_png, to_uint8, write_json


def ramp(channels=1, height=4, width=5):
    return torch.linspace(-1, 1, channels * height * width).reshape(channels, height, width)


def test_to_uint8_maps_the_ends_the_middle_and_clips():
    values = to_uint8(np.array([[-2.0, -1.0, 0.0, 1.0, 3.0, np.nan]]))
    assert values.dtype == np.uint8
    assert values.tolist() == [[0, 0, 128, 255, 255, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_png_round_trip_is_within_half_a_grey_level(tmp_path, dtype):
    image = ramp().to(dtype)
    save_png(image, tmp_path / "a.png")
    read = np.asarray(Image.open(tmp_path / "a.png")).astype(float)
    assert np.abs(read - (image[0].double().numpy() + 1) * 127.5).max() <= 0.5 + 1e-6


def test_png_says_that_it_is_synthetic_and_metadata_cannot_unsay_it(tmp_path):
    save_png(ramp(3), tmp_path / "a.png", {"seed": 3, "model": "abc", "Synthetic": "NO", "age": np.float32(75)})
    with Image.open(tmp_path / "a.png") as png:
        assert png.mode == "RGB"
        assert png.text["Synthetic"] == "YES"
        assert png.text["Description"] == "SYNTHETIC - NOT FOR DIAGNOSIS"
        assert png.text["Software"].startswith("medgen ")
        assert (png.text["seed"], png.text["model"], png.text["age"]) == ("3", "abc", "75.0")


def test_a_picture_of_participants_is_not_called_synthetic(tmp_path):
    save_png(ramp(), tmp_path / "a.png", synthetic=False)
    with Image.open(tmp_path / "a.png") as png:
        assert png.text["Synthetic"] == "NO"
        assert "PARTICIPANTS" in png.text["Description"]


@pytest.mark.parametrize("shape", [(2, 4, 4), (4,), (1, 2, 3, 4)])
def test_png_refuses_other_shapes(tmp_path, shape):
    with pytest.raises(ValueError, match="image: found float32 of shape"):
        save_png(torch.zeros(shape), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_gif_keeps_frames_and_comment(tmp_path):
    save_gif([ramp() * scale for scale in (0.2, 0.6, 1.0)], tmp_path / "a.gif", {"seed": 1})
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 3
        comment = json.loads(gif.info["comment"])
    assert comment["Synthetic"] == "YES"
    assert comment["seed"] == 1
    with pytest.raises(ValueError, match="frames: found none"):
        save_gif([], tmp_path / "b.gif")


@pytest.mark.parametrize(
    ("shape", "stored"), [((1, 4, 5), (4, 5, 1)), ((1, 4, 5, 6), (4, 5, 6)), ((2, 4, 5, 6), (4, 5, 6, 2))]
)
@pytest.mark.parametrize("name", ["a.nii.gz", "b.nii"])
def test_nifti_carries_values_affine_and_marks(tmp_path, shape, stored, name):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    save_nifti(image, tmp_path / name, affine, {"age": 75})
    read = nib.load(tmp_path / name)
    assert read.shape == stored
    values = np.moveaxis(read.get_fdata(), -1, 0) if shape[0] == 2 else read.get_fdata().reshape(shape)
    np.testing.assert_array_equal(values.astype(np.float32), image.numpy())
    np.testing.assert_array_equal(read.affine, affine)
    assert bytes(read.header["descrip"].item()).decode() == "SYNTHETIC - NOT FOR DIAGNOSIS"
    extension = json.loads(read.header.extensions[0].get_content())
    sidecar = json.loads((tmp_path / name).with_name(name.split(".")[0] + ".json").read_text())
    assert sidecar == extension
    assert sidecar["Synthetic"] is True
    assert sidecar["age"] == 75


def test_nifti_refuses_another_suffix(tmp_path):
    with pytest.raises(ValueError, match=r"expected a name ending with .nii"):
        save_nifti(ramp(), tmp_path / "a.mha")


def test_grid_places_every_image_where_its_index_says():
    images = torch.arange(5).reshape(5, 1, 1, 1).expand(5, 1, 8, 8) / 4 * 2 - 1
    grid = image_grid(images, columns=3, cell=8, gap=2)
    assert grid.shape == (2 + 2 * 10, 2 + 3 * 10, 3)
    for index in range(5):
        row, column = divmod(index, 3)
        cell = grid[2 + 10 * row : 10 + 10 * row, 2 + 10 * column : 10 + 10 * column]
        assert (cell == round(index / 4 * 255 + 1e-6)).all()
    assert (grid[12:20, 22:30] == 0).all()


def test_grid_labels_take_room_and_leave_ink():
    images = torch.full((4, 1, 32, 32), -1.0)
    plain = image_grid(images, columns=2)
    labelled = image_grid(images, columns=2, row_labels=["NC", "AD"], column_labels=["50", "90"])
    assert labelled.shape[0] > plain.shape[0]
    left = labelled.shape[1] - plain.shape[1]
    assert left > 0
    half = labelled.shape[0] // 2
    assert labelled[:half, :left].max() > 128
    assert labelled[half:, :left].max() > 128
    assert plain.max() == 0


def test_grid_enlarges_by_a_whole_factor_and_shows_the_middle_of_a_volume():
    volume = torch.full((1, 1, 8, 8, 5), -1.0)
    volume[..., 2] = 1.0
    grid = image_grid(volume, cell=20, gap=0)
    assert grid.shape == (24, 24, 3)
    assert (grid == 255).all()


def test_grid_counts_its_labels():
    with pytest.raises(ValueError, match="row_labels: found 1 texts, expected 2"):
        image_grid(torch.zeros(4, 1, 8, 8), columns=2, row_labels=["NC"])
    with pytest.raises(ValueError, match="images: found none"):
        image_grid([])


def test_atomic_write_keeps_the_old_file_after_an_error(tmp_path):
    target = tmp_path / "deep" / "a.txt"
    with atomic_write(target) as temporary:
        temporary.write_text("old")

    def write_half():
        with atomic_write(target) as temporary:
            temporary.write_text("half of the ne")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert target.read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
def test_private_files_are_private_from_their_first_byte(tmp_path):
    with atomic_write(tmp_path / "a.html", permissions=0o600) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "a.html").stat().st_mode) == 0o600


def test_json_refuses_nan_and_takes_arrays(tmp_path):
    write_json(tmp_path / "a.json", {"values": np.arange(3), "path": tmp_path})
    assert json.loads((tmp_path / "a.json").read_text()) == {"values": [0, 1, 2], "path": str(tmp_path)}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", {"value": float("nan")})


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
