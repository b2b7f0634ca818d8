"""Variance-preserving noise schedules: in closed form for continuous time, and as tables of betas."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["BETA_RANGES", "SCHEDULES", "beta_table"]

# first and last beta of a table of 1000: DDPM (2006.11239), latent diffusion (2112.10752), and MONAI's sigmoid_beta
BETA_RANGES = {"linear": (1e-4, 0.02), "scaled_linear": (8.5e-4, 0.012), "sigmoid": (1e-4, 0.02)}
COSINE_OFFSET = 0.008
SIGMOID_RANGE = 6.0


def _from_log(log_alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    return torch.exp(log_alpha_bar / 2), torch.sqrt(-torch.expm1(log_alpha_bar))


def linear(t: Tensor, beta_start: float, beta_end: float) -> tuple[Tensor, Tensor]:
    """Return alpha, sigma for beta(t) linear in t (Song et al. 2011.13456, eq. 33); betas per unit of t."""
    return _from_log(-(beta_start * t + (beta_end - beta_start) * t**2 / 2))


def scaled_linear(t: Tensor, beta_start: float, beta_end: float) -> tuple[Tensor, Tensor]:
    """Return alpha, sigma for sqrt(beta(t)) linear in t (the schedule of latent diffusion, 2112.10752)."""
    low, slope = math.sqrt(beta_start), math.sqrt(beta_end) - math.sqrt(beta_start)
    return _from_log(-(low**2 * t + low * slope * t**2 + slope**2 * t**3 / 3))


def sigmoid(t: Tensor, beta_start: float, beta_end: float) -> tuple[Tensor, Tensor]:
    """Return alpha, sigma for beta(t) a sigmoid of t from -6 to 6 (MONAI's and diffusers' sigmoid betas)."""
    width = 2 * SIGMOID_RANGE
    area = (F.softplus(width * t - SIGMOID_RANGE) - math.log1p(math.exp(-SIGMOID_RANGE))) / width
    return _from_log(-(beta_start * t + (beta_end - beta_start) * area).clamp(min=0.0))


def cosine(t: Tensor, beta_start: float = 0.0, beta_end: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return alpha, sigma of the cosine schedule (Nichol and Dhariwal 2102.09672, eq. 17), exact at both ends.

    alpha_bar(t) = cos²(angle(t)) / cos²(angle(0)); with cos²a - cos²b = sin(b - a) sin(b + a) neither end cancels.
    """
    first = COSINE_OFFSET / (1 + COSINE_OFFSET) * math.pi / 2
    travelled = t / (1 + COSINE_OFFSET) * math.pi / 2
    alpha = torch.sin((1 - t) / (1 + COSINE_OFFSET) * math.pi / 2) / math.cos(first)
    sigma = torch.sqrt(torch.sin(travelled) * torch.sin(travelled + 2 * first)) / math.cos(first)
    return alpha.clamp(0.0, 1.0), sigma.clamp(0.0, 1.0)


SCHEDULES: dict[str, Callable[[Tensor, float, float], tuple[Tensor, Tensor]]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
    "cosine": cosine,
    "sigmoid": sigmoid,
}


def beta_table(schedule: str, size: int, beta_start: float, beta_end: float) -> Tensor:
    """Return the discrete betas of a schedule, as DDPM, improved DDPM, MONAI and diffusers tabulate them.

    Args:
        schedule: a key of :data:`SCHEDULES`.
        size: number of times.
        beta_start: first beta (not used by "cosine").
        beta_end: last beta (not used by "cosine").

    Returns:
        ``(size,)`` float64.
    """
    if schedule == "linear":
        return torch.linspace(beta_start, beta_end, size, dtype=torch.float64)
    if schedule == "scaled_linear":
        return torch.linspace(math.sqrt(beta_start), math.sqrt(beta_end), size, dtype=torch.float64) ** 2
    if schedule == "sigmoid":
        ramp = torch.linspace(-SIGMOID_RANGE, SIGMOID_RANGE, size, dtype=torch.float64)
        return torch.sigmoid(ramp) * (beta_end - beta_start) + beta_start
    alpha, _ = cosine(torch.linspace(0, 1, size + 1, dtype=torch.float64))
    return (1 - (alpha[1:] / alpha[:-1]) ** 2).clamp(max=0.999)
