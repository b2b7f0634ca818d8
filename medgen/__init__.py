"""medgen: synthetic medical images that carry a clinical condition, with evidence that they do.

Importing the package is cheap: torch and MONAI load with the first name that needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_NAMES = {
    "Covariates": "medgen.covariates",
    "Range": "medgen.covariates",
    "load": "medgen.bundles",
}
_MODULES = (
    "apps",
    "bundles",
    "covariates",
    "data",
    "engines",
    "handlers",
    "inferers",
    "io",
    "metrics",
    "networks",
    "processes",
    "randomness",
    "samplers",
    "transforms",
)

__all__ = ["__version__", *_NAMES, *_MODULES]

if TYPE_CHECKING:
    from medgen.bundles import load
    from medgen.covariates import Covariates, Range


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"medgen.{name}")
    raise AttributeError(f"module 'medgen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
