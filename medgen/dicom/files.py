"""Open a DICOM file with care: what it is, its header, and whether its pixels are all there."""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
import pydicom.config
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medgen.data.guard import ImageFileError, image_cap, open_regular

__all__ = ["PixelElement", "dicom_files", "is_dicom", "named_dicom", "quiet_pydicom", "read_header", "read_with_pixels"]

_PIXEL_TAGS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"UN", b"OL", b"OV")
_FIRST_VRS = (b"UL", b"CS", b"UI", b"DA", b"TM", b"SH", b"LO", b"OB")
_UNDEFINED = 0xFFFFFFFF
_SUFFIXES = (".dcm", ".dicom", ".ima")
_LARGEST_INFLATED = 256 << 20
_LARGE_READ = 1 << 16

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class PixelElement:
    """Where a file's pixels are, and how much of them is there.

    Args:
        keyword: ``PixelData``, ``FloatPixelData`` or ``DoubleFloatPixelData``.
        stored_bytes: bytes of the element's value that the file holds.
        missing_bytes: bytes that its lengths promise beyond the end of the file.
        known: False where a deflated file hides them; then the numbers are 0.
    """

    keyword: str
    stored_bytes: int = 0
    missing_bytes: int = 0
    known: bool = True


class _Quiet:
    """How many calls want pydicom quiet, and what it was set to before the first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.depth = 0
        self.mode = pydicom.config.IGNORE


_QUIET = _Quiet()
if hasattr(os, "register_at_fork"):  # another thread may hold the lock while this one forks
    os.register_at_fork(after_in_child=_QUIET.__init__)  # type: ignore[misc]


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom from warning of values whose form breaks the standard; the warnings would quote them.

    ``warnings.catch_warnings`` is not for threads, and scans are read in several.
    """
    settings = pydicom.config.settings
    with _QUIET.lock:
        if _QUIET.depth == 0:
            _QUIET.mode, settings.reading_validation_mode = settings.reading_validation_mode, pydicom.config.IGNORE
        _QUIET.depth += 1
    try:
        yield
    finally:
        with _QUIET.lock:
            _QUIET.depth -= 1
            if _QUIET.depth == 0:
                settings.reading_validation_mode = _QUIET.mode


class _BoundedReader(io.BufferedReader):
    """A file that never reads, and so never reserves memory, beyond its end, whatever length an element claims."""

    def __init__(self, file: BinaryIO) -> None:
        self.size = os.fstat(file.fileno()).st_size
        super().__init__(file.detach())  # type: ignore[attr-defined]

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LARGE_READ:
            size = max(0, min(size, self.size - self.tell()))
        return super().read(size)


def is_dicom(path: PathLike) -> bool:
    """Say whether a file is DICOM, by its first bytes; False for what is no readable, regular file.

    A file is DICOM with ``DICM`` after its 128 bytes of preamble, or, as old software wrote it, when it starts with an
    element of group 0002 or 0008.
    """
    try:
        with open_regular(path) as file:
            return _looks_like_dicom(file.read(136))
    except (ImageFileError, OSError):
        return False


def _looks_like_dicom(head: bytes) -> bool:
    if head[128:132] == b"DICM":
        return True
    if len(head) < 16:
        return False
    for order in "<>":
        group, element, length = struct.unpack(f"{order}HHI", head[:8])
        if group in (0x0002, 0x0008) and element <= 0x0018 and (head[4:6] in _FIRST_VRS or length <= 64):
            return True
    return False


def named_dicom(path: PathLike) -> bool:
    """Say whether a file's name says that it is DICOM; an empty one is damaged then, and not another kind of file.

    Names that start with a point are of what some systems keep beside a file.

    Example:
        >>> named_dicom("scan/0001.dcm"), named_dicom("scan/._0001.dcm"), named_dicom("scan/notes.txt")
        (True, False, False)
    """
    name = os.path.basename(path).lower()
    return name.endswith(_SUFFIXES) and not name.startswith(".")


def dicom_files(path: PathLike) -> list[str]:
    """Return the DICOM files at a path, sorted: the file itself, or all in a folder and below it.

    Those in a folder that are named so and are none are returned too: whoever reads them says what is wrong.

    Raises:
        ImageFileError: there is no such path, or no DICOM file there.
    """
    if not Path(path).is_dir():
        if not is_dicom(path):
            open_regular(path).close()  # a missing or irregular file says so itself
            raise ImageFileError(path, "is no DICOM file")
        return [os.fspath(path)]
    files = sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    found = {file: is_dicom(file) for file in files}
    if not any(found.values()):
        raise ImageFileError(path, "holds no DICOM file")
    return [file for file, dicom in found.items() if dicom or named_dicom(file)]


