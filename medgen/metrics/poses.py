"""Images turned, mirrored and moved by small amounts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from medgen.data.augmentation import affine_grid, affine_matrices

__all__ = ["poses", "transformed"]

BACKGROUND = -1.0


def transformed(
    images: Tensor, degrees: Tensor | None = None, mirrored: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """Rotate about the centre, mirror left to right, and move; each image by its own amount.

    Args:
        images: ``(N, C, *spatial)`` in [-1, 1]; what comes in from outside is background, -1.
        degrees: ``(N, 1)`` in 2D; ``(N, 3)`` in 3D, in the planes of the last two axes, of the first and last, and of
            the first two.
        mirrored: ``(N,)`` boolean; the last axis in 2D, the first in 3D, where left and right are.
        shift: ``(N, dims)``, a fraction of each side, last axis first.

    Returns:
        Images of the same shape, linearly interpolated; those that nothing is asked of come back unchanged.
    """
    dims, count = images.ndim - 2, len(images)
    turns = 1 if dims == 2 else 3
    degrees = torch.zeros(count, turns) if degrees is None else degrees.float()
    mirrored = torch.zeros(count, dtype=torch.bool) if mirrored is None else mirrored
    shift = torch.zeros(count, dims) if shift is None else shift.float()
    sizes = torch.ones(count)
    theta = affine_matrices(degrees * (math.pi / 180), sizes, mirrored, 2 * shift, images.shape[2:])
    grid = affine_grid(theta.to(images.device), images.shape[2:])
    moved = functional.grid_sample(images.float() - BACKGROUND, grid, mode="bilinear", align_corners=False)
    still = ((degrees == 0).all(1) & ~mirrored & (shift == 0).all(1)).to(images.device)
    return torch.where(still.reshape(-1, *[1] * (dims + 1)), images.float(), moved + BACKGROUND)


def poses(images: Tensor, degrees: Sequence[float]) -> Tensor:
    """Every image as it is and turned by each angle about each axis, both as it is and mirrored.

    Args:
        images: ``(N, C, *spatial)``.
        degrees: angles other than 0.

    Returns:
        ``(N, P, C, *spatial)``, P = 2 (1 + turns * angles), where turns are 1 in 2D and 3 in 3D. The first is the image
        itself.
    """
    turns = 1 if images.ndim == 4 else 3
    angles = torch.zeros(1 + turns * len(degrees), turns)
    for index, value in enumerate(degrees):
        for turn in range(turns):
            angles[1 + index * turns + turn, turn] = value
    kinds = len(angles)
    many = images.repeat_interleave(2 * kinds, dim=0)
    mirrored = torch.tensor([False] * kinds + [True] * kinds).repeat(len(images))
    made = transformed(many, angles.repeat(2 * len(images), 1), mirrored)
    return made.reshape(len(images), 2 * kinds, *images.shape[1:])
