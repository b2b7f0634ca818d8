"""How a distance falls with the work an image takes: a planted sampler whose images sharpen with its steps."""

import json
from types import SimpleNamespace

import pytest
import torch
from planted_world import PlantedSampler, World, evaluation

from medgen.apps.evaluation.efficiency import ProfileDistance, solver_settings
from medgen.apps.report.schema import METRICS_SCHEMA
from medgen.covariates import Covariates
from medgen.metrics import FeatureRegressor


class Sharpening(PlantedSampler):
    """Adds noise that falls with the steps; half as much by "midpoint", for twice the evaluations."""

    solver, steps = "euler", 20

    def __call__(self, network, process, shape, seeds, covariates=None, codec=None):
        made = super().__call__(network, process, shape, seeds, covariates, codec)
        noise = torch.randn(made.images.shape, generator=torch.Generator().manual_seed(seeds[0] % 2**31))
        per_step = {"euler": 1, "midpoint": 2}[self.solver]
        images = (made.images + noise * 0.6 / self.steps / per_step).clamp(-1, 1)
        return SimpleNamespace(images=images, seconds=made.seconds, evaluations=per_step * self.steps)

    def to_dict(self):
        return super().to_dict() | {"solver": self.solver, "steps": self.steps}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("solvers")
    world = World(subjects=(24, 10, 20), age_slope=24.0)
    settings = {
        "label": "age", "judge": FeatureRegressor(epochs=4, patience=4, amp=False), "n_per_class": 24, "n_sweep": 8,
        "guidances": [], "replicates": 50, "solvers": [["euler", 1], ["euler", 4], ["midpoint", 2]], "solver_seeds": 2,
    }  # fmt: skip
    made = evaluation(world, Sharpening("faithful", age_slope=24.0), folder, **settings)
    made.run()
    return made, folder, json.loads((folder / "metrics.json").read_text())


def test_more_steps_come_nearer_at_the_same_noise(found):
    _, _, metrics = found
    one, four, two = metrics["solvers"]
    assert [(row["solver"], row["steps"], row["evaluations"]) for row in (one, four, two)] == [
        ("euler", 1, 1), ("euler", 4, 4), ("midpoint", 2, 4),
    ]  # fmt: skip
    assert one["frechet"]["value"] > 2 * four["frechet"]["value"]
    assert four["frechet"]["low"] <= four["frechet"]["value"] <= four["frechet"]["high"]
    assert two["frechet"]["value"] == pytest.approx(four["frechet"]["value"])  # the same noise, as much of it
    assert four["over_most"] == two["over_most"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert one["over_most"]["low"] > 1.5
    assert (one["seeds"], one["images"], one["frechet_by_plane"]) == (2, 24, {})


def test_the_report_shows_it(found):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    _, folder, metrics = found
    jsonschema.validate(metrics, METRICS_SCHEMA)
    assert "Solver and steps" in (folder / "report.html").read_text(encoding="utf-8")


def test_real_images_are_at_no_distance_from_themselves(found):
    made, _, _ = found
    measure, test = made.distance(), made.real["test"]
    assert measure.of_features(measure.judge.features(test.images), test.covariates)[""] == pytest.approx(0, abs=1e-6)


def test_planes_that_no_held_out_image_is_of_are_refused():
    covariates = Covariates(plane=["axial", "coronal", "sagittal"])
    held_out = SimpleNamespace(images=torch.rand(40, 1, 2, 2), covariates=torch.arange(40)[:, None] % 2.0)
    judge = SimpleNamespace(features=lambda images: images.flatten(1).double().numpy())
    measure = ProfileDistance(SimpleNamespace(covariates=covariates), judge, held_out, held_out, cache=None)
    features = judge.features(held_out.images)
    assert set(measure.of_features(features, held_out.covariates)) == {"", "axial", "coronal"}
    assert set(measure.of_features(features, 0 * held_out.covariates)) == {""}
    with pytest.raises(
        ValueError, match="found sagittal images, expected those of the held-out images: axial, coronal"
    ):
        measure.of_features(features, 2 * held_out.covariates)


@pytest.mark.parametrize("wrong", [["euler"], [["euler", "10"]], [["euler", 10, 1]]])
def test_what_is_no_pair_is_refused(wrong):
    with pytest.raises(ValueError, match="expected pairs such as"):
        solver_settings(wrong, 3)
    with pytest.raises(ValueError, match="solver_seeds"):
        solver_settings([["euler", 10]], 0)
