"""Agreement of predicted and asked numbers, and trends along a number: closed forms."""

import numpy as np
import pytest

from medgen.metrics import SubjectResampler, agreement, band_starts, number_trend
from medgen.metrics.least_squares import residual_spread, weighted_fit

ONE = np.ones((1, 400))


def test_agreement_is_what_numpy_and_polyfit_say():
    random = np.random.default_rng(0)
    asked = random.uniform(55, 95, 400)
    predicted = 70 + 0.4 * (asked - 75) + random.normal(0, 4, 400)
    found = agreement(asked, predicted, ONE, bands=[60, 70], width=10)
    assert found["correlation"][0] == pytest.approx(np.corrcoef(asked, predicted)[0, 1])
    assert found["slope"][0] == pytest.approx(np.polyfit(asked, predicted, 1)[0])
    assert found["bias"][0] == pytest.approx((predicted - asked).mean())
    assert found["error"][0] == pytest.approx(np.abs(predicted - asked).mean())
    inside = (asked >= 60) & (asked < 70)
    assert found["bias:60"][0] == pytest.approx((predicted - asked)[inside].mean())


def test_whole_weights_are_repeated_samples():
    random = np.random.default_rng(1)
    asked, predicted, times = random.uniform(60, 90, 30), random.uniform(60, 90, 30), random.integers(0, 4, 30)
    weighted = agreement(asked, predicted, times[None].astype(float))
    repeated = agreement(np.repeat(asked, times), np.repeat(predicted, times), np.ones((1, times.sum())))
    for name, value in repeated.items():
        assert weighted[name][0] == pytest.approx(value[0]), name


def test_a_collapse_has_a_low_error_and_no_slope():
    asked = np.repeat([70.0, 75.0, 80.0], 10)
    found = agreement(asked, np.full(30, 75.0), np.ones((1, 30)))
    assert found["error"][0] < 4
    assert found["slope"][0] == 0
    assert np.isnan(found["correlation"][0])


def test_the_interval_of_the_slope_holds_the_truth():
    random = np.random.default_rng(2)
    asked = np.repeat(random.uniform(55, 95, 80), 5)
    subjects = [f"s{i // 5}" for i in range(400)]
    predicted = 0.5 * asked + np.repeat(random.normal(0, 3, 80), 5)
    slopes = agreement(asked, predicted, SubjectResampler(subjects, 300).weights(subjects))["slope"]
    low, high = np.quantile(slopes, [0.025, 0.975])
    assert low < 0.5 < high
    assert 0.03 < high - low < 0.3


def test_trend_is_that_at_equal_covariates_and_spread_that_of_people():
    random = np.random.default_rng(3)
    age, place = random.uniform(55, 95, 4000), random.uniform(0, 1, 4000)
    ill = (random.uniform(55, 95, 4000) < age).astype(float)  # the older, the more often
    area = 1000 + 8 * age + 300 * ill - 200 * place**2 + random.normal(0, 50, 4000)
    ones = np.ones((1, 4000))
    found = number_trend(area, age, place, [ill, np.zeros(4000)], ones, bands=[60, 70])
    assert found["slope"][0] == pytest.approx(8, abs=0.3)
    plain = number_trend(area, age, place, [], ones)
    assert plain["slope"][0] > 13  # without the illness it is mixed in
    assert found["spread"][0] == plain["spread"][0] > 120  # people of one age differ by their illness too
    inside = (age >= 60) & (age < 70)
    assert found["mean:60"][0] == pytest.approx(area[inside].mean(), abs=15)
    assert found["spread:70"][0] == pytest.approx(found["spread"][0], rel=0.25)
    few = number_trend([1.0, 2.0], [61.0, 72.0], None, [[0.0, 1.0]], np.ones((1, 2)), bands=[60])
    assert few.keys() == {"slope", "spread", "mean:60", "spread:60"}
    assert all(np.isnan(value).all() for value in few.values())


def test_fit_and_spread_are_those_of_lstsq():
    random = np.random.default_rng(4)
    design = np.stack([np.ones(50), random.normal(size=50), random.normal(size=50)], axis=1)
    outcome = random.normal(size=50)
    expected, squares, *_ = np.linalg.lstsq(design, outcome, rcond=None)
    solution = weighted_fit(design, outcome, np.ones((1, 50)))
    np.testing.assert_allclose(solution[0], expected, atol=1e-12)
    assert residual_spread(design, outcome, solution, np.ones((1, 50)))[0] == pytest.approx(np.sqrt(squares[0] / 47))


def test_bands():
    assert band_starts([93.0, 55.0, 71.0, 60.0]) == [50.0, 60.0, 70.0, 90.0]
