from __future__ import annotations

import pytest
import torch

from medgen.engines import ConditionDropout, Conditions
from medgen.randomness import generator

SAMPLES = 20000


def dropped(p_all, p_each, seed=0, columns=3):
    given = Conditions(torch.ones(SAMPLES, columns), torch.ones(SAMPLES, 2, 4), torch.ones(SAMPLES, 1, 2, 2))
    return given, ConditionDropout(p_all, p_each)(given, generator("test", seed))


def test_rates_are_those_of_the_two_probabilities():
    _, left = dropped(0.2, 0.3)
    unknown = torch.isnan(left.covariates)
    together = unknown.all(1)
    error = 4 * (0.25 / SAMPLES) ** 0.5
    # each alone: lost together, or left and then lost on its own
    assert unknown.float().mean(0).tolist() == pytest.approx([0.2 + 0.8 * 0.3] * 3, abs=error)
    assert together.float().mean().item() == pytest.approx(0.2 + 0.8 * 0.3**3, abs=error)
    # given that they are not all lost, one and another are lost independently
    both = (unknown[:, 0] & unknown[:, 1]).float().mean().item()
    assert both == pytest.approx(0.2 + 0.8 * 0.3**2, abs=error)


def test_conditions_are_dropped_by_sample_and_text_and_image_with_the_rest():
    _, left = dropped(0.5, 0.0)
    lost = torch.isnan(left.covariates)
    assert torch.equal(lost.all(1), lost.any(1))
    assert 0 < lost.any(1).float().mean() < 1  # never the whole batch
    assert torch.equal(torch.isnan(left.context).flatten(1).all(1), lost.any(1))
    assert torch.equal((left.image == 0).flatten(1).all(1), lost.any(1))
    assert torch.equal((left.image == 1).flatten(1).all(1), ~lost.any(1))


def test_single_covariates_are_dropped_without_text_and_image():
    _, left = dropped(0.0, 0.5)
    assert torch.isnan(left.covariates).any()
    assert not torch.isnan(left.context).any()
    assert (left.image == 1).all()


def test_tensors_that_were_passed_in_stay_and_draws_repeat():
    given, left = dropped(0.5, 0.5)
    assert all((value == 1).all() for value in given)
    again = dropped(0.5, 0.5)[1]
    other = dropped(0.5, 0.5, seed=1)[1]
    assert torch.equal(torch.isnan(left.covariates), torch.isnan(again.covariates))
    assert not torch.equal(torch.isnan(left.covariates), torch.isnan(other.covariates))


def test_an_unknown_value_stays_unknown():
    values = torch.tensor([[torch.nan, 1.0]])
    left = ConditionDropout(0.0, 0.0001)(Conditions(values), generator("test"))
    assert torch.equal(torch.isnan(left.covariates), torch.tensor([[True, False]]))


@pytest.mark.parametrize("arguments", [{"p_all": 1.1}, {"p_each": -0.1}])
def test_probabilities_outside_the_unit_interval_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        ConditionDropout(**arguments)
