"""Filling in a part of an image so that it fits the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from medgen.data.requests import image_seeds
from medgen.inferers.inversion import MULTISTEP, ImageInferer
from medgen.processes.process import Process
from medgen.samplers.noise import SeededNoise
from medgen.samplers.sampler import Sampler

__all__ = ["Inpaint", "latent_mask"]


def latent_mask(mask: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bring a mask ``(N, 1, *spatial)`` to the grid of the latents; what covers any unknown pixel is unknown."""
    if tuple(mask.shape[2:]) == tuple(size):
        return mask
    pool: Callable[..., Tensor] = (functional.adaptive_max_pool2d, functional.adaptive_max_pool3d)[len(size) - 2]
    return pool(mask.float(), size) > 0


class Inpaint(ImageInferer):
    """Generate what a mask hides, given what it does not (RePaint: Lugmayr et al. 2201.09865, algorithm 1).

    After each solver step the known part is replaced by the image at the step's noise level. Replacing alone lets the
    new part ignore the known one; so every ``jump`` steps the whole is noised again by the process,
    ``noisy_t = alpha_t / alpha_s noisy_s + sqrt(sigma_t² - (alpha_t sigma_s / alpha_s)²) z``, and the same steps are
    taken ``resamplings`` times (section 4.2). With 1 it is the replacement method (Song et al. 2011.13456, appendix
    I.2).

    The mask is 1 (true) where the image is to be made, 0 where it is known. Outside of it the result is the input,
    exactly; with a codec too, since the known pixels are put back at the end.

    Args:
        process: the process the network was trained with.
        sampler: a solver whose steps stand alone ("ddpm", "ddim", "euler", "heun", "midpoint"), its steps and guidance.
        resamplings: how often each stretch is taken, at least 1; the work grows with it.
        jump: steps of a stretch, at least 1.
        seed: of the noise; image i's depends on (seed, i).
        codec: encodes images and decodes latents; None for pixel models.
        progress: show a progress bar.

    Raises:
        ValueError: for arguments out of range, or a multistep solver.
    """

    def __init__(
        self,
        process: Process,
        sampler: Sampler,
        resamplings: int = 5,
        jump: int = 2,
        seed: int = 0,
        codec: Any = None,
        progress: bool = False,
    ) -> None:
        super().__init__(process, sampler, codec, progress)
        for name, value in (("resamplings", resamplings), ("jump", jump)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: expected a whole number of at least 1, found {value!r}")
        if sampler.solver in MULTISTEP:
            raise ValueError(
                f"sampler: a step of {sampler.solver!r} depends on those before it; expected a one-step solver"
            )
        self.resamplings, self.jump, self.seed = resamplings, jump, seed

    def __call__(  # type: ignore[override]
        self,
        inputs: Tensor,
        network: Any,
        mask: Tensor,
        covariates: Tensor | None = None,
        context: Tensor | None = None,
        image: Tensor | None = None,
    ) -> Tensor:
        """Fill in.

        Args:
            inputs: ``(N, C, *spatial)`` images in [-1, 1]; what lies under the mask is not looked at.
            network: on the device to compute on.
            mask: ``(N, 1, *spatial)``, or ``(*spatial)`` for all; 1 or true where the image is to be made.
            covariates: ``(N, K)``, NaN where unknown.
            context: ``(N, L, D)`` text tokens.
            image: ``(N, C', *spatial)`` conditioning images.

        Returns:
            ``(N, C, *spatial)`` float32 on the CPU.

        Raises:
            ValueError: for a mask of another shape, or with other values than 0 and 1.
        """
        unknown = _checked(mask, inputs)
        known = torch.where(unknown, torch.full_like(inputs.float(), -1.0), inputs.float())
        seeds = torch.tensor(image_seeds(self.seed, len(inputs)), dtype=torch.int64)

        def work(part: Any, denoiser: Any) -> Tensor:
            latent = self.encode(part["known"])
            hidden = latent_mask(part["unknown"], tuple(latent.shape[2:]))
            noise = SeededNoise(latent.shape[1:], part["seeds"].tolist(), latent.device)
            made = self.decode(self._fill(denoiser(part.get("covariates")), latent, hidden, noise))
            return torch.where(part["unknown"], made, part["known"])

        rows = {"known": known, "unknown": unknown, "seeds": seeds, "covariates": covariates, "context": context}
        each = 2 if self.sampler.solver in ("heun", "midpoint") else 1
        total = each * self.sampler.steps * self.resamplings
        return self.batched(network, rows | {"image_condition": image}, total, work)

    def _fill(self, denoiser: Any, clean: Tensor, hidden: Tensor, source: SeededNoise) -> Tensor:
        times, drawn = self.sampler.times(self.process), 0

        def draw(_: int = 0) -> Tensor:
            nonlocal drawn
            drawn += 1
            return source(drawn)

        noisy = self.process.prior(source(0))
        last = len(times) - 1
        for first in range(0, last, self.jump):
            end = min(first + self.jump, last)
            for again in range(self.resamplings):
                if again:
                    noisy = self._noised_again(noisy, times[end], times[first], draw)
                noise = draw()
                noisy = torch.where(hidden, noisy, self.process.corrupt(clean, noise, times[first]))
                for k in range(first, end):
                    stepped = self.sampler.solve(self.process, denoiser, noisy, times[k : k + 2], draw)
                    noisy = torch.where(hidden, stepped, self.process.corrupt(clean, noise, times[k + 1]))
        return noisy

    def _noised_again(self, noisy: Tensor, s: float, t: float, draw: Callable[[], Tensor]) -> Tensor:
        (alpha_s, sigma_s), (alpha_t, sigma_t) = (
            (float(self.process.alpha(time)), float(self.process.sigma(time))) for time in (s, t)
        )
        ratio = alpha_t / alpha_s
        return ratio * noisy + math.sqrt(max(sigma_t**2 - (ratio * sigma_s) ** 2, 0.0)) * draw()


def _checked(mask: Tensor, inputs: Tensor) -> Tensor:
    """Return the mask as bool ``(N, 1, *spatial)``."""
    mask = torch.as_tensor(mask)
    wanted = (inputs.shape[0], 1, *inputs.shape[2:])
    whole = mask.expand(wanted) if tuple(mask.shape) == tuple(inputs.shape[2:]) else mask
    if tuple(whole.shape) != wanted:
        raise ValueError(f"mask: found {tuple(mask.shape)}, expected {wanted} or {tuple(inputs.shape[2:])}")
    if whole.dtype != torch.bool and not bool(((whole == 0) | (whole == 1)).all()):
        raise ValueError(f"mask: found values {whole.unique().tolist()[:5]}, expected 0 (known) and 1 (to be made)")
    return whole.to(torch.bool)
