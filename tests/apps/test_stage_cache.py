"""Results on disk that were cut short or damaged are made anew, and belong to what they were made by."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medgen.apps.evaluation.cache import StageCache
from medgen.apps.evaluation.generated import Generator
from medgen.apps.evaluation.judge import trained_judge
from medgen.apps.evaluation.real import RealImages
from medgen.metrics import FeatureRegressor


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(content)


def _empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_cut, _flip, _empty])
def test_damaged_arrays_are_made_anew(tmp_path, damage):
    cache, made = StageCache(tmp_path / "private"), []

    def make():
        made.append(1)
        return {"values": np.arange(500.0)}

    cache.arrays("stage", "key", make)
    damage(cache.path("stage", "key", ".npz"))
    np.testing.assert_array_equal(cache.arrays("stage", "key", make)["values"], np.arange(500.0))
    assert len(made) == 2
    cache.arrays("stage", "key", make)
    assert len(made) == 2


@pytest.mark.parametrize("damage", [_cut, _empty])
def test_a_damaged_judge_is_trained_anew(tmp_path, damage):
    random = torch.Generator().manual_seed(0)
    numbers = np.linspace(60, 90, 12)
    grain = torch.rand(12, 1, 8, 8, generator=random) * 0.1
    images = grain + torch.from_numpy(numbers / 90 - 1)[:, None, None, None].float()
    train, validation = (
        RealImages(images, torch.zeros(12, 1), [f"{split}{i}" for i in range(12)], numbers, 0) for split in "ab"
    )
    cache = StageCache(tmp_path / "private")

    def trained():
        return trained_judge(FeatureRegressor(epochs=1, amp=False), "regressor", train, validation, {}, cache)

    first = trained().scores(images)
    (path,) = cache.folder.glob("regressor-*.pt")
    damage(path)
    np.testing.assert_array_equal(trained().scores(images), first)
    np.testing.assert_array_equal(FeatureRegressor(amp=False).load(path, path.stem.split("-")[1]).scores(images), first)


def test_images_of_another_codec_are_others(tmp_path):
    cache, profiles = StageCache(tmp_path / "private"), SimpleNamespace(
        subjects=["a", "b"], images=torch.zeros(2, 1, 4, 4), target=np.zeros(2)
    )  # fmt: skip
    question = SimpleNamespace(variants=1, requests=lambda of: (torch.zeros(2, 1), of.target))

    def sampler(network, process, shape, seeds, covariates, codec):
        images = torch.full((len(seeds), *shape), codec.value)
        return SimpleNamespace(images=images, seconds=0.0, evaluations=1)

    def made(value, digest):
        codec = SimpleNamespace(value=value, sha256=digest)
        generator = Generator(torch.nn.Linear(1, 1), "process", sampler, cache, "weights", codec)
        return float(generator(profiles, question, 1.0).images.mean())

    assert made(0.25, "first") == 0.25
    assert made(0.5, "second") == 0.5
    assert made(0.75, "second") == 0.5  # kept: the codec is told by its hash
