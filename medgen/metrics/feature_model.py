"""A small network trained on real images; its features and predictions judge generated ones."""

from __future__ import annotations

import abc
import copy
import logging
import math
import os
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medgen.data.images import middle_planes
from medgen.files import atomic_write
from medgen.metrics.residual_cnn import ResidualCNN, augment_batch
from medgen.randomness import generator, seed_from

__all__ = ["FeatureModel"]

logger = logging.getLogger(__name__)
Model = TypeVar("Model", bound="FeatureModel")


class FeatureModel(abc.ABC):
    """What :class:`FeatureClassifier` and :class:`FeatureRegressor` share: training, features, files.

    It is trained on the training split alone and stopped on the validation split, so that every subject counts the
    same. Other covariates (slice position, sex) are learned along so that the features describe the image and not its
    label alone. Volumes are seen as their middle axial, coronal and sagittal slices. Trained once per data set;
    :meth:`save` and :meth:`load` key the file by the data's fingerprint.

    Args:
        epochs: passes over the training images at most.
        patience: passes without a better validation loss before training stops.
        batch_size: images a step, at most.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: of AdamW.
        auxiliary_weight: weight of the other covariates' loss.
        seed: initial weights, order, augmentation and dropout are functions of it.
        device: where to train and predict.
        amp: bfloat16 autocast in training; "auto" is yes on CUDA, no on CPU.
    """

    name = "feature model"  # in messages, and part of the seeds

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
        self._extra: dict[str, Tensor] = {}  # what predicting needs beside the weights

    @abc.abstractmethod
    def scores(self, images: Tensor) -> NDArray[np.float64]:
        """What the model says of the label of images ``(N, C, H, W)`` in [-1, 1]; shape ``(N,)``."""

    @abc.abstractmethod
    def _targets(self, labels: Any, count: int, subjects: Sequence[str], split: str) -> Tensor:
        """Return the ``(N,)`` float32 targets of a split, or raise ``ValueError``."""

    @abc.abstractmethod
    def _weights(self, targets: Tensor, subjects: Sequence[str]) -> Tensor:
        """Return the ``(N,)`` weights, of mean 1, of the training images."""

    @abc.abstractmethod
    def _loss(self, prediction: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """Return the weighted loss of the label."""

    @abc.abstractmethod
    def _validation_loss(self, images: Tensor, targets: Tensor, subjects: list[str]) -> float:
        """Return the loss of each subject's mean prediction."""

    def fit(
        self: Model,
        images: Tensor,
        labels: Sequence[float] | NDArray[Any] | Tensor,
        subjects: Sequence[str],
        validation_images: Tensor,
        validation_labels: Sequence[float] | NDArray[Any] | Tensor,
        validation_subjects: Sequence[str],
        others: Tensor | None = None,
    ) -> Model:
        """Train on one split and stop on the other.

        Args:
            images: training images ``(N, C, H, W)``, or volumes ``(N, C, X, Y, Z)``, in [-1, 1].
            labels: the class (0 or 1), or the number, of each.
            subjects: the subject of each.
            validation_images: images of other subjects.
            validation_labels: theirs.
            validation_subjects: the subject of each.
            others: other covariates of the training images ``(N, K)``, NaN unknown, to learn along; None for none.

        Returns:
            Itself, trained.

        Raises:
            ValueError: when a subject is in both splits, a split lacks a class or has one value, lengths differ, all
                training images are the same, or training diverges before its first epoch ends.
        """
        if len(images) and bool((images == images[:1]).all()):
            raise ValueError(f"training images: all {len(images)} are the same; a {self.name} learns from what differs")
        volumes = images.ndim == 5
        images, validation_images = views(images), views(validation_images)
        truth = self._targets(labels, len(images), subjects, "training")
        check = self._targets(validation_labels, len(validation_images), validation_subjects, "validation")
        shared = set(subjects) & set(validation_subjects)
        if shared:
            raise ValueError(f"{len(shared)} subjects are in both the training and the validation split")
        along = standardised(others if others is not None else torch.empty(len(images), 0))
        self._shape = tuple(images.shape[1:])
        weights = self._weights(truth, subjects)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed_from(self.name, self.seed))
            network = ResidualCNN(self._shape[0], 1 + along.shape[1], max(self._shape[1:])).to(self.device)
            # one volume a person is too few for large batches: 16 steps an epoch at least, of 8 or more
            size = min(self.batch_size, max(8, len(images) // 16)) if volumes else self.batch_size
            self._train(
                network, size, images, truth, along, weights, (validation_images, check, list(validation_subjects))
            )
        self._centre, self._scale = torch.zeros(1), torch.ones(1)
        raw = torch.from_numpy(self.features(images))
        spread = raw.std(0)
        least = 0.1 * float(spread.median()) or 0.1 * float(spread.max())  # half of the features may not vary
        if not least > 0:
            raise ValueError(f"training images: the features of the {self.name} are the same for all {len(images)}")
        self._centre, self._scale = raw.mean(0).float(), spread.clamp(min=least).float()
        return self

    def _train(
        self,
        network: ResidualCNN,
        batch_size: int,
        images: Tensor,
        truth: Tensor,
        along: Tensor,
        weights: Tensor,
        validation: tuple[Tensor, Tensor, list[str]],
    ) -> None:
        images, truth = images.to(self.device, torch.float32), truth.to(self.device)
        along, weights = along.to(self.device), weights.to(self.device)
        optimizer = torch.optim.AdamW(network.parameters(), self.learning_rate, weight_decay=self.weight_decay)
        per_epoch = math.ceil(len(images) / batch_size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, self.epochs * per_epoch)
        best, waited, self.history = math.inf, 0, []
        kept: dict[str, Tensor] = {}
        for epoch in range(self.epochs):
            network.train()
            random = generator(self.name, self.seed, epoch)
            order = torch.randperm(len(images), generator=random)
            total = 0.0
            for index in order.split(batch_size):
                batch = augment_batch(images[index], random)
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
                    prediction = network(batch)
                prediction = prediction.float()
                loss = self._loss(prediction[:, 0], truth[index], weights[index])
                loss = loss + self.auxiliary_weight * squared_error(prediction[:, 1:], along[index])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                total += float(loss.detach())
            self._network = network.eval()
            try:
                value = self._validation_loss(*validation)
            except ValueError:  # predictions that are not finite
                value = math.nan
            if not math.isfinite(total + value):
                self._diverged(epoch, bool(kept))
                break
            self.history.append({"epoch": epoch, "train": total / per_epoch, "validation": value})
            if value < best:
                best, waited, kept = value, 0, copy.deepcopy(network.state_dict())
            else:
                waited += 1
                if waited >= self.patience:
                    break
        network.load_state_dict(kept)
        logger.info("%s stopped after %d epochs, best validation loss %.3f", self.name, len(self.history), best)

    def _diverged(self, epoch: int, kept: bool) -> None:
        text = f"the {self.name} diverged in epoch {epoch + 1} of training: its loss is no longer finite"
        if not kept:
            raise ValueError(f"{text}; expected a learning rate that it can follow, found {self.learning_rate:g}")
        logger.warning("%s; it stays as it was in its best epoch", text)

    def features(self, images: Tensor) -> NDArray[np.float64]:
        """Features of images ``(N, C, H, W)``, each with mean 0 and spread 1 over the training images.

        The network's penultimate features see anatomy; mean and spread over the image of its first stage's see texture.
        """
        centre, scale = self._centre.to(self.device), self._scale.to(self.device)
        return self._apply(images, lambda network, x: (network.features(x) - centre) / scale)

    @torch.no_grad()
    def _apply(self, images: Tensor, function: Any, block: int = 256) -> NDArray[np.float64]:
        if self._network is None:
            raise ValueError(f"the {self.name} has no weights: call fit or load first")
        images = views(images)
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
            raise ValueError(f"the {self.name} has no weights to save: call fit first")
        content = {
            "fingerprint": fingerprint,
            "shape": list(self._shape),
            "outputs": self._network.head.out_features,
            "centre": self._centre,
            "scale": self._scale,
            "weights": {k: v.cpu() for k, v in self._network.state_dict().items()},
            "history": self.history,
            "extra": self._extra,
        }
        with atomic_write(path, permissions=0o600) as temporary:
            torch.save(content, temporary)

    def load(self: Model, path: str | os.PathLike[str], fingerprint: str) -> Model:
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
        self._extra = content.get("extra", {})
        network = ResidualCNN(self._shape[0], content["outputs"], max(self._shape[1:]))
        network.load_state_dict(content["weights"])
        self._network = network.to(self.device).eval()
        return self


def views(images: Tensor) -> Tensor:
    """Return images as they are, and volumes ``(N, C, X, Y, Z)`` as the pictures ``(N, 3 C, S, S)`` of three planes."""
    if images.ndim != 5:
        return images
    return torch.stack([torch.cat(middle_planes(volume.float())) for volume in images])


def squared_error(prediction: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error over the known targets ``(N, K)``; 0 without any."""
    known = torch.isfinite(targets)
    error = (prediction - torch.where(known, targets, torch.zeros_like(targets))) ** 2 * known
    return error.sum() / known.sum().clamp(min=1)


def as_targets(labels: Any, count: int, subjects: Sequence[str], split: str) -> Tensor:
    """Return labels as float32 ``(N,)``, or raise ``ValueError`` when there are not as many as images and subjects."""
    truth = torch.as_tensor(labels, dtype=torch.float32)
    if truth.shape != (count,) or len(subjects) != count:
        raise ValueError(
            f"{split}: {count} images, {tuple(truth.shape)} labels, {len(subjects)} subjects; expected as many"
        )
    return truth


def subject_shares(subjects: Sequence[str]) -> Tensor:
    """Return the weight of each image under which every subject counts 1; float32 ``(N,)``."""
    _, member, counts = np.unique(np.asarray(subjects), return_inverse=True, return_counts=True)
    return torch.from_numpy(1 / counts[member.ravel()]).float()


def standardised(columns: Tensor) -> Tensor:
    """Columns with mean 0 and spread 1 over known values; columns that are unknown or do not vary are dropped."""
    kept = []
    for column in columns.float().unbind(1):
        known = column[torch.isfinite(column)]
        if len(known) > 1 and float(known.std()) > 1e-6:
            kept.append((column - known.mean()) / known.std())
    return torch.stack(kept, 1) if kept else torch.empty(len(columns), 0)
