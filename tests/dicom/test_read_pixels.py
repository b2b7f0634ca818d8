"""What the numbers of a DICOM series become."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dicom_series import KEY, picture, write_enhanced, write_series
from itk_reference import read_with_gdcm
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medgen.data import CohortError
from medgen.data.guard import ImageFileError
from medgen.dicom import read_series, scan_dicom

# axial slices whose rows run to the left and columns to the back
RAS = (slice(None, None, -1), slice(None, None, -1))


def as_ras(slices: np.ndarray) -> np.ndarray:
    return slices.transpose(2, 1, 0)[RAS].astype(np.float32)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32"])
def test_signed_and_unsigned_of_every_size(tmp_path: Path, dtype: str) -> None:
    info = np.iinfo(dtype)
    slices = picture().astype(dtype)
    slices[0, 0, 0], slices[0, 0, 1] = info.min, info.max
    write_series(tmp_path, slices)
    assert np.array_equal(read_series(tmp_path, key=KEY)[0].numpy(), as_ras(slices))


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_those_stored_are_no_part_of_the_number(tmp_path: Path, signed: bool) -> None:
    slices = picture(high=2048).astype(np.int16) - (1024 if signed else 0)
    overlay = np.uint16(0xA000)  # as old scanners kept overlays in the unused bits

    def shorten(i: int, ds: Dataset) -> Dataset:
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, int(signed)
        ds.PixelData = ((slices[i].view(np.uint16) & 0x0FFF) | overlay).tobytes()
        return ds

    write_series(tmp_path, slices.view(np.uint16), change=shorten)
    volume = read_series(tmp_path, key=KEY)
    assert np.array_equal(volume[0].numpy(), as_ras(slices))
    assert np.array_equal(volume[0].numpy(), read_with_gdcm(tmp_path)[0])


def test_each_slice_has_its_own_slope(tmp_path: Path) -> None:
    def rescale(i: int, ds: Dataset) -> Dataset:
        ds.RescaleSlope, ds.RescaleIntercept = 0.5 + i, -10 * i
        return ds

    write_series(tmp_path / "series", picture(), change=rescale)
    expected = np.stack([(0.5 + i) * plane.astype(float) - 10 * i for i, plane in enumerate(picture())])
    assert np.array_equal(read_series(tmp_path / "series", key=KEY)[0].numpy(), as_ras(expected))
    file = write_enhanced(tmp_path / "enhanced.dcm", picture(), slopes=[0.5 + i for i in range(5)])
    expected = np.stack([(0.5 + i) * plane.astype(float) for i, plane in enumerate(picture())])
    assert np.array_equal(read_series(file, key=KEY)[0].numpy(), as_ras(expected))


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
def test_monochrome1_is_turned_over(tmp_path: Path, dtype: str) -> None:
    slices = picture(high=2000).astype(dtype)

    def dark_is_high(i: int, ds: Dataset) -> Dataset:
        ds.PhotometricInterpretation, ds.BitsStored, ds.HighBit = "MONOCHROME1", 12, 11
        return ds

    write_series(tmp_path, slices, change=dark_is_high)
    expected = 4095 - slices.astype(int) if dtype == "uint16" else -1 - slices.astype(int)
    assert np.array_equal(read_series(tmp_path, key=KEY)[0].numpy(), as_ras(expected))
    assert any("MONOCHROME1" in note for note in scan_dicom(tmp_path, progress=False, key=KEY)[0].notes)


def test_uncompressed_syntaxes(tmp_path: Path) -> None:
    def deflate(i: int, ds: Dataset) -> Dataset:
        ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        return ds

    def implicit(i: int, ds: Dataset) -> Dataset:
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        return ds

    def big_endian(i: int, ds: Dataset) -> Dataset:
        ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        ds.PixelData = picture()[i].byteswap().tobytes()
        return ds

    for change in (deflate, implicit, big_endian):
        write_series(tmp_path / change.__name__, picture(), change=change)
        assert np.array_equal(read_series(tmp_path / change.__name__, key=KEY)[0].numpy(), as_ras(picture()))


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint8"])
def test_compressed_syntaxes(tmp_path: Path, syntax: str, dtype: str) -> None:
    pytest.importorskip("openjpeg")
    pytest.importorskip("jpeg_ls")
    slices = picture((3, 64, 48), high=250 if dtype == "uint8" else 4000).astype(dtype)
    if dtype == "int16":
        slices -= 1000
        if syntax == JPEGLSLossless:
            pytest.skip("pyjpegls does not encode signed numbers")

    def compress(i: int, ds: Dataset) -> Dataset:
        ds.compress(syntax, slices[i], generate_instance_uid=False)
        return ds

    write_series(tmp_path, slices, change=compress)
    volume = read_series(tmp_path, key=KEY)
    assert np.array_equal(volume[0].numpy(), as_ras(slices))
    assert np.array_equal(volume[0].numpy(), read_with_gdcm(tmp_path)[0])


def test_lossless_jpeg_as_scanners_write_it(tmp_path: Path) -> None:
    gdcm = pytest.importorskip("gdcm")
    (tmp_path / "jpeg").mkdir()
    for path in write_series(tmp_path / "plain", picture((3, 64, 48))):
        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(tmp_path / "jpeg" / path.name))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    assert np.array_equal(read_series(tmp_path / "jpeg", key=KEY)[0].numpy(), as_ras(picture((3, 64, 48))))


def test_compressed_multi_frame(tmp_path: Path) -> None:
    pytest.importorskip("openjpeg")

    def compress(ds: Dataset) -> Dataset:
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        return ds

    file = write_enhanced(tmp_path / "enhanced.dcm", picture((4, 64, 48)), change=compress)
    assert np.array_equal(read_series(file, key=KEY)[0].numpy(), as_ras(picture((4, 64, 48))))


def test_a_missing_decoder_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    pytest.importorskip("openjpeg")

    def compress(i: int, ds: Dataset) -> Dataset:
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        return ds

    write_series(tmp_path, picture((3, 64, 48)), change=compress)
    monkeypatch.setattr("medgen.dicom.pixels.get_decoder", lambda syntax: SimpleNamespace(is_available=False))
    with pytest.raises(ImageFileError, match=r"compressed as JPEG 2000.*pip install \"medgen\[dicom\]\""):
        read_series(tmp_path, key=KEY)
    (found,) = scan_dicom(tmp_path, progress=False, key=KEY)
    assert not found.readable
    assert "medgen[dicom]" in found.problems[0]


@pytest.mark.parametrize("what", ["rows", "end", "size"])
def test_a_codestream_that_is_not_what_the_header_says_never_reaches_the_decoder(tmp_path: Path, what: str) -> None:
    pytest.importorskip("openjpeg")

    def lie(i: int, ds: Dataset) -> Dataset:
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        code = bytearray(next(iter(__import__("pydicom").encaps.generate_frames(ds.PixelData, number_of_frames=1))))
        if what == "rows":
            ds.Rows = 32
        elif what == "end":
            del code[len(code) // 2 :]
        else:
            code[8:16] = (60_000).to_bytes(4, "big") * 2  # SIZ: 60,000 x 60,000 pixels
        ds.PixelData = encapsulate([bytes(code)])
        return ds

    (file,) = write_series(tmp_path, picture((1, 64, 48)), change=lie)
    messages = {
        "rows": "is 64 x 48 with 1 samples a pixel, expected 32 x 48",
        "end": "has no end: truncated",
        "size": "is 60000 x 60000 with 1 samples a pixel, expected 64 x 48",
    }
    with pytest.raises(CohortError, match=rf"{file.name}: frame 0 of its pixels {messages[what]}"):
        read_series(file, key=KEY)


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path, picture((40, 64, 64)))
    monkeypatch.setenv("MEDGEN_MAX_IMAGE_GIB", "0.0005")
    with pytest.raises(ImageFileError, match="GiB as float32, expected at most"):
        read_series(tmp_path, key=KEY)


def test_the_header_reaches_the_volume_by_an_allowlist(tmp_path: Path) -> None:
    write_series(tmp_path, picture())
    volume = read_series(tmp_path, key=KEY)
    assert set(volume.meta) == {"affine", "space", "dicom"}
    header = dict(volume.meta["dicom"])
    assert header.pop("site").startswith("site-")
    assert header == {
        "age": 73.0,
        "sex": "F",
        "field_strength": 3.0,
        "manufacturer": "Maker",
        "model": "Model 3",
        "repetition_time": 2300.0,
        "echo_time": 2.98,
        "inversion_time": 900.0,
        "synthetic": False,
    }
    assert torch.is_tensor(volume)
