"""Data whose exact denoiser is known: an anisotropic Gaussian with a mean."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medgen.processes import EDM, Estimate, Process


class Gaussian:
    """Two pixels, clean ~ N(mean, covariance); images are (B, 1, 1, 2), all in float64."""

    mean = torch.tensor([0.5, -0.3], dtype=torch.float64)
    variances = torch.tensor([0.6, 0.05], dtype=torch.float64)

    def __init__(self) -> None:
        angle = 0.7
        self.axes = torch.tensor(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64
        )
        self.covariance = self.axes @ torch.diag(self.variances) @ self.axes.T

    def estimate(self, process: Process, noisy: Tensor, t: float | Tensor) -> Estimate:
        """E[clean | noisy] and E[noise | noisy], by the formula for jointly Gaussian vectors."""
        alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
        total = alpha**2 * self.covariance + sigma**2 * torch.eye(2, dtype=torch.float64)
        score = torch.linalg.solve(total, (noisy.double().reshape(-1, 2) - alpha * self.mean).T).T
        clean = self.mean + alpha * score @ self.covariance
        return Estimate(clean.reshape(noisy.shape), (sigma * score).reshape(noisy.shape))

    def denoiser(self, process: Process):
        return lambda noisy, t: self.estimate(process, noisy, t)

    def network(self, process: Process):
        """The exact network: sees what a network sees and predicts what it is trained to."""

        def forward(scaled: Tensor, time: Tensor) -> Tensor:
            first = float(time[0])
            if isinstance(process, EDM):
                t = float(process.time_at(-2 * 4 * first))
                noisy = scaled * math.sqrt(float(process.sigma(t)) ** 2 + process.sigma_data**2)
            else:
                t = (first + 1) / process.table if process.table else first / 1000
                noisy = scaled
            estimate = self.estimate(process, noisy, t)
            return process.target(estimate.clean, estimate.noise, t)

        return forward

    def flow(self, process: Process, noisy: Tensor, t: float, s: float) -> Tensor:
        """The exact solution of the probability-flow ODE: along each axis, deviations scale with the marginal's std."""

        def marginal(time: float) -> tuple[float, Tensor]:
            alpha, sigma = float(process.alpha(time)), float(process.sigma(time))
            return alpha, torch.sqrt(alpha**2 * self.variances + sigma**2)

        (alpha_t, std_t), (alpha_s, std_s) = marginal(t), marginal(s)
        along = (noisy.reshape(-1, 2) - alpha_t * self.mean) @ self.axes
        return (alpha_s * self.mean + (along * std_s / std_t) @ self.axes.T).reshape(noisy.shape)

    def moments(self, solve, start: float) -> tuple[Tensor, Tensor]:
        """Mean and covariance of what an affine solver makes of ``start`` times standard normal noise, exactly.

        Args:
            solve: the solver as a function of the noisy images alone.
            start: standard deviation of the prior.
        """
        probes = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64).reshape(3, 1, 1, 2) * start
        offset, *columns = solve(probes).reshape(3, 2)
        matrix = torch.stack([column - offset for column in columns], dim=1)
        return offset, matrix @ matrix.T


@pytest.fixture(scope="session")
def gaussian() -> Gaussian:
    return Gaussian()
