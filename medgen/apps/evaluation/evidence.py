"""What an evaluation finds."""

from __future__ import annotations

import dataclasses
from typing import Any

from medgen.apps.evaluation.generated import GeneratedImages
from medgen.apps.evaluation.real import RealImages
from medgen.covariates import Covariates

__all__ = ["Evidence"]


@dataclasses.dataclass
class Evidence:
    """Everything a report is written from.

    Attributes:
        metrics: the content of ``metrics.json``.
        covariates: their declaration.
        generated: images by guidance, in [-1, 1].
        train: training images; private unless simulated.
        test: held-out images; private unless simulated.
        flagged: which images of each guidance are near copies of a training image.
        neighbours: rows of ``train`` nearest to each image of the main guidance, and their scores.
        areas: ventricle areas at equal covariates, by name of the group, for plots of a label.
        scores: of the judge, real and generated, with the targets, for plots.
        traits: by name, the numbers and single values of each trait, true, predicted and generated; private.
    """

    metrics: dict[str, Any]
    covariates: Covariates
    generated: dict[float, GeneratedImages]
    train: RealImages
    test: RealImages
    flagged: dict[float, Any]
    neighbours: dict[str, Any]
    areas: dict[str, Any]
    scores: dict[str, Any]
    traits: dict[str, Any] = dataclasses.field(default_factory=dict)
