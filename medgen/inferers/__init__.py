"""Inferers: one network evaluation in training, a whole sampling loop in generation."""

from medgen.inferers.denoising import DenoisingInferer
from medgen.inferers.generate import GenerateInferer

__all__ = ["DenoisingInferer", "GenerateInferer"]
