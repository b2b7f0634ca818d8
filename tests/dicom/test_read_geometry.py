"""Where voxels are: against SimpleITK's GDCM reader, and against positions that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dicom_series import AXIAL, CORONAL, KEY, SAGITTAL, oblique, picture, write_enhanced, write_series
from itk_reference import read_with_gdcm

from medgen.data import CohortError
from medgen.data.images import read_image
from medgen.dicom import read_series

PLANES = {
    "axial": AXIAL,
    "sagittal": SAGITTAL,
    "coronal": CORONAL,
    "oblique": oblique(),
    "steep": oblique(40.0),
    "upside down": (-1, 0, 0, 0, 1, 0),
    "rows along columns": (0, 1, 0, 1, 0, 0),
}


@pytest.mark.parametrize("plane", PLANES)
def test_a_series_is_where_gdcm_says(tmp_path: Path, plane: str) -> None:
    write_series(tmp_path / "series", picture(), PLANES[plane])
    volume = read_series(tmp_path / "series", key=KEY)
    voxels, affine = read_with_gdcm(tmp_path / "series")
    assert volume.dtype == torch.float32
    assert np.array_equal(volume[0].numpy(), voxels)
    assert np.allclose(volume.affine, affine, rtol=0, atol=1e-6)
    assert (np.diag(volume.affine[:3, :3]) > 0).all() or plane == "steep"


@pytest.mark.parametrize("plane", ["axial", "sagittal", "oblique"])
def test_an_enhanced_image_is_where_the_same_slices_are(tmp_path: Path, plane: str) -> None:
    write_series(tmp_path / "series", picture(), PLANES[plane])
    file = write_enhanced(tmp_path / "enhanced.dcm", picture(), PLANES[plane])
    classic, enhanced = read_series(tmp_path / "series", key=KEY), read_series(file, key=KEY)
    assert torch.equal(enhanced.as_tensor(), classic.as_tensor())
    assert torch.allclose(enhanced.affine, classic.affine, rtol=0, atol=1e-6)
    assert enhanced.meta["dicom"] == {**classic.meta["dicom"], "echo_time": 3.0}


def test_one_bright_voxel_is_at_its_position(tmp_path: Path) -> None:
    slices = np.zeros((5, 6, 4), dtype=np.uint16)
    slices[3, 2, 1] = 1000  # slice 3, row 2, column 1
    write_series(tmp_path, slices, SAGITTAL, spacing=(0.9, 1.1), step=-1.5, origin=(5.0, -50.0, 40.0))
    volume = read_series(tmp_path, key=KEY)
    voxel = np.argwhere(volume[0].numpy() == 1000)[0]
    # the normal of rows to the back and columns to the feet is (-1, 0, 0): three steps of -1.5 mm go to +4.5 mm
    lps = np.array([5.0 + 3 * 1.5, -50.0 + 1 * 1.1, 40.0 - 2 * 0.9])
    assert np.allclose((volume.affine.numpy() @ [*voxel, 1.0])[:3], lps * [-1, -1, 1])


def test_one_slice_has_its_thickness(tmp_path: Path) -> None:
    (file,) = write_series(tmp_path, picture()[:1], oblique(), step=4.0)
    volume = read_image(str(file))
    assert volume.shape == (1, 4, 6, 1)
    assert np.allclose(volume.pixdim, [1.1, 0.9, 4.0])


def test_positions_may_be_rounded(tmp_path: Path) -> None:
    def round_position(i: int, ds):
        ds.ImagePositionPatient = [round(float(v), 2) for v in ds.ImagePositionPatient]
        return ds

    write_series(tmp_path, picture((40, 6, 4)), oblique(), step=0.8, change=round_position)
    volume = read_series(tmp_path, key=KEY)
    assert volume.shape[1:] == (4, 6, 40)
    assert float(volume.pixdim[2]) == pytest.approx(0.8, abs=1e-3)


def test_files_may_be_given_one_by_one(tmp_path: Path) -> None:
    paths = write_series(tmp_path, picture())
    (tmp_path / "README.txt").write_text("no DICOM")
    assert torch.equal(read_series(paths[::-1], key=KEY), read_series(tmp_path, key=KEY))
    with pytest.raises(CohortError, match=r"README.txt: is no DICOM file"):
        read_series([*paths, tmp_path / "README.txt"], key=KEY)


def test_a_series_is_chosen_by_its_uid(tmp_path: Path) -> None:
    write_series(tmp_path / "a", picture(), prefix="a")
    write_series(tmp_path / "b", 2 * picture(), prefix="b")
    with pytest.raises(CohortError, match=r"holds 2 series, expected one, or series_uid: [\d.]+ \(number 2, ") as error:
        read_series(tmp_path, key=KEY)
    assert "MPRAGE" not in str(error.value)  # a description may hold a name
    import pydicom

    uid = pydicom.dcmread(next((tmp_path / "b").iterdir())).SeriesInstanceUID
    assert read_series(tmp_path, uid, key=KEY).max() == 2 * picture().max()
    with pytest.raises(CohortError, match=r"holds no series '1.2'; found 2"):
        read_series(tmp_path, "1.2", key=KEY)
