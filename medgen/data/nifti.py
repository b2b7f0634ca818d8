"""NIfTI, Analyze and FreeSurfer volumes: headers by nibabel, voxels only after the guard's checks."""

from __future__ import annotations

import gzip
import io
import logging
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
from nibabel import orientations
from nibabel.fileholders import FileHolder
from nibabel.freesurfer.mghformat import MGHHeader
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
from nibabel.spm2analyze import Spm2AnalyzeHeader
from numpy.typing import NDArray

from medgen.data.guard import (
    MOST_PADDING,
    ImageFileError,
    PathLike,
    check_affine,
    check_allocation,
    check_values,
    excess,
    open_regular,
)

__all__ = ["NIFTI_SUFFIXES", "read_nifti"]

NIFTI_SUFFIXES = (".nii", ".nii.gz", ".img", ".hdr", ".mgh", ".mgz")  # NIfTI, Analyze, FreeSurfer
UNIT_MM = {1: 1000.0, 3: 0.001}  # xyzt_units of NIfTI: metres, micrometres; 2 is mm, and 0, not stated, means mm
# where the axes run to, by Analyze's hist.orient; 0 is what nibabel assumes: left, front, head
ANALYZE_AXES = {b"\1": "LSA", b"\2": "ASL", b"\3": "LPS", b"\4": "LIA", b"\5": "ASR"}
LARGEST_HEADER = 540
MOST_EXTENSION = 64 << 20  # bytes between header and voxels
MOST_FOOTER = 1 << 20  # the same in FreeSurfer's files, which keep their tags there
MOST_MATRIX = 1 << 16  # bytes of the .mat file beside an Analyze pair
BLOCK = 1 << 20
_SILENT = logging.Logger(__name__, level=logging.CRITICAL + 1)  # what nibabel finds is raised, no need to print it too


@dataclass(frozen=True)
class _Header:
    """A parsed header: nibabel's object, where the voxels start in their file, and how much may follow them."""

    parsed: Any
    offset: int
    most_after: int = MOST_PADDING


