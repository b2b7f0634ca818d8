"""Dropping of conditions in training, which classifier-free guidance needs."""

from __future__ import annotations

from typing import NamedTuple

import torch

__all__ = ["ConditionDropout", "Conditions"]


class Conditions(NamedTuple):
    """What a network is conditioned on; None where it is not.

    Attributes:
        covariates: ``(B, K)``, NaN where unknown.
        context: ``(B, L, D)``, NaN where unknown.
        image: ``(B, C, *spatial)``, zeros where unknown.
    """

    covariates: torch.Tensor | None = None
    context: torch.Tensor | None = None
    image: torch.Tensor | None = None

    def given(self) -> dict[str, torch.Tensor]:
        """The conditions that are there, as keyword arguments of the network."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class ConditionDropout:
    r"""Make conditions unknown, sample by sample.

    With probability :math:`p_{all}` a sample loses all its conditions together (Ho & Salimans, arXiv 2207.12598,
    algorithm 1), text and image included; of the samples left, each covariate is lost on its own with probability
    :math:`p_{each}`, so that the network also learns every single one (composition as in Liu et al., arXiv 2206.01714).

    Args:
        p_all: probability in [0, 1].
        p_each: probability in [0, 1].

    Raises:
        ValueError: when a probability lies outside [0, 1].
    """

    def __init__(self, p_all: float = 0.1, p_each: float = 0.0) -> None:
        for name, value in (("p_all", p_all), ("p_each", p_each)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: expected a probability in [0, 1], found {value!r}")
        self.p_all = p_all
        self.p_each = p_each

    def __call__(self, conditions: Conditions, generator: torch.Generator) -> Conditions:
        """Return ``conditions`` with some of them unknown; the tensors passed in stay as they are.

        Args:
            conditions: of one batch, on any device.
            generator: CPU generator; the draws depend on it, on B and on K alone.
        """
        covariates, context, image = conditions
        sizes = [value.shape[0] for value in conditions if value is not None]
        if not sizes or (self.p_all == 0 and self.p_each == 0):
            return conditions
        columns = 0 if covariates is None else covariates.shape[1]
        draws = torch.rand(sizes[0], 1 + columns, generator=generator)
        lost = draws[:, :1] < self.p_all
        if covariates is not None:
            unknown = (lost | (draws[:, 1:] < self.p_each)).to(covariates.device)
            covariates = covariates.masked_fill(unknown, torch.nan)
        if context is not None:
            context = context.masked_fill(_like(lost, context), torch.nan)
        if image is not None:
            image = image.masked_fill(_like(lost, image), 0.0)
        return Conditions(covariates, context, image)


def _like(lost: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return lost.to(value.device).reshape(-1, *[1] * (value.ndim - 1))
