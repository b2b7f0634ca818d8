"""Least squares under many weightings of the same samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["centred_columns", "residual_spread", "weighted_fit"]

Array = NDArray[np.float64]


def weighted_fit(design: Array, outcome: Array, weights: Array) -> Array:
    """Return the solutions ``(R, K)`` of the normal equations under each row of weights.

    Args:
        design: ``(N, K)``; columns of about one size, for conditioning.
        outcome: ``(N,)``.
        weights: ``(R, N)``, not negative.
    """
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    normal = (weights @ products).reshape(len(weights), design.shape[1], design.shape[1])
    moment = weights @ (design * outcome[:, None])
    solution: Array = np.einsum("rij,rj->ri", np.linalg.pinv(normal, hermitian=True), moment)
    return solution


def residual_spread(design: Array, outcome: Array, solution: Array, weights: Array) -> Array:
    """Return the standard deviation ``(R,)`` of the residuals, with as many degrees of freedom as are left."""
    residual = outcome - solution @ design.T
    freedom = weights.sum(1) - design.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread: Array = np.sqrt((weights * residual**2).sum(1) / np.where(freedom > 0, freedom, np.nan))
    return spread


def centred_columns(values: Array, squared: bool = False) -> tuple[list[Array], float]:
    """Return a column moved to mean 0 and scaled to 1 at most, its square too when wanted, and the scale."""
    centred = values - values.mean()
    scale = float(np.abs(centred).max()) or 1.0
    return [centred / scale, (centred / scale) ** 2][: 1 + squared], scale
