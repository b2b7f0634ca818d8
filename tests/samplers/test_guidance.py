"""Guidance against its algebra, on a network that is linear in its covariates."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from medgen.covariates import Covariates, Range
from medgen.processes import RectifiedFlow, VariancePreserving
from medgen.samplers import GuidedDenoiser

COVARIATES = Covariates(diagnosis=["NC", "AD"], age=Range(18, 100, "years"), sex=["F", "M"])
EFFECTS = torch.tensor([0.7, 0.01, -0.3])
NULLS = torch.tensor([0.11, -0.05, 0.23])


class LinearNetwork(nn.Module):
    """0.3 noisy + each covariate's effect, or its null where it is unknown; counts calls and rows."""

    def __init__(self) -> None:
        super().__init__()
        self.covariates = COVARIATES
        self.calls: list[int] = []

    def forward(self, noisy, t, covariates=None, context=None, image=None):
        self.calls.append(len(noisy))
        total = torch.where(torch.isnan(covariates), NULLS, covariates.nan_to_num() * EFFECTS).sum(1)
        if context is not None:
            total = total + torch.where(torch.isnan(context), 5.0, context).mean((1, 2))
        if image is not None:
            noisy = noisy + image
        return 0.3 * noisy + total.reshape(-1, *[1] * (noisy.ndim - 1))


@pytest.fixture
def network() -> LinearNetwork:
    return LinearNetwork()


@pytest.fixture
def noisy() -> torch.Tensor:
    return torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))


VALUES = torch.tensor([[1.0, 75.0, 0.0], [0.0, 60.0, 1.0], [1.0, math.nan, math.nan]])
PROCESS = RectifiedFlow()
T = 0.6


def predict(network, noisy, values, **conditions):
    return network(noisy, torch.full((3,), 600.0), covariates=values, **conditions)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.0, 7.5])
def test_joint_guidance(network, noisy, scale):
    denoiser = GuidedDenoiser(network, PROCESS, VALUES, guidance=scale)
    estimate = denoiser(noisy, T)
    calls, network.calls = list(network.calls), []
    unconditional = predict(network, noisy, torch.full_like(VALUES, math.nan))
    expected = unconditional + scale * (predict(network, noisy, VALUES) - unconditional)
    torch.testing.assert_close(estimate, PROCESS.estimate(expected, noisy, T))
    plain = scale in (0, 1)
    assert calls == [3 if plain else 6]
    assert denoiser.evaluations == (1 if plain else 2)


def test_guidance_by_covariate_in_closed_form(network, noisy):
    """uncond + sum_k w_k (only_k - uncond); for an additive network w_k times each covariate's own effect."""
    scales = {"diagnosis": 2.0, "age": 0.5, "sex": -1.0}
    denoiser = GuidedDenoiser(network, PROCESS, VALUES, guidance=scales)
    estimate = denoiser(noisy, T)
    assert denoiser.evaluations == 4
    known = ~torch.isnan(VALUES)
    effects = torch.where(known, VALUES.nan_to_num() * EFFECTS - NULLS, 0.0)
    total = NULLS.sum() + (effects * torch.tensor([2.0, 0.5, -1.0])).sum(1)
    expected = 0.3 * noisy + total.reshape(3, 1, 1, 1)
    torch.testing.assert_close(estimate, PROCESS.estimate(expected, noisy, T))


def test_guidance_by_covariate_is_the_formula_for_a_network_with_interactions(noisy):
    def network(image, t, covariates):
        values = covariates.nan_to_num(0.4)
        return image * torch.tanh(values[:, 0] * values[:, 1] / 50 + values[:, 2]).reshape(-1, 1, 1, 1)

    scales = {"diagnosis": 3.0, "sex": 1.5, "age": 0.7}
    estimate = GuidedDenoiser(network, PROCESS, VALUES, guidance=scales, names=COVARIATES.names)(noisy, T)
    unknown = torch.full_like(VALUES, math.nan)
    unconditional = network(noisy, None, unknown)
    expected = unconditional
    for name, scale in scales.items():
        only = unknown.clone()
        only[:, COVARIATES.index(name)] = VALUES[:, COVARIATES.index(name)]
        expected = expected + scale * (network(noisy, None, only) - unconditional)
    torch.testing.assert_close(estimate, PROCESS.estimate(expected, noisy, T))


def test_covariates_that_are_not_named_stay_conditions(network, noisy):
    denoiser = GuidedDenoiser(network, PROCESS, VALUES, guidance={"diagnosis": 3.0})
    estimate = denoiser(noisy, T)
    assert denoiser.evaluations == 2
    without = VALUES.clone()
    without[:, 0] = math.nan
    base = predict(network, noisy, without)
    expected = base + 3 * (predict(network, noisy, VALUES) - base)
    torch.testing.assert_close(estimate, PROCESS.estimate(expected, noisy, T))


