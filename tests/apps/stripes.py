"""A world of stripes: a class is their direction, hard to learn from few noisy pictures; and generators of stripes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from medgen.apps.utility import ClassifierSettings, Utility
from medgen.apps.utility.recipe import Trained
from medgen.covariates import Covariates

COVARIATES = Covariates(direction=["level", "upright"])
SIDE = 16


def draw_stripes(upright, random, noise=0.35):
    """A picture (1, 16, 16) in [-1, 1] with stripes of four pixels' period, shifted at random."""
    wave = 0.35 * np.cos(np.pi / 2 * (np.arange(SIDE) + random.integers(0, 4)))
    image = wave[:, None] + random.normal(0, noise, (SIDE, SIDE))
    return np.clip(image.T if upright else image, -1, 1)[None]


def pictures(split, count, seed, noise=0.35):
    """A data set of ``count`` subjects with a picture each, the classes in turn."""
    random = np.random.default_rng(seed)
    images = np.stack([draw_stripes(i % 2, random, noise) for i in range(count)])
    codes = torch.tensor([[float(i % 2)] for i in range(count)])
    names = [f"secret-{split}-{i:03d}" for i in range(count)]
    return SimpleNamespace(images=torch.tensor(images).half(), covariates=codes, subjects=names, pixel_mm=None)


class PlantedSampler:
    """Draws stripes as asked, or ("deaf") of either direction whatever is asked."""

    def __init__(self, kind, noise):
        self.kind, self.noise = kind, noise

    def __call__(self, network, process, shape, seeds, covariates=None, codec=None):
        images = []
        for seed, code in zip(seeds, covariates[:, 0].tolist(), strict=True):
            random = np.random.default_rng(seed)
            images.append(draw_stripes(random.integers(0, 2) if self.kind == "deaf" else code, random, self.noise))
        return SimpleNamespace(images=torch.tensor(np.stack(images)).float())

    def to_dict(self):
        return {"kind": self.kind}


class PlantedRecipe:
    """Trains nothing, and remembers whom it was given."""

    def __init__(self, kind="faithful", noise=0.8):
        self.kind, self.noise, self.calls = kind, noise, []

    def key(self, *data):
        return f"{self.kind}-{data[0][:8]}"

    def train(self, train, validation, cohort, run_dir, forbidden):
        self.calls.append((set(train.subjects), set(validation.subjects), forbidden))
        process = SimpleNamespace(to_dict=lambda: {})
        facts = {"iteration": 0, "iterations": 0, "seconds": 0.0, "parameters": 0, "process": {}}
        return Trained(
            None, process, PlantedSampler(self.kind, self.noise), None, f"{self.kind} {len(train.subjects)}", facts
        )


def cohort(**more):
    said = {"simulated": True, "notices": [], "data_terms": "free", "split_unit": "subject"}
    return SimpleNamespace(fingerprint=lambda: "0123456789abcdef", **(said | more))


def utility(folder, recipe=None, people=(4, 16, 60), noise=0.8, **arguments):
    """An experiment small enough for a test."""
    sets = [
        pictures(split, n, i, noise) for i, (split, n) in enumerate(zip(("train", "val", "test"), people, strict=True))
    ]
    settings = {"sizes": [1.0], "seeds": 2, "ratio": 30.0, "replicates": 200}
    settings["classifier"] = ClassifierSettings(
        iterations=50, checks=5, batch_size=16, widths=(16, 32), learning_rate=1e-2
    )
    return Utility(
        recipe or PlantedRecipe(noise=noise),
        cohort(),
        COVARIATES,
        *sets,
        folder,
        name="stripes",
        **(settings | arguments),
    )
