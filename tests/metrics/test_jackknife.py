"""Intervals by leaving out groups of subjects: closed forms, and whether they hold the truth as often as said."""

import numpy as np
import pytest

from medgen.metrics import manifold_figures
from medgen.metrics.frechet import Gaussian
from medgen.metrics.jackknife import SubjectJackknife, jackknife_error


def test_of_a_mean_it_is_the_textbook_error():
    values = np.random.default_rng(0).standard_normal(30)
    people = [f"person {place}" for place in range(30)]
    jackknife = SubjectJackknife([people], groups=30)
    means = np.array([values[kept].mean() for (kept,) in jackknife.kept()])
    assert jackknife.error(means) == pytest.approx(values.std(ddof=1) / np.sqrt(30), rel=1e-9)


def test_a_subject_is_left_out_of_every_side_at_once():
    real, made, train = list("aabbccdd"), list("abcdabcd"), list("xxyyzz")
    jackknife = SubjectJackknife([real, made, train], groups=2)
    assert sorted(jackknife.strata.tolist()) == [3, 3, 4, 4]
    for kept_real, kept_made, kept_train in jackknife.kept():
        assert set(np.array(real)[kept_real]) == set(np.array(made)[kept_made])
        assert kept_train.all() or kept_real.all()
    assert jackknife.removed.sum(0).tolist() == [8, 8, 6]


def test_that_parts_differ_in_size_is_no_error():
    removed = np.array([[3.0], [4.0], [3.0], [4.0], [4.0], [3.0]])
    without = 10 + 0.5 * removed[:, 0]  # the statistic hangs on the number of samples alone
    strata = np.zeros(6, dtype=np.intp)
    assert jackknife_error(without, strata) > 0.4
    assert jackknife_error(without, strata, removed) == pytest.approx(0, abs=1e-9)
    assert np.isnan(jackknife_error(np.append(without[1:], np.nan), strata))


def _world(random, people=40, width=12):
    """Held-out images of people, generated ones of their covariates, and training images of others."""
    person = random.standard_normal((people, width)) * 0.7
    real = np.repeat(person, 4, 0) + random.standard_normal((4 * people, width)) * 0.7
    made = random.standard_normal((people, width)) * 1.1 + 0.3
    train = random.standard_normal((people, width))
    names = [f"person {place}" for place in range(people)]
    return (real, made, train), [np.repeat(names, 4).tolist(), names, [f"other {name}" for name in names]]


def _frechet(kept, sides):
    real, made, train = (Gaussian.of(side[rows]) for side, rows in zip(sides, kept, strict=True))
    made, floor = made.distance(real), train.distance(real)
    return made, floor, np.log(made / floor)


def _manifold(kept, sides, names):
    real, made = (side[rows] for side, rows in zip(sides[:2], kept[:2], strict=True))
    return manifold_figures(real, made, 3, np.array(names[0])[kept[0]].tolist())


@pytest.mark.parametrize(("kind", "repeats"), [("frechet", 60), ("manifold", 25)])
def test_intervals_cover_and_are_not_twice_too_wide(kind, repeats):
    random, found = np.random.default_rng(1), []
    for repeat in range(repeats):
        sides, names = _world(random)
        jackknife = SubjectJackknife(names, seed=repeat)

        def statistic(kept, sides=sides, names=names):
            return _frechet(kept, sides) if kind == "frechet" else _manifold(kept, sides, names)

        without = np.array([statistic(kept) for kept in jackknife.kept()])
        whole = statistic([np.ones(len(of), bool) for of in names])
        found.append([whole, [jackknife.error(column) for column in without.T]])
    values, errors = np.moveaxis(np.array(found), 1, 0)
    covered = (np.abs(values - values.mean(0)) < 1.96 * errors).mean(0)
    assert covered.min() >= 0.85
    assert (errors.mean(0) / values.std(0)).max() < 1.8  # by drawing subjects twice, above 2
