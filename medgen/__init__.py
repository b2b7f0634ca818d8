"""medgen: synthetic medical images that carry a clinical condition, with evidence that they do.

Importing the package is cheap: torch and MONAI load with the first name that needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medgen import (
        apps,
        bundles,
        covariates,
        data,
        dicom,
        engines,
        handlers,
        inferers,
        io,
        losses,
        metrics,
        networks,
        precision,
        processes,
        progress,
        randomness,
        samplers,
        spelling,
        transforms,
    )
    from medgen.bundles import load
    from medgen.covariates import Covariates, Range

__version__ = "0.1.0"

__all__ = [
    "Covariates",
    "Range",
    "__version__",
    "apps",
    "bundles",
    "covariates",
    "data",
    "dicom",
    "engines",
    "handlers",
    "inferers",
    "io",
    "load",
    "losses",
    "metrics",
    "networks",
    "precision",
    "processes",
    "progress",
    "randomness",
    "samplers",
    "spelling",
    "transforms",
]

_HOMES = {"Covariates": "medgen.covariates", "Range": "medgen.covariates", "load": "medgen.bundles"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in __all__:
        return importlib.import_module(f"medgen.{name}")
    raise AttributeError(f"module 'medgen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
