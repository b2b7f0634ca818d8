"""Fréchet and kernel distances against closed forms and independent computations."""

import numpy as np
import pytest
from scipy import linalg

from medgen.metrics import frechet_distance, kernel_distance
from medgen.metrics.frechet import frechet_of_moments


def _with_moments(random, count, mean, covariance):
    """Samples whose mean and unbiased covariance are exactly as asked."""
    raw = random.standard_normal((count, len(mean)))
    raw = raw - raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_frechet_of_gaussians_with_known_moments():
    random = np.random.default_rng(0)
    mean_a, mean_b = np.array([1.0, -2.0, 0.5]), np.array([0.0, 1.0, 0.5])
    variances_a, variances_b = np.array([4.0, 1.0, 0.25]), np.array([1.0, 9.0, 0.25])
    a = _with_moments(random, 50, mean_a, np.diag(variances_a))
    b = _with_moments(random, 80, mean_b, np.diag(variances_b))
    # covariances that commute: the distance is that of the means and of the standard deviations
    expected = ((mean_a - mean_b) ** 2).sum() + ((np.sqrt(variances_a) - np.sqrt(variances_b)) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, abs=1e-10)


def test_frechet_agrees_with_a_matrix_square_root():
    random = np.random.default_rng(1)
    a = random.standard_normal((60, 6)) @ random.standard_normal((6, 6))
    b = random.standard_normal((90, 6)) @ random.standard_normal((6, 6)) + 1
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * linalg.sqrtm(ca @ cb).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


def test_frechet_is_safe_when_covariances_are_rank_deficient():
    random = np.random.default_rng(2)
    a, b = random.standard_normal((5, 40)), random.standard_normal((7, 40))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 0.5) == pytest.approx(40 * 0.25, rel=1e-9)
    assert np.isfinite(frechet_distance(a, b))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


def test_frechet_survives_a_large_common_offset():
    random = np.random.default_rng(3)
    a, b = random.standard_normal((50, 4)), random.standard_normal((50, 4)) * 2
    assert frechet_distance(a + 1e6, b + 1e6) == pytest.approx(frechet_distance(a, b), rel=1e-4)


