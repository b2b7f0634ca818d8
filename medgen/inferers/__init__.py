"""Inferers: one network evaluation in training, a whole sampling loop in generation."""

from medgen.inferers.denoising import DenoisingInferer

__all__ = ["DenoisingInferer"]
