"""Embedding of covariates that may be unknown."""

from __future__ import annotations

import math

import torch
from torch import nn

from medgen.covariates import Covariates, Range

__all__ = ["CovariateEmbedding"]


class CovariateEmbedding(nn.Module):
    r"""Sum of one embedding per covariate, each with a learned null for "unknown".

    For covariate k with value :math:`c_k` and known mask :math:`m_k`:

    .. math:: e = \sum_k m_k f_k(c_k) + (1 - m_k) \varnothing_k

    A missing clinical value, classifier-free dropout (Ho & Salimans, arXiv 2207.12598) and unconditional generation are
    thereby one mechanism. Computed in float32 outside autocast (bfloat16 would round 72.3 years to 72.5), without
    branches on data, and with finite gradients where a value is NaN.

    Args:
        covariates: the declaration; fixes the columns of the input.
        embedding_dim: width E of the result.
        frequencies: number of Fourier frequencies of a continuous covariate; its value is first scaled to [-1, 1].
    """

    def __init__(self, covariates: Covariates, embedding_dim: int, frequencies: int = 6) -> None:
        super().__init__()
        self.covariates = covariates
        self.embedding_dim = embedding_dim
        self.embeddings = nn.ModuleDict()
        self.nulls = nn.ParameterDict()
        for name in covariates:
            declared = covariates[name]
            if isinstance(declared, Range):
                self.embeddings[name] = _ContinuousEmbedding(declared, embedding_dim, frequencies)
            else:
                self.embeddings[name] = _CategoricalEmbedding(len(declared), embedding_dim)
            self.nulls[name] = nn.Parameter(torch.zeros(embedding_dim))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Embed ``values``.

        Args:
            values: ``(B, K)``, K covariates in declared order, NaN where unknown.

        Returns:
            float32 ``(B, E)``.

        Raises:
            ValueError: when ``values`` is not ``(B, K)``.
        """
        if values.ndim != 2 or values.shape[1] != len(self.covariates):
            names = self.covariates.names
            raise ValueError(f"covariates: expected shape (B, {len(names)}) for {names}, found {tuple(values.shape)}")
        with torch.autocast(values.device.type, enabled=False):
            unknown = torch.isnan(values)
            known = (~unknown).float()
            filled = torch.masked_fill(values.float(), unknown, 0.0)
            total = values.new_zeros(values.shape[0], self.embedding_dim, dtype=torch.float32)
            for k, name in enumerate(self.covariates.names):
                mask = known[:, k : k + 1]
                total = total + mask * self.embeddings[name](filled[:, k]) + (1 - mask) * self.nulls[name].float()
        return total

    def silence(self, name: str) -> None:
        """Set covariate ``name`` to zero effect, known or unknown, so that it can be learned from there."""
        with torch.no_grad():
            self.get_parameter(f"embeddings.{name}.last.weight").zero_()
            self.nulls[name].zero_()


class _CategoricalEmbedding(nn.Module):
    """A linear layer without bias on the one-hot label."""

    def __init__(self, labels: int, embedding_dim: int) -> None:
        super().__init__()
        self.labels = labels
        self.last = nn.Linear(labels, embedding_dim, bias=False)
        nn.init.normal_(self.last.weight, std=0.5)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        index = value.round().long().clamp(0, self.labels - 1)
        weight = self.last.weight.float()
        return nn.functional.embedding(index, weight.t())


class _ContinuousEmbedding(nn.Module):
    """Fourier features of the scaled value, then a two-layer perceptron."""

    frequencies: torch.Tensor

    def __init__(self, declared: Range, embedding_dim: int, frequencies: int) -> None:
        super().__init__()
        self.low, self.high = float(declared.low), float(declared.high)
        # From half a period over the range (monotonic) upwards by half-octaves: smooth, yet able to bend.
        self.register_buffer(
            "frequencies", math.pi / 2 * 2.0 ** (0.5 * torch.arange(frequencies, dtype=torch.float32)), persistent=False
        )
        self.first = nn.Linear(2 * frequencies + 1, embedding_dim)
        self.last = nn.Linear(embedding_dim, embedding_dim, bias=False)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        scaled = (2 * (value - self.low) / (self.high - self.low) - 1).unsqueeze(1)
        angles = scaled * self.frequencies
        features = torch.cat([scaled, angles.sin(), angles.cos()], dim=1)
        hidden = nn.functional.silu(nn.functional.linear(features, self.first.weight.float(), self.first.bias.float()))
        return nn.functional.linear(hidden, self.last.weight.float())
