from __future__ import annotations

from itertools import permutations

import pytest
import torch

from medgen.engines.draws import couple, fixed_noise, fixed_times, training_noise, training_times
from medgen.processes import RectifiedFlow

UNIFORM = RectifiedFlow(times="uniform")


def test_stratified_times_fill_every_part_once_and_keep_the_distribution():
    batch = 16
    draws = torch.stack([training_times(UNIFORM, batch, True, 0, 0, step, 0) for step in range(2000)])
    assert torch.equal((draws * batch).long().sort(1).values, torch.arange(batch).expand(2000, batch))
    one_sample = draws[:, 3]  # the time of any one sample of the batch is uniform all the same
    assert abs(one_sample.mean() - 0.5) < 4 * (1 / 12 / 2000) ** 0.5
    assert abs(one_sample.var() - 1 / 12) < 0.01


def test_plain_times_are_independent():
    draws = torch.stack([training_times(UNIFORM, 2, False, 0, 0, step, 0) for step in range(4000)])
    assert abs(torch.corrcoef(draws.T)[0, 1]) < 4 / 4000**0.5


def test_every_part_of_the_key_changes_the_draw():
    like = torch.zeros(2, 1, 4, 4)
    keys = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    noises = [training_noise(like, *key) for key in keys]
    assert torch.equal(noises[0], training_noise(like, *keys[0]))
    assert all(not torch.equal(noises[0], other) for other in noises[1:])
    assert all(
        not torch.equal(training_times(UNIFORM, 4, True, *keys[0]), training_times(UNIFORM, 4, True, *key))
        for key in keys[1:]
    )


def test_validation_draws_belong_to_the_sample_not_to_the_batch():
    together = fixed_noise((1, 4, 4), [5, 6, 7], seed=3)
    assert torch.equal(together[1:2], fixed_noise((1, 4, 4), [6], seed=3))
    assert not torch.equal(together, fixed_noise((1, 4, 4), [5, 6, 7], seed=4))
    times = fixed_times(UNIFORM, range(100), seed=3)
    assert torch.equal(times[20:30], fixed_times(UNIFORM, range(20, 30), seed=3))


def test_validation_times_cover_the_interval_evenly():
    times = fixed_times(UNIFORM, range(200), seed=0).sort().values
    assert (times.diff().max() < 3 / 200).item()


def test_optimal_coupling_is_the_best_of_all_permutations():
    random = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(5, 1, 2, 2, generator=random) for _ in range(2))
    found = couple(clean, noise, "optimal_transport")
    costs = [float(((clean - noise[list(order)]) ** 2).sum()) for order in permutations(range(5))]
    assert float(((clean - found) ** 2).sum()) == pytest.approx(min(costs), rel=1e-6)
    assert torch.equal(found.flatten(1).sum(1).sort().values, noise.flatten(1).sum(1).sort().values)
    assert torch.equal(couple(clean, noise, "independent"), noise)
    with pytest.raises(ValueError, match="coupling"):
        couple(clean, noise, "optimal")
