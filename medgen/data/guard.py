"""Checks of an image file before its contents are believed: its size in memory, its geometry, its values.

A header is written by a stranger. What it asks for is compared with what the file can hold before memory is taken for
it, so that a damaged or hostile file costs an error that names it and not the process.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from medgen.data.tables import CohortError

__all__ = [
    "DEFLATE_RATIO",
    "MOST_PADDING",
    "ImageFileError",
    "check_affine",
    "check_allocation",
    "check_values",
    "excess",
    "image_cap",
    "open_regular",
]

DEFLATE_RATIO = 1032  # a byte of deflate stands for 1032 at most: M. Adler, zlib Technical Details, zlib.net
CAP_VARIABLE = "MEDGEN_MAX_IMAGE_GIB"
DEFAULT_CAP_GIB = 2.0
SMALL_BYTES = 16 << 20  # a blank picture compresses almost without bound; one this small does no harm
MOST_PADDING = 512  # bytes that may follow the voxels, as old disks and tapes filled up their blocks
SPACING_MM = (1e-3, 500.0)  # from microscopy to far-spread slices; 1 mm misread as 1 m is beyond
FARTHEST_MM = 1e6
FLATTEST = 0.1
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}

PathLike = str | os.PathLike[str]


class ImageFileError(CohortError):
    """An image file cannot be read, or cannot be trusted.

    Args:
        path: the file; the message starts with it.
        reason: what was found, and what was expected.

    Example:
        >>> raise ImageFileError("scan.nii", "found 12 bytes, expected 348 of header")
        Traceback (most recent call last):
            ...
        medgen.data.guard.ImageFileError: scan.nii: found 12 bytes, expected 348 of header
    """

    def __init__(self, path: PathLike, reason: str) -> None:
        super().__init__(os.fspath(path), reason)  # both, so that the error survives pickling between processes
        self.path = os.fspath(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def image_cap() -> int:
    """Return the most bytes that one decoded image may take as float32.

    2 GiB, or what the environment variable ``MEDGEN_MAX_IMAGE_GIB`` says (a positive number of GiB).

    Raises:
        ValueError: when the variable holds no positive number.
    """
    text = os.environ.get(CAP_VARIABLE, "").strip()
    try:
        gib = float(text) if text else DEFAULT_CAP_GIB
    except ValueError:
        gib = math.nan
    if not (math.isfinite(gib) and gib > 0):
        raise ValueError(f"the environment variable {CAP_VARIABLE} is {text!r}, expected a positive number of GiB")
    return int(gib * (1 << 30))


def check_allocation(
    path: PathLike,
    shape: Sequence[int],
    dtype: DTypeLike,
    stored_bytes: int | None = None,
    compressed: bool = False,
    most_after: int = MOST_PADDING,
) -> int:
    """Check, before any memory is taken, that an image is of a size that its file can hold and that is allowed.

    Args:
        path: the file, for the message.
        shape: number of elements along each axis, all axes (channels, frames, samples) included.
        dtype: type of the elements as stored.
        stored_bytes: bytes that the file has for them; None when not known, then only the cap is checked.
        compressed: whether those bytes are compressed. Then they may stand for 1032 times as many, the most that
            deflate reaches, or for 16 MiB, since codecs for pictures write a blank one in next to nothing.
        most_after: how many bytes more than needed there may be, when not compressed: padding. With many more the
            header is not that of the pixels.

    Returns:
        The number of bytes as stored when decoded: elements times size of ``dtype``.

    Raises:
        ImageFileError: an axis is not positive, the float32 image exceeds :func:`image_cap`, or the file is too short
            or too long.

    Example:
        >>> check_allocation("scan.nii", (256, 256, 176), "int16", stored_bytes=23_068_672)
        23068672
        >>> check_allocation("scan.nii", (32767, 32767, 2), "int16", stored_bytes=5_000)
        Traceback (most recent call last):
            ...
        medgen.data.guard.ImageFileError: scan.nii: its header asks for 32767 x 32767 x 2 elements, ...
    """
    sizes = [int(n) for n in shape]
    asked = " x ".join(map(str, sizes)) or "no"
    if not sizes or min(sizes) < 1:
        raise ImageFileError(path, f"its header asks for {asked} elements, expected at least one along each axis")
    elements = math.prod(sizes)
    cap = image_cap()
    if 4 * elements > cap:
        raise ImageFileError(
            path,
            f"its header asks for {asked} elements, {4 * elements / (1 << 30):.4g} GiB as float32, expected at most "
            f"{cap / (1 << 30):.4g} GiB (the environment variable {CAP_VARIABLE} raises that)",
        )
    needed = elements * np.dtype(dtype).itemsize
    if stored_bytes is None:
        return needed
    possible = max(stored_bytes * DEFLATE_RATIO, SMALL_BYTES) if compressed else stored_bytes
    if needed > possible:
        state = "compressed bytes, too few to hold that" if compressed else "bytes"
        raise ImageFileError(
            path,
            f"its header asks for {asked} elements of {np.dtype(dtype).name}, {needed} bytes; found {stored_bytes} "
            f"{state}: truncated, or the header is wrong",
        )
    if not compressed and stored_bytes - needed > most_after:
        raise ImageFileError(path, excess(needed, most_after))
    return needed


def excess(needed: int, most_after: int = MOST_PADDING) -> str:
    """Say that more follows the voxels than padding: read as the header has it, the image would be another."""
    return f"more than {most_after} bytes follow the {needed} that its header asks for: the header is wrong"


def check_affine(path: PathLike, affine: ArrayLike) -> NDArray[np.float64]:
    """Check that an affine (voxel -> mm) places an image in space: finite, invertible, with a sane voxel size.

    Voxels are 0.001 mm to 500 mm along each axis, the origin lies within 1 km, and the three directions span space:
    the determinant of their unit vectors is at least 0.1 (orthogonal ones have 1, a gantry tilt of 30 degrees 0.87).

    Args:
        path: the file, for the message.
        affine: (4, 4), last row 0 0 0 1.

    Returns:
        The affine, float64 (4, 4).

    Raises:
        ImageFileError: says which of these fails, and the value found.

    Example:
        >>> check_affine("scan.nii", np.diag([1.0, 1.0, 0.0, 1.0]))
        Traceback (most recent call last):
            ...
        medgen.data.guard.ImageFileError: scan.nii: its voxels are 1 x 1 x 0 mm, expected 0.001 to 500 mm
    """
    matrix = np.array(affine, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise ImageFileError(path, f"its affine has the shape {matrix.shape}, expected (4, 4)")
    if not np.isfinite(matrix).all():
        raise ImageFileError(path, f"its affine has non-finite entries: {matrix.tolist()}")
    if not np.array_equal(matrix[3], [0.0, 0.0, 0.0, 1.0]):
        raise ImageFileError(path, f"the last row of its affine is {matrix[3].tolist()}, expected [0, 0, 0, 1]")
    with np.errstate(over="ignore"):
        spacing = np.sqrt((matrix[:3, :3] ** 2).sum(axis=0))
    if not ((spacing >= SPACING_MM[0]) & (spacing <= SPACING_MM[1])).all():
        found = " x ".join(f"{s:.4g}" for s in spacing)
        raise ImageFileError(path, f"its voxels are {found} mm, expected {SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm")
    if (determinant := abs(float(np.linalg.det(matrix[:3, :3] / spacing)))) < FLATTEST:
        raise ImageFileError(
            path,
            f"the axes of its affine lie almost in one plane (determinant of the unit directions {determinant:.3g}, "
            f"expected {FLATTEST:g} to 1)",
        )
    if np.abs(matrix[:3, 3]).max() > FARTHEST_MM:
        raise ImageFileError(path, f"its origin is {matrix[:3, 3].tolist()} mm, expected it within 1 km")
    return matrix


def check_values(path: PathLike, array: NDArray[np.float32]) -> None:
    """Set the non-finite values of an image to 0, in place; a mask drawn in NaN is common, an image of them is not.

    Raises:
        ImageFileError: more than half of the values are NaN or infinite.
    """
    finite = np.isfinite(array)
    lost = array.size - int(np.count_nonzero(finite))
    if 2 * lost > array.size:
        raise ImageFileError(path, f"{lost} of its {array.size} values are not finite, expected at most half")
    if lost:
        np.copyto(array, 0.0, where=~finite)


def open_regular(path: PathLike) -> BinaryIO:
    """Open a file for reading bytes, after symbolic links, when it is a regular one.

    A named pipe would wait for ever, and a device such as ``/dev/zero`` never ends.

    Raises:
        ImageFileError: there is no such file, it may not be read, or it is no regular file.
    """
    # without O_NONBLOCK opening a pipe waits for its writer; asking first and opening after could meet another file
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:  # ValueError: a zero character in the name
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise ImageFileError(path, f"cannot be read as an image ({reason})") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise ImageFileError(path, f"is {_KINDS.get(stat.S_IFMT(mode), 'no file')}, expected a regular file")
    return os.fdopen(descriptor, "rb")
