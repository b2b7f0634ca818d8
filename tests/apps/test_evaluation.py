"""Planted generators: the faithful one passes, and each of the others is exposed by the figure that is meant to."""

import json

import numpy as np
import pytest
import torch
from planted_world import COVARIATES, EFFECT, PlantedSampler, World, evaluation

from medgen.apps.evaluation import training_splits
from medgen.apps.evaluation.contrast import LabelContrast, evaluated_labels
from medgen.apps.evaluation.real import draw_profiles
from medgen.apps.report.words import headline
from medgen.handlers.manifest import write_model
from medgen.metrics import FeatureClassifier


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all generators, so that the classifier is trained once."""
    return tmp_path_factory.mktemp("evaluation")


def _main(world, folder, kind, **arguments):
    sampler = PlantedSampler(kind, world.sets["train"])
    metrics = evaluation(world, sampler, folder, **arguments).evidence().metrics
    return metrics, next(row for row in metrics["generated"] if row["main"])


@pytest.fixture(scope="module")
def faithful(world, folder):
    return _main(world, folder, "faithful")


def test_a_faithful_generator_has_ratios_near_one(faithful):
    metrics, row = faithful
    assert 0.65 < metrics["real"]["auc"]["value"] < 0.92  # classes overlap, or the ratio could not exceed 1
    assert row["label"]["ratio"]["low"] < 1 < row["label"]["ratio"]["high"]
    assert row["label"]["ratio"]["value"] == pytest.approx(1, abs=0.3)
    assert row["ventricles"]["effect_ratio"]["value"] == pytest.approx(1, abs=0.25)
    assert row["ventricles"]["known_ratio"]["value"] == pytest.approx(1, abs=0.15)
    assert row["ventricles"]["spread_ratio"]["value"] == pytest.approx(1, abs=0.2)
    assert row["ventricles"]["effect"]["low"] > 0
    assert row["likeness"]["frechet"]["value"] < 3 * row["likeness"]["floor_frechet"]["value"]
    assert row["likeness"]["kernel"]["low"] < 0.1
    assert row["originality"]["near_copies"] == 0
    for detector in row["originality"]["near"].values():
        assert detector["excess"]["low"] < 0.05


def test_the_measured_effect_is_the_drawn_one(faithful):
    metrics, row = faithful
    known = metrics["real"]["ventricles"]["known"]
    assert known["correlation"] > 0.9
    assert row["ventricles"]["effect"]["value"] == pytest.approx(EFFECT, rel=0.15)
    assert known["effect"]["value"] == pytest.approx(EFFECT, rel=0.15)
    assert row["ventricles"]["adjusted_for"] == ["age", "sex", "slice"]


def test_guidance_exaggerates_here_and_the_sweep_shows_it(faithful):
    main, strong = faithful[0]["generated"]
    assert (main["guidance"], strong["guidance"]) == (1.0, 2.0)
    assert (main["per_class"], strong["per_class"]) == (80, 30)
    assert strong["ventricles"]["effect_ratio"]["value"] > main["ventricles"]["effect_ratio"]["value"] + 0.25
    assert strong["likeness"]["n"] == 30


def test_a_generator_deaf_to_the_label_is_at_chance(world, folder):
    _, row = _main(world, folder, "deaf")
    assert row["label"]["auc"]["value"] == pytest.approx(0.5, abs=0.08)
    assert row["label"]["ratio"]["value"] == pytest.approx(0, abs=0.25)
    assert abs(row["ventricles"]["effect"]["value"]) < 0.2 * EFFECT


def test_an_exaggerating_generator_is_exposed_by_the_size_of_its_effect(world, folder):
    _, row = _main(world, folder, "exaggerating")
    assert row["label"]["ratio"]["value"] > 1.2
    assert row["ventricles"]["effect_ratio"]["low"] > 1.35


def test_a_generator_of_average_patients_is_exposed_by_its_spread(world, folder):
    _, row = _main(world, folder, "average")
    assert row["ventricles"]["effect_ratio"]["value"] == pytest.approx(1, abs=0.25)
    assert row["ventricles"]["spread_ratio"]["high"] < 0.5


def test_a_copying_generator_is_caught(world, folder):
    metrics, row = _main(world, folder, "copying")
    found = row["originality"]
    assert found["near_copies"] == 160
    assert found["fraction"]["low"] > 0.9
    assert 40 < found["copied_subjects"] <= found["training_subjects"] == 70
    assert found["near"]["pixels"]["excess"]["value"] == pytest.approx(0.95, abs=0.01)
    assert metrics["memorisation"]["kinds"][0] | {"kind": "exact", "planted": 16} == metrics["memorisation"]["kinds"][0]
    assert metrics["memorisation"]["kinds"][0]["recall"]["value"] == 1.0


def test_a_generator_on_another_scale_is_refused(world, folder):
    with pytest.raises(ValueError, match="scaled differently: generated at guidance 1 lies in"):
        _main(world, folder, "off scale")


def test_confounded_by_age_the_adjusted_figures_hold(tmp_path):
    world = World(seed=3, confounded=True)
    metrics, row = _main(world, tmp_path, "faithful")
    cohort = metrics["real"]["ventricles"]
    assert any("differ in age" in notice for notice in metrics["notices"])
    assert metrics["real"]["ages_differ"] is True
    assert headline(metrics) == "_adjusted"
    assert cohort["unadjusted"]["value"] > cohort["effect"]["value"] + 40
    assert cohort["effect"]["low"] < EFFECT < cohort["effect"]["high"]
    assert row["ventricles"]["effect"]["value"] == pytest.approx(EFFECT, rel=0.15)
    assert row["ventricles"]["known_ratio"]["value"] == pytest.approx(1, abs=0.15)


def test_without_ages_it_says_unadjusted(tmp_path):
    world = World(subjects=(30, 12, 16), ages=False, simulated=False)
    metrics, row = _main(world, tmp_path, "faithful", n_per_class=16, n_sweep=8, guidances=[], replicates=100)
    assert "AD against NC, unadjusted for age and sex: the cohort does not hold them." in metrics["notices"]
    assert metrics["real"]["ventricles"]["known"] is None
    assert row["ventricles"]["known_ratio"] is None
    assert row["ventricles"]["age_slope"] is None
    assert row["ventricles"]["adjusted_for"] == ["slice"]


def test_an_interrupted_evaluation_goes_on(world, faithful, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        evaluation(world, CountedSampler(stop_at=2), tmp_path).evidence()
    monkeypatch.setattr(FeatureClassifier, "fit", lambda *a, **k: pytest.fail("the classifier was trained again"))
    sampler = CountedSampler()
    metrics = evaluation(world, sampler, tmp_path).evidence().metrics
    assert len(sampler.calls) == 2  # of three chunks of the main guidance and one of the other, two were kept
    for row, reference in zip(metrics["generated"], faithful[0]["generated"], strict=True):
        assert json.dumps(row | {"seconds_per_image": 0}) == json.dumps(reference | {"seconds_per_image": 0})
    other = CountedSampler()
    network = torch.nn.Linear(1, 1)  # other weights: nothing kept may be used
    evaluation(world, other, tmp_path, network=network, n_per_class=8, n_sweep=8, guidances=[]).evidence()
    assert len(other.calls) == 1


class CountedSampler(PlantedSampler):
    """Counts calls over all copies that are made of it, and may stop."""

    def __init__(self, stop_at=None):
        super().__init__("faithful")
        self.calls, self.stop_at = [], stop_at

    def __call__(self, *args, **kwargs):
        if len(self.calls) == self.stop_at:
            raise KeyboardInterrupt
        self.calls.append(1)
        return super().__call__(*args, **kwargs)


def test_profiles_represent_subjects_evenly():
    subjects = [f"s{i // 5}" for i in range(50)]
    rows = draw_profiles(subjects, 24, seed=1)
    counts = np.unique([subjects[row] for row in rows], return_counts=True)[1]
    assert counts.tolist() == sorted(counts.tolist(), reverse=True) or set(counts) == {2, 3}
    assert len(set(rows.tolist())) == 24
    np.testing.assert_array_equal(rows[:7], draw_profiles(subjects, 7, seed=1))
    assert len(draw_profiles(subjects, 130)) == 130


def test_refuses_what_would_make_the_figures_meaningless(world, tmp_path):
    train, _, test = world.sets.values()
    with pytest.raises(ValueError, match="in two splits"):
        evaluation(_with(world, validation=train), PlantedSampler(), tmp_path)
    with pytest.raises(ValueError, match="the splits differ in pixel size"):
        evaluation(_with(world, test=_changed(test, pixel_mm=2.0)), PlantedSampler(), tmp_path)
    one_class = test.covariates.clone()
    one_class[:, 0] = 0
    with pytest.raises(ValueError, match="test: 0 subjects with diagnosis = 'AD'"):
        evaluation(_with(world, test=_changed(test, covariates=one_class)), PlantedSampler(), tmp_path)
    with pytest.raises(ValueError, match="nearest: 'diagnosis'"):
        evaluated_labels(COVARIATES, "diagnose", None)
    with pytest.raises(ValueError, match=r"one of the covariates .*'age'.* found 'agee' \(nearest: 'age'\)"):
        evaluated_labels(COVARIATES, "agee", None)
    with pytest.raises(ValueError, match=r"one of the categorical covariates .* found 'age'"):
        evaluated_labels(COVARIATES, "age", None)
    for wrong in ("2", [1.0, "x"], [True], None, [float("nan")]):
        with pytest.raises(ValueError, match=r"guidances: expected scales such as \[1.0, 2.0\], found"):
            evaluation(world, PlantedSampler(), tmp_path, guidances=wrong)
    assert evaluation(world, PlantedSampler(), tmp_path, guidance=2.0, guidances=1).guidances == [1.0, 2.0]
    with pytest.raises(ValueError, match="expected two of"):
        evaluated_labels(COVARIATES, "diagnosis", ["NC", "MCI"])
    with pytest.raises(ValueError, match="4 <= n_sweep <= n_per_class"):
        evaluation(world, PlantedSampler(), tmp_path, n_per_class=8, n_sweep=16)


def _changed(dataset, **values):
    return type(dataset)(**(vars(dataset) | values))


def _with(world, **sets):
    changed = type("Changed", (), {})()
    changed.cohort, changed.sets = world.cohort, world.sets | sets
    return changed


def test_images_with_another_label_are_left_out():
    covariates = type(COVARIATES)(diagnosis=["NC", "MCI", "AD"], slice={"low": 0, "high": 1})
    dataset = type("Set", (), {})()
    dataset.images, dataset.subjects = torch.zeros(6, 1, 4, 4), list("aabbcd")
    codes = [[0, 0.1], [0, 0.2], [2, 0.3], [2, 0.3], [0, 0.2], [float("nan"), 0.2]]
    dataset.covariates = torch.tensor(codes)
    dataset.covariates = torch.cat([dataset.covariates, torch.tensor([[1.0, 0.5], [2.0, 0.5]])])
    dataset.images, dataset.subjects = torch.zeros(8, 1, 4, 4), [*dataset.subjects, "e", "f"]
    real = LabelContrast(covariates, "diagnosis", ["NC", "AD"]).take(dataset, "test")
    assert real.subjects == ["a", "a", "b", "b", "c", "f"]
    assert real.target.tolist() == [0, 0, 1, 1, 0, 1]
    assert real.left_out == 2


def test_held_out_subjects_are_those_of_the_training_run(tmp_path, world):
    weights = tmp_path / "models" / "model.pt"
    with pytest.raises(FileNotFoundError, match="no trained weights"):
        training_splits(weights, tmp_path / "runs")
    facts = {"run": "runs/run_002", "data_fingerprint": "0123456789abcdef"}
    weights.parent.mkdir()
    write_model({"weight": torch.zeros(1)}, weights, facts)
    with pytest.raises(FileNotFoundError, match="people the model was trained on could count as held out"):
        training_splits(weights, tmp_path / "runs")
    splits = tmp_path / "runs" / "run_002" / "splits.json"
    splits.parent.mkdir(parents=True)
    splits.write_text("{}")
    assert training_splits(weights, tmp_path / "runs") == splits
    with pytest.raises(FileNotFoundError, match="splits_file"):
        training_splits(weights, tmp_path / "runs", tmp_path / "other.json")
    write_model({"weight": torch.zeros(1)}, weights, facts | {"data_fingerprint": "another"})
    with pytest.raises(ValueError, match="trained on a cohort with fingerprint another"):
        evaluation(world, PlantedSampler(), tmp_path, weights=weights)
