"""Covariate translation: the same image, with other covariates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medgen.inferers.inversion import Inversion, strength_time, times_from
from medgen.processes.process import Process
from medgen.samplers.sampler import Sampler

__all__ = ["Translate"]


class Translate(Inversion):
    """Show an image with other covariates: to its noise with its own, and back with those asked for.

    The image is inverted to the time ``strength * process.start`` by the deterministic sampler, with its own covariates
    and without guidance, and generated from there with the target covariates (DDIB: Su et al. 2203.08382; partial
    inversion as in SDEdit, Meng et al. 2108.01073, without its noise). What the noise holds, which is what the
    covariates do not tell, stays. It is a translation of covariates as the model learned them over people, never a
    prognosis of one.

    With source and target alike the result should be the image: how far it is from it is the error of the inversion,
    the no-change control of every difference that is shown.

    Args:
        process: the process the network was trained with.
        sampler: a deterministic solver, its steps, and the guidance of the way back; 1 keeps the size of the effects.
        strength: in [0, 1]; 1 goes to pure noise, 0 returns the image.
        codec: encodes images and decodes latents; None for pixel models.
        refinements: of every inversion step, see :func:`medgen.inferers.inversion.invert`.
        progress: show a progress bar.

    Raises:
        ValueError: for a stochastic sampler, or arguments out of range.

    Attributes:
        evaluations: network evaluations per image of the latest call.

    Example:
        >>> from medgen.processes import RectifiedFlow
        >>> def network(noisy, t, covariates):  # every clean image is the number asked for
        ...     clean = covariates[:, 0, None, None, None].expand_as(noisy)
        ...     return (noisy - clean) / (t[0] / 1000).clamp(min=1e-6)
        >>> translate = Translate(RectifiedFlow(), Sampler("euler", steps=4))
        >>> image = torch.full((1, 1, 2, 2), 0.25)
        >>> translate(image, network, torch.tensor([[0.25]]), torch.tensor([[0.75]])).mean().item()
        0.75
    """

    def __init__(
        self,
        process: Process,
        sampler: Sampler,
        strength: float = 1.0,
        codec: Any = None,
        refinements: int = 0,
        progress: bool = False,
    ) -> None:
        super().__init__(process, sampler, codec, refinements, progress)
        strength_time(process, strength)
        self.strength = strength

    def __call__(  # type: ignore[override]
        self,
        inputs: Tensor,
        network: Any,
        source: Tensor | None,
        target: Tensor | None,
        strength: float | None = None,
        context: Tensor | None = None,
        image: Tensor | None = None,
    ) -> Tensor:
        """Translate.

        Args:
            inputs: ``(N, C, *spatial)`` images in [-1, 1].
            network: on the device to compute on.
            source: ``(N, K)`` their covariates, NaN where unknown; None without covariates.
            target: ``(N, K)`` those asked for, or ``(N, M, K)`` for M of each image, which share one inversion.
            strength: replaces the constructor's.
            context: ``(N, L, D)`` text tokens, for both ways.
            image: ``(N, C', *spatial)`` conditioning images, for both ways.

        Returns:
            ``(N, C, *spatial)``, or ``(N, M, C, *spatial)``, float32 on the CPU.

        Raises:
            ValueError: when covariates are given on one side only, or the numbers of rows differ.
        """
        if (source is None) != (target is None):
            raise ValueError("source and target belong together: expected both or neither")
        several = target is not None and target.ndim == 3
        if source is not None and target is not None and source.shape[-1] != target.shape[-1]:
            raise ValueError(f"target has {target.shape[-1]} covariates, expected {source.shape[-1]} as in source")
        versions = target.shape[1] if target is not None and several else 1
        t = strength_time(self.process, self.strength if strength is None else strength)
        if t == 0:
            same = inputs.detach().float().cpu()
            self.evaluations = 0
            return same[:, None].repeat_interleave(versions, 1) if several else same
        times = times_from(self.sampler, self.process, t)

        def work(part: Any, denoiser: Any) -> Tensor:
            latent = self.encode(part["inputs"])
            noisy = self.to_noise(denoiser(part.get("source"), guidance=1.0), latent, times)
            asked = part.get("target")
            wanted = [asked] if asked is None or not several else list(asked.unbind(1))
            made = [self.decode(self.to_clean(denoiser(row), noisy, times)) for row in wanted]
            return torch.stack(made, 1) if several else made[0]

        rows = {"inputs": inputs, "source": source, "target": target, "context": context, "image_condition": image}
        return self.batched(network, rows, self.evaluations_of(times, versions), work)
