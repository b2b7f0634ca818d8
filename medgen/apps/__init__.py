"""Applications: what a person runs on top of a trained model."""

from medgen.apps.evaluation import Evaluation, training_splits

__all__ = ["Evaluation", "training_splits"]
