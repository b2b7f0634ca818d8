"""A regressor trained on real images: does a brain generated "at 85" look 85 to a model that knows ages?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen.metrics.feature_model import FeatureModel, as_targets, subject_shares
from medgen.metrics.roc import subject_means

__all__ = ["FeatureRegressor"]


class FeatureRegressor(FeatureModel):
    """Small residual network that learns a number (an age), and beside it other covariates, from real training images.

    It minimises the squared error, so its predictions shrink to the mean: held-out real images say by how much, and
    generated ones are read beside them. Every subject counts the same. See
    :class:`medgen.metrics.feature_model.FeatureModel` for the arguments and for training.

    Example:
        >>> ages = torch.linspace(60, 90, 16)
        >>> images = torch.rand(16, 1, 16, 16) * 0.1 + (ages[:, None, None, None] - 75) / 30
        >>> people = [f"person {i}" for i in range(16)]
        >>> regressor = FeatureRegressor(epochs=1)
        >>> _ = regressor.fit(images[:12], ages[:12], people[:12], images[12:], ages[12:], people[12:])
        >>> regressor.scores(images[:2]).shape
        (2,)
    """

    name = "feature regressor"

    def scores(self, images: Tensor) -> NDArray[np.float64]:
        """Predicted number, in the labels' unit, for images ``(N, C, H, W)`` in [-1, 1]; shape ``(N,)``."""
        return self._apply(images, lambda network, x: network(x)[:, 0] * self._extra["deviation"] + self._extra["mean"])

    def _targets(self, labels: Any, count: int, subjects: Sequence[str], split: str) -> Tensor:
        truth = as_targets(labels, count, subjects, split)
        if not torch.isfinite(truth).all() or len(truth.unique()) < 2:
            raise ValueError(f"{split} labels: expected two or more finite values, found {truth.unique().tolist()[:5]}")
        if split == "training":
            self._extra = {"mean": truth.mean(), "deviation": truth.std()}
        return truth

    def _weights(self, targets: Tensor, subjects: Sequence[str]) -> Tensor:
        weight = subject_shares(subjects)
        return weight * len(targets) / weight.sum()

    def _loss(self, prediction: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        wanted = (targets - self._extra["mean"]) / self._extra["deviation"]
        return (weights * (prediction - wanted) ** 2).mean()

    def _validation_loss(self, images: Tensor, targets: Tensor, subjects: list[str]) -> float:
        """Squared error of each subject's mean prediction, relative to the training labels' variance."""
        predicted, truth = subject_means(self.scores(images), subjects)[1], subject_means(targets, subjects)[1]
        return float(np.mean((predicted - truth) ** 2) / float(self._extra["deviation"]) ** 2)
