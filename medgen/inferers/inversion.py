"""From an image to its noise and back: what translation and interpolation are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

from medgen.processes.process import Process
from medgen.progress import progress_bar
from medgen.samplers.network import device_of, sampling_mode
from medgen.samplers.sampler import ADAPTIVE, Sampler
from medgen.samplers.solvers import Denoiser

__all__ = ["ImageInferer", "Inversion", "invert", "strength_time", "times_from"]

MULTISTEP = ("dpm_solver_pp_2m",)  # a step needs the one before it
Part = Mapping[str, Tensor]
Denoise = Callable[..., Denoiser]


def strength_time(process: Process, strength: float) -> float:
    """Return the time that a strength in [0, 1] reaches: ``strength * process.start``, so that 1 is where sampling
    starts.

    Raises:
        ValueError: for a strength outside [0, 1].
    """
    if isinstance(strength, bool) or not isinstance(strength, (int, float)) or not 0 <= strength <= 1:
        raise ValueError(f"strength: expected a number in [0, 1], found {strength!r}")
    return float(strength) * process.start


def times_from(sampler: Sampler, process: Process, t: float) -> list[float]:
    """Return the sampler's falling grid from ``t`` to 0; a table with fewer times below ``t`` than steps gives these.

    Raises:
        ValueError: when the grid has no time between ``t`` and 0.
    """
    steps = sampler.steps
    if process.table is not None:
        steps = max(1, min(steps, round(t * process.table)))
    if steps == sampler.steps:
        return sampler.times(process, t)
    fewer = Sampler(sampler.solver, steps=steps, eta=sampler.eta, spacing=sampler.spacing)
    return fewer.times(process, t)


def invert(
    sampler: Sampler, process: Process, denoiser: Denoiser, clean: Tensor, times: Sequence[float], refinements: int = 0
) -> Tensor:
    """Take clean images to the noisy ones at ``times[-1]`` from which the sampler would make them.

    The probability flow is followed upwards by the sampler's own solver (DDIM inversion: Song et al. 2010.02502,
    section 4.3). A step up is not the inverse of the step down; each refinement moves its result by what the step down
    from there misses, ``noisy += image - down(noisy)``, whose fixed point is the exact inverse (Pan et al. 2309.04907
    and Garibi et al. 2403.14602 do so for the step of DDIM; here it is any one-step solver's).

    Args:
        sampler: its solver steps; a deterministic one.
        process: the process of the denoiser.
        denoiser: at guidance 1.
        clean: ``(B, C, *spatial)``, latents where there is a codec.
        times: rising, from 0.
        refinements: of every step, each at the price of another step; 0 is plain inversion.

    Returns:
        The noisy images at ``times[-1]``.
    """
    if not refinements:
        return sampler.solve(process, denoiser, clean, times)
    noisy = clean
    for s, t in pairwise(times):
        guess = sampler.solve(process, denoiser, noisy, [s, t])
        for _ in range(refinements):
            guess = guess + (noisy - sampler.solve(process, denoiser, guess, [t, s]))
        noisy = guess
    return noisy


class ImageInferer(Inferer):
    """What the inferers that begin with an image share: batches, device, codec, progress.

    Args:
        process: the process the network was trained with.
        sampler: solver, steps, guidance, batch and precision.
        codec: encodes images and decodes latents; None for pixel models.
        progress: show a progress bar.

    Attributes:
        evaluations: network evaluations per image of the latest call.
    """

    def __init__(self, process: Process, sampler: Sampler, codec: Any = None, progress: bool = False) -> None:
        super().__init__()
        self.process, self.sampler, self.codec, self.progress = process, sampler, codec, progress
        self.evaluations = 0

    def encode(self, image: Tensor) -> Tensor:
        """Return the latents of images, float32."""
        return image.float() if self.codec is None else self.codec.encode(image.float()).float()

    def decode(self, latent: Tensor) -> Tensor:
        """Return the images of latents, float32."""
        return latent.float() if self.codec is None else self.codec.decode(latent).float()

    def batched(
        self,
        network: Any,
        rows: Mapping[str, Tensor | None],
        steps: int,
        work: Callable[[Part, Callable[..., Denoiser]], Tensor],
    ) -> Tensor:
        """Run ``work(part, denoiser)`` on batches of the rows that are given, on the network's device.

        ``denoiser(covariates, guidance=None)`` makes one with the batch's context and image condition.

        Args:
            network: in any mode; it runs in evaluation mode.
            rows: tensors of N rows each.
            steps: network evaluations of one batch, for the progress bar.
            work: returns a tensor with a row for each of the batch's.

        Returns:
            All rows, float32 on the CPU.

        Raises:
            ValueError: when the tensors differ in their number of rows, or there is none.
        """
        given = {name: torch.as_tensor(value) for name, value in rows.items() if value is not None}
        counts = {name: len(value) for name, value in given.items()}
        if len(set(counts.values())) != 1 or not next(iter(counts.values())):
            raise ValueError(f"expected as many rows of each, one or more; found {counts}")
        count, device = next(iter(counts.values())), device_of(network)
        size = 1 if self.sampler.solver in ADAPTIVE else self.sampler.max_batch  # its steps would depend on the batch
        results = []
        self.evaluations = 0
        with (
            sampling_mode(network),
            progress_bar(show=self.progress, total=steps * -(-count // size), unit="evaluation") as bar,
        ):
            for first in range(0, count, size):
                part = {name: value[first : first + size].to(device) for name, value in given.items()}
                made: list[Any] = []
                results.append(work(part, self._maker(network, part, made, bar.update)).float().cpu())
                self.evaluations = sum(denoiser.evaluations for denoiser in made)
        return torch.cat(results)

    def _maker(self, network: Any, part: Part, made: list[Any], update: Callable[[], Any]) -> Callable[..., Denoiser]:
        def make(covariates: Tensor | None, guidance: float | None = None) -> Denoiser:
            guided = self.sampler.denoiser_for(
                network, self.process, covariates, part.get("context"), part.get("image_condition"), guidance=guidance
            )
            made.append(guided)

            def denoiser(noisy: Tensor, t: float) -> Any:
                update()
                return guided(noisy, t)

            return denoiser

        return make


class Inversion(ImageInferer):
    """An image inferer that goes to the noise and back by one deterministic sampler.

    Args:
        process: the process the network was trained with.
        sampler: a deterministic solver, its steps, and the guidance of the way back; the way to the noise is without.
        codec: encodes images and decodes latents; None for pixel models.
        refinements: of every step to the noise, see :func:`invert`.
        progress: show a progress bar.

    Raises:
        ValueError: for a stochastic sampler, or refinements of a solver whose steps depend on those before.
    """

    def __init__(
        self, process: Process, sampler: Sampler, codec: Any = None, refinements: int = 0, progress: bool = False
    ) -> None:
        super().__init__(process, sampler, codec, progress)
        if sampler.solver == "ddpm" or sampler.eta > 0:
            found = f"{sampler.solver!r} with eta {sampler.eta:g}" if sampler.eta else repr(sampler.solver)
            raise ValueError(f"sampler: {found} adds noise and cannot be inverted; expected a deterministic solver")
        if isinstance(refinements, bool) or not isinstance(refinements, int) or refinements < 0:
            raise ValueError(f"refinements: expected a whole number of at least 0, found {refinements!r}")
        if refinements and sampler.solver in MULTISTEP:
            raise ValueError(
                f"refinements: a step of {sampler.solver!r} depends on those before it; expected 0, or "
                "'ddim', 'euler', 'heun' or 'midpoint'"
            )
        self.refinements = refinements

    def to_noise(self, denoiser: Denoiser, latent: Tensor, times: Sequence[float]) -> Tensor:
        """Take latents up a falling grid of :func:`times_from`, whose first time they reach."""
        return invert(self.sampler, self.process, denoiser, latent, list(times)[::-1], self.refinements)

    def to_clean(self, denoiser: Denoiser, noisy: Tensor, times: Sequence[float]) -> Tensor:
        """Take noisy latents down the grid."""
        return self.sampler.solve(self.process, denoiser, noisy, times)

    def evaluations_of(self, times: Sequence[float], ways_back: int) -> int:
        """Return about how many network evaluations one way to the noise and some ways back take."""
        each = 2 if self.sampler.solver in ("heun", "midpoint") else 1
        return each * (len(times) - 1) * (1 + self.refinements + ways_back)
