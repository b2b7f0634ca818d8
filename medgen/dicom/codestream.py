"""What compressed pixels say of themselves, looked at before a decoder in C is trusted with them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.uid import UID, RLELossless

from medgen.data.guard import ImageFileError

try:
    from pydicom.encaps import generate_frames
except ImportError:  # pydicom 2
    from pydicom.encaps import generate_pixel_data_frame as _generate

    def generate_frames(buffer: bytes, *, number_of_frames: int) -> Iterator[bytes]:  # type: ignore[misc]
        """Return the frames, as pydicom 3 does."""
        return _generate(buffer, number_of_frames)


__all__ = ["CodeSize", "check_codestream", "code_size"]

_J2K_START = b"\xff\x4f\xff\x51"
_JP2_START = b"\x00\x00\x00\x0cjP  "
_END = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_ALONE = frozenset(range(0xD0, 0xD9)) | {0x01}


class CodeSize(NamedTuple):
    """Rows, columns and numbers a pixel that a codestream holds."""

    rows: int
    columns: int
    samples: int


def code_size(code: bytes) -> CodeSize | None:
    r"""Return the size that a JPEG, JPEG-LS or JPEG 2000 codestream states, None when it states none.

    JPEG: ITU-T T.81 B.2.2 (T.87 C.2.2 for JPEG-LS), the first frame header. JPEG 2000: ITU-T T.800 A.5.1, SIZ.

    Example:
        >>> code_size(b"\xff\xd8\xff\xc3\x00\x0b\x10\x00\x40\x00\x30\x01\x01\x11\x00")
        CodeSize(rows=64, columns=48, samples=1)
    """
    if code.startswith(_JP2_START):
        code = code[max(0, code.find(_J2K_START)) :]
    if code.startswith(_J2K_START):
        if len(code) < 42:
            return None
        width, height, left, top = struct.unpack(">4I", code[8:24])
        (samples,) = struct.unpack(">H", code[40:42])
        return CodeSize(height - top, width - left, samples)
    if not code.startswith(b"\xff\xd8"):
        return None
    position = 2
    while position + 10 <= len(code) and code[position] == 0xFF:
        marker = code[position + 1]
        if marker == 0xFF or marker in _ALONE:
            position += 1 if marker == 0xFF else 2
            continue
        if marker in _FRAME_MARKERS:
            rows, columns, samples = struct.unpack(">HHB", code[position + 5 : position + 10])
            return CodeSize(rows, columns, samples)
        position += 2 + int.from_bytes(code[position + 2 : position + 4], "big")
    return None


def check_codestream(path: str, dataset: Dataset, rows: int, columns: int, frames: int) -> None:
    """Check that each compressed frame is whole and of the size that the header says.

    A decoder takes memory for what the codestream says, and fills what is missing at its end with grey.

    Raises:
        ImageFileError: naming the frame, what was found and what was expected.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax == RLELossless or not UID(syntax).is_encapsulated:
        return  # pydicom's own decoder checks the lengths
    for i, code in enumerate(generate_frames(dataset.PixelData, number_of_frames=frames)):
        size = code_size(code)
        if size is None:
            raise ImageFileError(path, f"frame {i} of its pixels is no {UID(syntax).name}")
        if size != (rows, columns, 1):
            raise ImageFileError(
                path,
                f"frame {i} of its pixels is {size.rows} x {size.columns} with {size.samples} samples a pixel, "
                f"expected {rows} x {columns} with 1 as its header says",
            )
        if _END not in code[-16:]:
            raise ImageFileError(path, f"frame {i} of its pixels has no end: truncated")
