"""Applications: what a person runs before training, and on top of a trained model.

Each name loads its package when it is first used: workers that preprocess need nothing of the evaluation.
"""

from __future__ import annotations

from medgen.lazy import lazy_names

_HOMES = {
    "Evaluation": "evaluation",
    "training_splits": "evaluation",
    "Preprocess": "preprocess",
    "source_images": "translation",
    "trained_field_of_view": "translation",
    "Recipe": "utility",
    "Utility": "utility",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
