"""Predicted against asked: does an image look like the number it was generated for?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgen.metrics.checks import finite_array
from medgen.metrics.least_squares import centred_columns, residual_spread, weighted_fit

__all__ = ["agreement", "band_starts", "number_trend"]

Array = NDArray[np.float64]


def band_starts(values: ArrayLike, width: float = 10.0) -> list[float]:
    """Return where the bands begin that hold the values: whole multiples of their width.

    Example:
        >>> band_starts([61.0, 74.5, 88.0])
        [60.0, 70.0, 80.0]
    """
    used = np.unique(np.floor(finite_array(values, "values") / width))
    return [float(start) for start in used * width]


def agreement(
    asked: ArrayLike, predicted: ArrayLike, weights: Array, bands: Sequence[float] = (), width: float = 10.0
) -> dict[str, Array]:
    """Compare predicted with asked numbers under many weightings of the samples.

    A model that predicts from images shrinks to the mean, so none of these is 1 or 0 even for real images: read them
    beside the same figures of held-out real ones.

    Args:
        asked: what was asked for, or is true, shape ``(N,)``.
        predicted: what a model says, shape ``(N,)``, same unit.
        weights: ``(R, N)``; a row of ones is the estimate.
        bands: where bands of asked values begin.
        width: of a band.

    Returns:
        "correlation" (Pearson's), "slope" (predicted per asked), "bias" (mean of predicted minus asked), "error" (mean
        absolute), and "bias:<start>" of each band; each ``(R,)``, NaN where a weighting does not determine it.

    Example:
        >>> found = agreement([60.0, 70.0, 80.0], [65.0, 70.0, 75.0], np.ones((1, 3)))
        >>> round(float(found["slope"][0]), 6), round(float(found["correlation"][0]), 6), float(found["bias"][0])
        (0.5, 1.0, 0.0)
    """
    x, y = finite_array(asked, "asked"), finite_array(predicted, "predicted")
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"agreement: expected two lists of one length, found {x.shape} and {y.shape}")
    with np.errstate(divide="ignore", invalid="ignore"):
        total = weights.sum(1)
        mean_x, mean_y = weights @ x / total, weights @ y / total
        centred_x, centred_y = x - x.mean(), y - y.mean()  # once, so that the moments below keep their digits
        shift_x, shift_y = mean_x - x.mean(), mean_y - y.mean()
        xx = weights @ centred_x**2 / total - shift_x**2
        yy = weights @ centred_y**2 / total - shift_y**2
        xy = weights @ (centred_x * centred_y) / total - shift_x * shift_y
        varies = (xx > 1e-12) & (yy > 1e-12)
        found = {
            "correlation": np.where(varies, xy / np.sqrt(xx * yy), np.nan),
            "slope": np.where(xx > 1e-12, xy / xx, np.nan),
            "bias": mean_y - mean_x,
            "error": weights @ np.abs(y - x) / total,
        }
        for start in bands:
            inside = weights * ((x >= start) & (x < start + width))
            found[f"bias:{start:g}"] = inside @ (y - x) / inside.sum(1)
    return found


def number_trend(
    outcome: ArrayLike,
    number: ArrayLike,
    place: ArrayLike | None,
    others: Sequence[ArrayLike],
    weights: Array,
    bands: Sequence[float] = (),
    width: float = 10.0,
) -> dict[str, Array]:
    """How an outcome changes with a number, and how much people of the same number differ.

    Two models by least squares: the slope is that at equal place and other covariates; the spread is that of the
    residuals at equal number and place alone, so that it holds all by which people differ.

    Args:
        outcome: measured values, shape ``(N,)``, for example areas in mm².
        number: shape ``(N,)``, for example ages in years.
        place: slice positions, which enter with their square; None for none.
        others: further covariates; those that do not vary are left out.
        weights: ``(R, N)``.
        bands: where bands of the number begin.
        width: of a band.

    Returns:
        "slope", "spread", and "mean:<start>" and "spread:<start>" of each band; each ``(R,)``, NaN where so few samples
        do not determine it.
    """
    values, along = finite_array(outcome, "outcome"), finite_array(number, "number")
    columns, unit = centred_columns(along)
    columns = [np.ones(len(along)), *columns]
    if place is not None and np.ptp(finite_array(place, "place")) > 1e-9:
        columns += centred_columns(finite_array(place, "place"), squared=True)[0]
    plain = np.stack(columns, axis=1)
    varying = [finite_array(column, "others") for column in others]
    columns += [centred_columns(column)[0][0] for column in varying if np.ptp(column) > 1e-9]
    full = np.stack(columns, axis=1)
    if len(values) <= full.shape[1]:
        names = ["slope", "spread", *(f"{name}:{start:g}" for name in ("mean", "spread") for start in bands)]
        return {name: np.full(len(weights), np.nan) for name in names}
    solution = weighted_fit(plain, values, weights)
    found = {
        "slope": weighted_fit(full, values, weights)[:, 1] / unit,
        "spread": residual_spread(plain, values, solution, weights),
    }
    residual = values - solution @ plain.T
    at_mean_place = values - solution[:, 2:] @ (plain[:, 2:] - plain[:, 2:].mean(0)).T
    with np.errstate(divide="ignore", invalid="ignore"):
        for start in bands:
            inside = weights * ((along >= start) & (along < start + width))
            found[f"mean:{start:g}"] = (inside * at_mean_place).sum(1) / inside.sum(1)
            found[f"spread:{start:g}"] = np.sqrt((inside * residual**2).sum(1) / inside.sum(1))
    return found