def test_frechet_keeps_directions_of_little_variance():
    random = np.random.default_rng(4)
    deviations = np.logspace(0, -5, 12)  # variances over ten orders of magnitude, as pixels' are
    a = _with_moments(random, 400, np.zeros(12), np.diag(deviations**2))
    b = _with_moments(random, 300, np.zeros(12), np.diag((1.5 * deviations) ** 2))
    assert frechet_distance(a[:, 6:], b[:, 6:]) == pytest.approx(0.25 * (deviations[6:] ** 2).sum(), rel=1e-9)
    wide = np.array([1.0, 3e-5, 3e-5, 3e-5])  # roots below 1e-7 of the largest variance vanished
    covariance = np.diag(wide**2)
    small = [0.0, 1.0, 1.0, 1.0] * wide
    same_but_small = frechet_of_moments(np.zeros(4), covariance, np.zeros(4), np.diag((wide + small) ** 2))
    assert same_but_small == pytest.approx((small**2).sum(), rel=1e-4)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.ones((5, 3)), np.ones((5, 4)), "3 against 4"),
        (np.ones((1, 3)), np.ones((5, 3)), "at least 2 samples, found 1"),
        (np.full((5, 3), np.nan), np.ones((5, 3)), "15 of 15 values are NaN"),
        (np.ones(5), np.ones((5, 3)), r"found \(5,\)"),
    ],
)
def test_frechet_refuses_what_cannot_be_compared(a, b, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(a, b)


def _naive_kernel_distance(a, b, groups_a, groups_b):
    def kernel(x, y):
        return (x @ y / len(x) + 1) ** 3

    def within(rows, groups):
        pairs = [(i, j) for i in range(len(rows)) for j in range(len(rows)) if groups[i] != groups[j]]
        return np.mean([kernel(rows[i], rows[j]) for i, j in pairs])

    across = np.mean([kernel(x, y) for x in a for y in b])
    return within(a, groups_a) + within(b, groups_b) - 2 * across


def test_kernel_distance_is_the_double_loop():
    random = np.random.default_rng(5)
    a, b = random.standard_normal((9, 4)), random.standard_normal((7, 4)) + 0.5
    assert kernel_distance(a, b).value == pytest.approx(_naive_kernel_distance(a, b, range(9), range(7)), rel=1e-10)
    groups_a, groups_b = [0, 0, 0, 1, 1, 2, 2, 3, 4], list("aabbccd")
    expected = _naive_kernel_distance(a, b, groups_a, groups_b)
    assert kernel_distance(a, b, groups_a, groups_b).value == pytest.approx(expected, rel=1e-10)


def test_kernel_distance_error_is_the_jackknife():
    random = np.random.default_rng(6)
    a, b = random.standard_normal((8, 3)), random.standard_normal((6, 3))
    variance = 0.0
    for rows, other, n in ((a, b, 8), (b, a, 6)):
        left = np.array([kernel_distance(np.delete(rows, i, 0), other).value for i in range(n)])
        variance += (n - 1) / n * ((left - left.mean()) ** 2).sum()
    assert kernel_distance(a, b).error == pytest.approx(np.sqrt(variance), rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_kernel_distance_is_unbiased_and_its_error_honest(shift):
    random = np.random.default_rng(7)
    found = [kernel_distance(*np.add(random.standard_normal((2, 25, 3)), [[[0]], [[shift]]])) for _ in range(400)]
    values, errors = np.array(found).T
    # E[k(x, y)] of two Gaussians by sampling many pairs
    x, y = random.standard_normal((2, 400_000, 3))

    def mean_kernel(p, q):
        return (((p * q).sum(1) / 3 + 1) ** 3).mean()

    expected = mean_kernel(x, y) + mean_kernel(x + shift, y + shift) - 2 * mean_kernel(x, y + shift)
    assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(400)
    # where the sets agree the statistic is degenerate and the jackknife errs to the safe side
    assert 0.8 < errors.mean() / values.std() < (1.6 if shift == 0 else 1.25)


def test_kernel_distance_over_subjects_is_unbiased_where_slices_are_alike():
    random = np.random.default_rng(8)
    groups = np.repeat(np.arange(12), 5)
    naive, grouped = [], []
    for _ in range(150):
        a, b = (np.repeat(random.standard_normal((12, 4)), 5, 0) for _ in range(2))
        naive.append(kernel_distance(a, b).value)
        grouped.append(kernel_distance(a, b, groups.tolist(), groups.tolist()).value)
    error = np.std(grouped) / np.sqrt(150)
    assert abs(np.mean(grouped)) < 3 * error
    assert np.mean(naive) > 5 * error


def _perfect(random, people, share):
    """Held-out images, and those of a perfect generator that was asked for the same people's covariates."""
    covariates = random.standard_normal((people, 16)) * np.sqrt(share)
    noise = random.standard_normal((2, 2 * people, 16)) * np.sqrt(1 - share)
    return np.repeat(covariates, 2, 0) + noise, [f"person {place}" for place in np.repeat(np.arange(people), 2)]


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_kernel_distance_of_a_perfect_generator_asked_for_the_same_people_is_0(share):
    random, found = np.random.default_rng(9), []
    for _ in range(100):
        (made, held_out), names = _perfect(random, 40, share)
        found.append(kernel_distance(made, held_out, names, names))
    values, errors = np.array(found).T
    assert abs(values.mean()) < 4 * values.std() / 10
    assert np.mean(np.abs(values) < 1.96 * errors) >= 0.93
    other = [f"another {name}" for name in names]  # as if they were other people: more alike than other people are
    assert kernel_distance(made, held_out, other, names).value < -0.05


def test_kernel_distance_leaves_a_shared_subject_out_of_both_sides():
    random = np.random.default_rng(10)
    a, b = random.standard_normal((9, 3)), random.standard_normal((8, 3))
    of_a, of_b = np.array(list("aabbccdde")), np.array(list("aabbccff"))
    whole = np.array([kernel_distance(a[of_a != name], b[of_b != name], of_a[of_a != name].tolist(),
                                      of_b[of_b != name].tolist()).value for name in "abcdef"])  # fmt: skip
    both, only_a, only_b = whole[:3], whole[3:5], whole[5:]
    variance = sum((len(v) - 1) / len(v) * ((v - v.mean()) ** 2).sum() for v in (both, only_a, only_b))
    assert kernel_distance(a, b, of_a.tolist(), of_b.tolist()).error == pytest.approx(np.sqrt(variance), rel=1e-9)


def test_kernel_distance_needs_three_groups():
    with pytest.raises(ValueError, match=r"three groups or more on each side, found \(2, 4\)"):
        kernel_distance(np.ones((4, 2)), np.ones((4, 2)), [0, 0, 1, 1])
