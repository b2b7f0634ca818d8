"""How likely an image is under a trained model: the change of variables along its probability flow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from medgen.processes.process import Process, solver_dtype
from medgen.randomness import generator
from medgen.samplers.grids import time_grid
from medgen.samplers.guidance import GuidedDenoiser
from medgen.samplers.network import device_of, sampling_mode
from medgen.samplers.solvers import Denoiser

__all__ = ["bits_per_dimension", "log_likelihood", "model_bits"]


def log_likelihood(
    process: Process, denoiser: Denoiser, clean: Tensor, times: Sequence[float], probes: Sequence[Tensor]
) -> Tensor:
    r"""Log density of clean images, in nats, by the instantaneous change of variables (Chen et al. 1806.07366, eq. 8).

    Along the probability flow :math:`d x = \hat{clean}\, d\alpha + \hat{noise}\, d\sigma` the log density falls by the
    divergence of what moves x, which Hutchinson's estimator :math:`E[e^T J e]` gives at the price of one backward pass
    (Grathwohl et al. 1810.01367, eq. 7; Song et al. 2011.13456, eq. 39-40). Steps are of the midpoint rule, second
    order.

    Args:
        process: gives alpha and sigma, and the density of its noise at the last time.
        denoiser: differentiable in its first argument; called twice per step.
        clean: ``(B, C, *spatial)`` at ``times[0]``.
        times: rising times.
        probes: one or more, each like ``clean``, of independent entries with mean 0 and variance 1; with entries of
            +1 and -1 the estimate is exact where the Jacobian is diagonal.

    Returns:
        ``(B,)`` float32 or better.

    Raises:
        ValueError: when the times do not rise, or there is no probe.

    Example:
        >>> from medgen.processes import Estimate, RectifiedFlow
        >>> process = RectifiedFlow()
        >>> def unit(noisy, t):  # the exact denoiser of a unit Gaussian
        ...     share = noisy / ((1 - t) ** 2 + t**2)
        ...     return Estimate((1 - t) * share, t * share)
        >>> zeros = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
        >>> found = log_likelihood(process, unit, zeros, [i / 64 for i in range(65)], [torch.ones_like(zeros)])
        >>> abs(float(found) + 8 * math.log(2 * math.pi)) < 1e-3
        True
    """
    if len(times) < 2 or any(s <= t for t, s in pairwise(times)):
        raise ValueError(f"times: expected rising ones, found {list(times)[:4]}")
    if not len(probes):
        raise ValueError("probes: expected at least one, found none")
    noisy = clean.to(solver_dtype(clean.dtype))
    gained = torch.zeros(len(noisy), dtype=noisy.dtype, device=noisy.device)
    for t, s in pairwise(times):
        middle = (t + s) / 2
        with torch.no_grad():
            halfway = noisy + _move(process, denoiser, noisy, t, t, middle)
        with torch.enable_grad():
            halfway = halfway.detach().requires_grad_(True)
            moved = _move(process, denoiser, halfway, middle, t, s)
            for number, probe in enumerate(probes, start=1):
                product = torch.autograd.grad(moved, halfway, probe, retain_graph=number < len(probes))[0]
                gained += (product * probe).flatten(1).sum(1) / len(probes)
        noisy = noisy + moved.detach()
    std = float(process.prior(torch.ones((), dtype=torch.float64)))
    size = noisy[0].numel()
    prior = -0.5 * (noisy / std).square().flatten(1).sum(1) - size * (math.log(std) + 0.5 * math.log(2 * math.pi))
    return prior + gained


def _move(process: Process, denoiser: Denoiser, noisy: Tensor, at: float, t: float, s: float) -> Tensor:
    """From t to s, by the estimate at one time."""
    estimate = denoiser(noisy, at)
    alpha, sigma = (float(f(s)) - float(f(t)) for f in (process.alpha, process.sigma))
    return alpha * estimate.clean + sigma * estimate.noise


def bits_per_dimension(log_density: Tensor, size: int, levels: int = 256) -> Tensor:
    """Bits for each number of an image in [-1, 1] that has so many levels, from its log density in nats.

    A level is ``2 / (levels - 1)`` wide, and its probability the density times its width, for images that were given
    uniform noise of that width (:func:`model_bits` does).

    Args:
        log_density: ``(B,)``.
        size: numbers of an image, C times its pixels.
        levels: of each number.

    Example:
        >>> uniform = torch.full((1,), -16 * math.log(2.0))  # density 1/2 on [-1, 1] everywhere
        >>> round(float(bits_per_dimension(uniform, 16, levels=257)), 6)
        8.0
    """
    return -log_density / (size * math.log(2)) - math.log2(2 / (levels - 1))


def model_bits(
    network: Any,
    process: Process,
    images: Tensor,
    seeds: Sequence[int],
    covariates: Tensor | None = None,
    steps: int = 50,
    probes: int = 1,
    levels: int = 256,
    spacing: str = "auto",
    codec: Any = None,
) -> Tensor:
    """Bits per dimension of images under a trained pixel model, given their covariates.

    The images get uniform noise of one level's width, so that the density of levels is bounded by their probability
    (Theis et al. 1511.01844, section 3.1). One probe's estimate is unbiased for the log density that the solver
    integrates; the steps' own error is not.

    The figures compare models on the very same images, no more. Published ones are of images as they were stored, with
    256 levels; medgen's are resampled, normalised and kept as float16, which smooths them, cuts off the darkest and the
    brightest, and leaves other levels than those that are counted here.

    Args:
        network: ``network(noisy, t, covariates=) -> prediction``.
        process: it was trained with.
        images: ``(B, C, *spatial)`` in [-1, 1].
        seeds: one per image, of its probes and its noise.
        covariates: ``(B, K)``, NaN where unknown.
        steps: of the midpoint rule.
        probes: of Hutchinson's estimator.
        levels: of the pixels.
        spacing: of the times (see :func:`medgen.samplers.time_grid`); variance-preserving processes change fast near
            the clean image, and want "log_snr".
        codec: of the model; one with weights is refused: its flow is of latents, whose density is none of images.

    Returns:
        ``(B,)`` on the CPU, float32.

    Raises:
        ValueError: when there are not as many seeds as images, probes are fewer than one, or the model is of latents.
    """
    if hasattr(codec, "autoencoder"):
        raise ValueError(
            f"codec: found {type(codec).__name__}; a model of latents gives no likelihood of images, a pixel model does"
        )
    channels = getattr(network, "in_channels", images.shape[1])
    if channels != images.shape[1]:
        raise ValueError(f"images: found {images.shape[1]} channels, expected {channels}, the network's own")
    if len(seeds) != len(images):
        raise ValueError(f"seeds: expected one for each of {len(images)} images, found {len(seeds)}")
    if probes < 1:
        raise ValueError(f"probes: expected at least 1, found {probes!r}")
    device = device_of(network)
    shape = images.shape[1:]
    spread = [torch.rand(shape, generator=generator("levels", int(seed))) - 0.5 for seed in seeds]
    clean = images.float().cpu() + torch.stack(spread) * 2 / (levels - 1)
    signs = [
        torch.stack([torch.randint(0, 2, shape, generator=generator("probe", int(seed), p)) for seed in seeds])
        for p in range(probes)
    ]
    given = None if covariates is None else covariates.to(device)
    denoiser = GuidedDenoiser(network, process, given)
    times = time_grid(process, steps, spacing)[::-1]
    with sampling_mode(network):
        found = log_likelihood(process, denoiser, clean.to(device), times, [2.0 * s.to(device) - 1 for s in signs])
    return bits_per_dimension(found, clean[0].numel(), levels).float().cpu()
