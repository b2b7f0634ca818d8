"""A run that trains in a second: tiny network, data in memory, everything random that a real run has."""

from __future__ import annotations

import torch
from torch import nn

from medgen.covariates import Covariates, Range
from medgen.data import BatchAugmentation, BatchLoader
from medgen.engines import ConditionDropout, GenerativeTrainer
from medgen.handlers import EMA, CheckpointHandler
from medgen.processes import RectifiedFlow
from medgen.randomness import generator

COVARIATES = Covariates(diagnosis=["NC", "AD"], age=Range(50, 100, "years"))


class ToyNetwork(nn.Module):
    """Three layers that see image, time and covariates, with dropout."""

    def __init__(self, width: int = 8, dropout: float = 0.1, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = nn.Conv2d(1, width, 3, padding=1)
            self.known = nn.Linear(4, width)
            self.time = nn.Linear(1, width)
            self.drop = nn.Dropout(dropout)
            self.last = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, noisy, t, covariates=None):
        unknown = torch.isnan(covariates)
        known = torch.cat([covariates.masked_fill(unknown, 0.0) / 100, unknown.float()], dim=1)
        shift = self.known(known) + self.time(t.reshape(-1, 1) / 1000)
        return self.last(self.drop(torch.tanh(self.first(noisy) + shift[..., None, None])))


class ToyData:
    """A data set in memory, with the attributes of ``SliceDataset``."""

    def __init__(self, samples: int = 24):
        self.images = torch.randn(samples, 1, 8, 8, generator=generator("toy images")).clamp(-1, 1)
        diagnosis = torch.arange(samples) % 2
        self.covariates = torch.stack([diagnosis.float(), 60.0 + torch.arange(samples)], dim=1)
        self.subjects = [f"person-{i}" for i in range(samples)]

    def __len__(self):
        return len(self.images)


def toy_loader():
    """The endless stream, shuffled and augmented."""
    return BatchLoader(ToyData(), 4, augment=BatchAugmentation(flip=0.5))


class ToyLoader:
    """One pass in order, its consecutive samples dealt to the processes; without a position to set."""

    def __init__(self, batch_size: int = 4, rank: int = 0, world: int = 1):
        self.data = ToyData()
        self.images, self.covariates = self.data.images, self.data.covariates
        self.batch_size, self.rank, self.world = batch_size, rank, world

    def __len__(self):
        return len(self.images) // (self.batch_size * self.world)

    def batch(self, indices, images):
        return {
            "image": images,
            "covariates": self.covariates[indices],
            "index": indices,
            "subject": [self.data.subjects[i] for i in indices],
        }

    def __iter__(self):
        for place in range(len(self)):
            first = (place * self.world + self.rank) * self.batch_size
            indices = torch.arange(first, first + self.batch_size)
            yield self.batch(indices, self.images[indices])


def toy_trainer(run_dir=None, epochs=3, handlers=(), interval=5, trainer_class=GenerativeTrainer, **changes):
    """A trainer with dropout, condition dropout, accumulation, average, schedule and checkpoints."""
    network = changes.pop("network", None) or ToyNetwork()
    optimizer = changes.pop("optimizer", None) or torch.optim.AdamW(network.parameters(), lr=1e-2)
    checkpoint = [CheckpointHandler(interval=interval)] if run_dir is not None and interval else []
    arguments = {
        "device": "cpu",
        "max_epochs": epochs,
        "train_data_loader": toy_loader(),
        "network": network,
        "optimizer": optimizer,
        "process": RectifiedFlow(),
        "covariates": COVARIATES,
        "condition_dropout": ConditionDropout(0.2, 0.2),
        "lr_scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50),
        "ema": EMA(network, decay=0.9),
        "accumulation_steps": 2,
        "amp": False,
        "run_dir": run_dir,
        "train_handlers": [*checkpoint, *handlers],
    }
    return trainer_class(**(arguments | changes))


def snapshot(trainer):
    """Everything that a resumed run must share with the uninterrupted one, as tensors by name."""
    state = {f"network.{k}": v.clone() for k, v in trainer.unwrapped_network.state_dict().items()}
    if trainer.ema is not None:
        state |= {f"ema.{k}": v.clone() for k, v in trainer.ema.ema_model.state_dict().items()}
    for number, values in trainer.optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{number}.{k}": torch.as_tensor(v).clone() for k, v in values.items()}
    numbers = (trainer.state.iteration, trainer.state.optimizer_steps, trainer.optimizer.param_groups[0]["lr"])
    return state | {"numbers": torch.tensor(numbers, dtype=torch.float64)}


def differing(one, other):
    """Names whose values are not bitwise equal."""
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]
