"""The stream of batches: complete, resumable, the same over ranks and batch sizes, balanced by subject."""

from __future__ import annotations

import itertools
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medgen.covariates import Covariates, Range
from medgen.data import BatchAugmentation, BatchLoader
from medgen.engines.prepare_batch import batch_names

COVARIATES = Covariates(diagnosis=["NC", "AD"], age=Range(0, 100))


class Memory(SimpleNamespace):
    """A data set as SliceDataset is: ``owners`` gives the subject of each sample, ``labels`` their diagnosis."""

    def __len__(self) -> int:
        return len(self.subjects)


def memory(count: int = 10, owners: Any = None, labels: Any = None) -> Memory:
    owners = owners or [f"s{i}" for i in range(count)]
    labels = labels or [i % 2 for i in range(len(owners))]
    columns = [torch.tensor(labels, dtype=torch.float32), torch.arange(len(owners)).float()]
    images = torch.rand(len(owners), 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return Memory(
        images=images.half(), covariates=torch.stack(columns, dim=1), subjects=list(owners), declared=COVARIATES
    )


def take(loader: BatchLoader, count: int) -> list[dict]:
    return list(itertools.islice(iter(loader), count))


def indices(batches: list[dict]) -> list[int]:
    return [i for batch in batches for i in batch["index"].tolist()]


def test_batch_holds_one_sample_per_row() -> None:
    dataset = memory()
    (batch,) = take(BatchLoader(dataset, 4), 1)
    assert batch["image"].shape == (4, 1, 8, 8)
    assert batch["image"].dtype == torch.float32
    assert torch.equal(batch["image"], dataset.images[batch["index"]].float())
    assert torch.equal(batch["covariates"], dataset.covariates[batch["index"]])
    assert batch["subject"] == [f"s{i}" for i in batch["index"].tolist()]
    assert batch["index"].dtype == torch.int64


def test_batch_names_the_files_of_its_samples() -> None:
    dataset = memory()
    dataset.records = [{"image": f"{k}.nii.gz"} for k in range(len(dataset.subjects))]
    (batch,) = take(BatchLoader(dataset, 4), 1)
    assert batch["filename"] == [f"{i}.nii.gz" for i in batch["index"].tolist()]
    assert batch_names(batch)["filename"] == batch["filename"]  # kept for the private list of skipped samples


def test_an_ordered_pass_leaves_no_process_without_a_sample() -> None:
    assert [indices(list(BatchLoader(memory(2), 4, rank=r, world_size=2, shuffle=False))) for r in (0, 1)] == [[0], [1]]
    with pytest.raises(ValueError, match="each of 3 processes, found 2"):
        BatchLoader(memory(2), 4, rank=0, world_size=3, shuffle=False)


def test_stream_is_the_epochs_permutations_one_after_the_other() -> None:
    order = indices(take(BatchLoader(memory(10), 4, seed=3), 15))
    epochs = [order[i : i + 10] for i in range(0, 60, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    assert order == indices(take(BatchLoader(memory(10), 4, seed=3), 15))
    assert order != indices(take(BatchLoader(memory(10), 4, seed=4), 15))


@pytest.mark.parametrize("balance", [None, "diagnosis"])
def test_resume_at_any_position_is_exact(balance: str | None) -> None:
    augment = BatchAugmentation(seed=1)
    whole = take(BatchLoader(memory(7), 3, seed=5, augment=augment, balance=balance), 12)
    for start in (0, 1, 5, 11):
        loader = BatchLoader(memory(7), 3, seed=5, augment=BatchAugmentation(seed=1), balance=balance)
        loader.position = start
        for expected, found in zip(whole[start:], take(loader, 12 - start), strict=True):
            assert torch.equal(expected["index"], found["index"])
            assert torch.equal(expected["image"], found["image"])
        assert loader.position == 12


def test_position_counts_the_batches_given() -> None:
    loader = BatchLoader(memory(10), 4)
    stream = iter(loader)
    assert (loader.position, loader.epoch) == (0, 0)
    for _ in range(3):
        next(stream)
    assert (loader.position, loader.epoch) == (3, 1)
    loader.position = 0
    assert torch.equal(next(stream)["index"], take(BatchLoader(memory(10), 4), 1)[0]["index"])


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_one_stream(world_size: int) -> None:
    single = indices(take(BatchLoader(memory(11), 2, seed=9), 6 * world_size))
    ranks = [BatchLoader(memory(11), 2, seed=9, rank=r, world_size=world_size) for r in range(world_size)]
    steps = list(zip(*[take(loader, 6) for loader in ranks], strict=True))
    assert [i for step in steps for i in indices(list(step))] == single


def test_batch_size_and_rank_do_not_change_a_sample() -> None:
    def samples(batch_size: int, world_size: int) -> dict[tuple[int, int], torch.Tensor]:
        seen: Counter[int] = Counter()
        found = {}
        loaders = [
            BatchLoader(memory(12), batch_size, 7, BatchAugmentation(flip=0.5, rotate=20), r, world_size)
            for r in range(world_size)
        ]
        for step in zip(*[take(loader, 24 // batch_size // world_size) for loader in loaders], strict=True):
            for batch in step:
                for index, image in zip(batch["index"].tolist(), batch["image"], strict=True):
                    found[(index, seen[index])] = image
                    seen[index] += 1
        return found

    reference = samples(1, 1)
    assert len(reference) == 24
    assert not torch.equal(reference[(3, 0)], reference[(3, 1)])  # another epoch, another draw
    for batch_size, world_size in ((4, 1), (12, 1), (3, 2), (2, 4)):
        found = samples(batch_size, world_size)
        assert found.keys() == reference.keys()
        for key, image in reference.items():
            assert torch.allclose(found[key], image, atol=1e-5)


def test_ordered_pass_shows_everything_once() -> None:
    loader = BatchLoader(memory(10), 4, shuffle=False, augment=BatchAugmentation(rotate=90))
    for _ in range(2):
        batches = list(loader)
        assert indices(batches) == list(range(10))
        assert len(batches) == len(loader) == 3
        assert torch.equal(batches[0]["image"], memory(10).images[:4].float())
    shards = [BatchLoader(memory(10), 4, shuffle=False, rank=r, world_size=3) for r in range(3)]
    assert sorted(i for shard in shards for i in indices(list(shard))) == list(range(10))
    assert [len(shard) for shard in shards] == [1, 1, 1]


def test_length_is_batches_per_epoch() -> None:
    assert len(BatchLoader(memory(10), 4)) == 3
    assert len(BatchLoader(memory(10), 4, rank=0, world_size=2)) == 2


OWNERS = ["a"] * 6 + ["b"] * 2 + ["c"] * 1 + ["d"] * 3  # a, b are NC; c, d are AD
LABELS = [0] * 8 + [1] * 4


def test_balance_weighs_subjects_not_slices() -> None:
    dataset = memory(owners=OWNERS, labels=LABELS)
    drawn = indices(take(BatchLoader(dataset, 12, balance="diagnosis"), 50))
    subjects = Counter(OWNERS[i] for i in drawn)
    assert subjects == {"a": 150, "b": 150, "c": 150, "d": 150}
    slices = Counter(i for i in drawn if OWNERS[i] == "a")
    assert max(slices.values()) - min(slices.values()) <= 40
    assert len(slices) == 6


def test_unknown_labels_keep_their_share() -> None:
    dataset = memory(owners=[f"s{i}" for i in range(12)], labels=[0, 0, 0, 0, 0, 0, 1, 1, *[float("nan")] * 4])
    drawn = Counter(
        str(dataset.covariates[i, 0].item()) for i in indices(take(BatchLoader(dataset, 12, balance=True), 5))
    )
    assert drawn == {"0.0": 20, "1.0": 20, "nan": 20}


def test_repeated_samples_of_an_epoch_are_augmented_anew() -> None:
    keys = []

    def augment(images: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        keys.extend(map(tuple, key.tolist()))
        return images

    dataset = memory(owners=OWNERS, labels=LABELS)
    take(BatchLoader(dataset, 6, balance="diagnosis", augment=augment), 10)
    assert len(set(keys)) == len(keys) == 60
    assert {key[0] for key in keys} == set(range(5))


def test_words_of_a_command_line() -> None:
    for word in ("false", "False", None, False, "none"):
        assert BatchLoader(memory(), 2, balance=word).balance is None
    for word in ("true", True, "diagnosis"):
        assert BatchLoader(memory(), 2, balance=word).balance == "diagnosis"


class ByItem:
    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict:
        return {"image": torch.full((1, 2, 2, 2), float(index)), "covariates": torch.zeros(2), "subject": str(index)}


def test_other_data_sets_are_read_by_item() -> None:
    batches = list(BatchLoader(ByItem(), 2, shuffle=False))
    assert [b["subject"] for b in batches] == [["0", "1"], ["2", "3"], ["4"]]
    assert batches[1]["image"][:, 0, 0, 0, 0].tolist() == [2.0, 3.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"rank": 2, "world_size": 2}, "rank: expected 0 to 1"),
        ({"balance": "diagnosys"}, r"balance: found 'diagnosys' \(nearest: 'diagnosis'\)"),
        ({"balance": "age"}, "balance: found 'age'"),
        ({"balance": "diagnosis", "shuffle": False}, "balance: an ordered pass"),
        ({"dataset": []}, "dataset: expected at least one sample"),
    ],
)
def test_arguments_are_checked(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchLoader(**{"dataset": memory(), "batch_size": 2, **arguments})
