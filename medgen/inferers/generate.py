"""The inferer that generates images from seeds and conditions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from torch import nn

from medgen.processes import Process
from medgen.samplers import Sampler

__all__ = ["GenerateInferer"]

logger = logging.getLogger("medgen.inferers")


class GenerateInferer(Inferer):
    """Run a sampler from prior noise to images; one image per seed.

    Args:
        process: the process the network was trained with.
        sampler: solver, steps and guidance.
        shape: ``(C, *spatial)`` of one image.
        codec: turns latents into images; None for pixel models.
        progress: show a progress bar.

    Raises:
        ValueError: when ``shape`` does not hold two or more positive integers.

    Attributes:
        evaluations: network evaluations per image of the latest call.
        seconds: wall-clock seconds of the latest call.
    """

    def __init__(
        self, process: Process, sampler: Sampler, shape: Sequence[int], codec: Any = None, progress: bool = False
    ) -> None:
        super().__init__()
        if len(shape) < 2 or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in shape):
            raise ValueError(f"shape: found {shape!r}, expected (channels, *spatial) as positive integers")
        self.process = process
        self.sampler = sampler
        self.shape = tuple(shape)
        self.codec = codec
        self.progress = progress
        self.evaluations = 0
        self.seconds = 0.0

    def __call__(  # type: ignore[override]
        self,
        inputs: torch.Tensor | Sequence[int],
        network: nn.Module,
        covariates: torch.Tensor | None = None,
        context: torch.Tensor | None = None,
        image: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Generate one image per seed.

        Args:
            inputs: N seeds; an image depends on its own and on its conditions alone.
            network: in evaluation mode, on the device to compute on.
            covariates: ``(N, K)``, NaN where unknown; None = all unknown.
            context: ``(N, L, D)`` text tokens.
            image: ``(N, C', *spatial)`` conditioning images.

        Returns:
            ``(N, C, *spatial)`` float32 on the CPU; the intensity range is [-1, 1], a little overshoot is left.
        """
        seeds = [int(seed) for seed in inputs]
        device = next(network.parameters()).device
        samples = self.sampler(
            network,
            self.process,
            self.shape,
            seeds,
            covariates=covariates,
            context=context,
            image=image,
            codec=self.codec,
            device=device,
            progress=self.progress,
        )
        self.evaluations, self.seconds = samples.evaluations, samples.seconds
        logger.info(
            "generated %d images in %.1f s, %d network evaluations each", len(seeds), self.seconds, self.evaluations
        )
        return samples.images
