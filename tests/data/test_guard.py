"""Headers that ask for too much, geometry that is none, files that are no files."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
import threading
from pathlib import Path

import nibabel
import numpy as np
import pytest
import scipy.io
from PIL import Image

from medgen.data.guard import ImageFileError, check_affine, check_allocation, check_values, open_regular
from medgen.data.images import read_image
from medgen.data.nifti import read_nifti
from medgen.data.tables import CohortError


def _nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = None, **fields: object) -> Path:
    """Write a NIfTI-1 file, then change fields of its header in place."""
    image = nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine, dtype=array.dtype)
    nibabel.save(image, path)
    content = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    header = nibabel.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture
def ramp() -> np.ndarray:
    return np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def test_error_names_the_file_and_survives_pickling() -> None:
    error = pickle.loads(
        pickle.dumps(ImageFileError(Path("a") / "b.nii", "found nothing"))
    )  # between our own processes
    assert isinstance(error, CohortError)
    assert (str(error), error.path, error.reason) == ("a/b.nii: found nothing", "a/b.nii", "found nothing")


def test_allocation_is_bounded_by_file_and_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_allocation("x", (10, 10), "int16", stored_bytes=200) == 200
    with pytest.raises(ImageFileError, match=r"^x: .*10 x 10 elements of int16, 200 bytes; found 199 bytes"):
        check_allocation("x", (10, 10), "int16", stored_bytes=199)
    assert check_allocation("x", (10, 10), "int16", stored_bytes=712) == 200
    with pytest.raises(ImageFileError, match="more than 512 bytes follow the 200 that its header asks for"):
        check_allocation("x", (10, 10), "int16", stored_bytes=713)
    assert check_allocation("x", (1032, 1032, 32), "uint8", stored_bytes=1032 * 32, compressed=True) == 1032 * 1032 * 32
    with pytest.raises(ImageFileError, match="compressed bytes, too few"):
        check_allocation("x", (1032, 1032, 32), "uint8", stored_bytes=1032 * 32 - 1, compressed=True)
    for shape in ((), (0, 4), (-1, 4)):
        with pytest.raises(ImageFileError, match="at least one along each axis"):
            check_allocation("x", shape, "uint8")
    check_allocation("x", (1024, 1024, 512), "uint8")
    with pytest.raises(ImageFileError, match="expected at most 2 GiB"):
        check_allocation("x", (1024, 1024, 513), "uint8")
    monkeypatch.setenv("MEDGEN_MAX_IMAGE_GIB", "0.001")
    with pytest.raises(ImageFileError, match=r"at most 0.001 GiB \(the environment variable MEDGEN_MAX_IMAGE_GIB"):
        check_allocation("x", (512, 1024), "uint8")
    for wrong in ("much", "0", "-1", "nan", "inf"):
        monkeypatch.setenv("MEDGEN_MAX_IMAGE_GIB", wrong)
        with pytest.raises(ValueError, match=f"MEDGEN_MAX_IMAGE_GIB is '{wrong}'"):
            check_allocation("x", (1,), "uint8")


@pytest.mark.parametrize(
    ("entry", "value", "reason"),
    [
        ((0, 0), np.nan, "non-finite"),
        ((1, 3), np.inf, "non-finite"),
        ((3, 0), 1.0, "last row"),
        ((2, 2), 0.0, "voxels are 1 x 1 x 0 mm"),
        ((2, 2), 1e30, "voxels are"),
        ((0, 3), 1e7, "origin"),
    ],
)
def test_affine_must_place_the_image(entry: tuple[int, int], value: float, reason: str) -> None:
    affine = np.eye(4)
    assert np.array_equal(check_affine("x", affine), affine)
    affine[entry] = value
    with pytest.raises(ImageFileError, match=f"^x: .*{reason}"):
        check_affine("x", affine)


def test_affine_may_be_sheared_but_not_flat() -> None:
    affine = np.diag([0.5, 0.5, 2.0, 1.0])
    affine[1, 2] = 2.0 * np.tan(np.deg2rad(30))  # a tilted gantry
    check_affine("x", affine)
    affine[:3, 2] = affine[:3, 0] + [0, 0, 1e-3]
    with pytest.raises(ImageFileError, match="almost in one plane"):
        check_affine("x", affine)
    with pytest.raises(ImageFileError, match=r"shape \(3, 3\)"):
        check_affine("x", np.eye(3))


def test_values_may_be_partly_missing() -> None:
    array = np.array([1.0, np.nan, np.inf, 4.0], dtype=np.float32)
    check_values("x", array)
    assert array.tolist() == [1, 0, 0, 4]
    with pytest.raises(ImageFileError, match="3 of its 4 values are not finite"):
        check_values("x", np.array([1.0, np.nan, np.nan, -np.inf], dtype=np.float32))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    regular = tmp_path / "a.nii"
    regular.write_bytes(b"content")
    (tmp_path / "link.nii").symlink_to(regular)
    with open_regular(tmp_path / "link.nii") as file:
        assert file.read() == b"content"
    os.mkfifo(tmp_path / "pipe.nii")
    (tmp_path / "zeros.nii").symlink_to("/dev/zero")
    (tmp_path / "folder.nii").mkdir()
    (tmp_path / "loop.nii").symlink_to(tmp_path / "loop.nii")
    for name, kind in (("pipe", "named pipe"), ("zeros", "device"), ("folder", "folder"), ("loop", "cannot be read")):
        for reader in (open_regular, read_nifti, lambda path: read_image(str(path))):
            with pytest.raises(ImageFileError, match=rf"{name}\.nii: .*{kind}"):
                reader(tmp_path / f"{name}.nii")
    assert threading.active_count() < 50  # nothing waits


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}, "as float32, expected at most 2 GiB"),
        ({"dim": [3, 400, 500, 600, 1, 1, 1, 1]}, "240000000 bytes; found"),
        ({"dim": [3, 4, 5, -6, 1, 1, 1, 1]}, "at least one along each axis"),
        ({"dim": [3, 4, 5, 7, 1, 1, 1, 1]}, "280 bytes|truncated"),
        ({"dim": [3, 1, 1, 1, 1, 1, 1, 1], "bitpix": 0}, None),
        ({"dim": [2, 20, 6, 1, 1, 1, 1, 1]}, "found 2 dimensions"),
        ({"bitpix": 8}, "values of type int16 but 8 bits"),
        ({"datatype": 99}, "its header"),
        ({"datatype": 32, "bitpix": 64, "dim": [3, 2, 2, 2, 1, 1, 1, 1]}, "complex numbers"),
        ({"datatype": 128, "bitpix": 24, "dim": [3, 2, 2, 2, 1, 1, 1, 1]}, "colours"),
        ({"datatype": 1536, "bitpix": 128, "dim": [3, 2, 2, 2, 1, 1, 1, 1]}, "float128|data code 1536 not supported"),
        ({"vox_offset": 1e9}, "voxels start at byte 1000000000"),
        ({"vox_offset": np.nan}, "its header"),
        ({"vox_offset": 100}, "its header"),
        ({"vox_offset": 0}, None),
        ({"scl_slope": np.inf}, "scl_slope is infinite"),
        ({"scl_slope": 3e38}, "exceed float32"),
        ({"scl_slope": 0, "scl_inter": 5}, None),
        ({"scl_slope": np.nan}, None),
        ({"srow_x": [0, 0, 0, 0]}, "voxels are 0 x 1 x 1 mm"),
        ({"srow_y": [0, np.nan, 0, 0]}, "non-finite"),
        ({"xyzt_units": 1}, "voxels are 1000 x 1000 x 1000 mm"),
        ({"magic": b"none"}, "magic word b'none'"),
        ({"sizeof_hdr": 12}, "cannot be read as an image"),
    ],
)
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_nifti_headers(tmp_path: Path, ramp: np.ndarray, fields: dict, reason: str | None, suffix: str) -> None:
    path = _nifti(tmp_path / f"a.{suffix}", ramp, **fields)
    if reason is None:
        array, affine = read_nifti(path)
        assert np.array_equal(affine, np.eye(4))
        assert np.array_equal(array[0], ramp if array.size > 1 else ramp[:1, :1, :1])
        return
    if suffix == "nii.gz" and "bytes; found" in reason:
        reason = "too few to hold that"
    with pytest.raises(ImageFileError, match=rf"^{path}: .*({reason})"):
        read_nifti(path)


def test_slope_units_and_axes_are_heeded(tmp_path: Path, ramp: np.ndarray) -> None:
    affine = np.array([[0, 0, 500.0, 1], [-500, 0, 0, 2], [0, -500, 0, 3], [0, 0, 0, 1]])
    path = _nifti(tmp_path / "a.nii", ramp, affine, scl_slope=0.5, scl_inter=-3, xyzt_units=3)
    array, found = read_nifti(path)
    assert np.array_equal(array[0], 0.5 * ramp.transpose(2, 0, 1)[:, ::-1, ::-1] - 3)
    corner = affine @ [3, 4, 0, 1]  # the voxel that the turn makes the first
    assert np.allclose(
        found,
        [[0.5, 0, 0, corner[0] / 1e3], [0, 0.5, 0, corner[1] / 1e3], [0, 0, 0.5, corner[2] / 1e3], [0, 0, 0, 1]],
    )


def test_damaged_gzip_is_noticed(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 1000, (16, 16, 16)).astype(np.int16)
    path = _nifti(tmp_path / "a.nii.gz", array)
    content = path.read_bytes()
    read_nifti(path)
    for damaged in (content[:-1], content[: len(content) // 2], content[:-5] + b"\0" + content[-4:], content + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(ImageFileError, match=rf"^{path}: "):
            read_nifti(path)
    for name in ("inflated.nii.gz", "inflated.nii"):  # what the file is, not what it is called
        (tmp_path / name).write_bytes(gzip.decompress(content) if name == "inflated.nii.gz" else content)
        assert np.array_equal(read_nifti(tmp_path / name)[0][0], array)


def test_gzip_is_inflated_no_further_than_the_header_asks(tmp_path: Path, ramp: np.ndarray) -> None:
    small = _nifti(tmp_path / "a.nii", ramp).read_bytes()
    bomb = gzip.compress(small + bytes(64 << 20), compresslevel=1)
    (tmp_path / "bomb.nii.gz").write_bytes(bomb)
    with pytest.raises(ImageFileError, match="bytes follow the 240 that its header asks for"):
        read_nifti(tmp_path / "bomb.nii.gz")
    (tmp_path / "longer.nii").write_bytes(small + bytes(600))
    with pytest.raises(ImageFileError, match="bytes follow the 240"):
        read_nifti(tmp_path / "longer.nii")
    (tmp_path / "padded.nii").write_bytes(small + bytes(272))  # to a multiple of 512, as tapes and disks were
    assert np.array_equal(read_nifti(tmp_path / "padded.nii")[0][0], ramp)


@pytest.mark.parametrize(("orient", "axes"), [(0, "LAS"), (1, "LSA"), (2, "ASL"), (3, "LPS"), (4, "LIA"), (5, "ASR")])
def test_analyze_lies_as_its_orient_says(tmp_path: Path, ramp: np.ndarray, orient: int, axes: str) -> None:
    nibabel.save(nibabel.AnalyzeImage(ramp, None), tmp_path / "a.img")
    header = bytearray((tmp_path / "a.hdr").read_bytes())
    header[252] = orient
    header[80:92] = struct.pack("<3f", 2.0, 3.0, 4.0)
    (tmp_path / "a.hdr").write_bytes(header)
    image = nibabel.Nifti1Image(ramp, np.eye(4))
    ras = image.as_reoriented(nibabel.orientations.axcodes2ornt(axes))
    for name in ("a.img", "a.hdr"):
        array, affine = read_nifti(tmp_path / name)
        assert np.array_equal(array[0], ras.get_fdata())
        along = dict(zip(axes, (2.0, 3.0, 4.0), strict=True))
        spacing = [along.get(a, along.get(b)) for a, b in ("RL", "AP", "SI")]
        assert np.allclose(affine[:3, :3], np.diag(spacing))
        assert np.allclose(affine @ [*((n - 1) / 2 for n in array.shape[1:]), 1], [0, 0, 0, 1])
    assert read_nifti(tmp_path / "a.img")[1].dtype == np.float64


def test_matrix_of_spm_beside_an_analyze_pair(tmp_path: Path, ramp: np.ndarray) -> None:
    nibabel.save(nibabel.AnalyzeImage(ramp, None), tmp_path / "a.img")
    affine = np.diag([1.5, 2.0, 2.5, 1.0])
    affine[:3, 3] = [-7, -8, -9]
    from_one = affine.copy()
    from_one[:3, 3] -= affine[:3, :3].sum(axis=1)  # MATLAB counts voxels from one
    scipy.io.savemat(tmp_path / "a.mat", {"mat": from_one}, format="4")
    array, found = read_nifti(tmp_path / "a.img")
    assert np.allclose(found, affine)
    assert np.array_equal(array[0], ramp)
    (tmp_path / "a.mat").write_bytes(b"no matrix")
    with pytest.raises(ImageFileError, match=r"a\.hdr: cannot be read as an image \(its orientation"):
        read_nifti(tmp_path / "a.img")
    (tmp_path / "a.hdr").unlink()
    with pytest.raises(ImageFileError, match=r"a\.hdr: cannot be read as an image \(no such file\)"):
        read_nifti(tmp_path / "a.img")


def test_freesurfer_header_is_held_to_its_file(tmp_path: Path, ramp: np.ndarray) -> None:
    path = tmp_path / "a.mgh"
    nibabel.save(nibabel.MGHImage(ramp, np.eye(4)), path)
    content = path.read_bytes()
    assert np.array_equal(read_nifti(path)[0][0], ramp)
    for position, value in ((4, 400), (4, 2**30), (4, -4), (20, 77), (0, 9)):
        path.write_bytes(content[:position] + struct.pack(">i", value) + content[position + 4 :])
        with pytest.raises(ImageFileError, match=r"^.*a\.mgh: "):
            read_nifti(path)


def test_mostly_missing_volume_is_refused(tmp_path: Path) -> None:
    array = np.full((4, 4, 4), np.nan, dtype=np.float32)
    with pytest.raises(ImageFileError, match="64 of its 64 values are not finite"):
        read_nifti(_nifti(tmp_path / "a.nii", array))


def test_pictures_are_guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = np.arange(0, 60000, 1000, dtype=np.uint16).reshape(6, 10)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(read_image(str(tmp_path / "deep.png"))[0].numpy(), deep)  # not cut to 8 bits
    assert read_image(str(tmp_path / "deep.png"), channels=3).shape == (3, 6, 10)
    pages = [Image.fromarray(deep[::-1].copy()), Image.fromarray(deep)]
    pages[0].save(tmp_path / "two.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ImageFileError, match=r"two\.tif: found 2 pages"):
        read_image(str(tmp_path / "two.tif"))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.ppm")
    (tmp_path / "a.ppm").rename(tmp_path / "ppm.png")
    with pytest.raises(ImageFileError, match=r"ppm\.png: cannot be read as an image"):
        read_image(str(tmp_path / "ppm.png"))
    monkeypatch.setenv("MEDGEN_MAX_IMAGE_GIB", "1e-7")
    with pytest.raises(ImageFileError, match=r"deep\.png: its header asks for 6 x 10 x 1 elements"):
        read_image(str(tmp_path / "deep.png"))


def test_arrays_that_could_run_code_are_refused(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "ran",)

    np.save(tmp_path / "a.npy", np.array([Payload()], dtype=object), allow_pickle=True)
    with pytest.raises(ImageFileError, match=r"a\.npy: "):
        read_image(str(tmp_path / "a.npy"))
    assert not (tmp_path / "ran").exists()
