"""A scan at a glance: three planes with the outline of the template's brain."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import ResampleToMatch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from medgen.data.images import plane_view
from medgen.data.templates import open_template

__all__ = ["planes_with_outline"]

PLANES = ("axial", "coronal", "sagittal")
HEIGHT = 168  # pixels
OUTLINE = (255, 140, 40)


def planes_with_outline(head: MetaTensor, template: Any) -> NDArray[np.uint8]:
    """Return axial, coronal and sagittal slices through the middle of the template's brain, its outline in orange.

    Args:
        head: (1, X, Y, Z) in RAS, any intensities.
        template: what :func:`medgen.data.templates.open_template` takes; resampled where the grids differ.

    Returns:
        (168, W, 3), the planes side by side.
    """
    brain = _brain_on(head, template)
    values = head.as_tensor().float()
    low, high = (float(q) for q in np.quantile(values.numpy()[..., ::2, ::2, ::2], [0.01, 0.995]))
    grey = ((values - low) / max(high - low, 1e-6)).clamp(0, 1) * 255
    places = [round(centre) for centre in ndimage.center_of_mass(brain[0].numpy())]
    tiles = []
    for plane, axis in zip(PLANES, (2, 1, 0), strict=True):
        index = min(max(places[axis], 0), head.shape[1 + axis] - 1)
        picture, inside = (plane_view(volume, plane)[index, 0].numpy() for volume in (grey, brain))
        step = np.abs(np.diag(head.affine.numpy())[:3])
        rows, columns = [(1, 0), (2, 0), (2, 1)][PLANES.index(plane)]
        width = round(HEIGHT * picture.shape[1] * step[columns] / (picture.shape[0] * step[rows]))
        tiles.append(_tile(picture, inside > 0.5, (width, HEIGHT)))
    return np.concatenate(tiles, axis=1)


def _brain_on(head: MetaTensor, template: Any) -> torch.Tensor:
    mask: Any = open_template(template).mask
    if mask.shape[1:] != head.shape[1:] or not np.allclose(mask.affine, head.affine, atol=1e-3):
        mask = ResampleToMatch(mode="nearest", padding_mode="zeros")(mask, head)
    return torch.as_tensor(mask.as_tensor())


def _tile(picture: NDArray[np.float32], inside: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.uint8]:
    grey = Image.fromarray(picture.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    large = np.asarray(Image.fromarray(inside).resize(size, Image.Resampling.NEAREST))
    coloured = np.repeat(np.asarray(grey)[..., None], 3, axis=2)
    coloured[large & ~ndimage.binary_erosion(large)] = OUTLINE
    return coloured
