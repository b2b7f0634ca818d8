"""Augmentation of whole batches on tensors, its randomness a function of seed, epoch and sample alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as functional

from medgen.randomness import seed_from

__all__ = ["BatchAugmentation", "affine_grid", "affine_matrices", "hashed_uniform"]


def hashed_uniform(seed: int, keys: torch.Tensor, count: int) -> torch.Tensor:
    """Return uniform numbers that depend on ``seed`` and on each row of ``keys`` alone, however the rows are batched.

    Steele et al., "Fast splittable pseudorandom number generators", OOPSLA 2014: SplitMix64's finaliser, chained over
    the elements of a key.

    Args:
        seed: any non-negative integer below 2**64.
        keys: (B, K) int64.
        count: numbers per row.

    Returns:
        float64 (B, count) in [0, 1).
    """
    state = np.full(len(keys), seed, dtype=np.uint64)
    for column in keys.numpy().astype(np.uint64).T:
        state = _mix(state ^ _mix(column))
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    bits = _mix(state[:, None] + steps[None])
    return torch.from_numpy((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def _mix(value: np.ndarray) -> np.ndarray:
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


class BatchAugmentation:
    """Small rotations, scalings, shifts and changes of contrast, one draw per sample, in 2D or 3D.

    The default moves a head as much as heads lie differently in a scanner. Flipping left and right is off: brains are
    not symmetric, and what a model learns about sides should be true. Images are interpolated once, by cubic
    convolution in 2D (linear in 3D); what comes in from outside is background, -1.

    Args:
        flip: probability of a left-right flip (last axis in 2D, first in 3D), in [0, 1]; not for sagittal slices.
        rotate: largest rotation in degrees, in the plane in 2D, about each axis in 3D.
        scale: largest relative change of size.
        translate: largest shift, as a fraction of the image.
        intensity: largest relative change of brightness, and of gamma, of (image + 1) / 2.
        seed: of the draws.
        crop: size of the part that is kept, at a random place: a number of pixels for all sides or one for each, of
            which a side that is no longer stays whole; None keeps all.

    Raises:
        ValueError: when an argument is out of range.

    Example:
        >>> augment = BatchAugmentation(rotate=5)
        >>> augment(-torch.ones(2, 1, 16, 16), torch.tensor([[0, 3], [0, 4]])).shape
        torch.Size([2, 1, 16, 16])
    """

    def __init__(
        self,
        flip: float = 0.0,
        rotate: float = 4.0,
        scale: float = 0.03,
        translate: float = 0.02,
        intensity: float = 0.05,
        seed: int = 0,
        crop: int | Sequence[int] | None = None,
    ) -> None:
        limits = {"flip": (flip, 1.0), "rotate": (rotate, 180.0), "scale": (scale, 0.9), "translate": (translate, 1.0)}
        limits["intensity"] = (intensity, 0.9)
        for name, (value, most) in limits.items():
            if not 0.0 <= value <= most:
                raise ValueError(f"{name}: expected a number from 0 to {most:g}, found {value!r}")
        self.flip, self.rotate, self.scale, self.translate, self.intensity = flip, rotate, scale, translate, intensity
        self.seed = seed_from("augmentation", seed)
        if crop is not None and min([crop] if isinstance(crop, int) else crop, default=0) < 1:
            raise ValueError(f"crop: expected a positive number of pixels, or one for each side, found {crop!r}")
        self.crop = crop

    def __call__(self, images: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Augment a batch.

        Args:
            images: (B, C, *spatial) in [-1, 1], on any device.
            keys: (B, K) int64 on the CPU, for example (epoch, sample); the same key gives the same change.

        Returns:
            float32 (B, C, *spatial) in [-1, 1], or the part of it that ``crop`` says.
        """
        dims = images.ndim - 2
        if dims not in (2, 3) or len(keys) != len(images):
            raise ValueError(f"augmentation: found images {tuple(images.shape)} and keys {tuple(keys.shape)}")
        turns = 1 if dims == 2 else 3
        used = 4 + turns + dims
        drawn = hashed_uniform(self.seed, keys, used + (dims if self.crop else 0)).float()
        draws = drawn[:, :used]
        signed = 2.0 * draws - 1.0
        result = images.float()
        if self.rotate or self.scale or self.translate or self.flip:
            angles = signed[:, 4 : 4 + turns] * math.radians(self.rotate)
            sizes = torch.exp(signed[:, 0] * math.log1p(self.scale))
            mirrored = draws[:, 1] < self.flip
            shift = signed[:, 4 + turns :] * 2 * self.translate
            theta = affine_matrices(angles, sizes, mirrored, shift, images.shape[2:])
            grid = affine_grid(theta.to(result.device), images.shape[2:])
            mode = "bicubic" if dims == 2 else "bilinear"
            moved = functional.grid_sample(result + 1.0, grid, mode=mode, padding_mode="zeros", align_corners=False)
            result = moved.clamp(0.0, 2.0) - 1.0
        if self.intensity:
            shape = (-1, *[1] * (dims + 1))
            changes = torch.exp(signed[:, 2:4] * math.log1p(self.intensity)).to(result.device)
            gain, gamma = changes[:, 0].reshape(shape), changes[:, 1].reshape(shape)
            result = (gain * (0.5 * result + 0.5).clamp_min(0.0) ** gamma).clamp(0.0, 1.0) * 2.0 - 1.0
        return _cropped(result, self.crop, drawn[:, used:]) if self.crop else result


