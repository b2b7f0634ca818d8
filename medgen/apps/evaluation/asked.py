"""What an evaluation is asked: of which covariate, at which guidance scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from medgen.apps.evaluation.contrast import LabelContrast
from medgen.apps.evaluation.number import NumberAgreement
from medgen.apps.evaluation.question import Question
from medgen.covariates import Covariates
from medgen.metrics.feature_model import FeatureModel

__all__ = ["guidance_scales", "question_of"]


def guidance_scales(guidances: Sequence[float] | float) -> list[float]:
    """The scales of the sweep as numbers.

    Raises:
        ValueError: for anything but one finite number or several.
    """
    scales = [guidances] if isinstance(guidances, (int, float)) else guidances
    if isinstance(scales, str) or not isinstance(scales, Sequence):
        raise ValueError(f"guidances: expected scales such as [1.0, 2.0], found {guidances!r}")
    for scale in scales:
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not math.isfinite(scale):
            raise ValueError(f"guidances: expected scales such as [1.0, 2.0], found {guidances!r}")
    return [float(scale) for scale in scales]


def question_of(
    covariates: Covariates, name: str, labels: Sequence[str] | None, judge: FeatureModel | None, **settings: Any
) -> Question:
    """The question about a covariate: of a number where it is continuous, else of a label.

    Raises:
        ValueError: for labels of a number, or as the question says.
    """
    if name in covariates and not covariates.is_categorical(name):
        if labels is not None:
            raise ValueError(f"labels: found {list(labels)}, but {name} is a number and has none")
        return NumberAgreement(covariates, name, judge, **settings)
    return LabelContrast(covariates, name, labels, judge, **settings)
