"""Carry an image from one grid to another through a change of the world, by SimpleITK."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
import torch

from medgen.data.images import resample
from medgen.spelling import one_of
from medgen.transforms.volumes import Affine, from_itk

__all__ = ["INTERPOLATIONS", "carry", "resample_with_edges"]

INTERPOLATIONS = ("cubic", "linear", "nearest")


def carry(
    image: torch.Tensor,
    affine: Affine,
    to_source: Affine,
    size: Sequence[int],
    target: Affine,
    interpolation: str = "linear",
    outside: float = 0.0,
) -> torch.Tensor:
    """Resample an image to another grid.

    Where the new voxels are more than half as large again as the old ones, the image is smoothed first, so that nothing
    aliases (not for ``nearest``). ``cubic`` (B-spline of order 3) is cut to the range of the image.

    Args:
        image: (C, *spatial).
        affine: of the image, (4, 4), voxel -> its world in mm.
        to_source: (4, 4), the new grid's world -> the image's world.
        size: of the new grid.
        target: affine of the new grid, (4, 4), voxel -> the new world in mm.
        interpolation: ``cubic``, ``linear`` or ``nearest``.
        outside: value of what the image does not reach.

    Returns:
        float32 (C, *size).
    """
    one_of("interpolation", interpolation, INTERPOLATIONS)
    dims = image.ndim - 1
    change = np.linalg.inv(affine) @ to_source @ target  # new voxel -> old voxel
    transform = sitk.AffineTransform(dims)
    transform.SetMatrix(change[:dims, :dims].reshape(-1).tolist())
    transform.SetTranslation(change[:dims, 3].tolist())
    channels = []
    for channel in image.float():
        source = sitk.GetImageFromArray(np.ascontiguousarray(channel.numpy().T))
        if interpolation != "nearest":
            source = _smooth(source, np.linalg.norm(change[:dims, :dims], axis=1))
        resampler = sitk.ResampleImageFilter()
        resampler.SetNumberOfThreads(1)
        resampler.SetSize([int(n) for n in size])
        resampler.SetTransform(transform)
        resampler.SetDefaultPixelValue(outside)
        resampler.SetInterpolator(
            {"cubic": sitk.sitkBSpline3, "linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor}[interpolation]
        )
        values = torch.from_numpy(np.ascontiguousarray(from_itk(resampler.Execute(source))))
        if interpolation == "cubic":
            values = values.clamp(min(float(channel.min()), outside), max(float(channel.max()), outside))
        channels.append(values)
    return torch.stack(channels)


def _smooth(source: sitk.Image, growth: Affine) -> sitk.Image:
    """Smooth along each axis of the old grid by what the new voxels are larger, as if both were Gaussian."""
    sigma = np.where(growth > 1.5, 0.42 * np.sqrt(np.maximum(growth**2 - 1.0, 0.0)), 0.0)
    for axis, width in enumerate(sigma):
        if width > 0.0:
            recursive = sitk.RecursiveGaussianImageFilter()
            recursive.SetNumberOfThreads(1)
            recursive.SetDirection(axis)
            recursive.SetSigma(float(width))
            source = recursive.Execute(source)
    return source


def resample_with_edges(
    image: torch.Tensor, centre: Sequence[float], step: Sequence[float], size: Sequence[int]
) -> torch.Tensor:
    """Resample as :func:`medgen.data.images.resample` does, with the image's edges repeated outside, where it has 0."""
    beyond = [int(np.ceil(2.0 * max(s, 1.0))) + 1 for s in step]
    wide = np.pad(image.numpy(), [(0, 0)] * (image.ndim - len(beyond)) + [(n, n) for n in beyond], mode="edge")
    return resample(torch.from_numpy(wide), [c + n for c, n in zip(centre, beyond, strict=True)], step, size)
