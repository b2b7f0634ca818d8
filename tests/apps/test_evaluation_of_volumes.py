"""A planted world of volumes: the evaluation measures millilitres, and its report shows three planes."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medgen.apps import Evaluation
from medgen.apps.report import pictures
from medgen.apps.report.schema import METRICS_SCHEMA
from medgen.covariates import Covariates, Range
from medgen.metrics import FeatureRegressor
from medgen.metrics.feature_model import views

COVARIATES = Covariates(
    age=Range(18, 100, "years"), plane=["axial", "coronal", "sagittal"], slice=Range(0, 1, "fraction")
)
SHAPE, VOXEL_MM = (26, 32, 24), 6.0
SLOPE, SPREAD = 0.9, 6.0  # ml a year, ml


def draw_brain(ml, random):
    """A volume (1, X, Y, Z) in [-1, 1] with two dark balls of the wanted volume together."""
    axes = [(np.arange(n) - (n - 1) / 2) * VOXEL_MM for n in SHAPE]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)

    def ball(cx, cz, *half):
        away = np.sqrt(((x - cx) / half[0]) ** 2 + (y / half[1]) ** 2 + ((z - cz) / half[2]) ** 2)
        return 1 / (1 + np.exp(np.clip(half[0] / VOXEL_MM * 3 * (away - 1), -30, 30)))

    half = (max(ml, 4.0) * 1000 * 3 / 8 / math.pi) ** (1 / 3)
    tissue = np.where(ball(0, 0, 68, 86, 66) > 0.5, 0.6 + 0.25 * ball(0, 0, 54, 72, 52), 0)
    fluid = np.maximum(ball(-half - 4, 8, half, half, half), ball(half + 4, 8, half, half, half))
    image = tissue * (1 - 0.85 * fluid) + random.normal(0, 0.02, SHAPE) * (tissue > 0)
    return np.clip(2 * image - 1, -1, 1)[None]


def volume_ml(age, random):
    return 30 + SLOPE * (age - 75) + SPREAD * np.clip(random.normal(), -2, 2)


class PlantedSampler:
    """Draws people of the asked age."""

    guidance = 1.0

    def __call__(self, network, process, shape, seeds, covariates=None, codec=None):
        assert tuple(shape) == (1, *SHAPE)
        images = []
        for seed, row in zip(seeds, covariates.tolist(), strict=True):
            random = np.random.default_rng(seed % 2**32)
            images.append(draw_brain(volume_ml(row[0], random), random))
        return SimpleNamespace(
            images=torch.tensor(np.stack(images), dtype=torch.float32), seconds=0.1 * len(seeds), evaluations=20
        )

    def to_dict(self):
        return {"kind": "planted"}


@pytest.fixture(scope="module")
def world():
    random = np.random.default_rng(0)
    sets, records, columns = {}, [], []
    for split, count in (("train", 20), ("validation", 6), ("test", 18)):
        names = [f"secret-{split}-{i}" for i in range(count)]
        ages = random.uniform(60, 88, count)
        volumes = [volume_ml(age, random) for age in ages]
        rows = [(age, math.nan, math.nan) for age in ages]
        sets[split] = SimpleNamespace(
            images=torch.tensor(np.stack([draw_brain(v, random) for v in volumes]), dtype=torch.float16),
            covariates=torch.tensor(rows, dtype=torch.float32),
            subjects=names,
            records=[{"subject": name, "image": f"{name}.nii.gz"} for name in names],
            pixel_mm=VOXEL_MM,
        )
        records += sets[split].records
        columns += [{"ventricle_ml": str(volume)} for volume in volumes]
    cohort = SimpleNamespace(
        records=records, columns=columns, simulated=True, ground_truth={"age_slope_ml_per_year": SLOPE},
        data_terms="simulated: free to share", notices=[], split_unit="subject", fingerprint=lambda: "0123",
    )  # fmt: skip
    return cohort, sets


def test_volumes_are_evaluated_in_millilitres(world, tmp_path):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    cohort, sets = world
    evaluation = Evaluation(
        torch.nn.Linear(1, 1), "process", PlantedSampler(), COVARIATES, cohort, *sets.values(), tmp_path, label="age",
        judge=FeatureRegressor(epochs=6, amp=False), n_per_class=18, n_sweep=8, guidances=[], replicates=100,
        membership=False, n_planted=8, redraw=False,
        name="volumes",
    )  # fmt: skip
    evaluation.run()
    metrics = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    jsonschema.validate(metrics, METRICS_SCHEMA)
    real, (row,) = metrics["real"]["ventricles"], metrics["generated"]
    assert real["unit"] == "ml"
    assert real["known"]["correlation"] > 0.95
    assert real["slope"]["value"] == pytest.approx(SLOPE, rel=0.35)
    assert row["ventricles"]["slope_ratio"]["low"] < 1 < row["ventricles"]["slope_ratio"]["high"]
    assert row["ventricles"]["spread_ratio"]["value"] == pytest.approx(1, abs=0.4)
    assert metrics["data"]["image_size"] == list(SHAPE)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Ventricle volume per year (ml), adjusted for nothing" in text
    assert "Mean ventricle volume" in text
    assert "Ventricle area" not in text
    assert "secret-" not in text


def test_a_network_of_other_dimensions_is_refused(world, tmp_path):
    cohort, sets = world
    network = torch.nn.Linear(1, 1)
    network.spatial_dims = 2
    with pytest.raises(ValueError, match=r"images: found volumes, but the network works on pictures"):
        Evaluation(network, "process", PlantedSampler(), COVARIATES, cohort, *sets.values(), tmp_path, label="age")


def test_what_is_seen_and_compared_of_volumes():
    volumes = torch.rand(2, 1, 4, 6, 8)
    assert views(volumes).shape == (2, 3, 8, 8)
    assert views(volumes[:, :, 0]) is not None
    picture = pictures.grid(volumes, 2, ["both"], ["one", "two"])
    assert picture.startswith(b"\x89PNG")
