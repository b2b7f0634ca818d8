"""What is not one volume is refused, and the message says why; the scan says the same before."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dicom_series import AXIAL, CORONAL, KEY, SAGITTAL, new_uids, picture, write_enhanced, write_series
from pydicom.dataset import Dataset

from medgen.data import CohortError
from medgen.data.images import read_image
from medgen.dicom import read_series, scan_dicom
from medgen.dicom.series import SeriesInfo

Change = Callable[[int, Dataset], "Dataset | None"]


def refused(folder: Path, *words: str) -> SeriesInfo:
    """Check that reading and scanning agree on why a folder is no volume; return what the scan says."""
    (info,) = scan_dicom(folder, progress=False, key=KEY)
    assert not info.readable
    text = "; ".join(info.problems)
    with pytest.raises(CohortError, match=re.escape(str(folder))) as error:
        read_series(folder, key=KEY)
    for word in words:
        assert word in text
        assert word in str(error.value)
    return info


def test_a_gap_is_named(tmp_path: Path) -> None:
    write_series(tmp_path, picture((8, 6, 4)), change=lambda i, ds: None if i in (3, 4) else ds)
    info = refused(tmp_path, "1 uneven step", "slices are 1.5 mm apart, but 4.5 mm between", "as if 2 were missing")
    assert info.kind == "volume"


def test_slices_of_another_distance_are_named(tmp_path: Path) -> None:
    uids = new_uids()
    write_series(tmp_path, picture((20, 6, 4)), step=1.0, origin=(0, 0, 0), uids=uids, prefix="a")
    write_series(tmp_path, picture((20, 6, 4)), step=1.04, origin=(0, 0, 20), uids=uids, prefix="b")
    refused(tmp_path, "uneven")


@pytest.mark.parametrize(
    ("every", "stated", "thickness", "says"),
    [
        (2, 1.5, 1.5, "slices are 3 mm apart, but Spacing Between Slices says 1.5 mm, as if 1 of every 2 were missing"),
        (2, 1.5, 1.4, "as if 1 of every 2 were missing"),  # a gap of less than a tenth
        (3, 1.5, 2.0, "slices are 4.5 mm apart, but Spacing Between Slices says 1.5 mm, as if 2 of every 3"),
    ],
)
def test_slices_missing_at_regular_intervals_are_named(
    tmp_path: Path, every: int, stated: float, thickness: float, says: str
) -> None:
    write_series(tmp_path, picture((8, 6, 4)), change=lambda i, ds: _states(ds, stated, thickness, i % every == 0))
    refused(tmp_path, says)


@pytest.mark.parametrize(
    ("stated", "thickness", "note"),
    [
        (1.5, 1.2, ""),
        (None, 0.75, ""),  # thickness alone is no evidence
        (0.0, 0.75, ""),
        (1.0, 1.5, "slices are 1.5 mm apart, but Spacing Between Slices says 1 mm"),
        (0.3, 1.2, "slices are 1.5 mm apart, but Spacing Between Slices says 0.3 mm"),  # the gap: five times would fit
        (3.0, 1.5, "slices are 1.5 mm apart, but Spacing Between Slices says 3 mm"),
    ],
)
def test_a_stated_distance_that_may_mean_something_else_is_a_note(
    tmp_path: Path, stated: float | None, thickness: float, note: str
) -> None:
    write_series(tmp_path, picture(), change=lambda i, ds: _states(ds, stated, thickness))
    assert scan_dicom(tmp_path, progress=False, key=KEY)[0].notes == ([note] if note else [])
    assert read_series(tmp_path, key=KEY).pixdim[2] == pytest.approx(1.5)


def _states(ds: Dataset, spacing: float | None, thickness: float, kept: bool = True) -> Dataset | None:
    ds.SliceThickness = thickness
    if spacing is not None:
        ds.SpacingBetweenSlices = spacing
    return ds if kept else None


def test_several_frames_of_reference_are_named(tmp_path: Path) -> None:
    def moved(i: int, ds: Dataset) -> Dataset:
        ds.FrameOfReferenceUID = f"1.2.3.{i // 3}"
        return ds

    write_series(tmp_path, picture(), change=moved)
    assert refused(tmp_path, "2 different Frame of Reference UIDs, such as those of im").kind == "mixed"


def test_duplicates_are_named(tmp_path: Path) -> None:
    path = write_series(tmp_path, picture())[1]
    path.with_name("copy.dcm").write_bytes(path.read_bytes())
    info = refused(tmp_path, "1 copies of instances that are there already", "copy.dcm", path.name)
    assert info.kind == "volume"
    assert len(info.problems) == 1


def test_two_images_of_one_place_are_named(tmp_path: Path) -> None:
    uids = new_uids()
    write_series(tmp_path, picture(), uids=uids, prefix="a")
    write_series(tmp_path, picture()[2:3], origin=(-20, 30, 10 + 2 * 1.5), uids=uids, prefix="again")
    refused(tmp_path, "duplicates: 2 images in one place at 1 position(s)", "again")


def test_several_echoes_are_named(tmp_path: Path) -> None:
    uids = new_uids()
    for echo in (4.9, 7.4):

        def at(i: int, ds: Dataset, echo: float = echo) -> Dataset:
            ds.EchoTime = echo
            return ds

        write_series(tmp_path, picture(), uids=uids, prefix=f"e{echo:.0f}", change=at)
    info = refused(tmp_path, "2 images at each of 5 positions, that differ in EchoTime 4.9, 7.4")
    assert info.kind == "several volumes"
    write_enhanced(tmp_path / "enhanced" / "a.dcm", picture(), echo_times=(4.9, 7.4))
    refused(tmp_path / "enhanced", "2 images at each of 5 positions, that differ in EffectiveEchoTime")


def test_times_of_day_are_not_told(tmp_path: Path) -> None:
    uids = new_uids()
    for time in ("101010.5", "111111.5"):

        def at(i: int, ds: Dataset, time: str = time) -> Dataset:
            ds.AcquisitionTime = time
            return ds

        write_series(tmp_path, picture(), uids=uids, prefix=time[:2], change=at)
    info = refused(tmp_path, "that differ in AcquisitionTime.")
    assert "1010" not in info.problems[0]


def test_mixed_orientations_and_localisers_are_named(tmp_path: Path) -> None:
    def localizer(i: int, ds: Dataset) -> Dataset:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        return ds

    keep: Change = lambda i, ds: ds  # noqa: E731
    for change, folder, kind in ((keep, tmp_path / "a", "mixed"), (localizer, tmp_path / "b", "localizer")):
        uids = new_uids()
        for plane, orientation in (("t", AXIAL), ("s", SAGITTAL), ("c", CORONAL)):
            write_series(folder, picture()[:3], orientation, uids=uids, prefix=plane, change=change)
        info = refused(folder, "mixed orientations (3 axial, 3 coronal, 3 sagittal", "localiser")
        assert info.kind == kind
    write_series(tmp_path / "c", picture(), change=localizer)
    assert refused(tmp_path / "c", "a localiser (its Image Type says so)").kind == "localizer"


def test_a_localiser_may_be_known_by_its_description_alone(tmp_path: Path) -> None:
    def name(i: int, ds: Dataset) -> Dataset:
        ds.SeriesDescription = "3 Plane Localizer"
        return ds

    uids = new_uids()
    write_series(tmp_path / "a", picture(), AXIAL, uids=uids, prefix="t", change=name)
    write_series(tmp_path / "a", picture((5, 7, 4)), SAGITTAL, uids=uids, prefix="s", change=name)
    assert refused(tmp_path / "a", "different sizes", "5 axial, 5 sagittal", "localiser").kind == "localizer"
    write_series(tmp_path / "b", picture(), change=name)  # one stack of one orientation is a volume, whatever its name
    assert scan_dicom(tmp_path / "b", progress=False, key=KEY)[0].readable


def test_mosaics_are_named_with_advice(tmp_path: Path) -> None:
    def mosaic(i: int, ds: Dataset) -> Dataset:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
        return ds

    def by_private_count(i: int, ds: Dataset) -> Dataset:
        ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", 36)
        return ds

    write_series(tmp_path / "a", picture()[:1], change=mosaic)
    assert refused(tmp_path / "a", "a Siemens mosaic", "dcm2niix").kind == "mosaic"
    write_series(tmp_path / "b", picture()[:2], change=by_private_count)
    assert refused(tmp_path / "b", "a Siemens mosaic of 36 slices").kind == "mosaic"

    def of_another_maker(i: int, ds: Dataset) -> Dataset:
        ds.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(0x0A, "US", 36)
        return ds

    write_series(tmp_path / "c", picture(), change=of_another_maker)
    assert scan_dicom(tmp_path / "c", progress=False, key=KEY)[0].readable


def test_a_tilted_gantry_is_named(tmp_path: Path) -> None:
    def tilt(i: int, ds: Dataset) -> Dataset:
        x, y, z = map(float, ds.ImagePositionPatient)
        ds.ImagePositionPatient = [x, y + i * 1.5 * np.tan(np.deg2rad(15)), z]
        return ds

    write_series(tmp_path, picture(), change=tilt)
    refused(tmp_path, "a sheared stack: slices are shifted by 15 degrees against their normal")


def test_slices_beside_each_other_are_named(tmp_path: Path) -> None:
    def wander(i: int, ds: Dataset) -> Dataset:
        x, y, z = map(float, ds.ImagePositionPatient)
        ds.ImagePositionPatient = [x + 10.0 * (i == 2), y, z]
        return ds

    write_series(tmp_path, picture(), change=wander)
    refused(tmp_path, "slices are not along one line: one is 10 mm off")


@pytest.mark.parametrize("missing", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_missing_geometry_is_named(tmp_path: Path, missing: str) -> None:
    def strip(i: int, ds: Dataset) -> Dataset:
        if i == 1:
            delattr(ds, missing)
        return ds

    write_series(tmp_path, picture(), change=strip)
    info = refused(tmp_path, "no Image Position (Patient), Image Orientation (Patient) and Pixel Spacing", "in 1 of 5")
    assert info.kind == "no geometry"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "that make sense"),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]}, "that make sense"),
        ({"PixelSpacing": [0, 1]}, "that make sense"),
        ({"RescaleSlope": 0}, "Rescale Slope"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "RGB with 3 samples, expected grey"),
        ({"BitsStored": 17}, "17 bits stored in 16"),
        ({"HighBit": 3}, "High Bit is 3, expected 15"),
        ({"Modality": "SEG"}, "a segmentation"),
        ({"Rows": 7}, "bytes"),
    ],
)
def test_headers_that_make_no_sense_are_named(tmp_path: Path, values: dict, words: str) -> None:
    def spoil(i: int, ds: Dataset) -> Dataset:
        for keyword, value in values.items():
            setattr(ds, keyword, value)
        return ds

    write_series(tmp_path, picture(), change=spoil)
    refused(tmp_path, words)


def test_images_of_different_sizes_are_named(tmp_path: Path) -> None:
    uids = new_uids()
    write_series(tmp_path, picture(), uids=uids, prefix="a")
    write_series(tmp_path, picture((2, 7, 4)), origin=(-20, 30, 17.5), uids=uids, prefix="b")
    assert refused(tmp_path, "images of different sizes (5 of 4 x 6, 2 of 4 x 7)").kind == "mixed"


@pytest.mark.parametrize("lost", [10, 200])
def test_truncated_files_are_named(tmp_path: Path, lost: int) -> None:
    path = write_series(tmp_path, picture())[2]
    path.write_bytes(path.read_bytes()[:-lost])
    refused(tmp_path, path.name, "truncated", "(1 of 5 files)")
    with pytest.raises(CohortError, match=rf"{path.name}: .*truncated"):
        read_image(str(path))


def test_a_truncated_multi_frame_image_is_named(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "a.dcm", picture())
    path.write_bytes(path.read_bytes()[:-50])
    refused(tmp_path, "truncated: 50 bytes of its pixels are missing")


def test_multi_frame_without_positions_is_named(tmp_path: Path) -> None:
    def several(i: int, ds: Dataset) -> Dataset:
        ds.NumberOfFrames, ds.PixelData = 2, 2 * ds.PixelData
        return ds

    write_series(tmp_path, picture()[:1], change=several)
    refused(tmp_path, "its frames have no positions of their own")


def test_missing_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"gone: .*no such file"):
        read_series(tmp_path / "gone")
    with pytest.raises(CohortError, match=r"holds no DICOM file"):
        read_series(tmp_path)
    with pytest.raises(CohortError, match=r"gone: no such folder"):
        scan_dicom(tmp_path / "gone", progress=False, key=KEY)


@pytest.mark.parametrize("length", [0, 100, 132, 300])
@pytest.mark.parametrize("which", [0, 3, -1])
def test_a_file_that_lost_its_header_is_named_wherever_its_slice_lay(tmp_path: Path, which: int, length: int) -> None:
    path = write_series(tmp_path, picture((6, 5, 4)))[which]
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CohortError, match=path.name):
        read_series(tmp_path, key=KEY)
    table = scan_dicom(tmp_path, progress=False, key=KEY)
    assert list(table.broken) == [str(path)]
    assert "1 file(s) beside it cannot be read: slices may be missing" in table[0].notes


def test_what_some_systems_keep_beside_a_file_is_passed_over(tmp_path: Path) -> None:
    write_series(tmp_path, picture())
    (tmp_path / "._0001.dcm").write_bytes(b"\0\5\x16\7" + bytes(100))
    (tmp_path / "notes.txt").touch()
    assert read_series(tmp_path, key=KEY).ndim == 4
    assert scan_dicom(tmp_path, progress=False, key=KEY).other_files == 2
