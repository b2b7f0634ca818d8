"""Traits of the cohort's table: planted generators that change them with age as people do, or do not."""

import base64
import copy
import json

import pytest
from planted_world import PlantedSampler, World, evaluation

from medgen.apps.report.schema import METRICS_SCHEMA
from medgen.metrics import FeatureRegressor

SLOPE = 24.0  # mm² of ventricle a year
FACTOR = -0.0002  # of nWBV a ml: the trait falls as ventricles grow


@pytest.fixture(scope="module")
def world():
    """A world whose table says the ventricles' volume, and a brain volume that falls by it, under OASIS's name."""
    made = World(subjects=(50, 20, 40), age_slope=SLOPE)
    made.cohort.columns = [
        row | {"nwbv": f"{0.8 + FACTOR * float(row['ventricle_ml']):.5f}", "word": "yes", "age": "70"}
        for row in made.cohort.columns
    ]
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("traits")


def _evaluation(world, folder, kind="faithful", **arguments):
    judge = FeatureRegressor(epochs=12, patience=12, amp=False)
    settings = {"label": "age", "judge": judge, "n_per_class": 80, "guidances": [], "replicates": 200}
    return evaluation(world, PlantedSampler(kind, age_slope=SLOPE), folder, **(settings | arguments))


def test_a_trait_that_follows_age_is_found_in_real_and_in_faithful_images(world, folder):
    metrics = _evaluation(world, folder).evidence().metrics
    (name, real), (same, found) = (*metrics["real"]["traits"].items(), *metrics["generated"][0]["traits"].items())
    assert name == same == "nWBV"
    planted = 10 * SLOPE / 30 * FACTOR  # a decade's
    assert real["per"] == 10
    assert real["true"]["slope"]["value"] == pytest.approx(planted, rel=0.2)
    assert real["true"]["slope"]["low"] < planted < real["true"]["slope"]["high"]
    assert real["agreement"]["correlation"]["low"] > 0.2
    assert 0 > real["predicted"]["slope"]["value"] > 1.3 * planted  # a regressor shrinks to the mean
    assert found["slope_ratio"]["low"] < 1 < found["slope_ratio"]["high"]
    assert found["spread_ratio"]["value"] == pytest.approx(1, abs=0.3)
    assert [band["low"] for band in found["bands"]] == [60.0, 70.0, 80.0, 90.0]
    assert real["subjects"] == 40


def test_a_generator_that_is_deaf_to_age_has_no_trend(world, folder):
    metrics = _evaluation(world, folder, "ageless", n_per_class=400).evidence().metrics
    assert metrics["generated"][0]["traits"]["nWBV"]["slope_ratio"]["high"] < 0.6


def test_small_bands_and_unknown_values_are_left_out(world, folder):
    changed = copy.deepcopy(world)
    held_out = changed.sets["test"]
    held_out.covariates[:, 1].clamp_(max=89)
    first = held_out.subjects[0]
    held_out.covariates[[s == first for s in held_out.subjects], 1] = 95.5  # a single person beyond ninety
    missing = held_out.subjects[-1]
    for record, row in zip(changed.cohort.records, changed.cohort.columns, strict=True):
        row["nwbv"] = "n/a" if record["subject"] == missing else row["nwbv"]
    found = _evaluation(changed, folder)
    assert missing not in found.traits[0].images["test"].subjects
    real = found.evidence().metrics["real"]["traits"]["nWBV"]
    assert [band["low"] for band in real["true"]["bands"]] == [60.0, 70.0, 80.0]
    assert real["subjects"] == 39


def test_the_public_report_shows_no_single_value(world, tmp_path):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    changed = copy.deepcopy(world)
    changed.cohort.simulated, changed.cohort.ground_truth = False, None
    arguments = {"n_per_class": 16, "n_sweep": 8, "replicates": 100, "traits": ["ventricle_ml", "nWBV"]}
    _evaluation(changed, tmp_path, **arguments).run()
    metrics = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=pytest.fail)
    jsonschema.validate(metrics, METRICS_SCHEMA)
    public, private = ((tmp_path / name).read_text("utf-8") for name in ("report.html", "report_private.html"))
    assert list(metrics["real"]["traits"]) == ["ventricle_ml", "nWBV"]
    for text in (public, private):
        assert "nWBV by age" in text
    assert "was never told it" in public
    assert "every point of the first two panels is a person" in private
    assert "every point" not in public
    assert "secret-" not in public
    assert all(row["nwbv"] not in public for row in changed.cohort.columns)
    assert base64.b64encode(b"\x89PNG")[:5].decode() in public


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["nWVB"], "no column 'nWVB'.*nwbv"),
        (["age"], "is a covariate"),
        (["word"], "holds 'yes', expected numbers"),
        ("nWBV", r"expected a list of columns.*\['nWBV'\]"),
    ],
)
def test_what_is_no_trait_is_refused(world, folder, names, said):
    with pytest.raises(ValueError, match=said):
        _evaluation(world, folder, traits=names)


def test_a_label_has_no_trend(world, folder):
    with pytest.raises(ValueError, match="diagnosis is a label"):
        evaluation(world, PlantedSampler(), folder, traits=["nWBV"])
    assert evaluation(world, PlantedSampler(), folder).traits == []


def test_cohorts_without_the_column_have_no_trait(folder):
    plain = World(subjects=(8, 6, 8), age_slope=SLOPE)
    assert _evaluation(plain, folder).traits == []
