"""Precision, recall, density and coverage against the published formulas, naively, and against planted faults."""

import numpy as np
import pytest

from medgen.metrics import manifold_figures
from medgen.metrics.manifold import neighbour_radii


def _naive(real, generated, k):
    """Kynkäänniemi et al. 2019, Eq. 1 and 2, and Naeem et al. 2020, Eq. 4 and 5, one sample at a time."""

    def reach(points):
        return [sorted(np.linalg.norm(points - p, axis=1))[k] for p in points]  # the nearest is the point itself

    def near(p, q, radius):
        return np.linalg.norm(p - q) <= radius

    of_real, of_generated = reach(real), reach(generated)
    precision = np.mean([any(near(g, r, d) for r, d in zip(real, of_real, strict=True)) for g in generated])
    recall = np.mean([any(near(r, g, d) for g, d in zip(generated, of_generated, strict=True)) for r in real])
    density = np.sum([near(g, r, d) for g in generated for r, d in zip(real, of_real, strict=True)])
    coverage = np.mean([any(near(g, r, d) for g in generated) for r, d in zip(real, of_real, strict=True)])
    return precision, recall, density / (k * len(generated)), coverage


@pytest.mark.parametrize("k", [3, 5])
def test_the_figures_are_those_of_the_papers(k, monkeypatch):
    random = np.random.default_rng(0)
    real, generated = random.standard_normal((40, 4)), 0.8 * random.standard_normal((30, 4)) + 0.4
    monkeypatch.setattr("medgen.metrics.manifold.BLOCK", 7)  # blocks that do not divide the number of rows
    np.testing.assert_allclose(manifold_figures(real, generated, k), _naive(real, generated, k), rtol=1e-12)


def test_each_fault_shows_in_its_own_figure():
    random = np.random.default_rng(1)
    real, other = random.standard_normal((2, 300, 4))
    fair = manifold_figures(real, other)
    assert min(fair.precision, fair.recall) > 0.8
    assert fair.density == pytest.approx(1, abs=0.1)
    assert fair.coverage > 0.9
    far = manifold_figures(real, other + 12)  # noise: like nothing
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)
    alike = manifold_figures(real, 0.1 * other)  # the average patient: real, but always the same
    assert alike.precision == 1
    assert alike.density > 0.9  # fidelity alone sees nothing
    assert alike.recall < 0.05
    assert alike.coverage < 0.2
    wide = manifold_figures(real, 3 * other)  # too varied: reaches all, resembles few
    assert wide.precision < 0.5
    assert wide.recall > 0.9


def test_an_outlier_raises_precision_but_not_density():
    random = np.random.default_rng(2)
    real, off = random.standard_normal((100, 2)), random.standard_normal((100, 2)) + 8
    clean, spoilt = manifold_figures(real, off), manifold_figures(np.vstack([real, [[16.0, 16.0]]]), off)
    assert clean.precision < 0.05
    assert spoilt.precision > 0.9
    assert spoilt.density < 0.3


def test_slices_of_one_brain_are_not_its_neighbours():
    brains = np.arange(6.0)[:, None] * 10
    slices = (brains + 0.1 * np.arange(4)).reshape(-1, 1)
    subjects = np.repeat(list("abcdef"), 4).tolist()
    assert neighbour_radii(slices, 3).max() < 0.5
    np.testing.assert_allclose(neighbour_radii(slices, 1, subjects)[:4], [10, 9.9, 9.8, 9.7])


def test_refuses_what_has_no_neighbours():
    points = np.random.default_rng(0).standard_normal((6, 2))
    with pytest.raises(ValueError, match=r"k: expected 1 to 5, the neighbours at hand among the real samples, found 6"):
        manifold_figures(points, points, k=6)
    with pytest.raises(ValueError, match=r"k: expected 1 to 3.*found 4"):
        neighbour_radii(points, 4, list("aaabbb"))
    with pytest.raises(ValueError, match="groups of real: expected one group for each of 6 rows, found 2"):
        manifold_figures(points, points, 2, groups_real=["a", "b"])
