"""Files that others made, against SimpleITK's GDCM reader: pydicom's test files, and the real series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_series import KEY
from itk_reference import read_with_gdcm

from medgen.data import CohortError
from medgen.dicom import read_series, scan_dicom
from medgen.dicom.files import read_with_pixels
from medgen.dicom.frames import FRAME_TAGS, read_frames
from medgen.dicom.pixels import decode

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.mark.filterwarnings("ignore")
def test_pydicoms_images_are_as_gdcm_reads_them() -> None:
    equal = 0
    for path in sorted(p for p in PYDICOM_FILES.rglob("*") if p.is_file()):
        try:
            volume = read_series(path, key=KEY)
        except CohortError as error:
            assert str(error).startswith(str(path))  # noqa: PT017
            continue
        voxels, affine = read_with_gdcm(path)
        assert np.array_equal(volume[0].numpy(), voxels), path
        # GDCM takes slices for 1 mm thick where there is one alone; in the plane the two must agree
        thin = volume.shape[1:].index(1)
        others = [i for i in range(4) if i != thin]
        assert np.allclose(volume.affine[:3, others], affine[:3, others], atol=1e-4), path
        equal += 1
    assert equal >= 30


@pytest.mark.real_data
def test_the_real_t1_is_as_gdcm_reads_it(real_data: Path) -> None:
    volume = read_series(real_data / "dicom_t1", key=KEY)
    voxels, affine = read_with_gdcm(real_data / "dicom_t1")
    assert volume.shape == (1, 176, 256, 256)
    assert np.array_equal(volume[0].numpy(), voxels)
    assert np.allclose(volume.affine, affine, rtol=0, atol=1e-4)
    assert set(volume.meta) == {"affine", "space", "dicom"}
    (series,) = scan_dicom(real_data / "dicom_t1", progress=False, key=KEY)
    assert (series.kind, series.orientation, series.slices) == ("volume", "oblique sagittal", 176)
    assert series.readable


@pytest.mark.real_data
def test_the_real_mosaics_are_recognised_and_their_pixels_read(real_data: Path) -> None:
    table = scan_dicom(real_data / "dicom_siemens_epi", progress=False, key=KEY)
    assert [s.kind for s in table] == ["mosaic"] * 4
    assert table.other_files == 5
    for series in table:
        assert "a Siemens mosaic of 5 slices" in series.problems[0]
        with pytest.raises(CohortError, match="convert it with dcm2niix"):
            read_series(series.files, key=KEY)
        for path in series.files:
            pixels = read_frames(path, KEY).pixels
            (plane,) = decode(read_with_pixels(path, FRAME_TAGS), pixels, path, [0])
            assert np.array_equal(plane, sitk.GetArrayFromImage(sitk.ReadImage(path))[0])
