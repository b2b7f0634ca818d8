"""Training images in place of generated ones have the covariates that were asked for, and make a fair floor."""

import numpy as np
import pytest
import torch

from medgen.apps.evaluation.figures import Likeness
from medgen.apps.evaluation.matching import counterparts
from medgen.apps.evaluation.real import RealImages
from medgen.apps.report.of_fidelity import matched_words
from medgen.covariates import Covariates, Range
from medgen.metrics import frechet_distance

COVARIATES = Covariates(age=Range(18, 100, "years"), sex=["F", "M"], slice=Range(-40, 60, "mm"))


def _people(random, count, prefix, low=50, high=90):
    columns = [random.uniform(low, high, count), random.integers(0, 2, count), random.uniform(0, 30, count)]
    values = torch.tensor(np.stack(columns, 1), dtype=torch.float32)
    names = [f"{prefix}{place}" for place in range(count)]
    return RealImages(torch.zeros(count, 1, 2, 2), values, names, values[:, 0].double().numpy(), 0)


def test_labels_agree_and_numbers_are_near():
    random = np.random.default_rng(0)
    wanted, training = _people(random, 40, "asked", 70, 90), _people(random, 400, "train")
    found = counterparts(COVARIATES, wanted.covariates, training, draws=3)
    assert found.described["labels"] == ["sex"]
    assert found.described["numbers"] == ["age", "slice"]
    assert found.described["same_labels"] == 1.0
    assert found.described["apart"]["age"] < 3  # at random, about 14 years
    assert found.described["apart"]["slice"] < 3
    for rows in found.draws:
        assert len(set(rows.tolist())) == 40  # nobody twice where there are others
        np.testing.assert_array_equal(training.covariates[rows, 1], wanted.covariates[:, 1])
    assert len(set(np.concatenate(found.draws).tolist())) > 50  # sets differ
    again = counterparts(COVARIATES, wanted.covariates, training, draws=3)
    np.testing.assert_array_equal(found.draws, again.draws)


def test_what_is_unknown_or_missing_is_said():
    random = np.random.default_rng(1)
    wanted, training = _people(random, 12, "asked"), _people(random, 8, "train")
    training.covariates[:, 1] = 0  # nobody of the other sex, and fewer images than asked for
    training.covariates[:, 2] = torch.nan
    wanted.covariates[0, 0] = torch.nan
    found = counterparts(COVARIATES, wanted.covariates, training, draws=2)
    assert found.described["same_labels"] == pytest.approx(float((wanted.covariates[:, 1] == 0).float().mean()))
    assert found.described["numbers"] == ["age"]
    assert np.isfinite(found.described["apart"]["age"])
    assert sorted(set(found.draws[0].tolist())) == list(range(8))  # all are used before any comes again


def _features(random, values, width=12):
    """Features of which half of the variance hangs on the age."""
    return 0.7 * (values[:, :1].numpy() - 70) / 11.5 + 0.7 * random.standard_normal((len(values), width))


def test_the_floor_is_what_a_perfect_generator_reaches():
    random, found = np.random.default_rng(2), []
    for _ in range(20):
        real = {"train": _people(random, 200, "train"), "test": _people(random, 50, "test")}
        features = {split: _features(random, images.covariates) for split, images in real.items()}
        asked, names = real["test"].covariates, real["test"].subjects
        made = Likeness(COVARIATES, features, real).figures(_features(random, asked), names, asked)
        at_random = frechet_distance(features["train"][:50], features["test"])
        times = made["frechet_over_floor"]
        found.append([times["value"], times["low"], times["high"], made["frechet"]["value"] / at_random])
    value, low, high, before = np.array(found).T
    assert np.exp(np.log(value).mean()) == pytest.approx(1, abs=0.1)
    assert np.exp(np.log(before).mean()) < 0.88  # training images of any age flatter the generator
    assert np.mean((low <= 1) & (high >= 1)) >= 0.85


def test_nothing_is_said_where_the_floor_may_be_zero():
    random = np.random.default_rng(3)
    real = {"train": _people(random, 30, "train"), "test": _people(random, 6, "test")}
    features = {split: _features(random, images.covariates, 1) for split, images in real.items()}
    asked = real["test"].covariates
    made = Likeness(COVARIATES, features, real).figures(_features(random, asked, 1), real["test"].subjects, asked)
    assert made["floor_frechet"]["low"] == 0
    assert made["frechet_over_floor"] == {"value": None, "low": None, "high": None}


def test_the_report_says_how_they_were_chosen():
    matched = {"labels": ["sex", "plane"], "numbers": ["age"], "same_labels": 1.0, "apart": {"age": 1.08}}
    assert matched_words(matched) == (
        "chosen for the same sex and plane and age (apart by 1.1 in the mean), as near as there are to what was asked "
        "for"
    )
    assert "(all of them in 75 % of the images" in matched_words(matched | {"same_labels": 0.75})
    nothing = {"labels": [], "numbers": [], "same_labels": 1.0, "apart": {}}
    assert matched_words(nothing).startswith("drawn at random")
