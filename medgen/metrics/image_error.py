"""How far an image is from the one it should be, image by image."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mean_absolute_error", "psnr"]


def mean_absolute_error(images: Tensor, references: Tensor) -> Tensor:
    """Mean absolute difference of each image ``(N, C, *spatial)`` from its reference, in their units; shape ``(N,)``.

    Raises:
        ValueError: when shapes differ.
    """
    return _pair(images, references).abs().flatten(1).mean(1)


def psnr(images: Tensor, references: Tensor, data_range: float = 2.0) -> Tensor:
    """Peak signal-to-noise ratio of each image ``(N, C, *spatial)`` in dB, ``10 log10(range² / mean squared error)``.

    Args:
        images: in units of the references.
        references: what they should be.
        data_range: largest minus smallest possible value; 2 for [-1, 1].

    Returns:
        Shape ``(N,)``; infinite for equal images.

    Raises:
        ValueError: when shapes differ.

    Example:
        >>> psnr(torch.full((1, 1, 4, 4), 0.2), torch.zeros(1, 1, 4, 4)).round().tolist()
        [20.0]
    """
    error = (_pair(images, references) ** 2).flatten(1).mean(1)
    return 10 * torch.log10(data_range**2 / error)


def _pair(images: Tensor, references: Tensor) -> Tensor:
    if images.shape != references.shape:
        raise ValueError(f"images: found {tuple(images.shape)}, expected {tuple(references.shape)} as the references")
    return torch.as_tensor(images).double() - torch.as_tensor(references).double()
