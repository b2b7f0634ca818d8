"""Solvers against what is known of Gaussian data: exact flow, mean, covariance, and their order of convergence."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from medgen.processes import EDM, RectifiedFlow, VariancePreserving
from medgen.samplers import SOLVERS, ddim, ddpm, euler, heun, time_grid

PROCESSES = {
    "cosine v": VariancePreserving(),
    "linear noise": VariancePreserving("linear", "noise"),
    "linear clean": VariancePreserving("linear", "clean"),
    "sigmoid v": VariancePreserving("sigmoid", "v"),
    "flow": RectifiedFlow(),
    "edm": EDM(),
}
ORDERS = {"ddim": 1, "euler": 1, "heun": 2, "midpoint": 2, "dpm_solver_pp_2m": 2}


def probes(count: int = 6) -> torch.Tensor:
    return torch.randn(count, 1, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("solver", ORDERS)
@pytest.mark.parametrize("name", PROCESSES)
def test_order_of_convergence(gaussian, name, solver):
    process = PROCESSES[name]
    first, last = 0.9, 0.35 if name == "edm" else 0.1
    noisy = probes() * float(process.sigma(first))
    exact = gaussian.flow(process, noisy, first, last)
    errors = []
    for steps in (64, 128):
        times = np.linspace(first, last, steps + 1).tolist()
        errors.append(float((SOLVERS[solver](process, gaussian.denoiser(process), noisy, times) - exact).abs().max()))
    order = math.log2(errors[0] / errors[1])
    assert order > ORDERS[solver] - 0.2
    if ORDERS[solver] == 1:
        assert order < 1.2


@pytest.mark.parametrize("solver", ORDERS)
@pytest.mark.parametrize("name", PROCESSES)
def test_mean_and_covariance_at_zero_noise(gaussian, name, solver):
    process = PROCESSES[name]
    network = gaussian.network(process)

    def denoise(noisy, t):
        scaled, time = process.network_input(noisy, t)
        return process.estimate(network(scaled, time), noisy, t)

    times = time_grid(process, 96, "karras")
    std = float(process.prior(torch.ones(())))
    mean, covariance = gaussian.moments(lambda noisy: SOLVERS[solver](process, denoise, noisy, times), std)
    exact_mean, exact_covariance = gaussian.moments(lambda noisy: gaussian.flow(process, noisy, times[0], 0.0), std)
    torch.testing.assert_close(mean, exact_mean, atol=3e-3, rtol=0)
    torch.testing.assert_close(covariance, exact_covariance, atol=0.025 if ORDERS[solver] == 1 else 2e-3, rtol=0)
    # the prior at the start is not exactly the noisy data's distribution, but nearly
    torch.testing.assert_close(exact_mean, gaussian.mean, atol=4e-3, rtol=0)
    torch.testing.assert_close(exact_covariance, gaussian.covariance, atol=1e-3, rtol=0)


def ancestral_moments(gaussian, process, times, solver=ddpm, **options) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of a stochastic solver without any sampling: it is affine in its noise, so unit noises do.

    Row 0 gets no noise at all; rows 1 + 2 k + p get a unit of noise k (0 is the initial one) in pixel p.
    """
    count = len(times)
    noise = torch.zeros(count, 1 + 2 * count, 2, dtype=torch.float64)
    for k in range(count):
        for pixel in range(2):
            noise[k, 1 + 2 * k + pixel, pixel] = 1.0
    noise = noise.reshape(count, -1, 1, 1, 2)
    result = solver(
        process, gaussian.denoiser(process), process.prior(noise[0]), times, lambda step: noise[step], **options
    )
    rows = result.reshape(-1, 2)
    effects = rows[1:] - rows[0]
    return rows[0], effects.T @ effects


@pytest.mark.parametrize("name", PROCESSES)
def test_ancestral_sampling_has_the_right_moments(gaussian, name):
    process = PROCESSES[name]
    errors = []
    for steps in (30, 60):
        mean, covariance = ancestral_moments(gaussian, process, time_grid(process, steps, "log_snr"))
        torch.testing.assert_close(mean, gaussian.mean, atol=1e-2, rtol=0)
        errors.append(float((covariance - gaussian.covariance).abs().max()))
    assert errors[1] < 0.08
    assert math.log2(errors[0] / errors[1]) > 0.8


