"""Real images drawn again by the model: copies as they would be in its own hand."""

from __future__ import annotations

import copy
import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medgen.apps.evaluation.cache import StageCache
from medgen.apps.evaluation.real import RealImages
from medgen.files import key_of
from medgen.inferers.redraw import Redraw
from medgen.randomness import seed_from

__all__ = ["NOISE", "Redrawn"]

logger = logging.getLogger("medgen.evaluation")
NOISE = (0.25, 0.5, 1.0)  # in units of the clean image; from twice as much on, the demo's people were no longer nearest


class Redrawn:
    """Partly noises real images and lets the model draw them again, with their own covariates and kept on disk.

    A model that learned a person by heart gives the person back with its own faults: softer, of another texture, a
    little off. Copies made by altering scans have none of these, so a search that finds those may miss its. Drawn
    again from under a little noise (:class:`medgen.inferers.Redraw`), a training image is still its person's and has
    them all.

    Args:
        network: trained.
        process: the process it was trained with.
        sampler: solver and steps.
        cache: where images are kept.
        model_hash: of the weights.
        guidance: of the images that are evaluated.
        codec: of a latent model.
        seed: of the noise.
    """

    def __init__(
        self,
        network: Any,
        process: Any,
        sampler: Any,
        cache: StageCache,
        model_hash: str,
        guidance: float = 1.0,
        codec: Any = None,
        seed: int = 0,
    ) -> None:
        self.network, self.process, self.codec = network, process, codec
        self.sampler = copy.copy(sampler)
        self.sampler.guidance = guidance
        self.cache, self.model_hash, self.seed = cache, model_hash, seed

    def time(self, sd: float) -> float:
        """The process's time at which images are drawn again from noise of this standard deviation."""
        return self._redraw(sd).t

    def _redraw(self, sd: float) -> Redraw:
        return Redraw(self.process, self.sampler, sd, self.codec)

    def __call__(self, real: RealImages, sd: float, split: str) -> Tensor:
        """Draw images again.

        Args:
            real: the images.
            sd: the noise's standard deviation, in units of the clean image.
            split: their split's name, so that each has noise of its own.

        Returns:
            ``(N, C, *spatial)`` in [-1, 1].
        """
        redraw = self._redraw(sd)
        key = key_of(
            self.model_hash, self.process.to_dict(), self.sampler.to_dict(), getattr(self.codec, "sha256", None), sd,
            self.seed, split, real.digest(),
        )  # fmt: skip

        def make() -> dict[str, Any]:
            logger.info("memorisation: %d %s images drawn again from noise of %g", len(real.subjects), split, sd)
            seeds = [seed_from("redrawn", self.seed, split, index) for index in range(len(real.subjects))]
            drawn = redraw(real.images, self.network, real.covariates, seeds=seeds)
            return {"images": drawn.clamp(-1, 1).numpy().astype(np.float32)}

        return torch.from_numpy(self.cache.arrays("redrawn", key, make)["images"])
