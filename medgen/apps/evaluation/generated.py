"""The generated side of an evaluation: every profile in its variants, at one guidance, in resumable chunks."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen.apps.evaluation.cache import Arrays, StageCache
from medgen.apps.evaluation.planes import chosen
from medgen.apps.evaluation.question import Question
from medgen.apps.evaluation.real import RealImages
from medgen.files import key_of
from medgen.machine import device_name, device_of, peak_memory, reset_peak_memory
from medgen.randomness import seed_from

__all__ = ["GeneratedImages", "Generator"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GeneratedImages:
    """Images generated at one guidance: n profiles in their first variant, then the same n in the next.

    A label has two variants, the reference and the other; a number has one.

    Attributes:
        guidance: its scale.
        images: (variants * n, C, H, W) float32.
        covariates: (variants * n, K) what was asked for.
        subjects: the held-out subject each profile comes from, one name an image.
        target: what was asked for: 0 for the reference label and 1 for the other, or the number.
        factual: whether that is true of the held-out subject.
        evaluations: network evaluations per image.
        seconds: wall-clock seconds per image.
        variants: images of a profile.
        made_on: device and peak memory of each part that was generated at once, see :mod:`medgen.machine`.
    """

    guidance: float
    images: Tensor
    covariates: Tensor
    subjects: list[str]
    target: NDArray[np.float64]
    factual: NDArray[np.bool_]
    evaluations: int
    seconds: float
    variants: int = 2
    made_on: tuple[Mapping[str, Any], ...] = ()

    @property
    def profiles(self) -> int:
        """Number of profiles n."""
        return len(self.subjects) // self.variants

    def of_profile(self, profile: int) -> list[int]:
        """The rows of one profile, variant by variant."""
        return [profile + variant * self.profiles for variant in range(self.variants)]

    def subset(self, rows: NDArray[np.bool_]) -> GeneratedImages:
        """Take some images; their profiles are no longer whole."""
        names = chosen(self.subjects, rows)
        parts = (values[rows] for values in (self.images.numpy(), self.covariates.numpy()))
        images, covariates = (torch.from_numpy(part) for part in parts)
        kept = {"images": images, "covariates": covariates, "subjects": names, "variants": 1}
        return replace(self, **kept, target=self.target[rows], factual=self.factual[rows])  # type: ignore[arg-type]


class Generator:
    """Generates matched images with one network, keeping every chunk.

    Args:
        network: trained, in evaluation mode.
        process: the process it was trained with.
        sampler: solver and steps; its guidance is replaced.
        cache: where chunks are kept.
        model_hash: identifies the weights; part of the chunks' key.
        codec: decodes latents; None for pixel models.
        seed: of the images; profile i has the same noise in every variant and at every guidance.
        chunk: profiles kept in one file.
    """

    def __init__(
        self,
        network: Any,
        process: Any,
        sampler: Any,
        cache: StageCache,
        model_hash: str,
        codec: Any = None,
        seed: int = 0,
        chunk: int = 32,
    ) -> None:
        self.network, self.process, self.sampler, self.codec = network, process, sampler, codec
        self.cache, self.seed, self.chunk = cache, seed, chunk
        behind = getattr(codec, "sha256", None)  # the same weights behind another codec give other images
        self.made_by = (model_hash, behind) if behind else (model_hash,)

    def __call__(self, profiles: RealImages, question: Question, guidance: float) -> GeneratedImages:
        """Generate n profiles in every variant that the question wants.

        Args:
            profiles: real images whose covariates are asked for.
            question: says with which covariates.
            guidance: scale.
        """
        sampler = copy.copy(self.sampler)
        sampler.guidance = guidance
        n, shape, variants = len(profiles.subjects), tuple(profiles.images.shape[1:]), question.variants
        asked, target = question.requests(profiles)
        parts: list[list[Tensor]] = [[] for _ in range(variants)]
        seconds, evaluations, made_on = 0.0, 0, []
        for start in range(0, n, self.chunk):
            stop = min(start + self.chunk, n)
            covariates = torch.cat([asked[n * v + start : n * v + stop] for v in range(variants)])
            seeds = [seed_from("evaluation", self.seed, index) for index in range(start, stop)] * variants
            key = key_of(
                *self.made_by, _described(self.process), _described(sampler), guidance, shape, seeds,
                [[None if v != v else v for v in row] for row in covariates.tolist()],
            )  # fmt: skip
            made = self.cache.arrays(
                "generated",
                key,
                lambda c=covariates, s=seeds: self._sample(sampler, shape, s, c),  # type: ignore[misc]
            )
            images = torch.from_numpy(made["images"])
            for part, made_of_it in zip(parts, images.split(stop - start), strict=True):
                part.append(made_of_it)
            seconds, evaluations = seconds + float(made["seconds"]), int(made["evaluations"])
            if "made_on" in made:
                made_on.append(json.loads(str(made["made_on"])))
            logger.info("guidance %g: %d of %d images", guidance, variants * stop, variants * n)
        return GeneratedImages(
            guidance=float(guidance),
            images=torch.cat([image for part in parts for image in part]).float(),
            covariates=asked,
            subjects=profiles.subjects * variants,
            target=target,
            factual=np.tile(profiles.target, variants) == target,
            evaluations=evaluations,
            seconds=seconds / (variants * n),
            variants=variants,
            made_on=tuple(made_on),
        )

    def _sample(self, sampler: Any, shape: tuple[int, ...], seeds: list[int], covariates: Tensor) -> Arrays:
        device = device_of(self.network)
        reset_peak_memory(device)
        samples = sampler(self.network, self.process, shape, seeds, covariates=covariates, codec=self.codec)
        return {
            "images": samples.images.numpy().astype(np.float32),
            "seconds": np.array(samples.seconds),
            "evaluations": np.array(samples.evaluations),
            "made_on": np.array(json.dumps({"device": device_name(device), **peak_memory(device)})),
        }


def _described(component: Any) -> Any:
    return component.to_dict() if hasattr(component, "to_dict") else repr(component)