def _cropped(images: torch.Tensor, crop: int | Sequence[int], places: torch.Tensor) -> torch.Tensor:
    """Return the part of each image whose place is (B, dims) in [0, 1) of where it could be."""
    sides = images.shape[2:]
    wanted = [crop] * len(sides) if isinstance(crop, int) else list(crop)
    if len(wanted) != len(sides):
        raise ValueError(f"crop: expected a size for each of {len(sides)} sides, found {crop!r}")
    kept = [min(size, side) for size, side in zip(wanted, sides, strict=True)]
    parts = []
    for image, place in zip(images, places.tolist(), strict=True):
        for axis, (at, size, side) in enumerate(zip(place, kept, sides, strict=True), start=1):
            image = image.narrow(axis, int(at * (side - size + 1)), size)
        parts.append(image)
    return torch.stack(parts)


def affine_grid(theta: torch.Tensor, spatial: Sequence[int]) -> torch.Tensor:
    """Return the (B, *spatial, dims) sampling grid; what PyTorch's ``affine_grid`` does, in a tenth of its time."""
    dims = len(spatial)
    grid = theta[:, :, dims].reshape(-1, *[1] * dims, dims)
    for i, size in enumerate(reversed(spatial)):
        axis = (2.0 * torch.arange(size, device=theta.device, dtype=theta.dtype) + 1.0) / size - 1.0
        along = [1] * (dims + 2)
        along[dims - i] = size
        grid = grid + axis.reshape(along) * theta[:, :, i].reshape(-1, *[1] * dims, dims)
    return grid


def affine_matrices(
    angles: torch.Tensor, sizes: torch.Tensor, mirrored: torch.Tensor, shift: torch.Tensor, spatial: Sequence[int]
) -> torch.Tensor:
    """Return (B, dims, dims + 1) for ``grid_sample``, whose coordinates are normalised and run from the last axis."""
    dims = len(spatial)
    lengths = torch.tensor(list(reversed(spatial)), dtype=torch.float32)
    matrix = torch.eye(dims).repeat(len(angles), 1, 1)
    pairs = [(0, 1)] if dims == 2 else [(0, 1), (0, 2), (1, 2)]
    for turn, (i, j) in enumerate(pairs):
        rotation = torch.eye(dims).repeat(len(angles), 1, 1)
        cosine, sine = torch.cos(angles[:, turn]), torch.sin(angles[:, turn])
        rotation[:, i, i], rotation[:, i, j], rotation[:, j, i], rotation[:, j, j] = cosine, -sine, sine, cosine
        matrix = (matrix[..., None] * rotation[:, None]).sum(dim=2)
    matrix = matrix / sizes[:, None, None]
    matrix = matrix * lengths[None, None, :] / lengths[None, :, None]  # rotate pixels, not normalised coordinates
    across = 0 if dims == 2 else dims - 1  # left-right: columns of a picture, the first axis of a RAS volume
    matrix[:, :, across] = torch.where(mirrored[:, None], -matrix[:, :, across], matrix[:, :, across])
    return torch.cat([matrix, shift[..., None]], dim=2)
