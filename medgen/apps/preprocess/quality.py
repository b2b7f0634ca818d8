"""Which scans to look at: outliers among their own cohort, and what is implausible for any head."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["flags_of", "robust_z"]

OUTLIER = 3.5  # Iglewicz and Hoaglin 1993
LEAST_SCANS = 8
PLAUSIBLE_DETERMINANT = (0.4, 2.5)
PLAUSIBLE_BRAIN_ML = (600.0, 2200.0)


def robust_z(values: Sequence[float | None]) -> list[float]:
    """Return distances from the median in robust standard deviations (1.4826 MAD); NaN for what is unknown.

    All are NaN with fewer than eight known values, and 0 where at least half of them are equal.

    Example:
        >>> [round(z) for z in robust_z([1, 2, 3, 4, 5, 6, 7, 100])]
        [-1, -1, -1, 0, 0, 1, 1, 32]
    """
    array = np.array([math.nan if value is None else float(value) for value in values])
    known = array[np.isfinite(array)]
    if len(known) < LEAST_SCANS:
        return [math.nan] * len(array)
    median = np.median(known)
    spread = 1.4826 * float(np.median(np.abs(known - median)))
    scaled = (array - median) / spread if spread > 0 else np.where(np.isfinite(array), 0.0, math.nan)
    return [float(value) for value in scaled]


def flags_of(records: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return for each record of a finished scan why one should look at it; an empty list where nothing stands out.

    Args:
        records: with "similarity", "determinant", "brain_ml" (None where unknown) and "warnings" of the pipeline.
    """
    flags = [list(record.get("warnings") or ()) for record in records]
    names = {"similarity": "similarity", "determinant": "determinant", "brain_ml": "brain volume"}
    for key, name in names.items():
        for found, z in zip(flags, robust_z([record.get(key) for record in records]), strict=True):
            if z < -OUTLIER or (z > OUTLIER and key != "similarity"):
                found.append(f"{name} {'far below' if z < 0 else 'far above'} the others ({z:+.1f} SD)")
    limits = {"determinant": PLAUSIBLE_DETERMINANT, "brain_ml": PLAUSIBLE_BRAIN_ML}
    for key, (low, high) in limits.items():
        for found, record in zip(flags, records, strict=True):
            value = record.get(key)
            if value is not None and not low <= value <= high:
                found.append(f"{names[key]} {value:.3g} outside {low:g} to {high:g}")
    return flags
