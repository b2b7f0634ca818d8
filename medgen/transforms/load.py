"""Load a scan from its file or folder, in RAS."""

from __future__ import annotations

import math
import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Transform

from medgen.data.images import read_image
from medgen.dicom.header import HEADER_KEYS
from medgen.dicom.read import HEADER_META, read_series
from medgen.spelling import one_of
from medgen.transforms.volumes import KeyedTransform

__all__ = ["LoadDicomSeries", "LoadDicomSeriesd", "LoadScan", "LoadScand"]

PathLike = str | os.PathLike[str]


class LoadScan(Transform):
    """Load an image of any kind that medgen reads; see :func:`medgen.data.images.read_image`.

    That is NIfTI, Analyze, FreeSurfer's MGH, a folder of one DICOM series or a file of it, or a picture. Every file is
    checked before memory is taken for it, and what cannot be trusted is refused.

    Args:
        channels: wanted number of channels, None for what the files give (one for a picture).

    Example:
        >>> from pydicom.data import get_testdata_file
        >>> LoadScan()(get_testdata_file("CT_small.dcm")).shape
        torch.Size([1, 128, 128, 1])
    """

    def __init__(self, channels: int | None = None) -> None:
        if channels is not None and channels < 1:
            raise ValueError(f"channels is {channels}, expected 1 or more, or None")
        self.channels = channels

    def __call__(self, paths: PathLike | Sequence[PathLike]) -> MetaTensor:
        """Load an image.

        Args:
            paths: one file (or folder of a DICOM series) per channel.

        Returns:
            float32 (C, X, Y, Z) in RAS, or (C, H, W) for a picture, with its affine, voxel to mm.

        Raises:
            ImageFileError: naming the file, and why it cannot be read or trusted.
            CohortError: the files do not fit together, or do not give ``channels``.
        """
        single = isinstance(paths, (str, os.PathLike))
        return read_image(os.fspath(paths) if single else [os.fspath(p) for p in paths], self.channels)  # type: ignore


class LoadScand(KeyedTransform):
    """Dictionary form of :class:`LoadScan`: replaces the path(s) under each key by the image.

    Args:
        keys: keys of paths.
        channels: of :class:`LoadScan`.
        allow_missing_keys: whether a key may be absent.
    """

    def __init__(self, keys: KeysCollection, channels: int | None = None, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, LoadScan(channels), allow_missing_keys)


class LoadDicomSeries(Transform):
    """Load one DICOM series as a volume; see :func:`medgen.dicom.read_series` for what is read and what is refused.

    Args:
        series_uid: Series Instance UID, for folders of several series; None where there is one.

    Example:
        >>> from pydicom.data import get_testdata_file
        >>> volume = LoadDicomSeries()(get_testdata_file("MR_small.dcm"))
        >>> volume.shape, volume.meta["dicom"]["repetition_time"]
        (torch.Size([1, 64, 64, 1]), 4000.0)
    """

    def __init__(self, series_uid: str | None = None) -> None:
        self.series_uid = series_uid

    def __call__(self, path: PathLike | Sequence[PathLike]) -> MetaTensor:
        """Load a series.

        Args:
            path: its folder, its files, or the file of a multi-frame image.

        Returns:
            float32 (1, X, Y, Z) in RAS with its affine, voxel to mm, and in ``meta["dicom"]`` the allowlisted header:
            age (years), sex, field_strength (T), manufacturer, model, repetition_time, echo_time and inversion_time
            (ms), site; NaN or "" where missing; and synthetic, whether the image says that it is of nobody.

        Raises:
            ImageFileError: naming the file or folder, and why it is not one volume.
        """
        return read_series(path, self.series_uid)


class LoadDicomSeriesd(KeyedTransform):
    """Dictionary form of :class:`LoadDicomSeries`: replaces the path under each key by the volume.

    Args:
        keys: keys of paths.
        series_uid: of :class:`LoadDicomSeries`.
        covariates: which fields of the header to add to the record, True for all. A field that the record has already
            is left as it is, unless it is None, NaN or ""; one that the header lacks is added as NaN or "".
        prefix: put before the names of added fields.
        allow_missing_keys: whether a key may be absent.

    Example:
        >>> from pydicom.data import get_testdata_file
        >>> record = {"image": get_testdata_file("MR_small.dcm"), "sex": "F"}
        >>> loaded = LoadDicomSeriesd("image", covariates=["sex", "repetition_time"])(record)
        >>> loaded["sex"], loaded["repetition_time"]
        ('F', 4000.0)

    Raises:
        ValueError: ``covariates`` names a field that is not on the allowlist.
    """

    def __init__(
        self,
        keys: KeysCollection,
        series_uid: str | None = None,
        covariates: bool | Sequence[str] = False,
        prefix: str = "",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, LoadDicomSeries(series_uid), allow_missing_keys)
        names = [] if covariates is False else list(HEADER_KEYS) if covariates is True else covariates
        self.covariates = [one_of("covariates", name, list(HEADER_KEYS)) for name in names]
        self.prefix = prefix

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Load the series of a record."""
        result = super().__call__(data)
        for key in self.key_iterator(result):
            for name in self.covariates:
                if _unknown(result.get(self.prefix + name)):
                    result[self.prefix + name] = result[key].meta[HEADER_META][name]
        return result


def _unknown(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
