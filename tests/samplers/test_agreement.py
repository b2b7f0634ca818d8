"""Agreement with diffusers' and MONAI's schedulers on the same grid, with a fixed nonlinear function as the network."""

from __future__ import annotations

import pytest
import torch

from medgen.processes import RectifiedFlow, VariancePreserving, from_monai
from medgen.samplers import Sampler, ddim, ddpm, dpm_solver_pp_2m, euler, time_grid

diffusers = pytest.importorskip("diffusers")

PREDICTIONS = {"epsilon": "noise", "sample": "clean", "v_prediction": "v"}
SHAPE = (2, 1, 3, 3)


def network(noisy: torch.Tensor, k: torch.Tensor | float) -> torch.Tensor:
    """Nonlinear in the image and in time, bounded; mixes pixels."""
    time = torch.as_tensor(k, dtype=noisy.dtype).reshape(-1)[:1]
    return torch.tanh(0.9 * noisy + 0.3 * noisy.flip(-1) + 0.2 * torch.cos(time / 200))


def denoiser_of(process):
    def denoise(noisy, t):
        return process.estimate(network(*process.network_input(noisy, t)), noisy, t)

    return denoise


def noise(dtype=torch.float64) -> torch.Tensor:
    """The same numbers in either precision."""
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def times_of(scheduler) -> list[float]:
    return [*((int(k) + 1) / 1000 for k in scheduler.timesteps), 0.0]


def exact(scheduler):
    """Let a scheduler step in float64: their tables are float32 otherwise, which costs them up to 1e-4."""
    for name, value in vars(scheduler).items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            setattr(scheduler, name, value.double())
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = torch.cumprod(scheduler.alphas, 0)
    return scheduler


