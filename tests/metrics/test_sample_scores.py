"""Inception Score and MS-SSIM among samples, against closed forms."""

import numpy as np
import pytest
import torch

from medgen.metrics import inception_score, ms_ssim, sample_ms_ssim
from medgen.metrics.ms_ssim import draw_pairs, ms_ssim_settings


def test_inception_score_of_known_probabilities():
    assert inception_score(np.full((20, 4), 0.25)).value == pytest.approx(1)
    assert inception_score(np.tile(np.eye(4), (5, 1)), splits=1).value == pytest.approx(4)
    # two classes at 0.9: exp(log 2 - entropy(0.9))
    p = np.array([[0.9, 0.1], [0.1, 0.9]] * 10)
    entropy = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    assert inception_score(p, splits=1).value == pytest.approx(np.exp(np.log(2) - entropy))
    assert inception_score(p[::2], splits=2) == pytest.approx((1.0, 0.0))
    with pytest.raises(ValueError, match="rows"):
        inception_score(np.ones((4, 3)))
    with pytest.raises(ValueError, match="splits: expected 1 to 4"):
        inception_score(np.full((4, 2), 0.5), splits=5)


def _images(count, size, dimensions=2, seed=0):
    noise = torch.randn(count, 1, *[size] * dimensions, generator=torch.Generator().manual_seed(seed))
    return torch.tanh(noise)


@pytest.mark.parametrize(("size", "dimensions"), [(8, 2), (32, 2), (64, 2), (128, 2), (16, 3), (33, 3)])
def test_ms_ssim_takes_any_size(size, dimensions):
    a = _images(2, size, dimensions)
    kernel, weights = ms_ssim_settings((size,) * dimensions)
    assert kernel % 2 == 1
    assert sum(weights) == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(ms_ssim(a, a), 1, atol=1e-5)
    assert (ms_ssim(a, -a) < 0.5).all()
    np.testing.assert_allclose(ms_ssim(a, a.flip(0)), ms_ssim(a.flip(0), a), atol=1e-6)


def test_samples_that_are_alike_have_a_high_ms_ssim():
    base, noise = _images(1, 32), _images(24, 32, seed=1)
    values = [sample_ms_ssim((base + amount * noise).clamp(-1, 1)) for amount in (0.05, 0.3, 1.0)]
    assert values[0] > 0.95
    assert values[0] > values[1] > values[2]
    assert sample_ms_ssim(base.repeat(6, 1, 1, 1)) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="two groups or more, found 4 samples of one"):
        sample_ms_ssim(noise[:4], groups=["a"] * 4)


def test_pairs_are_of_different_people_and_none_comes_twice():
    subjects, planes = [f"s{i // 3}" for i in range(30)], [i % 3 for i in range(30)]
    pairs = draw_pairs(subjects, 30, 90, strata=planes)
    assert len({tuple(pair) for pair in pairs.tolist()}) == len(pairs) == 90
    assert all(subjects[a] != subjects[b] and planes[a] == planes[b] for a, b in pairs)
    counts = np.bincount(pairs.ravel(), minlength=30)
    assert counts.min() >= 3
    assert counts.max() <= 9
    assert len(draw_pairs(None, 3, 100)) == 3  # there are no more
    np.testing.assert_array_equal(draw_pairs(None, 50, 20), draw_pairs(None, 50, 20))
