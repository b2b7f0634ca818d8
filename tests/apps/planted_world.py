"""A world of drawn brains whose ventricle effect is known, and generators that know it, miss it or exaggerate it."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import torch

from medgen.apps import Evaluation
from medgen.covariates import Covariates, Range
from medgen.metrics import FeatureClassifier

COVARIATES = Covariates(
    diagnosis=["NC", "AD"], age=Range(18, 100, "years"), sex=["F", "M"], slice=Range(0, 1, "fraction")
)
SIZE, PIXEL_MM = 48, 4.0
EFFECT, AGE_SLOPE, SPREAD = 330.0, 8.0, 260.0  # mm², mm² a year, mm²


def ventricle_mm2(diagnosis, age, sex, place, residual, effect=EFFECT, age_slope=AGE_SLOPE):
    return (
        1100 + effect * diagnosis + age_slope * (age - 75) + 60 * (sex - 0.5) - 300 * (place - 0.5) + SPREAD * residual
    )


def draw_brain(area, random):
    """One slice (1, H, W) in [-1, 1]: an oval of grey around white matter, two dark ovals of the wanted area."""
    y, x = (np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2) * PIXEL_MM
    y, x = y - random.normal(0, 1), x - random.normal(0, 1)
    size = 1 + 0.03 * random.normal()

    def oval(cx, half_y, half_x):
        return 1 / (1 + np.exp(-12 * (1 - np.hypot(y / half_y, (x - cx) / half_x))))

    half = math.sqrt(max(area, 60) / 2 / math.pi / 2)  # two ovals, each twice as long as wide
    tissue = (0.6 + 0.25 * oval(0, 72 * size, 56 * size)) * oval(0, 86 * size, 70 * size)
    fluid = np.maximum(oval(-half - 3, 2 * half, half), oval(half + 3, 2 * half, half))
    image = tissue * (1 - 0.85 * fluid) * random.normal(1, 0.03)
    image = np.hypot(image + random.normal(0, 0.02, image.shape), random.normal(0, 0.02, image.shape))
    image = np.where(tissue < 0.05, 0, image)
    return np.clip(2 * image - 1, -1, 1)[None]


class World:
    """Subjects with three slices each, as a cohort and as data sets by split.

    ``marked`` puts a white square into a corner of every real image, which no generated one has.
    """

    def __init__(
        self, subjects=(70, 24, 40), slices=3, seed=0, confounded=False, ages=True, simulated=True, marked=False,
        age_slope=AGE_SLOPE,
    ):  # fmt: skip
        random = np.random.default_rng(seed)
        self.sets, records, columns = {}, [], []
        number = 0
        for split, count in zip(("train", "validation", "test"), subjects, strict=True):
            images, rows, names = [], [], []
            for i in range(count):
                diagnosis, sex, residual = i % 2, (i // 2) % 2, np.clip(random.normal(), -2, 2)
                age = random.uniform(60, 95) if not confounded else random.uniform(58, 82) + 10 * diagnosis
                name = f"secret-{number:03d}"
                number += 1
                for place in random.uniform(0, 1, slices):
                    images.append(
                        draw_brain(ventricle_mm2(diagnosis, age, sex, place, residual, age_slope=age_slope), random)
                    )
                    if marked:
                        images[-1][:, :7, :7] = 1
                    known = (diagnosis, age, sex, place) if ages else (diagnosis, math.nan, math.nan, place)
                    rows.append(known)
                    names.append(name)
                records.append({"subject": name, "image": f"{name}.nii.gz"})
                volume = ventricle_mm2(diagnosis, age, sex, 0.5, residual, age_slope=age_slope) / 30
                columns.append({"ventricle_ml": str(volume)} if simulated else {})
            self.sets[split] = SimpleNamespace(
                images=torch.tensor(np.stack(images), dtype=torch.float16),
                covariates=torch.tensor(rows, dtype=torch.float32),
                subjects=names,
                records=[{"subject": name, "image": f"{name}.nii.gz"} for name in names],
                pixel_mm=PIXEL_MM,
            )
        self.cohort = SimpleNamespace(
            records=records,
            columns=columns,
            simulated=simulated,
            ground_truth={"direct_diagnosis_effect_ml": EFFECT / 30, "age_slope_ml_per_year": age_slope / 30}
            if simulated
            else None,
            data_terms="simulated: free to share" if simulated else "not stated",
            notices=[],
            split_unit="subject",
            fingerprint=lambda: "0123456789abcdef",
        )


class PlantedSampler:
    """Draws new people as asked: "faithful"; or deaf to the label, exaggerating, off scale, copying, ageless."""

    guidance = 1.0

    def __init__(self, kind="faithful", training=None, age_slope=AGE_SLOPE):
        self.kind, self.training, self.age_slope = kind, training, age_slope

    def __call__(self, network, process, shape, seeds, covariates=None, codec=None):
        images = []
        for seed, row in zip(seeds, covariates.tolist(), strict=True):
            random = np.random.default_rng(seed % 2**32)
            diagnosis, age, sex, place = (0.0 if math.isnan(v) else v for v in row)
            age = 77.0 if math.isnan(row[1]) else age
            if self.kind == "ageless":
                age = random.uniform(60, 95)
            if self.kind == "deaf":
                diagnosis = random.integers(0, 2)
            effect = {"exaggerating": 2.2 * EFFECT}.get(self.kind, EFFECT) * (1 + 0.5 * (self.guidance - 1))
            residual = 0.0 if self.kind == "average" else np.clip(random.normal(), -2, 2)
            image = draw_brain(ventricle_mm2(diagnosis, age, sex, place, residual, effect, self.age_slope), random)
            if self.kind == "copying":
                image = self.training.images[random.integers(0, len(self.training.images))].numpy()
            images.append((image + 1) / 2 if self.kind == "off scale" else image)
        tensor = torch.tensor(np.stack(images), dtype=torch.float32)
        return SimpleNamespace(images=tensor, seconds=0.01 * len(seeds), evaluations=20)

    def to_dict(self):
        return {"kind": self.kind}


def evaluation(world, sampler, folder, network=None, **arguments):
    """An evaluation of a planted generator, small enough for a test."""
    if network is None:
        network = torch.nn.Linear(1, 1)
        torch.nn.init.zeros_(network.weight), torch.nn.init.zeros_(network.bias)
    settings = {"n_per_class": 80, "n_sweep": 30, "guidances": [2.0], "replicates": 300}
    settings |= {"membership": False, "redraw": False, "n_planted": 16}  # the planted generators are no networks
    settings["judge"] = FeatureClassifier(epochs=8, patience=8, amp=False)
    return Evaluation(
        network, "process", sampler, COVARIATES, world.cohort, *world.sets.values(), folder,
        name="planted", **(settings | arguments),
    )  # fmt: skip
