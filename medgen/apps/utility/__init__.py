"""Does synthetic data help a classifier? Generators retrained on what the classifier may see, arms, paired differences."""

from __future__ import annotations

from medgen.apps.utility.classifier import ClassifierSettings
from medgen.apps.utility.recipe import Recipe
from medgen.apps.utility.run import Utility

__all__ = ["ClassifierSettings", "Recipe", "Utility"]
