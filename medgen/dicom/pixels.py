"""The numbers of a DICOM image: how they are stored, whether they can be decoded, and decoding them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGExtended12Bit

from medgen.data.guard import ImageFileError, check_allocation
from medgen.dicom.codestream import check_codestream
from medgen.dicom.decoding import decode_apart
from medgen.dicom.files import PixelElement
from medgen.dicom.header import numbers, text
from medgen.dicom.problems import Problem

try:
    from pydicom.pixels import get_decoder
except ImportError:  # pydicom 2
    get_decoder = None  # type: ignore[assignment]

__all__ = ["PIXEL_TAGS", "PixelFormat", "decode", "pixel_problems"]

PIXEL_TAGS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)
_NOT_IMAGES = {"SEG": "a segmentation", "RTDOSE": "a radiation dose"}
_DECODERS = ("pylibjpeg", "pyjpegls", "gdcm", "pydicom")  # the most careful first
_OWN_DECODER = {JPEGBaseline8Bit: "pillow", JPEGExtended12Bit: "pillow"}  # elsewhere Pillow rounds to 8 bits


@dataclass(frozen=True)
class PixelFormat:
    """How pixels are stored; a number that the header lacks, or that is damaged, is 0.

    Args:
        rows: number of rows.
        columns: number of columns.
        frames: number of frames in the file.
        samples: numbers a pixel, 1 for grey.
        photometric: photometric interpretation.
        allocated: bits that a number takes.
        stored: bits of it that count.
        high: the highest of these, from 0.
        signed: whether numbers are in two's complement.
        syntax: UID of the transfer syntax.
        modality: modality.
        kind: name of the SOP class, "" when not given.
        table: whether values are to be looked up in a table.
    """

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    high: int
    signed: bool
    syntax: str
    modality: str
    kind: str
    table: bool

    @classmethod
    def of(cls, dataset: Dataset) -> PixelFormat:
        """Read the format from a header."""

        def count(keyword: str, default: int = 0) -> int:
            found = numbers(dataset, keyword, 1)
            if found is None:
                return 0 if text(dataset, keyword) else default
            return int(found[0]) if found[0].is_integer() and abs(found[0]) < 2**31 else 0

        allocated = count("BitsAllocated")
        stored = count("BitsStored", allocated)
        return cls(
            rows=count("Rows"),
            columns=count("Columns"),
            frames=count("NumberOfFrames", 1) if "NumberOfFrames" in dataset else 1,
            samples=count("SamplesPerPixel", 1),
            photometric=text(dataset, "PhotometricInterpretation").upper() or "MONOCHROME2",
            allocated=allocated,
            stored=stored,
            high=count("HighBit", stored - 1),
            signed=count("PixelRepresentation") == 1,
            syntax=str(dataset.file_meta.TransferSyntaxUID),
            modality=text(dataset, "Modality").upper(),
            kind=UID(text(dataset, "SOPClassUID")).name,
            table="ModalityLUTSequence" in dataset,
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored numbers."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.allocated // 8}")

    @property
    def compressed(self) -> bool:
        """Whether the pixels are compressed."""
        uid = UID(self.syntax)
        return bool(uid.is_transfer_syntax and uid.is_encapsulated)


def pixel_problems(
    path: str | os.PathLike[str], pixels: PixelFormat, element: PixelElement | None
) -> Iterator[Problem]:
    """Yield why the pixels of a file cannot be read, before they are."""
    if element is None:
        expected = "Image Storage" in pixels.kind or (pixels.rows and pixels.columns)
        what = pixels.kind or (f"modality {pixels.modality}" if pixels.modality else "")
        yield Problem("no image", ("no pixels: truncated?" if expected else "no pixels") + (what and f" ({what})"))
        return
    if pixels.modality in _NOT_IMAGES:
        yield Problem("no image", f"it is {_NOT_IMAGES[pixels.modality]} (modality {pixels.modality}), not an image")
        return
    if element.keyword != "PixelData":
        yield Problem("pixels", f"its pixels are floating-point ({element.keyword}), expected integers")
        return
    if pixels.samples != 1 or not pixels.photometric.startswith("MONOCHROME"):
        yield Problem("colour", f"its pixels are {pixels.photometric} with {pixels.samples} samples, expected grey")
        return
    if pixels.allocated not in (8, 16, 32) or not 0 < pixels.stored <= pixels.allocated:
        bits = f"{pixels.stored} bits stored in {pixels.allocated}"
        yield Problem("pixels", f"its header says {bits}, expected 8, 16 or 32 allocated and no more stored")
        return
    if not pixels.stored - 1 <= pixels.high < pixels.allocated:
        yield Problem("pixels", f"its High Bit is {pixels.high}, expected {pixels.stored - 1}")
        return
    if pixels.table:
        yield Problem("rescale", "its values are to be looked up in a Modality LUT, which is not supported")
    yield from _size_problems(path, pixels, element)
    if pixels.compressed and (missing := _missing_decoder(pixels.syntax)):
        yield Problem("plugin", missing)


def _size_problems(path: str | os.PathLike[str], pixels: PixelFormat, element: PixelElement) -> Iterator[Problem]:
    shape = (pixels.frames, pixels.rows, pixels.columns)
    if element.missing_bytes:
        yield Problem("truncated", f"truncated: {element.missing_bytes} bytes of its pixels are missing")
        return
    try:
        check_allocation(
            path, shape, pixels.dtype, element.stored_bytes if element.known else None, compressed=pixels.compressed
        )
    except ImageFileError as error:
        short = element.known and min(shape) > 0 and not pixels.compressed
        yield Problem("truncated" if short else "pixels", error.reason)


def _missing_decoder(syntax: str) -> str:
    """Return what to install for a compressed transfer syntax, "" when nothing is missing."""
    name = UID(syntax).name
    advice = f'its pixels are compressed as {name}: to decode it, pip install "medgen[dicom]"'
    if get_decoder is None:
        return ""  # pydicom 2 says so itself when it decodes
    try:
        return "" if get_decoder(syntax).is_available else advice
    except NotImplementedError:
        return f"its pixels are compressed as {name}, which is not supported"


def decode(dataset: Dataset, pixels: PixelFormat, path: str, frames: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Decode frames of a file: yields (rows, columns) of signed or unsigned integers, as the header says.

    Bits above those stored are cut off (old files keep overlays there) and the sign extended. MONOCHROME1, where large
    numbers are dark, is turned over within the range of the stored bits.

    Args:
        dataset: as :func:`medgen.dicom.files.read_with_pixels` returns it.
        pixels: its format.
        path: its file, for messages.
        frames: which frames, from 0.

    Raises:
        ImageFileError: a frame cannot be decoded, or is not of the size that the header says.
    """
    try:
        for plane in _planes(dataset, pixels, path, frames):
            if plane.shape != (pixels.rows, pixels.columns):
                raise ImageFileError(
                    path, f"its pixels are {plane.shape}, expected {(pixels.rows, pixels.columns)} as its header says"
                )
            plane = _stored_bits(plane, pixels)
            yield _turned_over(plane, pixels) if pixels.photometric == "MONOCHROME1" else plane
    except ImageFileError:
        raise
    except Exception as error:  # pydicom raises whatever the damage leads to
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageFileError(path, f"its pixels cannot be decoded ({reason})") from error


