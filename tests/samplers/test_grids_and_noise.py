"""Time grids, and noise that depends on an image's seed alone."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from medgen.processes import EDM, RectifiedFlow, VariancePreserving
from medgen.samplers import SeededNoise, seeded_noise, time_grid

TABLE = VariancePreserving("linear", "noise", table=1000)
CONTINUOUS = [VariancePreserving(), VariancePreserving("linear", "noise"), RectifiedFlow(), EDM()]


@pytest.mark.parametrize("process", [*CONTINUOUS, VariancePreserving("cosine", "noise")])
@pytest.mark.parametrize("spacing", ["auto", "uniform", "karras", "log_snr"])
@pytest.mark.parametrize("steps", [1, 2, 37])
@pytest.mark.parametrize("start", [None, 0.6])
def test_grids_fall_from_start_to_zero_in_steps(process, spacing, steps, start):
    times = time_grid(process, steps, spacing, start)
    assert len(times) == steps + 1
    assert times[0] == (process.start if start is None else start)
    assert times[-1] == 0
    assert all(later < earlier for earlier, later in pairwise(times))


def test_uniform_is_uniform_and_shift_leans_to_the_noise():
    assert time_grid(RectifiedFlow(), 4) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert time_grid(RectifiedFlow(shift=3.0), 4) == pytest.approx([1.0, 0.9, 0.75, 0.5, 0.0])
    resumed = time_grid(RectifiedFlow(shift=3.0), 2, start=0.75)
    assert resumed == pytest.approx([0.75, 0.5, 0.0])


def test_log_snr_is_uniform_in_log_snr():
    for process in CONTINUOUS:
        times = torch.tensor(time_grid(process, 12, "log_snr")[1:-1], dtype=torch.float64)
        gaps = process.log_snr(times).diff()
        torch.testing.assert_close(gaps, gaps[:1].expand_as(gaps), atol=1e-6, rtol=0)
        assert float(process.log_snr(times[-1])) == pytest.approx(-2 * math.log(0.002), abs=1e-6)


def test_trailing_and_leading_are_table_2_of_lin_et_al():
    """2305.08891: for S = 10 of T = 1000, trailing 999, 899, ...; leading 900, 800, ..., 0 (counted from 0)."""
    trailing = [round(t * 1000) - 1 for t in time_grid(TABLE, 10)[:-1]]
    leading = [round(t * 1000) - 1 for t in time_grid(TABLE, 10, "leading")[:-1]]
    assert trailing == list(range(999, 0, -100))
    assert leading == list(range(900, -1, -100))
    assert time_grid(TABLE, 1000) == [k / 1000 for k in range(1000, -1, -1)]
    assert time_grid(TABLE, 4, "trailing", start=0.1005)[:2] == [0.1005, 0.075]
    assert time_grid(TABLE, 4, "leading", start=0.5)[:2] == [0.5, 0.251]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((RectifiedFlow(), 0), "steps must be an integer of at least 1"),
        ((RectifiedFlow(), 2.5), "steps must be an integer of at least 1"),
        ((RectifiedFlow(), True), "steps must be an integer of at least 1"),
        ((RectifiedFlow(), 5, "uniforn"), "nearest: 'uniform'"),
        ((RectifiedFlow(), 5, "trailing"), "needs a process with a table"),
        ((TABLE, 1001), "too many"),
        ((TABLE, 1001, "leading"), "too many"),
        ((RectifiedFlow(), 5, "auto", 0.0), "start time must lie in"),
        ((RectifiedFlow(), 5, "auto", 1.5), "start time must lie in"),
        ((EDM(), 5, "auto", 0.1), "less noise than the grid's cleanest level"),
    ],
)
def test_bad_grids(arguments, message):
    with pytest.raises(ValueError, match=message):
        time_grid(*arguments)


def test_noise_is_bitwise_the_same_whatever_the_batch():
    seeds = [5, 0, 123456789, 7]
    whole = seeded_noise((2, 5, 3), seeds, step=4)
    for i, seed in enumerate(seeds):
        assert torch.equal(seeded_noise((2, 5, 3), [seed], step=4)[0], whole[i])
    assert torch.equal(seeded_noise((2, 5, 3), seeds[::-1], step=4).flip(0), whole)
    state = torch.random.get_rng_state()
    assert torch.equal(SeededNoise((2, 5, 3), seeds)(4), whole)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_noise_differs_between_seeds_and_steps_and_is_standard_normal():
    first = seeded_noise((1, 64, 64), [1, 2], step=0)
    second = seeded_noise((1, 64, 64), [1, 2], step=1)
    rows = torch.stack([first[0], first[1], second[0], second[1]]).flatten(1)
    correlation = torch.corrcoef(rows) - torch.eye(4)
    assert float(correlation.abs().max()) < 0.07
    assert float(rows.mean()) == pytest.approx(0, abs=0.03)
    assert float(rows.std()) == pytest.approx(1, abs=0.03)