def agree(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> None:
    difference, largest = float((ours - theirs).abs().max()), max(1.0, float(theirs.abs().max()))
    assert difference <= tolerance * largest


def noise_source(dtype=torch.float64):
    """What a scheduler draws in float64 from ``torch.Generator().manual_seed(1)``."""
    generator = torch.Generator().manual_seed(1)
    return lambda step: torch.randn(SHAPE, dtype=torch.float64, generator=generator).to(dtype)


TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("steps", [200, 25])
def test_ddpm_of_diffusers(dtype, prediction, schedule, steps):
    scheduler = diffusers.DDPMScheduler(beta_schedule=schedule, prediction_type=prediction, clip_sample=False)
    exact(scheduler).set_timesteps(steps)
    process = VariancePreserving(prediction=PREDICTIONS[prediction], alphas_cumprod=scheduler.alphas_cumprod)
    generator = torch.Generator().manual_seed(1)
    noisy = noise()
    for k in scheduler.timesteps:
        noisy = scheduler.step(network(noisy, k), k, noisy, generator=generator).prev_sample
    times = time_grid(process, steps, "leading")
    assert times == times_of(scheduler)
    agree(ddpm(process, denoiser_of(process), noise(dtype), times, noise_source(dtype)), noisy, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim_of_diffusers(dtype, prediction, eta, spacing):
    scheduler = diffusers.DDIMScheduler(prediction_type=prediction, clip_sample=False, timestep_spacing=spacing)
    exact(scheduler).set_timesteps(20)
    process = VariancePreserving(prediction=PREDICTIONS[prediction], alphas_cumprod=scheduler.alphas_cumprod)
    times = time_grid(process, 20, spacing)
    assert times == times_of(scheduler)
    source = noise_source()
    noisy = noise()
    for k in scheduler.timesteps:
        drawn = {"variance_noise": source(0)} if eta else {}
        noisy = scheduler.step(network(noisy, k), k, noisy, eta=eta, **drawn).prev_sample
    result = ddim(process, denoiser_of(process), noise(dtype), times, noise_source(dtype), eta=eta)
    agree(result, noisy, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("spacing", ["linspace", "trailing"])
def test_dpm_solver_multistep_of_diffusers(dtype, prediction, spacing):
    scheduler = diffusers.DPMSolverMultistepScheduler(
        prediction_type=prediction, algorithm_type="dpmsolver++", solver_order=2, timestep_spacing=spacing
    )
    scheduler.set_timesteps(20)
    process = VariancePreserving(prediction=PREDICTIONS[prediction], alphas_cumprod=scheduler.alphas_cumprod)
    noisy = noise()
    for k in scheduler.timesteps:
        noisy = scheduler.step(network(noisy, k), k, noisy).prev_sample
    # its sigmas are float32 whatever the images are
    agree(dpm_solver_pp_2m(process, denoiser_of(process), noise(dtype), times_of(scheduler)), noisy, 1e-5)


@pytest.mark.parametrize(
    ("schedule", "theirs", "betas"),
    [
        ("linear", "linear", (1e-4, 0.02)),
        ("scaled_linear", "scaled_linear", (8.5e-4, 0.012)),
        ("sigmoid", "sigmoid", (1e-4, 0.02)),
        ("cosine", "squaredcos_cap_v2", (None, None)),
    ],
)
def test_tables_of_diffusers(schedule, theirs, betas):
    options = {} if betas[0] is None else {"beta_start": betas[0], "beta_end": betas[1]}
    scheduler = diffusers.DDPMScheduler(beta_schedule=theirs, **options)
    process = VariancePreserving(schedule, "v", table=1000)
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    torch.testing.assert_close(process.alpha(t) ** 2, scheduler.alphas_cumprod.double(), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_ddpm_of_monai_step_by_step(prediction):
    from monai.networks.schedulers import DDPMScheduler

    scheduler = exact(DDPMScheduler(prediction_type=prediction, clip_sample=False))
    process = from_monai(scheduler)
    generator = torch.Generator().manual_seed(1)
    noisy, seen = noise(), []
    for k in scheduler.timesteps:
        seen.append(noisy)
        noisy, _ = scheduler.step(network(noisy, k), int(k), noisy, generator=generator)
    visited = []

    def watching(x, t):
        visited.append(x)
        return denoiser_of(process)(x, t)

    source = noise_source()
    result = ddpm(process, watching, noise(), time_grid(process, 1000), source)
    for ours, theirs in zip([*visited, result], [*seen, noisy], strict=True):
        agree(ours, theirs, 1e-10)


def test_ddpm_of_monai_with_clipping():
    from monai.networks.schedulers import DDPMScheduler

    scheduler = exact(DDPMScheduler(prediction_type="v_prediction", clip_sample=True))
    process = from_monai(scheduler)
    generator = torch.Generator().manual_seed(1)
    noisy = noise()
    for k in scheduler.timesteps:
        noisy, _ = scheduler.step(3 * network(noisy, k), int(k), noisy, generator=generator)
    sampler = Sampler("ddpm", steps=1000, clip=1.0)
    denoiser = sampler.denoiser_for(lambda x, k: 3 * network(x, k), process)
    result = sampler.solve(process, denoiser, noise(), sampler.times(process), noise_source())
    agree(result, noisy, 1e-10)


@pytest.mark.parametrize("method", ["uniform", "logit-normal"])
def test_rflow_of_monai(method):
    from monai.networks.schedulers import RFlowScheduler

    scheduler = RFlowScheduler(sample_method=method, loc=0.2, scale=0.7)
    scheduler.set_timesteps(20)
    process = from_monai(scheduler)
    assert isinstance(process, RectifiedFlow)
    times = [*(float(k) / 1000 for k in scheduler.timesteps), 0.0]
    noisy = noise(torch.float32)
    following = [*scheduler.timesteps[1:], torch.tensor(0)]
    for k, k_next in zip(scheduler.timesteps, following, strict=True):
        noisy, _ = scheduler.step(network(noisy, k), k, noisy, k_next)
    result = euler(process, denoiser_of(process), noise(torch.float32), times)
    agree(result, noisy, 1e-5)
    torch.testing.assert_close(time_grid(process, 20), times, atol=1e-12, rtol=0)
    clean, k = torch.randn(SHAPE), torch.tensor([250, 800])
    torch.testing.assert_close(
        process.corrupt(clean, noise(torch.float32), k / 1000),
        scheduler.add_noise(clean, noise(torch.float32), k),
        atol=1e-6,
        rtol=1e-6,
    )


def test_rflow_of_monai_with_timestep_transform():
    from monai.networks.schedulers import RFlowScheduler

    scheduler = RFlowScheduler(
        use_discrete_timesteps=False, use_timestep_transform=True, transform_scale=1.4, spatial_dim=3
    )  # MONAI takes the scale and does not use it
    process = from_monai(scheduler, spatial_size=(64, 64, 48))
    scheduler.set_timesteps(10, input_img_size_numel=64 * 64 * 48)
    # MONAI keeps these times in float16
    torch.testing.assert_close(
        torch.tensor(time_grid(process, 10)[:-1]), scheduler.timesteps.float() / 1000, atol=1e-3, rtol=0
    )
    with pytest.raises(ValueError, match="spatial_size"):
        from_monai(scheduler)
