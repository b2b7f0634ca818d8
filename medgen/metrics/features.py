"""A classifier trained on real images, whose features and probabilities judge generated ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medgen.metrics.feature_model import FeatureModel, as_targets, subject_shares
from medgen.metrics.roc import subject_means

__all__ = ["FeatureClassifier"]


class FeatureClassifier(FeatureModel):
    """Small residual network that learns a class, and beside it other covariates, from real training images.

    Every subject of a class counts the same, and both classes do. See
    :class:`medgen.metrics.feature_model.FeatureModel` for the arguments and for training.

    Example:
        >>> import torch
        >>> labels = torch.tensor([0, 1] * 8)
        >>> images = torch.rand(16, 1, 16, 16) * 0.1 + labels[:, None, None, None]
        >>> people = [f"person {i}" for i in range(16)]
        >>> classifier = FeatureClassifier(epochs=1)
        >>> _ = classifier.fit(images[:12], labels[:12], people[:12], images[12:], labels[12:], people[12:])
        >>> classifier.scores(images[:2]).shape
        (2,)
    """

    name = "feature classifier"

    def scores(self, images: Tensor) -> NDArray[np.float64]:
        """Log odds of class 1 for images ``(N, C, H, W)`` in [-1, 1]; shape ``(N,)``."""
        return self._apply(images, lambda network, x: network(x)[:, 0])

    def probabilities(self, images: Tensor) -> NDArray[np.float64]:
        """Probability of class 1 for images ``(N, C, H, W)`` in [-1, 1]; shape ``(N,)``."""
        result: NDArray[np.float64] = 1 / (1 + np.exp(-self.scores(images)))
        return result

    def _targets(self, labels: Any, count: int, subjects: Sequence[str], split: str) -> Tensor:
        truth = as_targets(labels, count, subjects, split)
        if set(truth.unique().tolist()) != {0.0, 1.0}:
            raise ValueError(f"{split} labels: expected both 0 and 1, found {truth.unique().tolist()}")
        return truth

    def _weights(self, targets: Tensor, subjects: Sequence[str]) -> Tensor:
        weight = subject_shares(subjects)
        for value in (0.0, 1.0):
            weight[targets == value] /= weight[targets == value].sum()
        return weight * len(targets) / 2

    def _loss(self, prediction: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        return functional.binary_cross_entropy_with_logits(prediction, targets, weights)

    def _validation_loss(self, images: Tensor, targets: Tensor, subjects: list[str]) -> float:
        """Cross entropy of each subject's mean score, both classes counting the same."""
        scores, labels = subject_means(self.scores(images), subjects)[1], subject_means(targets, subjects)[1]
        weight = np.where(labels > 0.5, 0.5 / (labels > 0.5).sum(), 0.5 / (labels <= 0.5).sum())
        return float((weight * (np.logaddexp(0, scores) - labels * scores)).sum())
