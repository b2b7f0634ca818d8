"""The classifier that every arm trains: the same network, start and number of steps, whatever it is trained on."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from medgen.apps.utility.labelled import LabelledImages
from medgen.data.loader import BatchLoader
from medgen.metrics.residual_cnn import ResidualCNN
from medgen.randomness import seed_from

__all__ = ["ClassifierSettings", "fit_and_score", "make_network"]


@dataclass(frozen=True)
class ClassifierSettings:
    """How every classifier is trained.

    Args:
        iterations: optimizer steps, the same for all arms.
        batch_size: images a step.
        checks: how often the validation loss is measured; the weights with the lowest are the ones that are tested.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: of AdamW.
        widths: channels of the stages, each of which halves the image but the first; multiples of 8.

    Raises:
        ValueError: when a number is out of range.
    """

    iterations: int = 400
    batch_size: int = 32
    checks: int = 20
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    widths: Sequence[int] = (16, 32, 64)

    def __post_init__(self) -> None:
        if not 1 <= self.checks <= self.iterations or self.batch_size < 1:
            raise ValueError(
                f"classifier: expected 1 <= checks <= iterations and batch_size >= 1, found checks={self.checks}, "
                f"iterations={self.iterations}, batch_size={self.batch_size}"
            )
        if not self.widths or any(width < 8 or width % 8 for width in self.widths):
            raise ValueError(f"classifier: expected widths that are multiples of 8, found {list(self.widths)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON form."""
        return {**vars(self), "widths": list(self.widths)}


def make_network(shape: Sequence[int], classes: int, widths: Sequence[int]) -> nn.Module:
    """The small residual network of :mod:`medgen.metrics`, for pictures or volumes.

    Group normalisation keeps no running statistics: what is said of an image does not hang on the others in its batch.

    Args:
        shape: ``(C, *spatial)`` of an image.
        classes: number of labels.
        widths: channels of the stages.
    """
    return ResidualCNN(shape[0], classes, max(shape[1:]), tuple(widths), spatial_dims=len(shape) - 1)


def fit_and_score(
    train: LabelledImages,
    validation: LabelledImages,
    test: LabelledImages,
    classes: int,
    settings: ClassifierSettings,
    seed: int = 0,
    augment: Any = None,
    device: str | torch.device = "cpu",
) -> dict[str, NDArray[Any]]:
    """Train on one set, choose the weights on the second, and say what they make of the third.

    Every figure of a run is of the same weights, those of the check with the lowest validation loss. Start, order and
    augmentation are functions of ``seed``.

    Args:
        train: what the arm trains on.
        validation: of other subjects.
        test: of other subjects again.
        classes: number of labels.
        settings: of the training.
        seed: of the run.
        augment: a :class:`medgen.data.BatchAugmentation`, or None.
        device: where to train.

    Returns:
        "probabilities" (cases, classes) of the test set's cases, the mean over a case's images; "validation", the loss
        at each check; "chosen", the step of the weights; "steps", those made; "seconds".

    Raises:
        RuntimeError: when the loss is not finite.
    """
    started = time.monotonic()
    with torch.random.fork_rng(devices=[] if torch.device(device).type == "cpu" else [device]):
        torch.manual_seed(seed_from("utility classifier", seed))  # initial weights and dropout
        network = make_network(train.images.shape[1:], classes, settings.widths).to(device)
        chosen, losses = _fit(network, train, validation, settings, seed, augment, device)
    return {
        "probabilities": _probabilities(network, test, device),
        "validation": np.array(losses),
        "chosen": np.array(chosen),
        "steps": np.array(settings.iterations),
        "seconds": np.array(time.monotonic() - started),
    }


def _fit(
    network: nn.Module,
    train: LabelledImages,
    validation: LabelledImages,
    settings: ClassifierSettings,
    seed: int,
    augment: Any,
    device: str | torch.device,
) -> tuple[int, list[float]]:
    """Train, and leave the network with its best weights; returns their step, and the validation losses."""
    if augment is not None:
        augment = copy.copy(augment)
        augment.seed = seed_from("utility augmentation", seed)
    loader = iter(BatchLoader(train, settings.batch_size, seed, augment, rank=0, world_size=1))
    optimizer = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, settings.iterations)
    checks = {math.ceil(settings.iterations * (i + 1) / settings.checks) for i in range(settings.checks)}
    truth = torch.tensor([target for _, target in validation.cases()[0]])
    best, chosen, kept = math.inf, 0, {}
    losses: list[float] = []
    for step in range(1, settings.iterations + 1):
        network.train()
        batch = next(loader)
        logits = network(batch["image"].to(device))
        loss = functional.cross_entropy(logits, batch["covariates"][:, 0].long().to(device))
        if not torch.isfinite(loss):
            raise RuntimeError(f"the classifier's loss is {loss.item()} at step {step}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step in checks:
            said = torch.from_numpy(_probabilities(network, validation, device))
            losses.append(float(functional.nll_loss(said.clamp_min(1e-7).log(), truth)))
            if losses[-1] < best:
                best, chosen, kept = losses[-1], step, copy.deepcopy(network.state_dict())
    if not kept:
        raise RuntimeError("the classifier's validation loss was never finite")
    network.load_state_dict(kept)
    return chosen, losses


@torch.no_grad()
def _probabilities(
    network: nn.Module, images: LabelledImages, device: str | torch.device, block: int = 256
) -> NDArray[np.float64]:
    """Mean probabilities of each case, (cases, classes), from the network in evaluation mode."""
    network.eval()
    parts: list[Tensor] = [
        network(part.float().to(device)).cpu().double().softmax(1) for part in images.images.split(block)
    ]
    said = torch.cat(parts).numpy()
    cases, member = images.cases()
    total = np.zeros((len(cases), said.shape[1]))
    np.add.at(total, member, said)
    result: NDArray[np.float64] = total / np.bincount(member)[:, None]
    return result
