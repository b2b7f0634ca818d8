"""AUC against scikit-learn, and what resampling subjects does to an interval."""

import numpy as np
import pytest

from medgen.metrics import Interval, bootstrap, roc_auc
from medgen.metrics.resampling import interval_of, subject_weights
from medgen.metrics.roc import roc_auc_replicates, subject_means


@pytest.mark.parametrize("levels", [1000, 7, 2])
def test_auc_agrees_with_scikit_learn(levels):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    random = np.random.default_rng(levels)
    truth = random.integers(0, 2, 200)
    scores = np.round((random.standard_normal(200) + truth) * levels) / levels  # few levels: many ties
    weights = random.integers(0, 4, (3, 200)).astype(float)
    assert roc_auc(truth, scores) == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-12)
    found = roc_auc_replicates(truth.astype(bool), scores, weights)
    expected = [metrics.roc_auc_score(truth, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_auc_of_known_cases():
    assert roc_auc([0, 1], [0.0, 1.0]) == 1.0
    assert roc_auc([0, 1], [1.0, 0.0]) == 0.0
    assert roc_auc([0, 0, 1, 1], [3.0, 3.0, 3.0, 3.0]) == 0.5


@pytest.mark.parametrize(
    ("truth", "scores", "message"),
    [([0, 0], [0.1, 0.2], "both 0 and 1"), ([0, 1], [0.1, np.nan], "1 of 2"), ([0, 1, 1], [0.1, 0.2], "one length")],
)
def test_auc_refuses(truth, scores, message):
    with pytest.raises(ValueError, match=message):
        roc_auc(truth, scores)


def test_subject_means():
    names, means = subject_means([1.0, 3.0, 5.0], ["b", "b", "a"])
    assert names == ["a", "b"]
    assert means.tolist() == [5.0, 2.0]


def _mean_of(values):
    return lambda weights: weights @ values / weights.sum(1)


def test_cluster_bootstrap_matches_theory_where_the_naive_one_is_too_narrow():
    random = np.random.default_rng(0)
    between = random.standard_normal(100)
    values = np.repeat(between, 5) + 0.1 * random.standard_normal(500)
    subjects = np.repeat([f"s{i}" for i in range(100)], 5).tolist()
    clustered = bootstrap(_mean_of(values), subjects, replicates=2000)
    naive = bootstrap(_mean_of(values), [str(i) for i in range(500)], replicates=2000)
    expected = 2 * 1.96 * values.reshape(100, 5).mean(1).std() / 10
    assert clustered.high - clustered.low == pytest.approx(expected, rel=0.1)
    assert clustered.high - clustered.low > 1.8 * (naive.high - naive.low)


def test_bootstrap_covers():
    random = np.random.default_rng(1)
    inside = 0
    for trial in range(200):
        values = np.repeat(random.standard_normal(40), 3)
        found = bootstrap(_mean_of(values), np.repeat(np.arange(40), 3).astype(str).tolist(), 300, seed=trial)
        inside += not found.excludes(0.0)
    assert 0.88 < inside / 200 < 0.99


def test_bootstrap_is_a_function_of_its_seed():
    values, subjects = np.arange(20.0), [str(i // 2) for i in range(20)]
    assert bootstrap(_mean_of(values), subjects, seed=3) == bootstrap(_mean_of(values), subjects, seed=3)
    assert bootstrap(_mean_of(values), subjects, seed=3) != bootstrap(_mean_of(values), subjects, seed=4)


def test_all_slices_of_a_drawn_subject_come_along():
    weights = subject_weights(["a", "b", "a", "c"], replicates=50)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(1), 3)


def test_strata_keep_their_sizes():
    subjects, strata = ["a", "b", "c", "d", "d"], ["x", "x", "x", "y", "y"]
    weights = subject_weights(subjects, replicates=50, strata=strata)
    np.testing.assert_array_equal(weights[:, :3].sum(1), 3)
    np.testing.assert_array_equal(weights[:, 3:], 1)
    with pytest.raises(ValueError, match="a subject is in two of them"):
        subject_weights(subjects, replicates=5, strata=["x", "x", "x", "x", "y"])


def test_centred_interval_surrounds_the_estimate():
    replicates = np.random.default_rng(2).normal(5, 1, 1000)  # all biased upwards
    assert interval_of(2.0, replicates).excludes(2.0)
    low, high = interval_of(2.0, replicates, centred=True)[1:]
    assert low < 2 < high


def test_degenerate_replicates_are_refused():
    with pytest.raises(ValueError, match="more subjects in each class"):
        interval_of(1.0, np.full(10, np.nan))
    with pytest.raises(ValueError, match="at least two, found 1"):
        bootstrap(_mean_of(np.ones(3)), ["a", "a", "a"])
    assert Interval(1.0, 0.5, 1.5).excludes(0.0)
