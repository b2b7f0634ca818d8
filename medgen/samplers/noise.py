"""Noise that belongs to an image, not to the batch it happens to be in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medgen.randomness import generator

__all__ = ["SeededNoise", "seeded_noise"]


def seeded_noise(
    shape: Sequence[int], seeds: Sequence[int], step: int = 0, device: str | torch.device = "cpu"
) -> Tensor:
    """Draw standard normal noise on the CPU, image by image, from (seed, step).

    Args:
        shape: ``(C, *spatial)`` of one image.
        seeds: one seed per image.
        step: 0 for the initial noise, i for the i-th step of a stochastic solver.
        device: where the noise is put.

    Returns:
        ``(len(seeds), C, *spatial)`` float32; row i is bitwise the same whatever the other rows are.
    """
    drawn = [torch.randn(*shape, generator=generator("sample", int(seed), step)) for seed in seeds]
    return torch.stack(drawn).to(device)


class SeededNoise:
    """The noise source of a batch: ``source(step)`` is :func:`seeded_noise` for its seeds.

    Args:
        shape: ``(C, *spatial)`` of one image.
        seeds: one seed per image.
        device: where the noise is put.
    """

    def __init__(self, shape: Sequence[int], seeds: Sequence[int], device: str | torch.device = "cpu") -> None:
        self.shape, self.seeds, self.device = tuple(shape), tuple(seeds), device

    def __call__(self, step: int) -> Tensor:
        """Return the noise of one step, ``(B, C, *spatial)`` float32."""
        return seeded_noise(self.shape, self.seeds, step, self.device)
