"""The generated side of an evaluation: every profile as both labels, at one guidance, in resumable chunks."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen.apps.evaluation.cache import Arrays, StageCache
from medgen.apps.evaluation.real import RealImages
from medgen.files import key_of
from medgen.randomness import seed_from

__all__ = ["GeneratedImages", "Generator", "paired_covariates"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GeneratedImages:
    """Images generated at one guidance: n profiles as the reference label, then the same n as the other.

    Attributes:
        guidance: its scale.
        images: (2n, C, H, W) float32.
        covariates: (2n, K) what was asked for.
        subjects: the held-out subject each profile comes from, 2n names.
        positive: (2n,) 0 for the reference label, 1 for the other.
        factual: (2n,) whether the label asked for is that of the held-out subject.
        evaluations: network evaluations per image.
        seconds: wall-clock seconds per image.
    """

    guidance: float
    images: Tensor
    covariates: Tensor
    subjects: list[str]
    positive: NDArray[np.float64]
    factual: NDArray[np.bool_]
    evaluations: int
    seconds: float

    @property
    def profiles(self) -> int:
        """Number of profiles n."""
        return len(self.subjects) // 2

    def first(self, count: int) -> GeneratedImages:
        """The images of the first profiles alone."""
        n = self.profiles
        rows = [*range(min(count, n)), *range(n, n + min(count, n))]
        names = [self.subjects[row] for row in rows]
        return GeneratedImages(
            self.guidance, self.images[rows], self.covariates[rows], names, self.positive[rows], self.factual[rows],
            self.evaluations, self.seconds,
        )  # fmt: skip


def paired_covariates(profiles: RealImages, column: int, codes: tuple[float, float]) -> Tensor:
    """Covariates ``(2n, K)`` of n profiles, first all with one code in the label's column, then all with the other."""
    halves = []
    for code in codes:
        half = profiles.covariates.clone()
        half[:, column] = code
        halves.append(half)
    return torch.cat(halves)


class Generator:
    """Generates matched images with one network, keeping every chunk.

    Args:
        network: trained, in evaluation mode.
        process: the process it was trained with.
        sampler: solver and steps; its guidance is replaced.
        cache: where chunks are kept.
        model_hash: identifies the weights; part of the chunks' key.
        codec: decodes latents; None for pixel models.
        seed: of the images; profile i has the same noise as either label and at every guidance.
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
        self.cache, self.model_hash, self.seed, self.chunk = cache, model_hash, seed, chunk

    def __call__(
        self, profiles: RealImages, column: int, codes: tuple[float, float], guidance: float
    ) -> GeneratedImages:
        """Generate n profiles as both labels.

        Args:
            profiles: real images whose covariates are asked for.
            column: the label's column.
            codes: code of the reference label and of the other.
            guidance: scale.
        """
        sampler = copy.copy(self.sampler)
        sampler.guidance = guidance
        n, shape = len(profiles.subjects), tuple(profiles.images.shape[1:])
        pairs = paired_covariates(profiles, column, codes)
        halves: tuple[list[Tensor], list[Tensor]] = ([], [])
        seconds, evaluations = 0.0, 0
        for start in range(0, n, self.chunk):
            stop = min(start + self.chunk, n)
            covariates = torch.cat([pairs[start:stop], pairs[n + start : n + stop]])
            seeds = [seed_from("evaluation", self.seed, index) for index in range(start, stop)] * 2
            key = key_of(
                self.model_hash, _described(self.process), _described(sampler), guidance, shape, seeds,
                [[None if v != v else v for v in row] for row in covariates.tolist()],
            )  # fmt: skip
            made = self.cache.arrays(
                "generated",
                key,
                lambda c=covariates, s=seeds: self._sample(sampler, shape, s, c),  # type: ignore[misc]
            )
            images = torch.from_numpy(made["images"])
            halves[0].append(images[: stop - start])
            halves[1].append(images[stop - start :])
            seconds, evaluations = seconds + float(made["seconds"]), int(made["evaluations"])
            logger.info("guidance %g: %d of %d images", guidance, 2 * stop, 2 * n)
        truth = np.concatenate([profiles.positive, profiles.positive])
        positive = np.repeat([0.0, 1.0], n)
        return GeneratedImages(
            guidance=float(guidance),
            images=torch.cat([*halves[0], *halves[1]]).float(),
            covariates=pairs,
            subjects=profiles.subjects * 2,
            positive=positive,
            factual=truth == positive,
            evaluations=evaluations,
            seconds=seconds / (2 * n),
        )

    def _sample(self, sampler: Any, shape: tuple[int, ...], seeds: list[int], covariates: Tensor) -> Arrays:
        samples = sampler(self.network, self.process, shape, seeds, covariates=covariates, codec=self.codec)
        return {
            "images": samples.images.numpy().astype(np.float32),
            "seconds": np.array(samples.seconds),
            "evaluations": np.array(samples.evaluations),
        }


def _described(component: Any) -> Any:
    return component.to_dict() if hasattr(component, "to_dict") else repr(component)
