"""Applications: what a person runs before training, and on top of a trained model.

Each name loads its package when it is first used: workers that preprocess need nothing of the evaluation.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {"Evaluation": "evaluation", "training_splits": "evaluation", "Preprocess": "preprocess"}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"medgen.apps.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'medgen.apps' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
