"""A series as SimpleITK's GDCM reader sees it, turned to RAS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray


def read_with_gdcm(folder_or_file: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return voxels (X, Y, Z) and the affine to RAS mm."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    if folder_or_file.is_dir():
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder_or_file)))
        image = reader.Execute()
    else:
        image = sitk.ReadImage(str(folder_or_file))
    return to_ras(sitk.GetArrayFromImage(image).T, image.GetOrigin(), image.GetSpacing(), image.GetDirection())


def to_ras(
    array: NDArray[Any], origin: Sequence[float], spacing: Sequence[float], direction: Sequence[float]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    affine = np.eye(4)
    affine[:3, :3] = np.array(direction).reshape(3, 3) @ np.diag(spacing)
    affine[:3, 3] = origin
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    axes = nibabel.io_orientation(affine)
    return nibabel.apply_orientation(array, axes), affine @ nibabel.orientations.inv_ornt_aff(axes, array.shape)
