"""Does synthetic data help a classifier? Retrained generators, arms, paired differences."""

from __future__ import annotations

from medgen.apps.utility.classifier import ClassifierSettings
from medgen.apps.utility.recipe import Recipe
from medgen.apps.utility.run import Utility

__all__ = ["ClassifierSettings", "Recipe", "Utility"]