def test_ancestral_sampling_is_right_with_fewer_steps_than_trained_with(gaussian):
    process = VariancePreserving("linear", "noise", table=1000)
    errors = []
    for steps in (20, 80, 320):
        _, covariance = ancestral_moments(gaussian, process, time_grid(process, steps, "trailing"))
        errors.append(float((covariance - gaussian.covariance).abs().max()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


@pytest.mark.parametrize("name", PROCESSES)
def test_ddim_with_eta_one_is_ddpm(gaussian, name):
    process = PROCESSES[name]
    times = time_grid(process, 7)
    for one, other in zip(
        ancestral_moments(gaussian, process, times),
        ancestral_moments(gaussian, process, times, ddim, eta=1.0),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", PROCESSES)
def test_euler_and_deterministic_ddim_are_the_same_step(gaussian, name):
    process = PROCESSES[name]
    times = time_grid(process, 7)
    noisy = process.prior(probes())
    denoiser = gaussian.denoiser(process)
    torch.testing.assert_close(euler(process, denoiser, noisy, times), ddim(process, denoiser, noisy, times))


def test_one_ancestral_step_is_equation_7_of_ddpm():
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alpha_bar = torch.cumprod(1 - betas, 0)
    process = VariancePreserving("linear", "noise", table=1000)
    noisy, noise, z = probes(3).chunk(3)
    for k in (1, 250, 999):
        ours = ddpm(
            process,
            lambda x, t: process.estimate(noise, x, t),
            noisy,
            [(k + 1) / 1000, k / 1000],
            lambda _: z,
        )
        clean = (noisy - (1 - alpha_bar[k]).sqrt() * noise) / alpha_bar[k].sqrt()
        mean = (
            alpha_bar[k - 1].sqrt() * betas[k] / (1 - alpha_bar[k]) * clean
            + (1 - betas[k]).sqrt() * (1 - alpha_bar[k - 1]) / (1 - alpha_bar[k]) * noisy
        )
        beta_tilde = (1 - alpha_bar[k - 1]) / (1 - alpha_bar[k]) * betas[k]
        torch.testing.assert_close(ours, mean + beta_tilde.sqrt() * z, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_one_ddim_step_is_equations_12_and_16_of_ddim(eta):
    process = VariancePreserving("linear", "noise", table=1000)
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    noisy, noise, z = probes(3).chunk(3)
    now, then = alpha_bar[800], alpha_bar[600]
    std = eta * ((1 - then) / (1 - now)).sqrt() * (1 - now / then).sqrt()
    clean = (noisy - (1 - now).sqrt() * noise) / now.sqrt()
    expected = then.sqrt() * clean + (1 - then - std**2).sqrt() * noise + std * z
    ours = ddim(process, lambda x, t: process.estimate(noise, x, t), noisy, [0.801, 0.601], lambda _: z, eta=eta)
    torch.testing.assert_close(ours, expected, atol=1e-12, rtol=1e-12)


def test_heun_on_edm_is_algorithm_1_with_35_evaluations(gaussian):
    process = EDM()
    steps, low, high, rho = 18, 0.002, 80.0, 7.0
    ramp = torch.arange(steps, dtype=torch.float64) / (steps - 1)
    sigmas = [*((high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho).tolist(), 0.0]
    times = time_grid(process, steps)
    torch.testing.assert_close(process.sigma(torch.tensor(times, dtype=torch.float64)).tolist(), sigmas)

    def clean(noisy, sigma):
        return gaussian.estimate(process, noisy, float(process.time_at(-2 * math.log(sigma)))).clean

    x = probes() * high
    for sigma, following in pairwise(sigmas):
        slope = (x - clean(x, sigma)) / sigma
        euler_step = x + (following - sigma) * slope
        if following:
            slope = (slope + (euler_step - clean(euler_step, following)) / following) / 2
        x = x + (following - sigma) * slope

    calls = []

    def counting(noisy, t):
        calls.append(t)
        return gaussian.estimate(process, noisy, t)

    torch.testing.assert_close(heun(process, counting, probes() * high, times), x, atol=1e-8, rtol=1e-8)
    assert len(calls) == 35


@pytest.mark.parametrize("solver", ORDERS)
@pytest.mark.parametrize("name", PROCESSES)
def test_inversion_undoes_generation(gaussian, name, solver):
    process = PROCESSES[name]
    images = gaussian.mean.reshape(1, 1, 1, 2) + 0.4 * probes()
    errors = []
    for steps in (40, 160):
        times = time_grid(process, steps, "log_snr")
        latent = SOLVERS[solver](process, gaussian.denoiser(process), images, times[::-1])
        back = SOLVERS[solver](process, gaussian.denoiser(process), latent, times)
        errors.append(float((back - images).abs().max()))
    assert errors[1] < (0.06 if ORDERS[solver] == 1 else 0.01)
    assert errors[1] < max(errors[0] / 3, 1e-4)


def test_inversion_lands_where_the_flow_does(gaussian):
    process = RectifiedFlow()
    images = gaussian.mean.reshape(1, 1, 1, 2) + 0.4 * probes()
    noise = SOLVERS["midpoint"](process, gaussian.denoiser(process), images, time_grid(process, 50)[::-1])
    torch.testing.assert_close(noise, gaussian.flow(process, images, 0.0, 1.0), atol=1e-3, rtol=0)


@pytest.mark.parametrize("process", [VariancePreserving(), RectifiedFlow(), VariancePreserving("cosine", "clean")])
@pytest.mark.parametrize("solver", SOLVERS)
def test_starting_from_pure_noise_is_finite(gaussian, process, solver):
    """alpha(1) is exactly 0 here, so log-SNR is -inf and no solver may divide by alpha."""
    assert float(process.alpha(process.start)) == 0
    result = SOLVERS[solver](
        process, gaussian.denoiser(process), probes(), time_grid(process, 3), lambda step: torch.zeros_like(probes())
    )
    assert bool(torch.isfinite(result).all())


def test_stochastic_solvers_refuse_rising_times_and_missing_noise(gaussian):
    process = RectifiedFlow()
    with pytest.raises(ValueError, match="must fall"):
        ddpm(process, gaussian.denoiser(process), probes(), [0.0, 0.5], lambda step: probes())
    with pytest.raises(ValueError, match="must fall"):
        ddim(process, gaussian.denoiser(process), probes(), [0.0, 0.5], lambda step: probes(), eta=0.5)
    with pytest.raises(ValueError, match="noise_source"):
        ddim(process, gaussian.denoiser(process), probes(), [0.5, 0.0], eta=0.5)
    with pytest.raises(ValueError, match="noise_source"):
        ddpm(process, gaussian.denoiser(process), probes(), [0.5, 0.0])