@pytest.mark.parametrize("guidance", [2.5, {"diagnosis": 2.0, "sex": 0.5}])
def test_one_batched_forward_equals_separate_ones(network, noisy, guidance):
    together = GuidedDenoiser(network, PROCESS, VALUES, guidance=guidance, batched_pixels=10**6)(noisy, T)
    variants = 2 if isinstance(guidance, float) else 3
    assert network.calls == [3 * variants]
    network.calls = []
    apart = GuidedDenoiser(network, PROCESS, VALUES, guidance=guidance, batched_pixels=0)(noisy, T)
    assert network.calls == [3] * variants
    torch.testing.assert_close(together, apart)


def test_the_forward_is_split_by_size(network):
    denoiser = GuidedDenoiser(network, PROCESS, VALUES, guidance=2.0)
    denoiser(torch.zeros(3, 1, 16, 16), T)
    denoiser(torch.zeros(3, 1, 128, 128), T)
    assert network.calls == [6, 3, 3]


def test_outside_its_interval_guidance_is_the_plain_conditional(network, noisy):
    denoiser = GuidedDenoiser(network, PROCESS, VALUES, guidance=4.0, interval=(0.2, 0.7))
    plain = GuidedDenoiser(network, PROCESS, VALUES)
    everywhere = GuidedDenoiser(network, PROCESS, VALUES, guidance=4.0)
    for t, expected in ((0.1, plain), (0.2, everywhere), (0.5, everywhere), (0.7, everywhere), (0.71, plain)):
        torch.testing.assert_close(denoiser(noisy, t), expected(noisy, t))
    assert denoiser.evaluations == 3 * 2 + 2


def test_context_is_dropped_and_the_image_kept_unless_asked(network, noisy):
    context, image = torch.full((3, 2, 4), 0.5), torch.full((3, 1, 4, 4), 0.25)
    unknown, gone = torch.full_like(VALUES, math.nan), torch.full_like(context, math.nan)
    conditional = predict(network, noisy, VALUES, context=context, image=image)
    cases = {
        ("covariates", "context"): predict(network, noisy, unknown, context=gone, image=image),
        ("covariates",): predict(network, noisy, unknown, context=context, image=image),
        ("covariates", "context", "image"): predict(network, noisy, unknown, context=gone),
    }
    for drop, unconditional in cases.items():
        denoiser = GuidedDenoiser(network, PROCESS, VALUES, context, image, guidance=3.0, drop=drop)
        expected = unconditional + 3 * (conditional - unconditional)
        torch.testing.assert_close(denoiser(noisy, T), PROCESS.estimate(expected, noisy, T))


def test_clipping_clamps_the_estimate_and_derives_the_noise_again(network, noisy):
    process = VariancePreserving()
    estimate = GuidedDenoiser(network, process, VALUES, clip=0.5)(noisy, T)
    free = GuidedDenoiser(network, process, VALUES)(noisy, T)
    assert float(free.clean.abs().max()) > 0.6
    torch.testing.assert_close(estimate.clean, free.clean.clamp(-0.5, 0.5))
    rebuilt = process.corrupt(estimate.clean, estimate.noise, T)
    torch.testing.assert_close(rebuilt, noisy)
    inside = free.clean.abs() < 0.5
    assert torch.equal(estimate.noise[inside], free.noise[inside])
    lopsided = GuidedDenoiser(network, process, VALUES, clip=(-0.1, 0.4))(noisy, T)
    torch.testing.assert_close(lopsided.clean, free.clean.clamp(-0.1, 0.4))


def test_names_are_found_behind_a_wrapper(network, noisy):
    wrapped = nn.Module()
    wrapped.module = network
    wrapped.forward = network.forward
    denoiser = GuidedDenoiser(wrapped, PROCESS, VALUES, guidance={"sex": 2.0})
    expected = GuidedDenoiser(network, PROCESS, VALUES, guidance={"sex": 2.0})
    torch.testing.assert_close(denoiser(noisy, T), expected(noisy, T))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guidance": {"diagnosys": 2.0}}, "nearest: 'diagnosis'"),
        ({"guidance": {}}, "empty dict"),
        ({"guidance": {"age": "2"}}, "guidance 'age' must be a number"),
        ({"guidance": "2"}, "guidance must be a number"),
        ({"guidance": math.nan}, "guidance must be a number"),
        ({"guidance": True}, "guidance must be a number"),
        ({"guidance": 2.0, "covariates": None}, "no condition to guide by"),
        ({"guidance": {"age": 2.0}, "covariates": None}, "needs covariates, found None"),
        ({"guidance": {"age": 2.0}, "names": ("age",)}, "have 3 columns"),
        ({"interval": (0.8, 0.2)}, "reversed"),
        ({"interval": (0.2, 1.2)}, r"within \[0, 1\]"),
        ({"interval": (0.2,)}, r"within \[0, 1\]"),
        ({"drop": ("covariate",)}, "nearest: 'covariates'"),
        ({"clip": -1.0}, "clip must be"),
        ({"clip": (1.0, -1.0)}, "low < high"),
    ],
)
def test_bad_arguments(network, options, message):
    with pytest.raises(ValueError, match=message):
        GuidedDenoiser(network, PROCESS, **{"covariates": VALUES, **options})
