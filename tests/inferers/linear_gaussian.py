"""A network that knows its data exactly: pixels are independent Gaussians whose mean follows the first covariate."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from medgen.processes import EDM, Process, RectifiedFlow, VariancePreserving

PROCESSES = {
    "cosine v": VariancePreserving(),
    "table": VariancePreserving("linear", "noise", table=1000),
    "flow": RectifiedFlow(),
    "edm": EDM(),
}
UNKNOWN_MEAN = -0.1
DEVIATION = 0.3


class LinearGaussian(nn.Module):
    """clean ~ N(covariate, DEVIATION²) in every pixel, of 2D and 3D images; an unknown covariate means UNKNOWN_MEAN."""

    def __init__(self, process: Process, deviation: float = DEVIATION):
        super().__init__()
        self.process, self.deviation = process, deviation
        self.parameter = nn.Parameter(torch.zeros(1))
        self.calls: list[int] = []

    def forward(self, scaled: Tensor, time: Tensor, covariates=None, context=None, image=None) -> Tensor:
        self.calls.append(len(scaled))
        process, first = self.process, float(time[0])
        noisy = scaled
        if isinstance(process, EDM):
            t = float(process.time_at(-2 * 4 * first))
            noisy = scaled * math.sqrt(float(process.sigma(t)) ** 2 + process.sigma_data**2)
        else:
            t = (first + 1) / process.table if process.table else first / 1000
        alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
        mean = (
            torch.full((len(noisy),), UNKNOWN_MEAN) if covariates is None else covariates[:, 0].nan_to_num(UNKNOWN_MEAN)
        )
        mean = mean.reshape(-1, *(1,) * (noisy.ndim - 1)).to(noisy)
        score = (noisy - alpha * mean) / (alpha**2 * self.deviation**2 + sigma**2)
        return process.target(mean + alpha * self.deviation**2 * score, sigma * score, t).float()

    def translated(self, image: Tensor, source: Tensor, target: Tensor, t: float) -> Tensor:
        """The exact translation by way of time t: deviations from the mean scale with the marginal's spread."""
        alpha, sigma = float(self.process.alpha(t)), float(self.process.sigma(t))
        share = 1 - alpha * self.deviation / math.sqrt(alpha**2 * self.deviation**2 + sigma**2)
        return image + share * (target - source).reshape(-1, *(1,) * (image.ndim - 1))


def images(count: int = 3, size: tuple[int, ...] = (4, 5), seed: int = 0) -> Tensor:
    return 0.3 * torch.randn(count, 1, *size, generator=torch.Generator().manual_seed(seed))