def read_header(path: PathLike, tags: Sequence[Any]) -> tuple[Dataset, PixelElement | None]:
    """Read some elements of a file's header, and look where its pixels are without reading them.

    Returns:
        The header with ``file_meta.TransferSyntaxUID`` set, and the pixels, None when there are none.

    Raises:
        ImageFileError: the file is no DICOM file or its header cannot be read.
    """
    with _open(path) as file:
        dataset = _parse(path, file, tags, stop_before_pixels=True)
        if dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
            return dataset, PixelElement("PixelData", known=False)
        return dataset, _pixel_element(file, dataset.file_meta.TransferSyntaxUID)


def read_with_pixels(path: PathLike, tags: Sequence[Any]) -> Dataset:
    """Read some elements of a file and its pixel data, not decoded yet.

    Raises:
        ImageFileError: the file is no DICOM file or cannot be read.
    """
    with _open(path) as file:
        return _parse(path, file, [*tags, "PixelData"], stop_before_pixels=False)


def _open(path: PathLike) -> _BoundedReader:
    file = _BoundedReader(open_regular(path))
    try:
        head = file.read(2048)
        if not _looks_like_dicom(head):
            raise ImageFileError(path, "is no DICOM file")
        if DeflatedExplicitVRLittleEndian.encode() in head:
            _check_inflated_size(path, file, head)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def _parse(path: PathLike, file: BinaryIO, tags: Sequence[Any], stop_before_pixels: bool) -> Dataset:
    try:
        dataset = pydicom.dcmread(file, stop_before_pixels=stop_before_pixels, specific_tags=list(tags), force=True)
        meta = dataset.file_meta
        if not getattr(meta, "TransferSyntaxUID", None):
            implicit, little = _encoding(dataset)
            explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
            meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
        return dataset
    except Exception as error:  # pydicom raises whatever the damage leads to
        raise ImageFileError(path, f"its DICOM header cannot be read ({_reason(error)})") from error


def _encoding(dataset: Dataset) -> tuple[bool, bool]:
    """Return whether a dataset was read as implicit VR and as little endian."""
    if hasattr(dataset, "original_encoding"):  # pydicom 3
        implicit, little = dataset.original_encoding
        return bool(implicit), little is not False
    return bool(dataset.is_implicit_VR), bool(dataset.is_little_endian)


def _reason(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _check_inflated_size(path: PathLike, file: BinaryIO, head: bytes) -> None:
    """Inflate a deflated file piece by piece, to know that it is whole and not larger than allowed."""
    tag, length = head[132:136], int.from_bytes(head[140:144], "little")
    if tag != b"\x02\x00\x00\x00":
        raise ImageFileError(path, "is deflated, and the length of its file meta information is missing")
    most = min(_LARGEST_INFLATED, image_cap())
    file.seek(144 + length)
    inflater, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    try:
        while not inflater.eof and (block := inflater.unconsumed_tail or file.read(_LARGE_READ)):
            total += len(inflater.decompress(block, 1 << 20))
            if total > most:
                raise ImageFileError(path, f"inflates to more than {most >> 20} MiB, the most that is read")
    except zlib.error as error:
        raise ImageFileError(path, f"cannot be inflated ({error})") from error
    if not inflater.eof:
        raise ImageFileError(path, "its deflated part ends early: truncated")


def _pixel_element(file: _BoundedReader, syntax: str) -> PixelElement | None:
    """Look at the element that a file is positioned at."""
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    head = file.read(8)
    if len(head) < 8:
        return None
    group, element, length = struct.unpack(f"{order}HHI", head)
    keyword = _PIXEL_TAGS.get(group << 16 | element)
    if keyword is None:
        return None
    if head[4:6] in _LONG_VRS:
        (length,) = struct.unpack(f"{order}I", file.read(4).ljust(4, b"\0"))
    start = file.tell()
    if length != _UNDEFINED:
        return PixelElement(keyword, min(length, file.size - start), max(0, length - (file.size - start)))
    return PixelElement(keyword, file.size - start, _missing_from_items(file, start))


def _missing_from_items(file: _BoundedReader, start: int) -> int:
    """Return how many bytes the items of encapsulated pixels promise beyond the end of the file."""
    position = start
    while position + 8 <= file.size:
        file.seek(position)
        group, element, length = struct.unpack("<HHI", file.read(8))
        if (group, element) != (0xFFFE, 0xE000):
            break  # the end of the sequence, or what the decoder will object to
        position += 8 + length
    return max(0, position - file.size)
