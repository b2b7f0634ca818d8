"""Which images are of which plane."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medgen.covariates import Covariates

__all__ = ["Rows", "axial_rows", "chosen", "plane_rows"]

Rows = NDArray[np.bool_]


def plane_rows(covariates: Covariates, values: Tensor) -> dict[str, Rows]:
    """Which of the images with the covariates ``(N, K)`` are of each plane; empty where there are not several."""
    if "plane" not in covariates or not covariates.is_categorical("plane"):
        return {}
    codes = values[:, covariates.index("plane")].numpy()
    labels: tuple[str, ...] = covariates["plane"]  # type: ignore[assignment]
    present = {plane: codes == code for code, plane in enumerate(labels) if (codes == code).any()}
    return present if len(present) > 1 else {}


def axial_rows(covariates: Covariates, values: Tensor) -> Rows:
    """Say which images are axial: all where the plane is not declared."""
    if "plane" not in covariates or not covariates.is_categorical("plane"):
        return np.ones(len(values), dtype=bool)
    labels: tuple[str, ...] = covariates["plane"]  # type: ignore[assignment]
    code = labels.index("axial") if "axial" in labels else -1
    rows: Rows = values[:, covariates.index("plane")].numpy() == code
    return rows


def chosen(names: list[str], rows: Rows) -> list[str]:
    """The names in the chosen rows."""
    return [names[row] for row in np.flatnonzero(rows).tolist()]
