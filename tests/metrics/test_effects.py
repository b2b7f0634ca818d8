"""Adjustment recovers a planted effect where the plain difference does not."""

import numpy as np
import pytest

from medgen.metrics import GroupModel, adjusted_effect


def _confounded(random, subjects=150, slices=4):
    """AD is ten years older; area = 100 + 60 AD + 3 (age - 75) - 200 (slice - 0.5)^2 + noise of 25 and 10."""
    group = np.arange(subjects) % 2
    age = random.normal(70, 6, subjects) + 10 * group
    person = random.normal(0, 25, subjects)
    position = np.tile(np.linspace(0.2, 0.8, slices), subjects)
    group, age, person = (np.repeat(x, slices) for x in (group, age, person))
    area = 100 + 60 * group + 3 * (age - 75) - 200 * (position - 0.5) ** 2 + person + random.normal(0, 10, len(group))
    names = np.repeat([f"s{i}" for i in range(subjects)], slices).tolist()
    return area, group, age, position, names


def test_recovers_the_planted_effect_under_confounding():
    area, group, age, position, names = _confounded(np.random.default_rng(0), subjects=600)
    found = adjusted_effect(area, group, {"age": age, "slice": position}, names, squared=["slice"])
    assert not found.effect.excludes(60)
    assert found.effect.excludes(0)
    assert found.effect.estimate == pytest.approx(60, abs=12)
    assert found.unadjusted.excludes(60)
    assert found.unadjusted.estimate == pytest.approx(90, abs=12)
    assert not found.slopes["age"].excludes(3)
    assert found.spread.estimate == pytest.approx(np.hypot(25, 10), rel=0.15)
    assert found.adjusted_for == ("age", "slice")
    assert (found.samples, found.subjects) == (2400, 600)


def test_agrees_with_numpy_least_squares():
    area, group, age, position, names = _confounded(np.random.default_rng(1), subjects=20)
    design = np.stack([np.ones(80), group, age, position, position**2], 1)
    solution, squares, *_ = np.linalg.lstsq(design, area, rcond=None)
    found = adjusted_effect(area, group, {"age": age, "slice": position}, names, squared=["slice"], replicates=50)
    assert found.effect.estimate == pytest.approx(solution[1], rel=1e-8)
    assert found.slopes["age"].estimate == pytest.approx(solution[2], rel=1e-8)
    assert found.spread.estimate == pytest.approx(np.sqrt(squares[0] / 75), rel=1e-8)


def test_adjusted_outcomes_keep_group_and_residual_alone():
    area, group, age, position, names = _confounded(np.random.default_rng(3), subjects=40)
    model = GroupModel(area, group, {"age": age, "slice": position}, names, squared=["slice"])
    moved = model.adjusted()
    whole = model.fit(np.ones((1, 160)))
    assert moved[group == 1].mean() - moved[group == 0].mean() == pytest.approx(whole["effect"][0])
    assert moved.mean() == pytest.approx(area.mean())
    within = moved - np.where(group == 1, moved[group == 1].mean(), moved[group == 0].mean())
    assert np.corrcoef(within, age)[0, 1] == pytest.approx(0, abs=1e-8)


def test_unknown_and_constant_covariates():
    area, group, age, _, names = _confounded(np.random.default_rng(2), subjects=30)
    partly = np.where(np.arange(len(age)) < 8, np.nan, age)
    found = adjusted_effect(
        area, group, {"age": partly, "sex": np.full(120, np.nan), "scanner": np.ones(120)}, names, replicates=100
    )
    assert found.adjusted_for == ("age",)
    assert (found.samples, found.subjects) == (112, 28)
    alone = adjusted_effect(area, group, {}, names, replicates=100)
    assert alone.adjusted_for == ()
    assert alone.effect.estimate == pytest.approx(alone.unadjusted.estimate, rel=1e-9)


def test_refuses():
    with pytest.raises(ValueError, match="both 0 and 1"):
        adjusted_effect(np.ones(4), np.ones(4), {}, list("abcd"))
    with pytest.raises(ValueError, match="age: expected one value for each outcome"):
        adjusted_effect(np.ones(4), [0, 1, 0, 1], {"age": [1.0]}, list("abcd"))
    with pytest.raises(ValueError, match="more than 2 samples, found 2"):
        adjusted_effect(np.ones(2), [0, 1], {}, list("ab"))
