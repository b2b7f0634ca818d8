"""The rule that held-out images set: what is a copy, and how many more images are near than chance makes."""

import numpy as np
import pytest
from scipy.stats import binomtest

from medgen.metrics import (
    NearnessScale,
    SubjectResampler,
    alarms_among_others,
    chance_of_as_many,
    excess_of_near,
    lead,
    proportion,
)


def test_nearness_is_in_units_of_held_out_images_of_its_group():
    random = np.random.default_rng(0)
    groups = np.repeat([0.0, 1.0], 4000)
    nearness = np.where(groups == 0, random.normal(3, 0.2, 8000), random.normal(5, 0.5, 8000))
    scale = NearnessScale(nearness, groups)
    for group in (0.0, 1.0):
        assert np.median(scale.held_out[groups == group]) == pytest.approx(0, abs=1e-9)
        assert scale.held_out[groups == group].std() == pytest.approx(1, abs=0.05)
    assert scale(np.array([4.0, 4.0]), np.array([0.0, 1.0])) == pytest.approx([5, -2], abs=0.3)
    assert scale.copy == max(4.0, scale.held_out.max())
    with pytest.raises(ValueError, match="two held-out images or more, found 1"):
        NearnessScale(np.ones(1), np.zeros(1))


def test_a_held_out_image_that_comes_nearer_moves_the_threshold():
    nearness = np.r_[np.linspace(0, 1, 99), 9.0]
    scale = NearnessScale(nearness, np.zeros(100))
    assert scale.copy == scale.held_out[-1] > 4
    assert NearnessScale(np.linspace(0, 1, 99), np.zeros(99), 5.0).copy == 5.0


def _excess(generated, held_out, replicates=400):
    subjects = [f"s{i % 50}" for i in range(len(held_out))]
    profiles = [f"s{i % 50}" for i in range(len(generated))]
    resampler = SubjectResampler(subjects, replicates, seed=1)
    weights = tuple(
        np.concatenate([np.ones((1, len(names))), resampler.weights(names)]) for names in (profiles, subjects)
    )
    return excess_of_near(generated, held_out, weights)


def test_people_like_the_held_out_have_no_excess_although_five_percent_are_flagged():
    random = np.random.default_rng(1)
    rate, excess = _excess(random.normal(size=2000), random.normal(size=2000))
    assert rate[0] == pytest.approx(0.05, abs=0.02)
    low, high = np.quantile(excess[1:], [0.025, 0.975])
    assert low < 0 < high
    assert excess[0] == pytest.approx(rate[0] - 0.05, abs=1e-3)


def test_planted_near_images_are_the_excess():
    random = np.random.default_rng(2)
    generated = np.where(np.arange(1000) % 5 == 0, 6.0, random.normal(size=1000))
    _, excess = _excess(generated, random.normal(size=1000))
    assert excess[0] == pytest.approx(0.2 * 0.95, abs=0.03)
    assert np.quantile(excess[1:], 0.025) > 0.1
    everything, nothing = _excess(np.full(100, 9.0), random.normal(size=200)), _excess(np.full(100, -9.0), generated)
    assert (everything[0][0], nothing[0][0]) == (1.0, 0.0)
    assert everything[1][0] == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize(("count", "of"), [(0, 48), (48, 48), (7, 30)])
def test_proportions_agree_with_scipy(count, of):
    found, expected = proportion(count, of), binomtest(count, of).proportion_ci(method="exact")
    assert found == pytest.approx((count / of, expected.low, expected.high))


def test_a_proportion_of_none_is_refused():
    with pytest.raises(ValueError, match="expected 0 to 0"):
        proportion(0, 0)


def test_the_lead_does_not_depend_on_how_finely_an_image_is_drawn():
    random = np.random.default_rng(3)
    apart = np.sort(random.uniform(0.01, 0.05, (50, 5)), axis=1)
    np.testing.assert_allclose(lead(1 - apart), lead(1 - 3 * apart), rtol=1e-9)
    assert (lead(1 - apart) >= 0).all()
    stands_out = apart.copy()
    stands_out[:, 0] /= 10
    np.testing.assert_allclose(lead(1 - stands_out), lead(1 - apart) + np.log(10), rtol=1e-9)
    assert lead(np.array([[1.0, 0.9, 0.9]]))[0] == pytest.approx(np.log(0.1 / 1e-6))
    np.testing.assert_array_equal(lead(np.ones((3, 1))), np.zeros(3))  # with one subject nobody is next


@pytest.mark.parametrize("drawn", ["standard_normal", "exponential", "lognormal"])
def test_an_original_generator_is_rarely_said_to_copy_whatever_the_tail(drawn):
    random, groups = np.random.default_rng(0), np.zeros(325)
    people, runs, accused, flagged = np.arange(325) // 5, 60, 0, 0
    for _ in range(runs):
        held_out, new = (getattr(random, drawn)(size=n) for n in (325, 256))
        scale = NearnessScale(held_out, groups)
        count = int((scale(new, np.zeros(256)) > scale.copy).sum())
        alarms = alarms_among_others(held_out, groups, people)
        chance = chance_of_as_many(count, 256, int(alarms.sum()), 325)
        accused += chance is not None and chance < 0.05
        flagged += count > 0
    assert accused <= 4  # of 60 at 5 % or less
    assert flagged >= accused


@pytest.mark.parametrize("drawn", ["standard_normal", "exponential"])
@pytest.mark.parametrize("count", [8, 16, 48, 325])
def test_no_new_image_is_a_copy_beyond_doubt_however_few_are_held_out(drawn, count):
    random, new = np.random.default_rng(0), np.zeros(256)
    sure = 0
    for _ in range(60):
        scale = NearnessScale(getattr(random, drawn)(size=count), np.zeros(count))
        sure += (scale(getattr(random, drawn)(size=256), new) > scale.sure).any()
    assert sure == 0
    assert scale.sure > 2 * scale.copy


def test_alarms_are_those_of_the_other_half():
    nearness = np.append(np.linspace(0, 2, 100), [30.0, 31.0])
    people = np.append(np.arange(100), [0, 1])  # one near image in either half
    assert np.flatnonzero(alarms_among_others(nearness, np.zeros(102), people)).tolist() in ([100], [101], [100, 101])
    alone = alarms_among_others(nearness[:-1], np.zeros(101), people[:-1])
    assert np.flatnonzero(alone).tolist() == [100]
    assert alarms_among_others(nearness[:3], np.zeros(3), np.arange(3)) is None  # one image in a half
    assert chance_of_as_many(0, 256, 0, 325) == 1.0
    assert chance_of_as_many(3, 256, 0, 0) is None  # nothing is known of alarms
    assert chance_of_as_many(1, 1, 0, 1) == pytest.approx(0.5)
