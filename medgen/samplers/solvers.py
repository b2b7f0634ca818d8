"""Solvers: from a noisy image at ``times[0]`` to one at ``times[-1]``, one free function each.

All of them know the process by its alpha and sigma alone, so each works for diffusion, flow and EDM. A denoiser is any
callable ``denoiser(noisy, t) -> Estimate(clean, noise)``. Scalars are float64, images float32 or better. The
deterministic ones run in both directions: rising times turn an image into its noise (inversion).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

from torch import Tensor

from medgen.processes.process import Estimate, Process

__all__ = ["SOLVERS", "Denoiser", "NoiseSource", "ddim", "ddpm", "dpm_solver_pp_2m", "euler", "heun", "midpoint"]


class Denoiser(Protocol):
    """``denoiser(noisy, t) -> Estimate``, with ``noisy`` ``(B, C, *spatial)`` and one time ``t`` for the batch."""

    def __call__(self, noisy: Tensor, t: float, /) -> Estimate:
        """Return the estimate of the clean image and of the noise at one time."""


NoiseSource = Callable[[int], Tensor]


def _at(process: Process, t: float) -> tuple[float, float]:
    return float(process.alpha(t)), float(process.sigma(t))


def _half_log_snr(alpha: float, sigma: float) -> float:
    if sigma == 0:
        return math.inf
    return math.log(alpha / sigma) if alpha > 0 else -math.inf


def _check_stochastic(solver: str, times: Sequence[float], noise_source: NoiseSource | None) -> NoiseSource:
    if any(s >= t for t, s in pairwise(times)):
        raise ValueError(f"{solver} adds noise, so its times must fall, found {list(times)[:4]}...")
    if noise_source is None:
        raise ValueError(f"{solver} adds noise, so it needs a noise_source, found None")
    return noise_source


def ddpm(
    process: Process,
    denoiser: Denoiser,
    noisy: Tensor,
    times: Sequence[float],
    noise_source: NoiseSource | None = None,
) -> Tensor:
    """Sample ancestrally from the exact posterior of each step (Ho et al. 2006.11239, eq. 6-7).

    With ``alpha_ts = alpha_t / alpha_s`` and ``sigma_ts² = sigma_t² - alpha_ts² sigma_s²`` (Kingma et al. 2107.00630,
    eq. 25-29) the step from t to s is a Gaussian of mean ``(alpha_ts sigma_s² noisy + alpha_s sigma_ts² clean) /
    sigma_t²`` and variance ``sigma_ts² sigma_s² / sigma_t²``, whatever lies between: any subset of the times is right.

    Args:
        process: gives alpha and sigma.
        denoiser: called once per step.
        noisy: ``(B, C, *spatial)`` at ``times[0]``.
        times: falling times.
        noise_source: ``noise_source(i)`` gives standard normal noise like ``noisy`` for the i-th step, from 1; needed.

    Returns:
        The image at ``times[-1]``.

    Raises:
        ValueError: when the times do not fall, or there is no noise source.
    """
    draw = _check_stochastic("ddpm", times, noise_source)
    for step, (t, s) in enumerate(pairwise(times), start=1):
        clean = denoiser(noisy, t).clean
        (alpha_t, sigma_t), (alpha_s, sigma_s) = _at(process, t), _at(process, s)
        alpha_ts = alpha_t / alpha_s
        variance_ts = sigma_t**2 - (alpha_ts * sigma_s) ** 2
        noisy = (alpha_ts * (sigma_s / sigma_t) ** 2) * noisy + (alpha_s * variance_ts / sigma_t**2) * clean
        if sigma_s > 0:
            noisy = noisy + (math.sqrt(variance_ts) * sigma_s / sigma_t) * draw(step)
    return noisy


def ddim(
    process: Process,
    denoiser: Denoiser,
    noisy: Tensor,
    times: Sequence[float],
    noise_source: NoiseSource | None = None,
    eta: float = 0.0,
) -> Tensor:
    """Step ``alpha_s clean + sqrt(sigma_s² - std²) noise + std z`` (Song et al. 2010.02502, eq. 12 and 16).

    ``std = eta * sigma_s sigma_ts / sigma_t``; eta 0 is deterministic and first order, eta 1 is :func:`ddpm`.

    Args:
        process: gives alpha and sigma.
        denoiser: called once per step.
        noisy: ``(B, C, *spatial)`` at ``times[0]``.
        times: falling times; rising ones invert when eta is 0.
        noise_source: as in :func:`ddpm`; needed when eta > 0.
        eta: in [0, 1].

    Returns:
        The image at ``times[-1]``.

    Raises:
        ValueError: when eta > 0 and the times do not fall, or there is no noise source.
    """
    draw = _check_stochastic(f"ddim with eta {eta:g}", times, noise_source) if eta > 0 else None
    for step, (t, s) in enumerate(pairwise(times), start=1):
        estimate = denoiser(noisy, t)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = _at(process, t), _at(process, s)
        std = 0.0
        if eta > 0:
            std = eta * math.sqrt(max(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0.0)) * sigma_s / sigma_t
        noisy = alpha_s * estimate.clean + math.sqrt(max(sigma_s**2 - std**2, 0.0)) * estimate.noise
        if draw is not None and std > 0:
            noisy = noisy + std * draw(step)
    return noisy


def dpm_solver_pp_2m(
    process: Process,
    denoiser: Denoiser,
    noisy: Tensor,
    times: Sequence[float],
    noise_source: NoiseSource | None = None,
) -> Tensor:
    """Step with DPM-Solver++(2M), second order at one evaluation a step (Lu et al. 2211.01095, algorithm 2).

    With ``lambda = ln(alpha / sigma)`` and ``h`` its increase, the paper's step is DDIM's plus
    ``(alpha_s - alpha_t sigma_s / sigma_t) * h / (2 h_previous) * (clean - clean_previous)``. The first step, and a
    last one to zero noise (where lambda is infinite), are DDIM's.

    Args:
        process: gives alpha and sigma.
        denoiser: called once per step.
        noisy: ``(B, C, *spatial)`` at ``times[0]``.
        times: falling or rising times.
        noise_source: not used.

    Returns:
        The image at ``times[-1]``.
    """
    previous: tuple[Tensor, float] | None = None
    for t, s in pairwise(times):
        estimate = denoiser(noisy, t)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = _at(process, t), _at(process, s)
        increase = _half_log_snr(alpha_s, sigma_s) - _half_log_snr(alpha_t, sigma_t)
        noisy = alpha_s * estimate.clean + sigma_s * estimate.noise
        if previous is not None and math.isfinite(increase):
            ratio = increase / (2 * previous[1])
            noisy = noisy + (alpha_s - alpha_t * sigma_s / sigma_t) * ratio * (estimate.clean - previous[0])
        previous = (estimate.clean, increase)
    return noisy


def euler(
    process: Process,
    denoiser: Denoiser,
    noisy: Tensor,
    times: Sequence[float],
    noise_source: NoiseSource | None = None,
) -> Tensor:
    """Follow the probability flow ``d noisy = clean d alpha + noise d sigma`` by Euler steps; first order.

    In t for flow, in sigma for EDM (Karras et al. 2206.00364, algorithm 1 without correction), in sigma / alpha for
    diffusion: in these variables Euler's step and DDIM's with eta 0 are the same.

    Args:
        process: gives alpha and sigma.
        denoiser: called once per step.
        noisy: ``(B, C, *spatial)`` at ``times[0]``.
        times: falling or rising times.
        noise_source: not used.

    Returns:
        The image at ``times[-1]``.
    """
    for t, s in pairwise(times):
        noisy = _flow(process, denoiser(noisy, t), noisy, t, s)
    return noisy


def _flow(process: Process, estimate: Estimate, noisy: Tensor, t: float, s: float) -> Tensor:
    (alpha_t, sigma_t), (alpha_s, sigma_s) = _at(process, t), _at(process, s)
    return noisy + (alpha_s - alpha_t) * estimate.clean + (sigma_s - sigma_t) * estimate.noise


def heun(
    process: Process,
    denoiser: Denoiser,
    noisy: Tensor,
    times: Sequence[float],
    noise_source: NoiseSource | None = None,
) -> Tensor:
    """Follow the probability flow by Heun's rule, second order (Karras et al. 2206.00364, algorithm 1).

    Each step averages the estimates at both its ends; a step to zero noise is Euler's, as in the paper.

    Args:
        process: gives alpha and sigma.
        denoiser: called twice per step, once in a step to zero noise.
        noisy: ``(B, C, *spatial)`` at ``times[0]``.
        times: falling or rising times.
        noise_source: not used.

    Returns:
        The image at ``times[-1]``.
    """
    for t, s in pairwise(times):
        first = denoiser(noisy, t)
        predicted = _flow(process, first, noisy, t, s)
        if float(process.sigma(s)) == 0:
            noisy = predicted
            continue
        second = denoiser(predicted, s)
        average = Estimate((first.clean + second.clean) / 2, (first.noise + second.noise) / 2)
        noisy = _flow(process, average, noisy, t, s)
    return noisy


def midpoint(
    process: Process,
    denoiser: Denoiser,
    noisy: Tensor,
    times: Sequence[float],
    noise_source: NoiseSource | None = None,
) -> Tensor:
    """Follow the probability flow by the midpoint rule, second order: each step uses the estimate at its middle time.

    Args:
        process: gives alpha and sigma.
        denoiser: called twice per step.
        noisy: ``(B, C, *spatial)`` at ``times[0]``.
        times: falling or rising times.
        noise_source: not used.

    Returns:
        The image at ``times[-1]``.
    """
    for t, s in pairwise(times):
        middle = (t + s) / 2
        halfway = _flow(process, denoiser(noisy, t), noisy, t, middle)
        noisy = _flow(process, denoiser(halfway, middle), noisy, t, s)
    return noisy


SOLVERS: dict[str, Callable[..., Tensor]] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "dpm_solver_pp_2m": dpm_solver_pp_2m,
    "euler": euler,
    "heun": heun,
    "midpoint": midpoint,
}
