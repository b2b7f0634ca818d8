"""Batches from a data set in memory: an endless stream that can be resumed at any batch, and one ordered pass."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch

from medgen.randomness import generator
from medgen.spelling import nearest

__all__ = ["BatchLoader"]

Batch = dict[str, Any]
Augment = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class BatchLoader:
    """Batches of a :class:`medgen.data.SliceDataset`, or of any data set with its attributes or its items.

    With ``shuffle`` it is one endless stream of samples: the permutations of epoch 0, 1, 2, ... one after the other,
    each a function of (seed, epoch). Batch p of rank r holds samples ``(p * world_size + r) * batch_size`` and
    following, so ranks never overlap, and no batch is short. Without ``shuffle`` it is one finite pass in order, of
    every ``world_size``-th sample.

    ``balance`` draws the labels of a covariate equally often, and within a label every subject equally often, however
    many slices or visits it has; samples whose label is unknown keep their share.

    Args:
        dataset: with ``images`` (N, C, *spatial), ``covariates`` (N, K) and ``subjects``; another one is read by item.
            Images are the batches' "image", or what the data set's ``key`` says (:class:`medgen.data.LatentDataset`).
        batch_size: samples per batch and rank.
        seed: of the order.
        augment: called with the images (B, C, *spatial) and keys (B, 3) int64: epoch, sample, and how often the sample
            occurred in the epoch before (0 without ``balance``); see :class:`medgen.data.BatchAugmentation`.
        rank: of this process; None asks torch.distributed.
        world_size: number of processes; None asks torch.distributed.
        shuffle: stream or pass.
        balance: name of a categorical covariate; true takes the first one, false and None do not balance.
        device: where images and covariates go before they are augmented; None leaves them where the data set has them.

    Attributes:
        position: number of batches this stream has given; set it to go on from there.

    Raises:
        ValueError: when an argument is out of range, or ``balance`` names no categorical covariate.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        seed: int = 0,
        augment: Augment | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        shuffle: bool = True,
        balance: str | bool | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.rank = rank if rank is not None else torch.distributed.get_rank() if distributed else 0
        self.world_size = (
            world_size if world_size is not None else torch.distributed.get_world_size() if distributed else 1
        )
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, found {batch_size!r}")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank: expected 0 to {self.world_size - 1}, found {self.rank!r}")
        if len(dataset) == 0:
            raise ValueError("dataset: expected at least one sample, found none")
        if not shuffle and len(dataset) < self.world_size:
            # a process without a batch would leave the others waiting for its share of the metric
            raise ValueError(
                f"dataset: expected a sample for each of {self.world_size} processes, found {len(dataset)}; "
                "start fewer processes, or validate on more"
            )
        balance = _balanced_by(dataset, balance)
        if balance and not shuffle:
            raise ValueError("balance: an ordered pass shows every sample once; use it with shuffle=True")
        self.dataset, self.batch_size, self.seed, self.augment, self.shuffle = (
            dataset,
            batch_size,
            seed,
            augment,
            shuffle,
        )
        self.balance, self.device = balance, device
        self.position = 0
        self._groups = _groups(dataset, balance) if balance else None
        self._epochs: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __len__(self) -> int:
        """Batches per epoch and rank, rounded up."""
        if self.shuffle:
            return math.ceil(len(self.dataset) / (self.batch_size * self.world_size))
        return math.ceil(len(range(self.rank, len(self.dataset), self.world_size)) / self.batch_size)

    @property
    def epoch(self) -> int:
        """The epoch that the next batch begins in."""
        return self.position * self.batch_size * self.world_size // len(self.dataset)

    def __iter__(self) -> Iterator[Batch]:
        if not self.shuffle:
            order = torch.arange(self.rank, len(self.dataset), self.world_size)
            for indices in order.split(self.batch_size):
                yield self._batch(indices, torch.zeros(len(indices), 3, dtype=torch.int64))
            return
        while True:
            keys = self._keys(self.position)
            self.position += 1
            yield self._batch(keys[:, 1], keys)

    def _keys(self, position: int) -> torch.Tensor:
        """Return (epoch, sample, repeat) of the samples in this rank's batch ``position``."""
        start = (position * self.world_size + self.rank) * self.batch_size
        parts = []
        stop = start + self.batch_size
        while start < stop:
            epoch, offset = divmod(start, len(self.dataset))
            samples, repeats = self._epoch(epoch)
            taken = slice(offset, offset + stop - start)
            part = torch.stack([torch.full_like(samples[taken], epoch), samples[taken], repeats[taken]], dim=1)
            parts.append(part)
            start += len(part)
        return torch.cat(parts)

    def _epoch(self, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the samples of an epoch in order, and how often each occurred in it before."""
        if epoch not in self._epochs:
            count = len(self.dataset)
            if self._groups is None:
                samples = torch.randperm(count, generator=generator("order", self.seed, epoch))
                repeats = torch.zeros_like(samples)
            else:
                samples, repeats = _balanced(self._groups, count, self.seed, epoch)
            self._epochs = {e: kept for e, kept in self._epochs.items() if e == epoch - 1} | {epoch: (samples, repeats)}
        return self._epochs[epoch]

    def _batch(self, indices: torch.Tensor, keys: torch.Tensor) -> Batch:
        if hasattr(self.dataset, "images"):
            images = self.dataset.images[indices].float()
            covariates = self.dataset.covariates[indices]
            subjects = [self.dataset.subjects[i] for i in indices.tolist()]
        else:
            items = [self.dataset[i] for i in indices.tolist()]
            images = torch.stack([torch.as_tensor(item["image"]).float() for item in items])
            covariates = torch.stack([item["covariates"] for item in items])
            subjects = [item["subject"] for item in items]
        if self.device is not None:
            images, covariates = (x.to(self.device, non_blocking=True) for x in (images, covariates))
        if self.augment is not None and self.shuffle:
            images = self.augment(images, keys)
        key = getattr(self.dataset, "key", "image")
        batch: Batch = {key: images, "covariates": covariates, "subject": subjects, "index": indices}
        if records := getattr(self.dataset, "records", None):
            batch["filename"] = [records[i]["image"] for i in indices.tolist()]
        return batch


def _balanced_by(dataset: Any, balance: str | bool | None) -> str | None:
    """Return the covariate to balance by; the words "true" and "false" come from command lines."""
    text = str(balance).lower()
    if text in ("none", "false", ""):
        return None
    declared = getattr(dataset, "declared", None)
    categorical = list(declared.categorical) if declared is not None else []
    name = (categorical or [""])[0] if text == "true" else str(balance)
    if name not in categorical:
        raise ValueError(
            f"balance: found {balance!r}{nearest(name, categorical)}, expected a covariate of {categorical}"
        )
    return name


def _groups(dataset: Any, balance: str) -> list[tuple[float, list[list[int]]]]:
    """Return, for each label, its share of an epoch and the samples of each of its subjects."""
    column = dataset.covariates[:, dataset.declared.index(balance)].tolist()
    members: dict[float, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, (value, subject) in enumerate(zip(column, dataset.subjects, strict=True)):
        members[-1.0 if math.isnan(value) else value][subject].append(index)
    unknown = sum(len(samples) for samples in members.get(-1.0, {}).values()) / len(column)
    labels = [value for value in sorted(members) if value >= 0]
    shares = {value: (1.0 - unknown) / len(labels) for value in labels} | ({-1.0: unknown} if unknown else {})
    return [(share, list(members[value].values())) for value, share in shares.items()]


def _balanced(
    groups: list[tuple[float, list[list[int]]]], count: int, seed: int, epoch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw an epoch with the groups' shares; subjects take turns, and so do the samples of a subject."""
    random = generator("balanced order", seed, epoch)
    edges = [round(count * edge) for edge in _cumulative([share for share, _ in groups])]
    drawn: list[int] = []
    for wanted, (_, subjects) in zip([b - a for a, b in zip([0, *edges], edges, strict=False)], groups, strict=True):
        turns = [[samples[i] for i in torch.randperm(len(samples), generator=random).tolist()] for samples in subjects]
        order = torch.randperm(len(subjects), generator=random).tolist()
        for draw in range(wanted):
            lap, place = divmod(draw, len(order))
            samples = turns[order[place]]
            drawn.append(samples[lap % len(samples)])
    mixed = torch.tensor(drawn)[torch.randperm(len(drawn), generator=random)]
    seen: dict[int, int] = defaultdict(int)
    repeats = []
    for sample in mixed.tolist():
        repeats.append(seen[sample])
        seen[sample] += 1
    return mixed, torch.tensor(repeats)


def _cumulative(shares: list[float]) -> list[float]:
    totals = []
    total = 0.0
    for share in shares:
        total += share
        totals.append(total)
    return totals
