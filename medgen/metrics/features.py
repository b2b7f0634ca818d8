"""A classifier trained on real images, whose features and probabilities judge generated ones."""

from __future__ import annotations

import copy
import logging
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from medgen.files import atomic_write
from medgen.metrics.residual_cnn import ResidualCNN, augment_batch
from medgen.metrics.roc import subject_means
from medgen.randomness import generator, seed_from

__all__ = ["FeatureClassifier"]

logger = logging.getLogger(__name__)


class FeatureClassifier:
    """Small residual network that learns a class, and beside it other covariates, from real training images.

    It is trained on the training split alone and stopped on the validation split, both weighted so that every subject
    counts the same and both classes do. Other covariates (age, slice position, sex) are learned along so that the
    features describe the image and not its class alone. Trained once per data set; :meth:`save` and :meth:`load` key
    the file by the data's fingerprint.

    Args:
        epochs: passes over the training images at most.
        patience: passes without a better validation loss before training stops.
        batch_size: images a step.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: of AdamW.
        auxiliary_weight: weight of the other covariates' loss.
        seed: initial weights, order, augmentation and dropout are functions of it.
        device: where to train and predict.
        amp: bfloat16 autocast in training; "auto" is yes on CUDA, no on CPU.

    Example:
        >>> labels = torch.tensor([0, 1] * 8)
        >>> images = torch.rand(16, 1, 16, 16) * 0.1 + labels[:, None, None, None]
        >>> people = [f"person {i}" for i in range(16)]
        >>> classifier = FeatureClassifier(epochs=1)
        >>> _ = classifier.fit(images[:12], labels[:12], people[:12], images[12:], labels[12:], people[12:])
        >>> classifier.scores(images[:2]).shape
        (2,)
    """

    def __init__(
        self,
        epochs: int = 30,
        patience: int = 10,
        batch_size: int = 64,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.05,
        auxiliary_weight: float = 0.3,
        seed: int = 0,
        device: str | torch.device = "cpu",
        amp: bool | str = "auto",
    ) -> None:
        if amp not in (True, False, "auto"):
            raise ValueError(f"amp: expected true, false or 'auto', found {amp!r}")
        self.epochs, self.patience, self.batch_size = epochs, patience, batch_size
        self.learning_rate, self.weight_decay, self.auxiliary_weight = learning_rate, weight_decay, auxiliary_weight
        self.seed = seed
        self.device = torch.device(device)
        self.amp = self.device.type == "cuda" if amp == "auto" else bool(amp)
        self.history: list[dict[str, float]] = []
        self._network: ResidualCNN | None = None
        self._shape: tuple[int, ...] = ()
        self._centre, self._scale = torch.zeros(0), torch.ones(0)

    def fit(
        self,
        images: Tensor,
        labels: Sequence[float] | NDArray[Any] | Tensor,
        subjects: Sequence[str],
        validation_images: Tensor,
        validation_labels: Sequence[float] | NDArray[Any] | Tensor,
        validation_subjects: Sequence[str],
        others: Tensor | None = None,
    ) -> FeatureClassifier:
        """Train on one split and stop on the other.

        Args:
            images: training images ``(N, C, H, W)`` in [-1, 1].
            labels: 0 or 1 for each.
            subjects: the subject of each.
            validation_images: images of other subjects.
            validation_labels: 0 or 1 for each.
            validation_subjects: the subject of each.
            others: other covariates of the training images ``(N, K)``, NaN unknown, to learn along; None for none.

        Returns:
            Itself, trained.

        Raises:
            ValueError: when a subject is in both splits, a split lacks a class, or lengths differ.
        """
        truth = _binary(labels, len(images), subjects, "training")
        check = _binary(validation_labels, len(validation_images), validation_subjects, "validation")
        shared = set(subjects) & set(validation_subjects)
        if shared:
            raise ValueError(f"{len(shared)} subjects are in both the training and the validation split")
        targets = _standardised(others if others is not None else torch.empty(len(images), 0))
        self._shape = tuple(images.shape[1:])
        weights = _weights(truth, subjects)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed_from("feature classifier", self.seed))
            network = ResidualCNN(self._shape[0], 1 + targets.shape[1], max(self._shape[1:])).to(self.device)
            self._train(network, images, truth, targets, weights, (validation_images, check, list(validation_subjects)))
        self._centre, self._scale = torch.zeros(1), torch.ones(1)
        raw = torch.from_numpy(self.features(images))
        spread = raw.std(0)
        self._centre, self._scale = raw.mean(0).float(), spread.clamp(min=0.1 * float(spread.median())).float()
        return self

    def _train(
        self,
        network: ResidualCNN,
        images: Tensor,
        truth: Tensor,
        targets: Tensor,
        weights: Tensor,
        validation: tuple[Tensor, Tensor, list[str]],
    ) -> None:
        images, truth = images.to(self.device, torch.float32), truth.to(self.device)
        targets, weights = targets.to(self.device), weights.to(self.device)
        optimizer = torch.optim.AdamW(network.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        per_epoch = math.ceil(len(images) / self.batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, self.epochs * per_epoch)
        best, waited, self.history = math.inf, 0, []
        kept: dict[str, Tensor] = {}
        for epoch in range(self.epochs):
            network.train()
            random = generator("feature classifier", self.seed, epoch)
            order = torch.randperm(len(images), generator=random)
            total = 0.0
            for index in order.split(self.batch_size):
                batch = augment_batch(images[index], random)
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
                    prediction = network(batch)
                loss = _loss(prediction.float(), truth[index], targets[index], weights[index], self.auxiliary_weight)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                total += float(loss.detach())
            self._network = network.eval()
            value = self._validation_loss(*validation)
            self.history.append({"epoch": epoch, "train": total / per_epoch, "validation": value})
            if value < best:
                best, waited, kept = value, 0, copy.deepcopy(network.state_dict())
            else:
                waited += 1
                if waited >= self.patience:
                    break
        network.load_state_dict(kept)
        logger.info("Classifier stopped after %d epochs, best validation loss %.3f", len(self.history), best)

    def _validation_loss(self, images: Tensor, truth: Tensor, subjects: list[str]) -> float:
        """Cross entropy of each subject's mean score, both classes counting the same."""
        scores, labels = subject_means(self.scores(images), subjects)[1], subject_means(truth, subjects)[1]
        weight = np.where(labels > 0.5, 0.5 / (labels > 0.5).sum(), 0.5 / (labels <= 0.5).sum())
        return float((weight * (np.logaddexp(0, scores) - labels * scores)).sum())

    def scores(self, images: Tensor) -> NDArray[np.float64]:
        """Log odds of class 1 for images ``(N, C, H, W)`` in [-1, 1]; shape ``(N,)``."""
        return self._apply(images, lambda network, x: network(x)[:, 0])

    def probabilities(self, images: Tensor) -> NDArray[np.float64]:
        """Probability of class 1 for images ``(N, C, H, W)`` in [-1, 1]; shape ``(N,)``."""
        result: NDArray[np.float64] = 1 / (1 + np.exp(-self.scores(images)))
        return result

    def features(self, images: Tensor) -> NDArray[np.float64]:
        """Features of images ``(N, C, H, W)``, each with mean 0 and spread 1 over the training images.

        The network's penultimate features see anatomy; mean and spread over the image of its first stage's see texture.
        """
        centre, scale = self._centre.to(self.device), self._scale.to(self.device)
        return self._apply(images, lambda network, x: (network.features(x) - centre) / scale)

    @torch.no_grad()
    def _apply(self, images: Tensor, function: Any, block: int = 256) -> NDArray[np.float64]:
        if self._network is None:
            raise ValueError("the classifier has no weights: call fit or load first")
        if tuple(images.shape[1:]) != self._shape:
            raise ValueError(f"images: expected (N, {', '.join(map(str, self._shape))}), found {tuple(images.shape)}")
        parts = [
            function(self._network, part.to(self.device, torch.float32)).cpu().double() for part in images.split(block)
        ]
        result: NDArray[np.float64] = torch.cat(parts).numpy()
        return result

    def save(self, path: str | os.PathLike[str], fingerprint: str) -> None:
        """Write weights and fingerprint for ``torch.load(weights_only=True)``, readable by their owner only."""
        if self._network is None:
            raise ValueError("the classifier has no weights to save: call fit first")
        content = {
            "fingerprint": fingerprint,
            "shape": list(self._shape),
            "outputs": self._network.head.out_features,
            "centre": self._centre,
            "scale": self._scale,
            "weights": {k: v.cpu() for k, v in self._network.state_dict().items()},
            "history": self.history,
        }
        with atomic_write(path, permissions=0o600) as temporary:
            torch.save(content, temporary)

    def load(self, path: str | os.PathLike[str], fingerprint: str) -> FeatureClassifier:
        """Read weights that :meth:`save` wrote.

        Raises:
            ValueError: when they were trained on other data or settings (another fingerprint).
        """
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["fingerprint"] != fingerprint:
            raise ValueError(
                f"{path}: trained on {content['fingerprint']}, expected {fingerprint}; remove it to train anew"
            )
        self._shape, self.history = tuple(content["shape"]), content["history"]
        self._centre, self._scale = content["centre"], content["scale"]
        network = ResidualCNN(self._shape[0], content["outputs"], max(self._shape[1:]))
        network.load_state_dict(content["weights"])
        self._network = network.to(self.device).eval()
        return self


def _loss(prediction: Tensor, truth: Tensor, targets: Tensor, weights: Tensor, auxiliary: float) -> Tensor:
    """Weighted cross entropy of the class plus squared error of the known standardised covariates."""
    entropy = functional.binary_cross_entropy_with_logits(prediction[:, 0], truth, weights)
    if targets.shape[1] == 0:
        return entropy
    known = torch.isfinite(targets)
    error = (prediction[:, 1:] - torch.where(known, targets, torch.zeros_like(targets))) ** 2 * known
    return entropy + auxiliary * error.sum() / known.sum().clamp(min=1)


def _binary(labels: Any, count: int, subjects: Sequence[str], split: str) -> Tensor:
    truth = torch.as_tensor(labels, dtype=torch.float32)
    if truth.shape != (count,) or len(subjects) != count:
        raise ValueError(
            f"{split}: {count} images, {tuple(truth.shape)} labels, {len(subjects)} subjects; expected as many"
        )
    if set(truth.unique().tolist()) != {0.0, 1.0}:
        raise ValueError(f"{split} labels: expected both 0 and 1, found {truth.unique().tolist()}")
    return truth


def _weights(truth: Tensor, subjects: Sequence[str]) -> Tensor:
    """Weights of mean 1 under which every subject of a class, and both classes, count the same."""
    _, member, counts = np.unique(np.asarray(subjects), return_inverse=True, return_counts=True)
    weight = torch.from_numpy(1 / counts[member.ravel()]).float()
    for value in (0.0, 1.0):
        weight[truth == value] /= weight[truth == value].sum()
    return weight * len(truth) / 2


def _standardised(columns: Tensor) -> Tensor:
    """Columns with mean 0 and spread 1 over known values; columns that are unknown or do not vary are dropped."""
    kept = []
    for column in columns.float().unbind(1):
        known = column[torch.isfinite(column)]
        if len(known) > 1 and float(known.std()) > 1e-6:
            kept.append((column - known.mean()) / known.std())
    return torch.stack(kept, 1) if kept else torch.empty(len(columns), 0)
