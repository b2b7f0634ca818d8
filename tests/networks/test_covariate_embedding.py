from __future__ import annotations

import pytest
import torch

from medgen.covariates import Covariates, Range
from medgen.networks import CovariateEmbedding

COVARIATES = Covariates(diagnosis=["NC", "AD"], age=Range(18, 100, "years"), sex=["F", "M"])
NAN = float("nan")


def embedding() -> CovariateEmbedding:
    torch.manual_seed(0)
    module = CovariateEmbedding(COVARIATES, 16)
    for null in module.nulls.values():
        torch.nn.init.normal_(null)
    return module


def test_the_sum_is_that_of_its_parts():
    module = embedding()
    full = module(torch.tensor([[1.0, 72.3, 0.0]]))
    parts = [
        module.embeddings[name](torch.tensor([value]))
        for name, value in zip(COVARIATES.names, (1.0, 72.3, 0.0), strict=True)
    ]
    assert torch.allclose(full, sum(parts))


def test_an_unknown_value_is_its_null_and_touches_no_other():
    module = embedding()
    known, unknown = module(torch.tensor([[1.0, 70.0, 1.0], [1.0, NAN, 1.0]]))
    expected = known - module.embeddings["age"](torch.tensor([70.0]))[0] + module.nulls["age"]
    assert torch.allclose(unknown, expected, atol=1e-6)


def test_gradients_are_those_of_the_known_parts():
    module = embedding()
    values = torch.tensor([[1.0, NAN, NAN]], requires_grad=True)
    module(values).sum().backward()
    assert torch.isfinite(values.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)
    assert all(p.grad is None or not p.grad.any() for p in module.embeddings["age"].parameters())
    assert torch.equal(module.nulls["age"].grad, torch.ones(16))
    assert not module.nulls["diagnosis"].grad.any()


def test_autocast_leaves_years_exact():
    module = embedding()
    values = torch.tensor([[1.0, 72.3, NAN], [1.0, 72.5, NAN]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = module(values)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, module(values))
    assert not torch.equal(inside[0], inside[1])


def test_bfloat16_weights_still_work():
    module = embedding().bfloat16()
    out = module(torch.tensor([[1.0, 72.3, NAN]]))
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()


def test_age_is_told_apart_over_its_whole_range():
    module = embedding()
    ages = torch.arange(18.0, 101.0)
    out = module(torch.stack([torch.full_like(ages, NAN), ages, torch.full_like(ages, NAN)], dim=1))
    distance = torch.cdist(out, out)
    nearest_other = (distance + torch.eye(len(ages)) * 1e9).min(dim=1).values
    assert nearest_other.min() > 1e-3
    assert distance[0, 1] < distance[0, 20]
    assert distance[40, 41] < distance[40, 60]


@pytest.mark.slow
def test_compiled_equals_eager_with_and_without_nan():
    module = embedding()
    compiled = torch.compile(module, fullgraph=True)
    for values in (torch.tensor([[1.0, 50.0, 0.0]]), torch.tensor([[NAN, NAN, NAN]])):
        assert torch.allclose(compiled(values), module(values), atol=1e-6)


def test_wrong_width_is_an_error_naming_the_covariates():
    with pytest.raises(ValueError, match="diagnosis"):
        embedding()(torch.zeros(2, 2))
