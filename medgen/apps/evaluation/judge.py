"""Training of what judges images, once for the same images and settings."""

from __future__ import annotations

import logging
from typing import TypeVar

import numpy as np
import torch

from medgen import __version__
from medgen.apps.evaluation.cache import DAMAGED, StageCache
from medgen.apps.evaluation.figures import Columns
from medgen.apps.evaluation.real import RealImages
from medgen.files import key_of
from medgen.metrics.feature_model import FeatureModel

__all__ = ["trained_judge"]

logger = logging.getLogger("medgen.evaluation")
Model = TypeVar("Model", bound=FeatureModel)


def trained_judge(
    judge: Model, kind: str, train: RealImages, validation: RealImages, columns: Columns, cache: StageCache
) -> Model:
    """Train a classifier or regressor, or read it where it was trained on the same images with the same settings.

    Args:
        judge: untrained.
        kind: its name in the cache.
        train: images it learns from, with their targets.
        validation: images it stops by.
        columns: other covariates of the training images, learned along.
        cache: where it is kept.
    """
    settings = {k: v for k, v in vars(judge).items() if isinstance(v, (int, float, str)) and k[0] != "_"}
    key = key_of(__version__, train.digest(), validation.digest(), settings)
    path = cache.path(kind, key, ".pt")
    if path.is_file():
        try:
            found = judge.load(path, key)
        except DAMAGED as error:
            logger.warning("%s cannot be read (%s); the %s is trained anew", path, error, kind)
        else:
            logger.info("%s: found %s", kind, path.name)
            return found
    logger.info("%s: training on %d images", kind, len(train.subjects))
    others = torch.from_numpy(np.stack(list(columns.values()), axis=1)).float() if columns else None
    judge.fit(
        train.images, train.target, train.subjects,
        validation.images, validation.target, validation.subjects, others,
    )  # fmt: skip
    judge.save(path, key)
    return judge
