"""Which covariates two sides are adjusted for: the same ones, or their ratio would mix what it compares."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["complete_rows", "shared_columns"]

Columns = Mapping[str, NDArray[np.float64]]
KNOWN = 0.5  # of the images of a side: samples that lack a covariate drop out, and most should stay


def shared_columns(*sides: Columns) -> list[str]:
    """Names of the columns that every side can be adjusted for: known of half of its images or more, and varying.

    Args:
        sides: real images and generated ones, by name a value for each image, NaN unknown.

    Example:
        >>> real = {"age": np.array([60.0, 70.0, np.nan]), "weight": np.array([70.0, np.nan, np.nan])}
        >>> shared_columns(real, {"age": np.array([65.0, 75.0]), "weight": np.array([60.0, 80.0])})
        ['age']
    """
    return [name for name in sides[0] if all(name in side and _usable(side[name]) for side in sides)]


def complete_rows(columns: Columns, names: list[str], count: int) -> NDArray[np.bool_]:
    """Which of ``count`` images have all the named columns."""
    complete = np.ones(count, dtype=bool)
    for name in names:
        complete &= np.isfinite(columns[name])
    return complete


def _usable(column: NDArray[np.float64]) -> bool:
    known = column[np.isfinite(column)]
    return len(known) >= max(2, KNOWN * len(column)) and float(np.ptp(known)) > 1e-9
