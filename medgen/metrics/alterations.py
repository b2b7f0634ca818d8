"""Copies as a careless generator makes them: exact, moved, mirrored, turned, with other intensities, noisy, blurred."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from medgen.metrics.poses import transformed
from medgen.randomness import generator

__all__ = ["ALTERATIONS", "altered"]

SHIFT, TURN, GAIN, GAMMA, NOISE, BLUR = 0.04, 5.0, 0.15, 0.15, 0.06, 1.0


def _exact(images: Tensor, random: torch.Generator) -> Tensor:
    return images.clone()


def _shifted(images: Tensor, random: torch.Generator) -> Tensor:
    shift = _signed((len(images), images.ndim - 2), random) * SHIFT
    return transformed(images, shift=shift)


def _mirrored(images: Tensor, random: torch.Generator) -> Tensor:
    return transformed(images, mirrored=torch.ones(len(images), dtype=torch.bool))


def _turned(images: Tensor, random: torch.Generator) -> Tensor:
    turns = 1 if images.ndim == 4 else 3
    return transformed(images, degrees=_signed((len(images), turns), random) * TURN / turns**0.5)


def _intensity(images: Tensor, random: torch.Generator) -> Tensor:
    draws = _signed((2, len(images), *[1] * (images.ndim - 1)), random)
    grey = (0.5 * images + 0.5).clamp(0, 1)
    return ((1 + GAIN * draws[0]) * grey ** (1 + GAMMA * draws[1])).clamp(0, 1) * 2 - 1


def _noisy(images: Tensor, random: torch.Generator) -> Tensor:
    return (images + NOISE * torch.randn(images.shape, generator=random)).clamp(-1, 1)


def _blurred(images: Tensor, random: torch.Generator) -> Tensor:
    """Convolve with a Gaussian whose width is that of one pixel of 64 a side."""
    blurred = images
    for axis in range(2, images.ndim):
        sigma = max(BLUR * images.shape[axis] / 64, 0.5)
        offsets = torch.arange(-round(3 * sigma), round(3 * sigma) + 1).float()
        weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
        lines = blurred.movedim(axis, -1)
        padded = functional.pad(lines.reshape(-1, 1, lines.shape[-1]), (len(offsets) // 2,) * 2, mode="replicate")
        smooth = functional.conv1d(padded, (weights / weights.sum())[None, None])
        blurred = smooth.reshape(lines.shape).movedim(-1, axis)
    return blurred


def _all(images: Tensor, random: torch.Generator) -> Tensor:
    for alter in (_turned, _shifted, _intensity, _noisy):
        images = alter(images, random)
    return images


ALTERATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "exact": _exact,
    "shifted": _shifted,
    "mirrored": _mirrored,
    "turned": _turned,
    "intensity": _intensity,
    "noisy": _noisy,
    "blurred": _blurred,
    "all": _all,
}


def altered(images: Tensor, kind: str, seed: int = 0) -> Tensor:
    """Make altered copies of images.

    Args:
        images: ``(N, C, *spatial)`` in [-1, 1].
        kind: "exact"; "shifted" by up to 4 % of each side; "mirrored" left to right; "turned" by up to 5 degrees;
            "intensity": gain and gamma each within 15 %; "noisy": Gaussian noise of spread 0.06; "blurred" by a
            Gaussian of one pixel's width where the side is 64; "all": turned, shifted, of other intensities, noisy.
        seed: the amounts are a function of it and of ``kind``.

    Returns:
        Images of the same shape in [-1, 1].

    Raises:
        ValueError: for another kind.
    """
    if kind not in ALTERATIONS:
        raise ValueError(f"kind: expected one of {', '.join(ALTERATIONS)}, found {kind!r}")
    return ALTERATIONS[kind](images.float(), generator("altered copies", kind, seed)).clamp(-1, 1)


def _signed(shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    return 2 * torch.rand(shape, generator=random) - 1
