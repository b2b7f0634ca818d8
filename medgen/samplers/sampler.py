"""The sampler that bundles name: solver, steps, guidance and precision in one object."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from medgen.precision import Precision
from medgen.processes.process import Process
from medgen.progress import progress_bar
from medgen.samplers.adaptive import TOLERANCE, dopri5
from medgen.samplers.grids import SPACINGS, time_grid
from medgen.samplers.guidance import GuidedDenoiser, clip_range, guidance_scale, interval_of_times
from medgen.samplers.network import WatchedDenoiser, device_of, sampling_mode
from medgen.samplers.noise import SeededNoise
from medgen.samplers.solvers import SOLVERS, Denoiser, NoiseSource
from medgen.spelling import one_of

__all__ = ["Sampler", "Samples", "Step"]


ADAPTIVE: dict[str, Callable[..., Tensor]] = {"dopri5": dopri5}


class Step(NamedTuple):
    """One recorded state of sampling: time, estimate of the clean image, and noisy image, ``(N, C, *spatial)``."""

    t: float
    clean: Tensor
    noisy: Tensor


@dataclass(frozen=True)
class Samples:
    """What a sampler returns.

    Attributes:
        images: ``(N, C, *spatial)`` float32 on the CPU, decoded.
        evaluations: network evaluations per image; the mean, where they differ.
        seconds: wall time of the whole call.
        steps: recorded states from noise to image, empty unless asked for.
    """

    images: Tensor
    evaluations: int
    seconds: float
    steps: list[Step] = field(default_factory=list)


class Sampler:
    """Turns seeds and conditions into images.

    Args:
        solver: "ddpm", "ddim", "dpm_solver_pp_2m", "euler", "heun", "midpoint", or "dopri5", which chooses its own
            steps for each image (``pip install "medgen[ode]"``).
        steps: solver steps, at least 1; "dopri5" does not read them.
        guidance: scale, 1 for the plain conditional prediction; or a dict of scales by covariate.
        guidance_interval: ``(t_low, t_high)`` outside of which the plain conditional prediction is used.
        eta: randomness of "ddim", in [0, 1].
        spacing: "auto", "uniform", "karras", "log_snr", "trailing" or "leading" (see :func:`time_grid`).
        clip: c or ``(low, high)`` to clamp the estimate of the clean image at every step; None for not at all.
        max_batch: images that go through the network together.
        amp: bfloat16 autocast around the network; "auto" where the hardware has it. Solver arithmetic stays float32.
        drop: what the unconditional prediction lacks, of "covariates", "context" and "image".
        rtol: error that a step of "dopri5" may make, relative to the image's intensities; only that solver takes it.
        atol: the same, absolute, of intensities in [-1, 1].

    Raises:
        ValueError: for an unknown solver or spacing, or a value out of range.

    Example:
        >>> from medgen.processes import RectifiedFlow
        >>> samples = Sampler("euler", steps=2)(lambda noisy, t: noisy, RectifiedFlow(), (1, 4, 4), seeds=[0, 1])
        >>> samples.images.shape, samples.evaluations
        (torch.Size([2, 1, 4, 4]), 2)
    """

    def __init__(
        self,
        solver: str = "ddim",
        steps: int = 50,
        guidance: float | Mapping[str, float] = 1.0,
        guidance_interval: Sequence[float] | None = None,
        eta: float = 0.0,
        spacing: str = "auto",
        clip: float | Sequence[float] | None = None,
        max_batch: int = 32,
        amp: bool | str = False,
        drop: Sequence[str] = ("covariates", "context"),
        rtol: float = TOLERANCE,
        atol: float = TOLERANCE,
    ) -> None:
        self.solver = one_of("solver", solver, (*SOLVERS, *ADAPTIVE))
        for name, value in (("steps", steps), ("max_batch", max_batch)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, found {value!r}")
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], found {eta!r}")
        if eta > 0 and solver != "ddim":
            raise ValueError(f"eta is {eta:g}, but only 'ddim' takes one; the solver is {solver!r}")
        for name, error in (("rtol", rtol), ("atol", atol)):
            if isinstance(error, bool) or not isinstance(error, (int, float)) or not 0 < error < math.inf:
                raise ValueError(f"{name} must be a positive number, found {error!r}")
            if error != TOLERANCE and solver not in ADAPTIVE:
                raise ValueError(f"{name} is {error:g}, but only 'dopri5' takes one; the solver is {solver!r}")
        if amp not in (True, False, "auto"):
            raise ValueError(f"amp must be true, false or 'auto', found {amp!r}")
        self.steps, self.eta, self.max_batch, self.amp = steps, float(eta), max_batch, amp
        self.spacing = one_of("spacing", spacing, ("auto", *SPACINGS))
        self.guidance = guidance_scale(guidance)
        self.guidance_interval = interval_of_times(guidance_interval)
        self.clip = clip_range(clip)
        self.drop = tuple(one_of("drop", name, ("covariates", "context", "image")) for name in drop)
        self.rtol, self.atol = float(rtol), float(atol)

    def times(self, process: Process, start_t: float | None = None) -> list[float]:
        """Return the falling time grid; reversed, it is the grid of an inversion."""
        return time_grid(process, self.steps, self.spacing, start_t)

    def denoiser_for(
        self,
        network: Any,
        process: Process,
        covariates: Tensor | None = None,
        context: Tensor | None = None,
        image: Tensor | None = None,
        guidance: float | Mapping[str, float] | None = None,
        names: Sequence[str] | None = None,
        device: str | torch.device | None = None,
    ) -> GuidedDenoiser:
        """Return the network as a denoiser with this sampler's guidance, clipping and precision.

        Args:
            network: ``network(noisy, t, covariates=, context=, image=)``.
            process: the process it was trained for.
            covariates: ``(B, K)``, NaN where unknown.
            context: ``(B, L, D)``.
            image: ``(B, C, *spatial)``.
            guidance: replaces the sampler's own; 1 for inversion.
            names: the covariates' names; default: those that the network declares.
            device: where the network runs; default: where its parameters are.
        """
        return GuidedDenoiser(
            network,
            process,
            covariates,
            context,
            image,
            guidance=self.guidance if guidance is None else guidance,
            interval=self.guidance_interval,
            drop=self.drop,
            names=names,
            clip=self.clip,
            precision=self._precision(device_of(network) if device is None else device),
        )

    def _precision(self, device: str | torch.device) -> Callable[[], AbstractContextManager[Any]]:
        if self.amp is False:
            return nullcontext
        return Precision(device, self.amp)

    def solve(
        self,
        process: Process,
        denoiser: Denoiser,
        noisy: Tensor,
        times: Sequence[float],
        noise_source: NoiseSource | None = None,
    ) -> Tensor:
        """Take ``noisy`` from ``times[0]`` to ``times[-1]`` with this sampler's solver; rising times invert."""
        options = {"eta": self.eta} if self.solver == "ddim" else {}
        options |= {"rtol": self.rtol, "atol": self.atol} if self.solver in ADAPTIVE else {}
        return (SOLVERS | ADAPTIVE)[self.solver](process, denoiser, noisy, times, noise_source, **options)

    def __call__(
        self,
        network: Any,
        process: Process,
        shape: Sequence[int],
        seeds: Sequence[int],
        covariates: Tensor | None = None,
        context: Tensor | None = None,
        image: Tensor | None = None,
        codec: Any = None,
        device: str | torch.device | None = None,
        progress: bool = False,
        record: int = 0,
        start: Tensor | None = None,
        start_t: float | None = None,
    ) -> Samples:
        """Generate one image per seed.

        Args:
            network: ``network(noisy, t, covariates=, context=, image=) -> prediction``, on ``device``.
            process: the process it was trained for.
            shape: ``(C, *spatial)`` of one image.
            seeds: N seeds; image i depends on its seed and its conditions alone.
            covariates: ``(N, K)``, NaN where unknown.
            context: ``(N, L, D)``.
            image: ``(N, C, *spatial)``.
            codec: decodes what the process generates; None where that is the image.
            device: where the network runs; default: where its parameters are.
            progress: show a progress bar.
            record: number of states to record, from the first noise to the image.
            start: ``(N, C, *spatial)`` noisy images at time ``start_t`` to go on from, instead of pure noise; latents
                where there is a codec.
            start_t: their time, in (0, 1].

        Returns:
            :class:`Samples`.

        Raises:
            ValueError: when the number of rows is not the number of seeds, or only one of start and start_t is given.
        """
        began = time.perf_counter()
        device = torch.device(device_of(network) if device is None else device)
        given = {"covariates": covariates, "context": context, "image": image, "start": start}
        rows = {name: torch.as_tensor(value) for name, value in given.items() if value is not None}
        latent = tuple(shape) if codec is None else tuple(codec.latent_shape(tuple(shape)))
        self._check(rows, seeds, latent, start_t, record)
        times = self.times(process, start_t)
        marks = {times[round(i * self.steps / max(record - 1, 1))] for i in range(record)} if record > 1 else set()
        images: list[Tensor] = []
        states: dict[float, list[tuple[Tensor, Tensor]]] = {}
        together = 1 if self.solver in ADAPTIVE else self.max_batch
        chunks = [list(seeds[i : i + together]) for i in range(0, len(seeds), together)]
        evaluations = 0
        with sampling_mode(network), progress_bar(show=progress, total=self.steps * len(chunks), unit="step") as bar:
            for number, chunk in enumerate(chunks):
                first = number * together
                part = {name: value[first : first + len(chunk)].to(device) for name, value in rows.items()}
                noise = SeededNoise(latent, chunk, device)
                noisy = part["start"].float() if "start" in part else process.prior(noise(0))
                denoiser = self.denoiser_for(
                    network, process, part.get("covariates"), part.get("context"), part.get("image"), device=device
                )
                watched = WatchedDenoiser(denoiser, times, marks, bar.update)
                result = self.solve(process, watched, noisy, times, noise)
                evaluations += denoiser.evaluations
                decode = _decoder(codec)
                images.append(decode(result))
                for t, estimate in watched.seen.items():
                    states.setdefault(t, []).append((decode(estimate[0]), decode(estimate[1])))
        final = torch.cat(images)
        steps = [
            Step(t, *(torch.cat(tensors) for tensors in zip(*states[t], strict=True)))
            for t in sorted(states, reverse=True)
        ]
        if record:
            steps.append(Step(times[-1], final, final))
        return Samples(final, round(evaluations / len(chunks)), time.perf_counter() - began, steps)

    def _check(
        self, rows: dict[str, Tensor], seeds: Sequence[int], latent: tuple[int, ...], start_t: Any, record: int
    ) -> None:
        if not len(seeds):
            raise ValueError("seeds is empty, expected one seed per image")
        for name, value in rows.items():
            if value.shape[0] != len(seeds):
                raise ValueError(f"{name} has {value.shape[0]} rows, but there are {len(seeds)} seeds")
        if ("start" in rows) != (start_t is not None):
            raise ValueError("start and start_t belong together: expected both or neither")
        if "start" in rows and tuple(rows["start"].shape[1:]) != latent:
            raise ValueError(f"start has images of shape {tuple(rows['start'].shape[1:])}, expected {latent}")
        if record and self.solver in ADAPTIVE:
            raise ValueError(f"record: {self.solver!r} chooses its own times, so no state at given times can be kept")
        if record < 0:
            raise ValueError(f"record must not be negative, found {record}")

    def to_dict(self) -> dict[str, Any]:
        """Describe the sampler in plain JSON, as MONAI's ConfigParser reads it."""
        unread = () if self.solver in ADAPTIVE else ("rtol", "atol")
        names = [name for name in inspect.signature(type(self)).parameters if name not in unread]
        arguments = {name: getattr(self, name) for name in names}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in arguments.items()}
        return {"_target_": "medgen.samplers.Sampler", **plain}

    def __repr__(self) -> str:
        return f"Sampler({', '.join(f'{k}={v!r}' for k, v in self.to_dict().items() if k != '_target_')})"


def _decoder(codec: Any) -> Callable[[Tensor], Tensor]:
    return lambda latent: (latent if codec is None else codec.decode(latent)).float().cpu()
