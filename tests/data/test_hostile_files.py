"""Broken and hostile files: each is read rightly or refused with an error that names it, soon and in little memory.

The files are those which pydicom and nibabel test themselves with, some written here, and damaged copies of all. They
are read in a process of their own, so that a crash, a hang or greed would be seen and counted.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import scipy.io
import SimpleITK as sitk
from hostile_files import NIBABEL_FILES, PYDICOM_FILES, Reader, Tally, damage, nibabel_files, pydicom_files
from PIL import Image

from medgen.data.images import read_image
from medgen.dicom.instances import mr_instances, write_instances

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("hostile"),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux does it"),
]

SEED = 20240613
MUTATIONS = {"nibabel": 700, "pairs": 200, "pydicom": 1100, "series": 200, "pictures": 200}
GREY = (  # single grey images of pydicom's that have all that a volume needs
    *("CT_small", "MR_small", "MR_small_bigendian", "MR_small_implicit", "MR_small_padded", "examples_overlay"),
    *("MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "693_J2KI", "J2K_pixelrep_mismatch"),
)
PLACELESS = (  # grey as well, to which their place is added
    *("JPGExtended", "JPEG-lossy", "JPEG2000", "JPEGLSNearLossless_08", "JPEGLSNearLossless_16", "image_dfl"),
)


@dataclass(frozen=True)
class Case:
    """A file, or files that belong together; ``target`` is what is read."""

    files: dict[str, bytes]
    target: str


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    with Reader() as process:
        yield process


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Callable[[str, Tally], None]:
    def record(what: str, tally: Tally) -> None:
        record_property("figures", f"hostile files, {what}: {tally}")
        print(f"{what}: {tally}")
        assert not tally.bad, "\n".join(tally.bad[:40])

    return record


def test_files_as_they_are(reader: Reader, figures: Callable[[str, Tally], None]) -> None:
    sources = {"nibabel's own": list(nibabel_files()), "pydicom's own": list(pydicom_files())}
    for name, paths in sources.items():
        tally = Tally()
        for path in paths:
            tally.add(reader.read(path), path.name)
        figures(name, tally)
        assert tally.tried >= 10
        assert tally.loaded >= 8


def test_nibabel_files_are_read_as_simpleitk_does() -> None:
    seen = 0
    for path in nibabel_files():
        image = sitk_image(path)
        if image is None or image.GetDimension() != 3 or path.name == "test.mgz":
            continue
        ours = read_image(str(path))
        assert_same(ours.numpy()[0], np.asarray(ours.affine), *image_and_affine(image))
        seen += 1
    assert seen >= 4


@pytest.mark.parametrize("name", GREY)
def test_dicom_files_are_read_as_simpleitk_does(name: str) -> None:
    path = PYDICOM_FILES / "test_files" / f"{name}.dcm"
    image = sitk_image(path)
    assert image is not None
    ours = read_image(str(path))
    values, affine = image_and_affine(image)
    header = pydicom.dcmread(path, stop_before_pixels=True)
    # ITK has no thickness for a single slice; the standard has
    affine[:3, 2] *= float(header.get("SpacingBetweenSlices", header.SliceThickness)) / np.linalg.norm(affine[:3, 2])
    assert_same(ours.numpy()[0], np.asarray(ours.affine), values, affine)


def sitk_image(path: Path) -> sitk.Image | None:
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    sitk.ProcessObject.GlobalWarningDisplayOff()
    try:
        return sitk.ReadImage(str(path))
    except RuntimeError:
        return None


def image_and_affine(image: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    """Return voxels (X, Y, Z) and the affine to RAS."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T.astype(np.float32), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def assert_same(ours: np.ndarray, our_affine: np.ndarray, theirs: np.ndarray, affine: np.ndarray) -> None:
    """Each voxel of theirs lies at the same place in ours and has the same value."""
    indices = np.stack(np.meshgrid(*map(np.arange, theirs.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    places = indices @ affine[:3, :3].T + affine[:3, 3]
    there = (places - our_affine[:3, 3]) @ np.linalg.inv(our_affine[:3, :3]).T
    assert np.abs(there - np.rint(there)).max() < 1e-3
    assert ours.size == theirs.size
    assert np.array_equal(ours[tuple(np.rint(there).astype(int).T)], theirs.reshape(-1))


def nibabel_cases(_folder: Path) -> list[Case]:
    paths = [p for p in nibabel_files() if p.suffix != ".hdr" and p.stat().st_size < 100_000]
    return [Case({p.name: p.read_bytes()}, p.name) for p in paths]


def pair_cases(_folder: Path) -> list[Case]:
    """Pairs of a header that nibabel tests itself with, cut down, and voxels; one with SPM's matrix."""
    cases = []
    for name, kind in (("analyze", nibabel.Spm2AnalyzeHeader), ("nifti1", nibabel.nifti1.Nifti1PairHeader)):
        header = kind((NIBABEL_FILES / f"{name}.hdr").read_bytes()[:348])
        header["dim"][1:4] = (9, 10, 11)
        voxels = np.arange(990, dtype=header.get_data_dtype()).tobytes()
        cases.append(Case({"a.hdr": header.binaryblock, "a.img": voxels}, "a.img"))
    matrix = io.BytesIO()
    scipy.io.savemat(matrix, {"mat": np.diag([2.0, 2.0, 2.0, 1.0])}, do_compression=True)
    cases.append(Case({**cases[0].files, "a.mat": matrix.getvalue()}, "a.hdr"))
    return cases


def dicom_cases(folder: Path) -> list[Case]:
    """Return three that hold grey images to each of the others."""
    grey = [(PYDICOM_FILES / "test_files" / f"{name}.dcm") for name in GREY]
    grey = [p for p in grey if p.stat().st_size < 60_000]
    contents = [p.read_bytes() for p in grey]
    for name in PLACELESS:
        image = pydicom.dcmread(PYDICOM_FILES / "test_files" / f"{name}.dcm")
        image.ImagePositionPatient, image.ImageOrientationPatient = [1, 2, 3], [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.SliceThickness = [1, 1], 3
        content = io.BytesIO()
        image.save_as(content)
        contents.append(content.getvalue())
    contents.append(as_lossless_jpeg(PYDICOM_FILES / "test_files" / "MR_small.dcm", folder / "lossless.dcm"))
    others = [p.read_bytes() for p in pydicom_files() if p.stat().st_size < 60_000 and p not in grey]
    mixed = []
    for i, other in enumerate(others):
        mixed += [*(contents[(3 * i + j) % len(contents)] for j in range(3)), other]
    return [Case({"a.dcm": content}, "a.dcm") for content in mixed]


def as_lossless_jpeg(path: Path, copy: Path) -> bytes:
    """Return a DICOM file in JPEG's lossless process, which scanners like and pydicom has no grey sample of."""
    gdcm = pytest.importorskip("gdcm")
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(copy))
    assert writer.Write()
    return copy.read_bytes()


def series_cases(folder: Path) -> list[Case]:
    volume = np.arange(12 * 10 * 5).reshape(12, 10, 5)
    instances = mr_instances(volume, np.diag([1.0, 1.0, 3.0, 1.0]), patient={}, study={}, series={})
    write_instances(instances, folder)
    return [Case({f"s/{p.name}": p.read_bytes() for p in sorted(folder.iterdir())}, "s")]


def picture_cases(_folder: Path) -> list[Case]:
    array = (np.arange(60 * 50).reshape(60, 50) % 251).astype(np.uint8)
    cases = []
    for suffix, options in (("png", {}), ("jpg", {}), ("tif", {}), ("tif", {"compression": "tiff_lzw"})):
        content = io.BytesIO()
        Image.fromarray(array).save(content, "JPEG" if suffix == "jpg" else suffix.replace("tif", "tiff"), **options)
        cases.append(Case({f"a.{suffix}": content.getvalue()}, f"a.{suffix}"))
    return cases


CASES = {
    "nibabel": nibabel_cases,
    "pairs": pair_cases,
    "pydicom": dicom_cases,
    "series": series_cases,
    "pictures": picture_cases,
}


@pytest.mark.parametrize("kind", MUTATIONS)
def test_damaged_copies(kind: str, reader: Reader, figures: Callable[[str, Tally], None], tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    cases = CASES[kind](tmp_path / "whole")
    tally = Tally()
    count = int(MUTATIONS[kind] * float(os.environ.get("MEDGEN_TEST_HOSTILE_TIMES", "1")))
    for number in range(count):
        case = cases[number % len(cases)]
        random = np.random.default_rng([SEED, list(MUTATIONS).index(kind), number])
        victim = sorted(case.files)[int(random.integers(len(case.files)))]
        content, what = damage(case.files[victim], victim, random)
        folder = tmp_path / "damaged"
        for name, whole in case.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content if name == victim else whole)
        answer = reader.read(folder / case.target)
        tally.add(answer, f"{kind} {number} ({victim}: {what})")
        for name in case.files:
            (folder / name).unlink()
    figures(f"damaged copies of {kind}", tally)
    assert tally.tried == count
    assert tally.loaded > 0.05 * count  # else nothing beyond the first bytes is tried
    assert tally.refused > 0.05 * count


def test_scan_of_folders_of_damaged_files(
    reader: Reader, figures: Callable[[str, Tally], None], tmp_path: Path
) -> None:
    cases, tally = dicom_cases(tmp_path), Tally()
    for batch in range(4):
        folder = tmp_path / f"batch {batch}"
        folder.mkdir()
        for number in range(100):
            random = np.random.default_rng([SEED, 99, batch, number])
            content, _ = damage(cases[(100 * batch + number) % len(cases)].files["a.dcm"], "a.dcm", random)
            (folder / f"{number}.dcm").write_bytes(content)
        tally.add(reader.read(folder, "scan"), f"folder {batch}")
    figures("folders scanned", tally)
    assert tally.loaded == 4


def test_bombs(reader: Reader, figures: Callable[[str, Tally], None], tmp_path: Path) -> None:
    """Files of some kilobytes that ask for gigabytes."""
    header = nibabel.Nifti1Header()
    header.set_data_shape((800, 800, 800))
    header.set_data_dtype(np.uint8)
    header["magic"], header["vox_offset"] = b"n+1", 352
    start = header.binaryblock + bytes(4)
    (tmp_path / "a.nii").write_bytes(start + bytes(1000))
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(start + bytes(1000)))
    header.set_data_shape((4, 4, 4))
    small = header.binaryblock + bytes(4)
    (tmp_path / "c.nii.gz").write_bytes(gzip.compress(small + bytes(1 << 28), compresslevel=1))
    header["vox_offset"] = 4e9
    (tmp_path / "d.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(1 << 27), compresslevel=1))
    whole = pydicom.dcmread(PYDICOM_FILES / "test_files" / "MR_small.dcm")
    whole.Rows = whole.Columns = 65535
    whole.save_as(tmp_path / "e.dcm")
    whole.Rows, whole.Columns, whole.NumberOfFrames = 64, 64, 2**31 - 1
    whole.save_as(tmp_path / "f.dcm")
    for name in ("RLE", "jp2klossless", "jpeg_ls_lossless"):
        compressed = pydicom.dcmread(PYDICOM_FILES / "test_files" / f"MR_small_{name}.dcm")
        compressed.Rows = compressed.Columns = 20000
        compressed.save_as(tmp_path / f"g_{name}.dcm")
    code = (PYDICOM_FILES / "test_files" / "MR_small_jp2klossless.dcm").read_bytes()
    size = code.index(b"\xff\x4f\xff\x51") + 8
    (tmp_path / "h.dcm").write_bytes(code[:size] + b"\0\0\xff\xff" * 2 + code[size + 8 :])
    deflated = pydicom.dcmread(PYDICOM_FILES / "test_files" / "image_dfl.dcm")
    deflated.PixelData = bytes(300 << 20)
    deflated.save_as(tmp_path / "i.dcm")
    del deflated
    tally = Tally()
    for path in sorted(tmp_path.iterdir()):
        answer = reader.read(path)
        assert answer["state"] != "loaded", path.name
        tally.add(answer, path.name)
    figures("bombs", tally)


@pytest.mark.skipif(sys.platform != "linux", reason="devices are looked for where Linux has them")
def test_what_is_no_file(reader: Reader, figures: Callable[[str, Tally], None], tmp_path: Path) -> None:
    tally = Tally()
    for suffix in ("nii", "nii.gz", "mgz", "dcm", "png", "img"):
        (tmp_path / f"device.{suffix}").symlink_to("/dev/zero")
        os.mkfifo(tmp_path / f"pipe.{suffix}")
        (tmp_path / f"empty.{suffix}").write_bytes(b"")
        (tmp_path / f"nothing.{suffix}").symlink_to(tmp_path / "absent")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder" / "pipe.dcm")
    (tmp_path / "folder" / "device.dcm").symlink_to("/dev/zero")
    for path in sorted(tmp_path.iterdir()):
        answer = reader.read(path)
        assert answer["state"] != "loaded", path.name
        tally.add(answer, path.name)
    tally.add(reader.read(tmp_path, "scan"), "scan")
    figures("pipes, devices, empty files, dead links", tally)