def read_nifti(path: PathLike) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Read a NIfTI-1 or NIfTI-2 file or pair, an Analyze pair, or a FreeSurfer volume, compressed by gzip or not.

    Memory is taken for what the file holds, not for what its header claims; gzip is inflated only as far as the header
    asks, and its checksum is checked. Voxels are scaled as the header says; a slope of 0 or NaN means none. Lengths
    become mm where a NIfTI header says metres or micrometres. An Analyze pair lies as its ``orient`` says or, where SPM
    wrote an origin or a ``.mat`` file, as SPM has it; its left and right are a convention (stored from right to left).

    Args:
        path: the file; of a pair either one.

    Returns:
        Voxels, float32 (C, X, Y, Z) in RAS, non-finite ones set to 0, and the affine, voxel -> mm, float64 (4, 4).

    Raises:
        ImageFileError: the file is damaged, contradicts itself, holds colours or complex numbers, or is too large.
    """
    path = Path(path)
    pair = path.suffix.lower() in (".img", ".hdr")
    header_path, voxels_path = (_sibling(path, s) for s in (".hdr", ".img")) if pair else (path, path)
    with open_regular(header_path) as file:
        header = _parse(path, _read(header_path, _inflated(file), LARGEST_HEADER, "header", exactly=False), pair)
    with open_regular(voxels_path) as file:
        raw = _voxels(voxels_path, file, header)
    affine = check_affine(header_path, _affine(header_path, header.parsed, raw.shape))
    array = _scaled(voxels_path, header.parsed, raw)
    del raw
    turn = orientations.io_orientation(affine)
    affine = affine @ orientations.inv_ornt_aff(turn, array.shape[:3])
    array = np.ascontiguousarray(np.moveaxis(orientations.apply_orientation(array, turn), -1, 0))
    check_values(voxels_path, array)
    return array, affine


def _sibling(path: Path, suffix: str) -> Path:
    """Return the file of a pair that has the suffix, in capitals where ``path`` has them."""
    return path.with_suffix(suffix.upper() if path.suffix.isupper() else suffix)


def _inflated(file: BinaryIO) -> BinaryIO:
    """Return the file, or what gzip inflates from it; its first bytes tell, since names lie."""
    magic = file.read(2)
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if magic == b"\x1f\x8b" else file  # type: ignore[return-value]


def _read(path: Path, stream: BinaryIO, count: int, what: str, exactly: bool = True) -> bytearray:
    """Read ``count`` bytes, block by block, so that memory grows with what is found."""
    found = bytearray()
    try:
        while len(found) < count and (block := stream.read(min(BLOCK, count - len(found)))):
            found += block
    except (EOFError, OSError, zlib.error) as error:
        raise ImageFileError(path, f"cannot be read as an image (its {what}: {error})") from error
    if exactly and len(found) < count:
        raise ImageFileError(path, f"found {len(found)} bytes of its {what}, expected {count}: truncated")
    return found


def _parse(path: Path, block: bytearray, pair: bool) -> _Header:
    """Parse the first bytes of a file as a header of the kind that its name says."""
    try:
        if path.suffix.lower() in (".mgh", ".mgz"):
            freesurfer = MGHHeader(bytes(block), check=False)
            freesurfer.check_fix(logger=_SILENT)
            freesurfer.get_data_dtype()  # raises where it is none
            return _Header(freesurfer, freesurfer.get_data_offset(), MOST_FOOTER)
        kind, size = _nifti_kind(block, pair)
        parsed = kind(bytes(block[:size]), check=False)
        bits = int(parsed["bitpix"])  # before nibabel corrects it
        parsed.check_fix(logger=_SILENT)
        offset = parsed.get_data_offset()
        if bits not in (0, 8 * parsed.get_data_dtype().itemsize):
            raise ValueError(f"values of type {parsed.get_data_dtype().name} but {bits} bits for each")
        for name in ("scl_slope", "scl_inter"):
            if np.isinf(parsed[name]):
                raise ValueError(f"{name} is infinite")
    except Exception as error:  # nibabel raises KeyError, ValueError, its own, ... by the field that is wrong
        raise ImageFileError(path, f"cannot be read as an image (its header: {error})") from error
    first = 0 if pair else size + 4  # four bytes say whether extensions follow
    if not pair and offset == 0:
        offset = first
    if not first <= offset <= first + MOST_EXTENSION:
        raise ImageFileError(
            path, f"its header has the voxels start at byte {offset}, expected {first} or a little later"
        )
    return _Header(parsed, offset)


def _nifti_kind(block: bytearray, pair: bool) -> tuple[Any, int]:
    """Return nibabel's class for a header, by its size and magic word, and the size."""
    sizes = (int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big"))
    if 540 in sizes and len(block) >= 540:
        kinds: dict[bytes, Any] = {b"n+2\0": Nifti2Header, b"ni2\0": Nifti2PairHeader}
        magic, size = bytes(block[4:8]), 540
    elif 348 in sizes and len(block) >= 348:
        kinds = {b"n+1\0": Nifti1Header, b"ni1\0": Nifti1PairHeader}
        magic, size = bytes(block[344:348]), 348
        if pair and magic not in kinds:
            return Spm2AnalyzeHeader, size
    else:
        raise ValueError(f"found {len(block)} bytes with {bytes(block[:4])!r} as their size, expected 348 or 540")
    expected = list(kinds)[pair]
    if magic != expected:
        raise ValueError(f"found the magic word {magic!r}, expected {expected!r}")
    return kinds[magic], size


def _voxels(path: Path, file: BinaryIO, header: _Header) -> NDArray[Any]:
    """Return the voxels as stored, (X, Y, Z, C), after comparing what the header asks for with what there is."""
    dtype, shape = header.parsed.get_data_dtype(), header.parsed.get_data_shape()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        what = {"c": "complex numbers", "V": "colours"}.get(dtype.kind, f"values of type {dtype.name}")
        raise ImageFileError(path, f"holds {what}, expected real numbers of at most 64 bits")
    stream = _inflated(file)
    size = os.fstat(file.fileno()).st_size
    compressed = stream is not file
    needed = check_allocation(
        path, shape, dtype, size if compressed else size - header.offset, compressed, header.most_after
    )
    shape = tuple(shape[:3]) + tuple(n for n in shape[3:] if n > 1)
    if len(shape) not in (3, 4):
        raise ImageFileError(path, f"found {len(shape)} dimensions, expected 3, or 4 for channels")
    _read(path, stream, header.offset, "header")
    data = _read(path, stream, needed, "voxels")
    after = len(_read(path, stream, header.most_after + 1, "end", exactly=False))  # gzip's checksum is there
    if after > header.most_after:
        raise ImageFileError(path, excess(needed, header.most_after))
    return np.frombuffer(data, dtype).reshape(shape if len(shape) == 4 else (*shape, 1), order="F")


def _scaled(path: Path, parsed: Any, raw: NDArray[Any]) -> NDArray[np.float32]:
    """Return slope times voxel plus intercept, computed in float64 slice by slice."""
    slope, intercept = parsed.get_slope_inter()
    array = np.empty(raw.shape, dtype=np.float32, order="F")
    with np.errstate(over="ignore", invalid="ignore"):
        for index in np.ndindex(raw.shape[2:]):
            plane = raw[(..., *index)]
            if slope is not None and (slope, intercept) != (1.0, 0.0):
                plane = plane * np.float64(slope) + np.float64(intercept)
            array[(..., *index)] = plane
            if not np.isfinite(array[(..., *index)]).all() and np.isfinite(raw[(..., *index)]).all():
                raise ImageFileError(
                    path, f"its values exceed float32 when scaled (slope {slope}, intercept {intercept})"
                )
    return array


def _affine(path: Path, parsed: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the affine, voxel -> mm, as the header or SPM's file beside it has it."""
    try:
        if not isinstance(parsed, Spm2AnalyzeHeader):
            affine = np.array(parsed.get_best_affine(), dtype=np.float64)
            if isinstance(parsed, Nifti1Header):
                affine[:3] *= UNIT_MM.get(int(parsed["xyzt_units"]) & 7, 1.0)
            return affine
        matrix_path = _sibling(path, ".mat")
        matrix = b""
        if matrix_path.exists():
            with open_regular(matrix_path) as file:
                matrix = bytes(_read(matrix_path, file, MOST_MATRIX, "matrix", exactly=False))
        axes = ANALYZE_AXES.get(bytes(parsed["orient"]), "")
        if axes and not matrix and not np.any(parsed["origin"]):
            return _analyze_affine(parsed, axes, shape)
        contents = {"header": parsed.binaryblock, "image": b"", "mat": matrix}
        holders = {name: FileHolder(fileobj=io.BytesIO(content)) for name, content in contents.items()}
        return np.array(nibabel.Spm2AnalyzeImage.from_file_map(holders, mmap=False).affine, dtype=np.float64)
    except ImageFileError:
        raise
    except Exception as error:  # nibabel and scipy raise many kinds
        raise ImageFileError(path, f"cannot be read as an image (its orientation: {error})") from error


def _analyze_affine(parsed: Any, axes: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the affine of an Analyze volume whose axes run to ``axes``, such as "ASL", its middle at the origin."""
    turn = orientations.axcodes2ornt(tuple(axes))
    affine = np.eye(4)
    affine[:3, :3] = 0.0
    for axis, (world, sign) in enumerate(turn):
        affine[int(world), axis] = sign * float(parsed["pixdim"][axis + 1])
    affine[:3, 3] = -affine[:3, :3] @ (0.5 * (np.array(shape[:3]) - 1))
    return affine
