"""Inferers: one network evaluation in training, a whole sampling loop in generation, and some to change an image."""

from medgen.inferers.denoise import Denoise
from medgen.inferers.denoising import DenoisingInferer
from medgen.inferers.generate import GenerateInferer
from medgen.inferers.inpaint import Inpaint
from medgen.inferers.interpolate import Interpolate
from medgen.inferers.redraw import Redraw
from medgen.inferers.translate import Translate

__all__ = ["Denoise", "DenoisingInferer", "GenerateInferer", "Inpaint", "Interpolate", "Redraw", "Translate"]
