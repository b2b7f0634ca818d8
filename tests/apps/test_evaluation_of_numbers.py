"""Planted generators asked for ages: the faithful one passes, the others are exposed by the figure that is meant to."""

import copy
import json

import pytest
from planted_world import PlantedSampler, World, evaluation

from medgen.apps.evaluation.planes import axial_rows, plane_rows
from medgen.apps.report import verdict, words
from medgen.apps.report.schema import METRICS_SCHEMA
from medgen.covariates import Covariates
from medgen.metrics import FeatureRegressor

SLOPE = 24.0  # mm² a year


@pytest.fixture(scope="module")
def world():
    return World(age_slope=SLOPE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("numbers")


def _of_age(world, folder, kind, **arguments):
    judge = FeatureRegressor(epochs=12, patience=12, amp=False)
    settings = {"label": "age", "judge": judge, "n_per_class": 120, "guidances": [], "replicates": 200}
    return evaluation(world, PlantedSampler(kind, age_slope=SLOPE), folder, **(settings | arguments))


def _main(world, folder, kind, **arguments):
    metrics = _of_age(world, folder, kind, **arguments).evidence().metrics
    return metrics, next(row for row in metrics["generated"] if row["main"])


def test_a_faithful_generator_agrees_as_real_images_do(world, folder):
    metrics, row = _main(world, folder, "faithful")
    assert metrics["real"]["agreement"]["correlation"]["low"] > 0.2
    assert metrics["real"]["agreement"]["slope"]["value"] < 0.9  # a regressor shrinks to the mean
    found = row["label"]
    assert found["correlation_ratio"]["value"] == pytest.approx(1, abs=0.25)
    assert found["slope_ratio"]["low"] < 1 < found["slope_ratio"]["high"]
    assert found["slope_adjusted_ratio"]["low"] < 1 < found["slope_adjusted_ratio"]["high"]
    assert "not shown" not in " ".join(verdict.box(metrics))
    area = row["ventricles"]
    assert area["slope"]["value"] == pytest.approx(SLOPE, rel=0.3)
    assert area["slope_ratio"]["value"] == pytest.approx(1, abs=0.3)
    assert area["known_ratio"]["value"] == pytest.approx(1, abs=0.3)
    assert area["spread_ratio"]["value"] == pytest.approx(1, abs=0.2)
    assert [band["low"] for band in area["bands"]] == [60.0, 70.0, 80.0, 90.0]
    assert (row["per_class"], len(set(found["by_plane"]))) == (120, 0)


def test_one_that_is_deaf_to_age_is_exposed_by_correlation_and_slope(world, folder):
    _, row = _main(world, folder, "ageless")
    assert abs(row["label"]["correlation"]["value"]) < 0.25
    assert row["label"]["slope_ratio"]["high"] < 0.6
    assert abs(row["ventricles"]["slope_ratio"]["value"]) < 0.4


class HeedsTheDiagnosisAlone(PlantedSampler):
    """Everybody has the mean age of the diagnosis asked for, in a world where patients are ten years older."""

    def __call__(self, network, process, shape, seeds, covariates=None, codec=None):
        asked = covariates.clone()
        asked[:, 1] = 70 + 10 * asked[:, 0]
        return super().__call__(network, process, shape, seeds, asked, codec)


def test_one_that_shows_age_by_the_diagnosis_alone_is_exposed_at_equal_diagnosis(tmp_path):
    world = World(confounded=True, age_slope=SLOPE, subjects=(70, 16, 60))
    settings = {"label": "age", "judge": FeatureRegressor(epochs=12, patience=12, amp=False), "n_per_class": 120}
    settings |= {"guidances": [], "replicates": 200}
    sampler = HeedsTheDiagnosisAlone("faithful", age_slope=SLOPE)
    metrics = evaluation(world, sampler, tmp_path, **settings).evidence().metrics
    found, real = metrics["generated"][0]["label"], metrics["real"]["agreement"]
    assert real["adjusted_for"] == ["diagnosis", "sex", "slice"]
    assert real["slope_adjusted"]["low"] > 0
    assert found["correlation_ratio"]["value"] > 0.5  # the diagnosis tells the age
    assert found["slope_adjusted_ratio"]["high"] < 0.6
    box = " ".join(verdict.box(metrics))
    assert "The age is not shown by itself: at equal diagnosis, sex and slice, images change" in box


def test_one_of_average_people_is_exposed_by_its_spread(world, folder):
    _, row = _main(world, folder, "average")
    assert row["label"]["correlation_ratio"]["value"] > 1
    assert row["ventricles"]["spread_ratio"]["high"] < 0.9


@pytest.mark.parametrize("simulated", [True, False])
def test_reports_of_an_age(tmp_path, simulated):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    world = World(subjects=(30, 12, 16), simulated=simulated, age_slope=SLOPE)
    world.sets["train"].covariates[:, 1].clamp_(max=85)  # some held-out people are older
    _of_age(world, tmp_path, "faithful", n_per_class=16, n_sweep=8, guidances=[2.0], replicates=100).run()
    metrics = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    jsonschema.validate(metrics, METRICS_SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({k: v for k, v in metrics.items() if k != "regressor"}, METRICS_SCHEMA)
    assert metrics["settings"] | {"label": "age", "labels": None, "unit": "years"} == metrics["settings"]
    assert metrics["generated"][0]["label"]["extrapolated"] > 0
    assert any("outside the training range of age" in notice for notice in metrics["notices"])
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    for said in ("Correlation of the age", "the ceiling", "the floor", "90+", "shrinks to the mean", "extrapolated"):
        assert said in text
    assert "secret-" not in text
    assert ("SIMULATED cohort, for comparison" in text) == simulated
    private = tmp_path / "report_private.html"
    assert private.stat().st_mode & 0o777 == 0o600
    assert "Held-out real images" in private.read_text(encoding="utf-8")


def test_bands_of_few_people_are_not_published(world, folder):
    changed = copy.deepcopy(world)
    held_out = changed.sets["test"]
    for data in changed.sets.values():
        data.covariates[:, 1].clamp_(max=89)
    held_out.covariates[[s == held_out.subjects[0] for s in held_out.subjects], 1] = 95.5
    metrics = _of_age(changed, folder, "faithful").evidence().metrics
    for part in (metrics["real"]["agreement"], metrics["real"]["ventricles"], metrics["generated"][0]["label"]):
        assert [band["low"] for band in part["bands"]] == [60.0, 70.0, 80.0]


def test_words_of_numbers():
    def figure(value, low=None, high=None):
        return {"value": value, "low": value if low is None else low, "high": value if high is None else high}

    assert words.agreement_words(figure(0.95), figure(0.6, 0.4, 0.7), "age")[1] == "good"
    assert words.agreement_words(figure(0.5), figure(0.6, 0.4, 0.7), "age")[0].startswith("Too weak")
    assert "beyond chance" in words.agreement_words(figure(1.0), figure(0.1, -0.1, 0.3), "age")[0]
    assert words.slope_words(figure(1.3))[0].startswith("Exaggerated")
    assert words.slope_words(figure(0.7))[0].startswith("Too small")
    assert words.slope_words(figure(0.7, 0.5, 1.1))[1] == "warn"
    assert [words.shown_band(*band, "age") for band in ((60.0, 70.0), (90.0, 100.0))] == ["60 to 70", "90+"]


def test_planes_are_told_apart():
    covariates = Covariates(age={"low": 0, "high": 100}, plane=["axial", "coronal", "sagittal"])
    values = covariates.encode([{"plane": "axial"}, {"plane": "sagittal"}, {}])
    assert {plane: rows.tolist() for plane, rows in plane_rows(covariates, values).items()} == {
        "axial": [True, False, False],
        "sagittal": [False, True, False],
    }
    assert axial_rows(covariates, values).tolist() == [True, False, False]
    assert plane_rows(covariates, values[:1]) == {}
    assert axial_rows(Covariates(age={"low": 0, "high": 100}), values[:, :1]).all()


def test_a_number_has_no_labels(world, folder):
    with pytest.raises(ValueError, match="age is a number and has none"):
        _of_age(world, folder, "faithful", labels=["NC", "AD"])
