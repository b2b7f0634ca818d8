"""A solver with its own steps: exact flow of Gaussian data, image by image."""

import sys

import pytest
import torch

from medgen.processes import Estimate, RectifiedFlow, VariancePreserving
from medgen.samplers import Sampler, dopri5

pytest.importorskip("torchdiffeq", reason="torchdiffeq is not installed")


@pytest.mark.parametrize("process", [RectifiedFlow(), VariancePreserving()], ids=["flow", "cosine"])
def test_the_exact_flow(gaussian, process):
    noisy = torch.randn(4, 1, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for tolerance, error in ((1e-4, 1e-2), (1e-7, 1e-5)):
        for first, last in ((0.95, 0.05), (0.05, 0.95)):
            found = dopri5(process, gaussian.denoiser(process), noisy, [first, last], rtol=tolerance, atol=tolerance)
            exact = gaussian.flow(process, noisy, first, last)
            assert float((found - exact).abs().max()) < error


def _steep(noisy, t):  # data of standard deviation 0.1 about 0
    total = (1 - t) ** 2 * 0.01 + t**2
    return Estimate((1 - t) * 0.01 * noisy / total, t * noisy / total)


def test_an_image_does_not_depend_on_the_batch():
    process = RectifiedFlow()

    def network(noisy, time, **_):
        estimate = _steep(noisy, float(time[0]) / 1000)
        return process.target(estimate.clean, estimate.noise, float(time[0]) / 1000)

    sampler = Sampler("dopri5")
    together = sampler(network, process, (1, 4, 4), seeds=[0, 1, 2])
    alone = sampler(network, process, (1, 4, 4), seeds=[1])
    assert torch.equal(together.images[1:2], alone.images)
    assert 8 < together.evaluations < 200
    many = Sampler("midpoint", steps=200)(network, process, (1, 4, 4), seeds=[0, 1, 2])
    assert torch.allclose(together.images, many.images, atol=1e-2)
    with pytest.raises(ValueError, match="chooses its own times"):
        sampler(network, process, (1, 4, 4), seeds=[1], record=3)


def test_a_smaller_tolerance_costs_evaluations_and_comes_nearer():
    process = RectifiedFlow()

    def network(noisy, time, **_):
        estimate = _steep(noisy, float(time[0]) / 1000)
        return process.target(estimate.clean, estimate.noise, float(time[0]) / 1000)

    def made(**tolerances):
        return Sampler("dopri5", **tolerances)(network, process, (1, 4, 4), seeds=[0])

    loose, usual, fine = made(rtol=0.1, atol=0.1), made(), made(rtol=1e-6, atol=1e-6)
    assert loose.evaluations < usual.evaluations < fine.evaluations
    exact = made(rtol=1e-7, atol=1e-7).images
    errors = [float((found.images - exact).abs().max()) for found in (loose, usual, fine)]
    assert errors == sorted(errors, reverse=True)
    described = Sampler("dopri5", rtol=1e-4).to_dict()
    assert (described["rtol"], described["atol"]) == (1e-4, 1e-3)
    assert "rtol" not in Sampler("euler").to_dict()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"solver": "dopri5", "rtol": 0}, "rtol must be a positive number, found 0"),
        ({"solver": "dopri5", "atol": "tight"}, "atol must be a positive number, found 'tight'"),
        ({"solver": "euler", "atol": 1e-5}, "atol is 1e-05, but only 'dopri5' takes one; the solver is 'euler'"),
    ],
)
def test_tolerances_are_positive_and_of_this_solver_alone(arguments, message):
    with pytest.raises(ValueError, match=message):
        Sampler(**arguments)


def test_without_torchdiffeq_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(ImportError, match=r"medgen\[ode\]"):
        dopri5(RectifiedFlow(), _steep, torch.zeros(1, 1, 2, 2), [1.0, 0.0])
