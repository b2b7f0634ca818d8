"""One image file in memory: read, oriented, normalised, cut into slices of one pixel size."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import ResampleToMatch
from monai.utils.enums import MetaKeys, SpaceKeys
from monai.utils.misc import ImageMetaKey
from numpy.typing import NDArray
from PIL import Image, ImageOps

from medgen.data.guard import ImageFileError, check_allocation, check_values, open_regular
from medgen.data.nifti import NIFTI_SUFFIXES, read_nifti
from medgen.data.tables import CohortError

__all__ = [
    "PLANES",
    "Extent",
    "foreground",
    "foreground_extent",
    "is_picture",
    "middle_planes",
    "normalise",
    "plane_view",
    "read_image",
    "resample",
]

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
PICTURE_FORMATS = ("JPEG", "PNG", "BMP", "TIFF")  # no other decoder is tried, whatever a file turns out to be
PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}


def is_picture(path: str) -> bool:
    """Say whether a file is a 2D picture, by its suffix."""
    return path.lower().endswith(PICTURE_SUFFIXES)


def read_image(paths: str | Sequence[str], channels: int | None = None) -> MetaTensor:
    """Read an image, all its channels.

    A volume is turned to RAS, and further channels are resampled to the grid of the first where theirs differs. A
    picture becomes grey unless three channels are wanted, and is turned as its EXIF orientation says.

    Args:
        paths: one file per channel: NIfTI, Analyze, MGH, a folder of one DICOM series or a file of it,
            or a picture.
        channels: wanted number, None for what the files give (one for a picture).

    Returns:
        float32 (C, X, Y, Z) with its affine, or (C, H, W) for a picture, row 0 at the top.

    Raises:
        ImageFileError: naming the file and what is wrong with it.
        CohortError: the files do not fit together, or not what is wanted.
    """
    files = [paths] if isinstance(paths, str) else list(paths)
    loaded: list[Any] = []
    for file in files:
        try:
            loaded.append(_read_picture(file, channels) if is_picture(file) else _read_volume(file))
        except ImageFileError:
            raise
        except Exception as error:  # readers raise whatever their format's library raises
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            raise ImageFileError(file, f"cannot be read as an image ({reason})") from error
    first = loaded[0]
    if not is_picture(files[0]):
        for i, other in enumerate(loaded[1:], start=1):
            if other.shape[1:] != first.shape[1:] or not np.allclose(other.affine, first.affine, atol=1e-3):
                loaded[i] = ResampleToMatch(padding_mode="zeros")(other, first)
    elif any(other.shape[1:] != first.shape[1:] for other in loaded):
        raise CohortError(
            f"{files[0]}: its channels have the sizes {[tuple(x.shape[1:]) for x in loaded]}, expected one size"
        )
    image = MetaTensor(torch.cat([x.as_tensor() for x in loaded]), meta=first.meta)
    if channels is not None and image.shape[0] != channels:
        raise CohortError(f"{files[0]}: found {image.shape[0]} channel(s) in {len(files)} file(s), expected {channels}")
    return image


def _read_picture(file: str, channels: int | None) -> MetaTensor:
    with open_regular(file) as stream, Image.open(stream, formats=PICTURE_FORMATS) as picture:
        colours = 3 if channels == 3 else 1
        stored = os.fstat(stream.fileno()).st_size
        check_allocation(file, (picture.height, picture.width, colours), "float32", stored, compressed=True)
        if picture.format == "TIFF" and (pages := getattr(picture, "n_frames", 1)) > 1:
            raise ImageFileError(file, f"found {pages} pages, expected one picture")
        ImageOps.exif_transpose(picture, in_place=True)
        if picture.mode[0] in "IF":  # grey of 16 or 32 bits, which a conversion would cut to 8
            array = np.broadcast_to(np.asarray(picture, dtype=np.float32), (colours, picture.height, picture.width))
        else:
            array = np.asarray(picture.convert("RGB" if colours == 3 else "L"), dtype=np.float32)
            array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    array = np.array(array, order="C")
    check_values(file, array)
    return MetaTensor(torch.from_numpy(array))


def _read_volume(file: str) -> Any:
    """Read a volume in RAS (C, X, Y, Z)."""
    if file.lower().endswith(NIFTI_SUFFIXES):
        array, affine = read_nifti(file)
        meta = {MetaKeys.SPACE: SpaceKeys.RAS, ImageMetaKey.FILENAME_OR_OBJ: file}
        return MetaTensor(torch.from_numpy(array), affine=torch.from_numpy(affine), meta=meta)
    from medgen.dicom import files, read  # here, since medgen.dicom imports medgen.data

    if Path(file).is_file() and not files.is_dicom(file):
        found = "it is neither NIfTI, Analyze, MGH, DICOM nor a picture"
        raise ImageFileError(file, f"cannot be read as an image ({found})")
    return read.read_series(file)


@dataclass(frozen=True)
class Extent:
    """Where the imaged object lies along one axis, in voxels: ``low`` to ``high``, both included."""

    low: int
    high: int

    @property
    def centre(self) -> float:
        """The middle, in voxels."""
        return 0.5 * (self.low + self.high)

    @property
    def size(self) -> int:
        """The number of voxels."""
        return self.high - self.low + 1


# These work in numpy: one thread each, since the callers already run one thread per image.


def foreground(image: torch.Tensor) -> NDArray[np.bool_]:
    """Return the mask (*spatial) of what stands out of the background in some channel of (C, *spatial).

    Where a tenth of the image or more has exactly the lowest value, the background was removed, and little must be
    exceeded (traces of compression and interpolation); else a tenth of the brightest, above the noise in air.
    """
    strongest = image.numpy().max(axis=0)
    background, removed = _background(strongest)
    inside = strongest[strongest > background]
    if inside.size == 0:
        return np.zeros(strongest.shape, dtype=bool)
    top = np.quantile(_thinned(inside), 0.99)
    return strongest > background + (0.02 if removed else 0.1) * (top - background)


def _background(values: NDArray[np.float32]) -> tuple[float, bool]:
    """Return the lowest value, and whether a tenth of the image has it, as where the background was removed."""
    lowest = float(values.min())
    return lowest, bool(np.count_nonzero(values == lowest) > 0.1 * values.size)


def foreground_extent(image: torch.Tensor) -> list[Extent]:
    """Find the extent of the object along each axis: where at least a hundredth of its largest cross-section is hit."""
    mask = foreground(image)
    extents = []
    for axis in range(mask.ndim):
        profile = np.count_nonzero(mask, axis=tuple(d for d in range(mask.ndim) if d != axis))
        hit = np.flatnonzero(profile > 0.01 * profile.max())
        extents.append(Extent(int(hit[0]), int(hit[-1])) if len(hit) else Extent(0, mask.shape[axis] - 1))
    return extents


def _thinned(values: NDArray[np.float32], most: int = 200_000) -> NDArray[np.float32]:
    """Return at most ``most`` of the values, evenly spaced, as quantiles sort them."""
    flat = values.reshape(-1)
    return flat[:: max(1, math.ceil(flat.size / most))]


def normalise(image: torch.Tensor, percentile: float = 99.5) -> torch.Tensor:
    """Map each channel linearly to [-1, 1]: the background to -1, the percentile of the foreground to 1.

    Args:
        image: float32 (C, *spatial), any intensities.
        percentile: of the foreground's intensities, in (0, 100].

    Returns:
        float32 (C, *spatial), cut to [-1, 1]; a constant channel becomes -1.
    """
    result = np.full(tuple(image.shape), -1.0, dtype=np.float32)
    for i, channel in enumerate(image.numpy()):
        inside = channel[foreground(image[i : i + 1])]
        if inside.size == 0:
            continue
        low, removed = _background(channel)
        if not removed:
            low = float(np.quantile(_thinned(channel), 0.005))
        high = float(np.quantile(_thinned(inside), percentile / 100.0))
        if high > low:
            np.clip((channel - np.float32(low)) * np.float32(2.0 / (high - low)) - 1.0, -1.0, 1.0, out=result[i])
    return torch.from_numpy(result)


def plane_view(volume: torch.Tensor, plane: str) -> torch.Tensor:
    """Return a RAS volume (C, X, Y, Z) as pictures (S, C, H, W) of one plane.

    Axial and coronal: the person's left is on the left; axial: front at the top; coronal and sagittal: head at the top;
    sagittal: front on the right. Slices run to the right, to the front, or to the head.
    """
    order = {"axial": (3, 0, 2, 1), "coronal": (2, 0, 3, 1), "sagittal": (1, 0, 3, 2)}[plane]
    return volume.permute(*order).flip(2)


def middle_planes(image: torch.Tensor, background: float = -1.0) -> list[torch.Tensor]:
    """Return what is shown of an image: itself, or of a RAS volume its middle axial, coronal and sagittal slices.

    Args:
        image: (C, H, W) or (C, X, Y, Z).
        background: what the slices are padded with, to squares of one size.

    Returns:
        One picture (C, H, W), or three (C, S, S) where S is the longest side.

    Example:
        >>> [tuple(picture.shape) for picture in middle_planes(torch.zeros(1, 4, 6, 5))]
        [(1, 6, 6), (1, 6, 6), (1, 6, 6)]
    """
    if image.ndim == 3:
        return [image]
    side = max(image.shape[1:])
    pictures = []
    for plane in ("axial", "coronal", "sagittal"):
        axis = 1 + PLANES[plane]
        picture = plane_view(image.narrow(axis, image.shape[axis] // 2, 1), plane)[0]
        spare = [side - n for n in picture.shape[:0:-1]]
        padding = [n for s in spare for n in (s // 2, s - s // 2)]
        pictures.append(torch.nn.functional.pad(picture, padding, value=background))
    return pictures


def resample(image: torch.Tensor, centre: Sequence[float], step: Sequence[float], size: Sequence[int]) -> torch.Tensor:
    """Resample pictures or volumes with Keys' cubic kernel (a = -0.5), widened where pixels grow against aliasing.

    R. Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 29 (1981), eq. 15.

    Args:
        image: (..., H, W), or (..., X, Y, Z) where three numbers are given below; zero outside.
        centre: row and column (x, y and z) that become the middle of the result, in pixels of ``image``.
        step: size of a new pixel in old ones, for rows and columns (x, y and z).
        size: rows and columns (x, y and z) of the result.

    Returns:
        float32 (..., *size).
    """
    counts = image.shape[-len(size) :]
    weights = [_weights(n, float(c), float(s), int(m)) for n, c, s, m in zip(counts, centre, step, size, strict=True)]
    result = weights[-2] @ image.float() @ weights[-1].T
    for axis, matrix in enumerate(weights[:-2], start=-len(size)):
        result = (result.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return result


def _weights(count: int, centre: float, step: float, size: int) -> torch.Tensor:
    """Return the (size, count) matrix that resamples one axis."""
    positions = centre + (torch.arange(size, dtype=torch.float64) - 0.5 * (size - 1)) * step
    width = max(1.0, step)
    margin = math.ceil(2 * width) + max(0, math.ceil(-float(positions[0])), math.ceil(float(positions[-1]) - count + 1))
    inputs = torch.arange(-margin, count + margin, dtype=torch.float64)
    x = ((inputs - positions[:, None]) / width).abs()
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1.0, -0.5 * x**3 + 2.5 * x**2 - 4.0 * x + 2.0
    weights = torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))
    weights = weights / weights.sum(dim=1, keepdim=True)
    return weights[:, margin : margin + count].float()
