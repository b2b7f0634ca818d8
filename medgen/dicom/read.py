"""Read a DICOM series as a volume."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import groupby
from typing import Any

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.utils.enums import MetaKeys, SpaceKeys
from numpy.typing import NDArray

from medgen.data.guard import ImageFileError, check_affine, check_allocation
from medgen.dicom.files import dicom_files, quiet_pydicom, read_with_pixels
from medgen.dicom.frames import Image
from medgen.dicom.geometry import Stack
from medgen.dicom.header import SYNTHETIC
from medgen.dicom.pixels import PIXEL_TAGS, decode
from medgen.dicom.scan import group_series, read_images
from medgen.dicom.series import assess

__all__ = ["HEADER_META", "read_series"]

HEADER_META = "dicom"  # key of a volume's meta data with the allowlisted header

PathLike = str | os.PathLike[str]


def read_series(
    files_or_folder: PathLike | Iterable[PathLike], series_uid: str | None = None, key: bytes | None = None
) -> MetaTensor:
    """Read one DICOM series as a volume in RAS.

    The order of the planes and the affine come from Image Position and Image Orientation (Patient), never from file
    names or instance numbers. Stored values are rescaled by each plane's own slope and intercept; MONOCHROME1 is turned
    over, so that bright is high; pixel padding is left as it is. Enhanced multi-frame images and compressed pixels are
    read too; the latter may need ``pip install "medgen[dicom]"``.

    Args:
        files_or_folder: a file, a folder (with all below it; files that are not DICOM are passed over), or the files.
        series_uid: Series Instance UID, where there are several series; None when there is one.
        key: secret for a site's keyed name, None for :func:`medgen.dicom.keys.secret_key`.

    Returns:
        float32 (1, X, Y, Z), axes nearest to right, anterior, superior; ``affine`` from voxels to RAS mm. Of the header
        only the allowlist is kept, as ``meta["dicom"]`` (:data:`medgen.dicom.header.HEADER_KEYS`, all keys always
        there: NaN or "" for what is missing), and ``synthetic``, whether the image says that it is of nobody.

    Raises:
        ImageFileError: naming the file or folder, and why it is not one volume: a truncated file, a gap, duplicates,
            slices missing at regular intervals, mixed orientations or frames of reference, a localiser, a mosaic,
            several volumes, a sheared stack, no geometry, colour, several series, more memory than allowed
            (:func:`medgen.data.guard.check_allocation`).

    Example:
        >>> from pydicom.data import get_testdata_file
        >>> volume = read_series(get_testdata_file("MR_small.dcm"), key=b"secret of 16 bytes")
        >>> volume.shape, volume.pixdim.tolist()
        (torch.Size([1, 64, 64, 1]), [0.3125, 0.3125, 0.8])
        >>> volume.meta["dicom"]["manufacturer"], volume.meta["dicom"]["repetition_time"]
        ('TOSHIBA_MEC', 4000.0)
    """
    single = isinstance(files_or_folder, (str, os.PathLike))
    paths = dicom_files(files_or_folder) if single else [os.fspath(p) for p in files_or_folder]  # type: ignore
    if not paths:
        raise ImageFileError("", "no files were given, expected those of a DICOM series")
    place = os.fspath(files_or_folder) if single else os.path.dirname(paths[0]) or paths[0]  # type: ignore
    images = _one_series(place, read_images(paths, key), series_uid)
    found = assess(images)
    if found.stack is None:
        where = images[0].path if len(images) == 1 else place
        raise ImageFileError(where, "; ".join(dict.fromkeys(p.text for p in found.problems)))
    by_path = {image.path: image for image in images}
    volume, affine = _volume(place, found.stack, by_path)
    first = by_path[found.stack.frames[0].path]
    header = {**first.header, SYNTHETIC: all(image.header[SYNTHETIC] for image in images)}
    meta: dict[str, Any] = {MetaKeys.SPACE: SpaceKeys.RAS, HEADER_META: header}
    return MetaTensor(torch.from_numpy(volume)[None], affine=torch.from_numpy(affine), meta=meta)


def _one_series(place: str, images: list[Image], series_uid: str | None) -> list[Image]:
    groups = group_series([image for image in images if image.series or image.frames] or images)
    if series_uid is not None:
        chosen = [g for g in groups if g[0].series == series_uid]
        if not chosen:
            known = ", ".join(g[0].series for g in groups[:5])
            raise ImageFileError(place, f"holds no series {series_uid!r}; found {len(groups)}: {known}")
        groups = chosen
    if len(groups) > 1:
        # by number and not by description, in which names of patients are met
        listed = "; ".join(f"{g[0].series} (number {g[0].facts['number'] or '?'}, {len(g)} files)" for g in groups[:5])
        more = " ..." if len(groups) > 5 else ""
        raise ImageFileError(place, f"holds {len(groups)} series, expected one, or series_uid: {listed}{more}")
    return groups[0]


def _volume(place: str, stack: Stack, images: dict[str, Image]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Decode the planes into an array whose axes are nearest to RAS, and return its affine."""
    pixels = images[stack.frames[0].path].pixels
    shape = (pixels.columns, pixels.rows, len(stack.frames))
    check_allocation(place, shape, np.float32)
    axes = nibabel.io_orientation(check_affine(place, stack.affine))
    if np.isnan(axes).any():
        raise ImageFileError(place, f"its affine has no nearest axes: {stack.affine.tolist()}")
    order = axes[:, 0].astype(int)
    turned = np.empty([shape[list(order).index(axis)] for axis in range(3)], dtype=np.float32)
    # the planes are written straight to where they belong: a view of the result as (column, row, plane)
    planes = turned.transpose(order)[tuple(slice(None, None, int(flip)) for flip in axes[:, 1])]
    numbered = sorted(enumerate(stack.frames), key=lambda item: (item[1].path, item[1].index))
    with quiet_pydicom():
        for path, of_file in groupby(numbered, key=lambda item: item[1].path):
            targets = list(of_file)
            dataset = read_with_pixels(path, PIXEL_TAGS)
            decoded = decode(dataset, images[path].pixels, path, [frame.index for _, frame in targets])
            for (position, frame), plane in zip(targets, decoded, strict=True):
                planes[:, :, position] = _rescaled(plane, frame.slope, frame.intercept).T
    if not np.isfinite(turned).all():
        raise ImageFileError(place, "rescaling leads to values that are not finite")
    return turned, stack.affine @ nibabel.orientations.inv_ornt_aff(axes, shape)


def _rescaled(plane: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """Return values in the unit of the rescale; in double precision, as the volume rounds them once."""
    return plane if slope == 1.0 and intercept == 0.0 else plane * slope + intercept