def _planes(dataset: Dataset, pixels: PixelFormat, path: str, frames: Sequence[int]) -> Iterator[NDArray[Any]]:
    if pixels.compressed:
        check_codestream(path, dataset, pixels.rows, pixels.columns, pixels.frames)
        plugin = _plugin(pixels.syntax)
        size = pixels.rows * pixels.columns * pixels.dtype.itemsize
        yield from decode_apart(path, (*PIXEL_TAGS, "PixelData"), frames, plugin, (pixels.rows, pixels.columns), size)
    elif get_decoder is None:
        array = dataset.pixel_array.reshape(pixels.frames, pixels.rows, pixels.columns)
        yield from (array[i] for i in frames)
    else:
        decoder = get_decoder(pixels.syntax)
        yield from (decoder.as_array(dataset, index=i, raw=True)[0] for i in frames)


def _plugin(syntax: str) -> str:
    """Return the name of the plugin to decode with, "" for any."""
    if get_decoder is None:
        return ""
    available = get_decoder(syntax).available_plugins
    order = (_OWN_DECODER.get(UID(syntax), ""), *_DECODERS)
    return next((name for name in order if name in available), "")


def _stored_bits(plane: NDArray[Any], pixels: PixelFormat) -> NDArray[Any]:
    """Cut a plane to its stored bits."""
    if pixels.stored == pixels.allocated:
        return plane.astype(pixels.dtype, copy=False)
    unsigned = plane.astype(f"u{pixels.allocated // 8}", copy=False)
    if not pixels.compressed:
        unsigned = unsigned >> (pixels.high + 1 - pixels.stored)  # decoders have moved them already
    spare = pixels.allocated - pixels.stored
    return (unsigned << spare).view(pixels.dtype) >> spare


def _turned_over(plane: NDArray[Any], pixels: PixelFormat) -> NDArray[Any]:
    """Return a plane with its range of values reversed; its lowest value becomes the highest."""
    return ~plane if pixels.signed else (np.array(2**pixels.stored - 1, dtype=pixels.dtype) - plane)
