"""What is asked of a generator: does it heed one covariate, a label or a number, by the right amount?"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen.apps.evaluation.figures import Columns
from medgen.apps.evaluation.real import RealImages, adjustment_columns
from medgen.covariates import Covariates
from medgen.metrics import SubjectResampler
from medgen.metrics.feature_model import FeatureModel

__all__ = ["Anatomy", "Question", "Reference"]

Array = NDArray[np.float64]


class Reference(abc.ABC):
    """What the judge says of held-out real images: the ceiling that generated ones are read beside."""

    @abc.abstractmethod
    def figures(self) -> dict[str, Any]:
        """The part of ``metrics.json`` about real images."""

    @abc.abstractmethod
    def compare(self, scores: Array, generated: Any) -> dict[str, Any]:
        """Figures of generated images and their ratios to these.

        Args:
            scores: of the judge.
            generated: :class:`medgen.apps.evaluation.generated.GeneratedImages`.
        """


class Anatomy(abc.ABC):
    """Ventricle areas (of volumes: volumes) of the cohort's images, and how those of generated ones compare."""

    @abc.abstractmethod
    def figures(self) -> dict[str, Any]:
        """The part of ``metrics.json`` about the cohort."""

    @abc.abstractmethod
    def compare(self, areas: Array, generated: Any) -> dict[str, Any]:
        """Figures of generated images and their ratios to these; ``areas`` are theirs in mm²."""

    def plotted(self, areas: Array, generated: Any) -> dict[str, Any]:
        """What a plot needs beside the figures."""
        return {}


class Question(abc.ABC):
    """One covariate, the model of real images that judges it, and what is generated for it.

    Args:
        covariates: as declared in training.
        name: of the covariate.
        judge: trained on real images; its features measure likeness too.

    Attributes:
        variants: images generated of each profile.
    """

    variants = 1
    judged_by = "classifier"  # its name in metrics.json

    def __init__(self, covariates: Covariates, name: str, judge: FeatureModel) -> None:
        self.covariates, self.name, self.judge = covariates, name, judge
        self.column = covariates.index(name)

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """What was asked, for ``metrics.json``."""

    @abc.abstractmethod
    def target(self, codes: Tensor) -> tuple[Tensor, Array]:
        """Return which images count, and the target of those: 0 or 1, or the number.

        Args:
            codes: the covariate of each image ``(N,)``, NaN unknown.
        """

    @abc.abstractmethod
    def check(self, split: str, target: Array, subjects: list[str]) -> None:
        """Raise ``ValueError`` when a split has too little to judge by."""

    @abc.abstractmethod
    def requests(self, profiles: RealImages) -> tuple[Tensor, Array]:
        """Return the covariates ``(variants * n, K)`` to generate n profiles with, and the targets asked for."""

    @abc.abstractmethod
    def stratum(self, target: float) -> str:
        """Within which subjects are resampled."""

    @abc.abstractmethod
    def notices(self, real: dict[str, RealImages]) -> list[str]:
        """What a reader must be told."""

    @abc.abstractmethod
    def reference(self, scores: Array, test: RealImages, train: RealImages, resampler: SubjectResampler) -> Reference:
        """The ceiling, from the judge's scores of held-out images."""

    @abc.abstractmethod
    def anatomy(
        self,
        areas: Array,
        real: RealImages,
        resampler: SubjectResampler,
        unit: str,
        volumes: Array | None,
        truth: dict[str, Any],
        adjusted_for: Sequence[str],
    ) -> Anatomy:
        """The cohort's ventricle areas.

        Args:
            areas: of the cohort's axial images in mm², or of its volumes in ml.
            real: those images.
            resampler: draws of subjects.
            unit: of the areas.
            volumes: ml of each image's subject where it is known, in a simulated cohort.
            truth: what was put into a simulated cohort.
            adjusted_for: covariates that cohort and generated images alike are adjusted for.
        """

    def take(self, dataset: Any, split: str) -> RealImages:
        """Take the images of a :class:`medgen.data.SliceDataset` or ``VolumeDataset`` that the question is about.

        Raises:
            ValueError: when the images are neither, or there are too few subjects.
        """
        images = torch.as_tensor(dataset.images)
        if images.ndim not in (4, 5):
            raise ValueError(f"{split}: expected (N, C, H, W) or (N, C, X, Y, Z), found {tuple(images.shape)}")
        kept, target = self.target(dataset.covariates[:, self.column])
        rows = torch.nonzero(kept).flatten()
        subjects = [str(dataset.subjects[row]) for row in rows.tolist()]
        self.check(split, target, subjects)
        taken, values = images[rows].float(), dataset.covariates[rows].float()
        return RealImages(taken, values, subjects, target, len(images) - len(rows))

    def columns(self, values: Tensor) -> Columns:
        """The other covariates as numeric columns."""
        return adjustment_columns(self.covariates, values, self.name)
