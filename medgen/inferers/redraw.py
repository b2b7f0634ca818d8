"""Redrawing an image by the model itself, from the image under a little of the process's noise."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medgen.data.requests import image_seeds
from medgen.inferers.denoise import time_of_noise
from medgen.inferers.inversion import ImageInferer
from medgen.networks.codec import IdentityCodec
from medgen.processes.process import Process
from medgen.samplers.network import device_of
from medgen.samplers.noise import seeded_noise
from medgen.samplers.sampler import ADAPTIVE, Sampler

__all__ = ["Redraw"]


class Redraw(ImageInferer):
    """Partly noise images and let the model draw them again (SDEdit: Meng et al. 2108.01073, algorithm 1).

    The image becomes ``alpha(t) * image + sigma(t) * noise`` and sampling goes on from there, so that what the noise
    leaves is kept and everything finer is in the model's own hand, faults included. How much is left is told by ``sd``,
    the noise's standard deviation in units of the clean image (in latents, of the standardised latents), which means
    the same under every process; little of a person is left where it is 1 or more.

    What comes out is derived from the image that went in, and is a picture of the same person where ``sd`` is small.

    Args:
        process: the process the network was trained with.
        sampler: its solver, spacing and guidance; of its steps as many are taken as it has below t, at least one.
        sd: standard deviation of the noise.
        codec: encodes images and decodes latents; None for pixel models.
        seed: of the noise, where no seeds are given.
        progress: show a progress bar.

    Raises:
        ValueError: when ``sd`` is not positive, or more than the process has a time for.

    Attributes:
        t: the time that drawing starts from.
        evaluations: network evaluations per image of the latest call.

    Example:
        >>> import torch
        >>> from medgen.processes import RectifiedFlow
        >>> def network(noisy, t):  # knows one image: all of one half
        ...     return (noisy - 0.5) / (t[0] / 1000)
        >>> redraw = Redraw(RectifiedFlow(), Sampler("euler", steps=10), sd=0.25)
        >>> drawn = redraw(torch.zeros(1, 1, 2, 2), network)
        >>> round(redraw.t, 3), round(drawn.mean().item(), 3), redraw.evaluations
        (0.2, 0.5, 2)
    """

    def __init__(
        self,
        process: Process,
        sampler: Sampler,
        sd: float,
        codec: Any = None,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        super().__init__(process, sampler, None if isinstance(codec, IdentityCodec) else codec, progress)
        t = time_of_noise(process, sd)
        if process.table is not None:  # a table knows its entries alone
            t = max(1, round(t * process.table)) / process.table
        self.t, self.seed = t, seed
        self.shorter = copy.copy(sampler)
        if sampler.solver not in ADAPTIVE:
            self.shorter.steps = max(1, sum(time < t - 1e-9 for time in sampler.times(process)))

    def __call__(  # type: ignore[override]
        self,
        inputs: Tensor,
        network: Any,
        covariates: Tensor | None = None,
        context: Tensor | None = None,
        image: Tensor | None = None,
        seeds: Sequence[int] | None = None,
    ) -> Tensor:
        """Redraw.

        Args:
            inputs: ``(N, C, *spatial)`` images in [-1, 1].
            network: on the device to compute on.
            covariates: ``(N, K)``, NaN where unknown.
            context: ``(N, L, D)`` text tokens.
            image: ``(N, C', *spatial)`` conditioning images.
            seeds: one for each image; an image depends on its own and on its conditions alone.

        Returns:
            ``(N, C, *spatial)`` float32 on the CPU.
        """
        seeds = image_seeds(self.seed, len(inputs)) if seeds is None else list(seeds)
        device = device_of(network)
        with torch.no_grad():
            parts = [self.encode(part.to(device)).cpu() for part in inputs.split(self.sampler.max_batch)]
        latent = torch.cat(parts)
        noise = seeded_noise(latent.shape[1:], seeds)  # step 0 of each seed, which sampling does not draw again
        samples = self.shorter(
            network,
            self.process,
            tuple(inputs.shape[1:]),
            seeds,
            covariates=covariates,
            context=context,
            image=image,
            codec=self.codec,
            progress=self.progress,
            start=self.process.corrupt(latent, noise, self.t),
            start_t=self.t,
        )
        self.evaluations = samples.evaluations
        return torch.as_tensor(samples.images)
