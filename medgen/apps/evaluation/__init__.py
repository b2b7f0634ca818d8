"""Evaluation of a trained generator: is it faithful, by the right amount, and original?"""

from medgen.apps.evaluation.real import training_splits
from medgen.apps.evaluation.run import Evaluation, Evidence

__all__ = ["Evaluation", "Evidence", "training_splits"]
