"""Processes: their equations, round trips at both ends of time, and what they tell the network."""

from __future__ import annotations

import json
import math

import pytest
import torch

from medgen.processes import EDM, RectifiedFlow, VariancePreserving, from_monai, process_from_dict

SCHEDULES = ("linear", "scaled_linear", "cosine", "sigmoid")
PREDICTIONS = ("noise", "clean", "v")
VP = {
    f"{schedule} {prediction} {table or 'continuous'}": VariancePreserving(schedule, prediction, table=table)
    for schedule in SCHEDULES
    for prediction in PREDICTIONS
    for table in (None, 1000)
}
FLOWS = {
    "flow": RectifiedFlow(),
    "flow negated": RectifiedFlow("uniform", negate=True),
    "flow shifted": RectifiedFlow(shift=3.0),
}
EVERY = {**VP, **FLOWS, "edm": EDM()}


@pytest.fixture
def clean() -> torch.Tensor:
    return torch.rand(5, 2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def noise() -> torch.Tensor:
    return torch.randn(5, 2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def times_of(process) -> torch.Tensor:
    """Both ends of the time that sampling uses, and three between."""
    return torch.tensor([0.0, 0.001, 0.3, 0.8, process.start], dtype=torch.float64)


@pytest.mark.parametrize("name", EVERY)
def test_noisy_is_alpha_clean_plus_sigma_noise(name, clean, noise):
    process = EVERY[name]
    t = times_of(process)
    noisy = process.corrupt(clean, noise, t)
    for i, time in enumerate(t.tolist()):
        expected = float(process.alpha(time)) * clean[i] + float(process.sigma(time)) * noise[i]
        torch.testing.assert_close(noisy[i], expected, atol=1e-14, rtol=1e-14)


@pytest.mark.parametrize("name", EVERY)
def test_round_trip_from_target_to_estimate_at_both_ends(name, clean, noise):
    process = EVERY[name]
    t = times_of(process)
    noisy = process.corrupt(clean, noise, t)
    estimate = process.estimate(process.target(clean, noise, t), noisy, t)
    torch.testing.assert_close(estimate.clean, clean, atol=1e-10, rtol=1e-10)
    # a clean image tells nothing about the noise that was not added to it
    known = 1 if process.prediction == "clean" else 0
    torch.testing.assert_close(estimate.noise[known:], noise[known:], atol=1e-10, rtol=1e-10)
    assert bool(torch.isfinite(estimate.noise).all())


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("table", [None, 1000])
@pytest.mark.parametrize("first", PREDICTIONS)
@pytest.mark.parametrize("second", PREDICTIONS)
def test_predictions_convert_into_each_other_and_back(schedule, table, first, second, clean, noise):
    one, other = (VariancePreserving(schedule, prediction, table=table) for prediction in (first, second))
    t = torch.tensor([0.002, 0.1, 0.3, 0.8, min(one.start, other.start)], dtype=torch.float64)
    noisy = one.corrupt(clean, noise, t)
    prediction = one.target(clean, noise, t)
    converted = other.target(*one.estimate(prediction, noisy, t), t)
    torch.testing.assert_close(converted, other.target(clean, noise, t), atol=1e-10, rtol=1e-10)
    back = one.target(*other.estimate(converted, noisy, t), t)
    torch.testing.assert_close(back, prediction, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_any_prediction_gives_a_finite_estimate_at_every_time(name, clean, noise):
    process = EVERY[name]
    for t in (0.0, 1e-6, 0.5, 1.0):
        estimate = process.estimate(noise, clean, t)
        assert bool(torch.isfinite(estimate.clean).all())
        assert bool(torch.isfinite(estimate.noise).all())


@pytest.mark.parametrize("name", EVERY)
def test_noise_grows_from_none_and_time_at_inverts_log_snr(name):
    process = EVERY[name]
    t = torch.linspace(0, 1, 201, dtype=torch.float64)
    assert float(process.alpha(0.0)) == 1
    assert float(process.sigma(0.0)) == 0
    assert bool((process.sigma(t).diff() > 0).all())
    assert bool((process.alpha(t).diff() <= 0).all())
    inner = t[20:-1]
    torch.testing.assert_close(process.time_at(process.log_snr(inner)), inner, atol=2e-7, rtol=0)


@pytest.mark.parametrize("name", VP)
def test_variance_is_preserved(name):
    process = VP[name]
    t = torch.linspace(0, 1, 357, dtype=torch.float64)
    torch.testing.assert_close(process.alpha(t) ** 2 + process.sigma(t) ** 2, torch.ones_like(t), atol=1e-14, rtol=0)


def test_linear_schedule_is_equation_33_of_score_sde():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    log_alpha = -0.25 * t**2 * (20 - 0.1) - 0.5 * t * 0.1
    process = VariancePreserving("linear", "noise")
    torch.testing.assert_close(process.alpha(t), torch.exp(log_alpha), atol=1e-14, rtol=1e-13)


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "sigmoid"])
def test_closed_form_is_the_integral_of_its_betas(schedule):
    """beta(t) by the definition of the table, integrated numerically."""
    process = VariancePreserving(schedule, "v")
    low, high = {"linear": (0.1, 20.0), "scaled_linear": (0.85, 12.0), "sigmoid": (0.1, 20.0)}[schedule]
    t = torch.linspace(0, 1, 20001, dtype=torch.float64)
    beta = {
        "linear": low + t * (high - low),
        "scaled_linear": (math.sqrt(low) + t * (math.sqrt(high) - math.sqrt(low))) ** 2,
        "sigmoid": low + (high - low) * torch.sigmoid(12 * t - 6),
    }[schedule]
    integral = torch.cumulative_trapezoid(beta, t)
    torch.testing.assert_close(process.alpha(t[1:]) ** 2, torch.exp(-integral), atol=1e-7, rtol=1e-6)


def test_cosine_schedule_is_equation_17_and_exact_at_both_ends():
    process = VariancePreserving("cosine", "v")
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    f = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(process.alpha(t) ** 2, f / f[0], atol=1e-14, rtol=0)
    assert float(process.alpha(1.0)) == 0
    assert float(process.sigma(1.0)) == 1
    assert float(process.log_snr(1.0)) == -math.inf
    assert float(process.log_snr(0.0)) == math.inf


def test_ddpm_table_to_the_digit():
    process = VariancePreserving("linear", "noise", table=1000)
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alpha_bar = torch.cumprod(1 - betas, 0)
    t = torch.arange(1, 1001) / 1000  # float32, as a training loop may hold it
    torch.testing.assert_close(process.alpha(t), alpha_bar.sqrt(), atol=1e-15, rtol=1e-14)
    torch.testing.assert_close(process.sigma(t), (1 - alpha_bar).sqrt(), atol=1e-14, rtol=1e-12)
    assert process.network_time(t).tolist() == list(range(1000))


@pytest.mark.parametrize("argument", ["betas", "alphas_cumprod"])
def test_explicit_tables_are_the_named_one(argument):
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    values = betas if argument == "betas" else torch.cumprod(1 - betas, 0)
    process = VariancePreserving(prediction="noise", **{argument: values})
    named = VariancePreserving("linear", "noise", table=1000)
    t = torch.linspace(0, 1, 333, dtype=torch.float64)
    torch.testing.assert_close(process.alpha(t), named.alpha(t), atol=1e-15, rtol=1e-13)
    assert process.table == 1000


def test_table_between_its_entries():
    process = VariancePreserving("linear", "noise", table=1000)
    middle = (float(process.alpha(0.5)) + float(process.alpha(0.501))) / 2
    assert float(process.alpha(0.5005)) == pytest.approx(middle, abs=1e-12)
    assert float(process.network_time(0.5005)) == pytest.approx(499.5)
    assert float(process.network_time(0.0)) == 0


def test_smaller_tables_end_in_noise_too():
    for size in (20, 100, 1000, 4000):
        assert float(VariancePreserving("linear", "noise", table=size).alpha(1.0)) < 0.02


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_where_sampling_starts(prediction):
    continuous = VariancePreserving("cosine", prediction)
    if prediction == "noise":
        assert 0.99 < continuous.start < 1
        assert float(continuous.alpha(continuous.start)) > 6e-3
    else:
        assert continuous.start == 1
    assert VariancePreserving("linear", prediction).start == 1
    assert VariancePreserving("cosine", prediction, table=1000).start == 1
    zero_terminal = VariancePreserving(prediction=prediction, alphas_cumprod=[0.9, 0.5, 0.1, 0.0])
    assert zero_terminal.start == (0.75 if prediction == "noise" else 1)


def test_v_on_cosine_is_exact_at_pure_noise(clean, noise):
    process = VariancePreserving("cosine", "v")
    noisy = process.corrupt(clean, noise, 1.0)
    torch.testing.assert_close(noisy, noise, atol=0, rtol=0)
    target = process.target(clean, noise, 1.0)
    torch.testing.assert_close(target, -clean, atol=0, rtol=0)
    torch.testing.assert_close(process.estimate(target, noisy, 1.0).clean, clean, atol=0, rtol=0)


def test_flow_relations(clean, noise):
    process = RectifiedFlow()
    t = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
    torch.testing.assert_close(process.target(clean, noise, t), noise - clean)
    torch.testing.assert_close(RectifiedFlow(negate=True).target(clean, noise, t), clean - noise)
    scaled, time = process.network_input(clean, t)
    assert scaled is clean
    assert time.tolist() == (1000 * t).tolist()


def test_edm_is_table_1(clean, noise):
    process = EDM(sigma_data=0.5)
    t = torch.tensor([0.25, 0.4, 0.6, 0.8, 1.0], dtype=torch.float64)
    sigma = 80 * t**7
    torch.testing.assert_close(process.sigma(t), sigma)
    noisy, raw = process.corrupt(clean, noise, t), noise.flip(0)
    s = sigma.reshape(-1, 1, 1, 1)
    scaled, time = process.network_input(noisy, t)
    torch.testing.assert_close(scaled, noisy / torch.sqrt(s**2 + 0.25))
    torch.testing.assert_close(time, torch.log(sigma) / 4)
    skip, out = 0.25 / (s**2 + 0.25), s * 0.5 / torch.sqrt(0.25 + s**2)
    estimate = process.estimate(raw, noisy, t)
    torch.testing.assert_close(estimate.clean, skip * noisy + out * raw)
    torch.testing.assert_close(estimate.noise, (noisy - estimate.clean) / s, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(process.target(clean, noise, t), (clean - skip * noisy) / out, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(process.prior(noise), 80 * noise)


def test_edm_maps_time_to_the_papers_steps():
    """Equal steps of t are the steps of eq. 5."""
    process = EDM()
    i = torch.arange(18, dtype=torch.float64) / 17
    sigmas = (80 ** (1 / 7) + i * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    first = (0.002 / 80) ** (1 / 7)
    torch.testing.assert_close(process.sigma(1 + i * (first - 1)), sigmas, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(process.time_at(-2 * torch.log(sigmas)), 1 + i * (first - 1))
    assert float(process.network_time(0.0)) == pytest.approx(math.log(0.002) / 4)


def test_training_times():
    uniform = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    assert VariancePreserving().training_times(uniform).tolist() == uniform.tolist()
    table = VariancePreserving("linear", "noise", table=1000).training_times(uniform)
    torch.testing.assert_close(table * 1000, (table * 1000).round())
    assert torch.bincount((table * 1000).round().long(), minlength=1001).tolist() == [0] + [20] * 1000
    flow = torch.logit(RectifiedFlow(mean=0.4, std=1.3).training_times(uniform))
    assert float(flow.mean()) == pytest.approx(0.4, abs=1e-3)
    assert float(flow.std()) == pytest.approx(1.3, abs=1e-3)
    assert RectifiedFlow("uniform").training_times(uniform).tolist() == uniform.tolist()
    middle = torch.logit(VariancePreserving(times="logit_normal").training_times(uniform))
    assert float(middle.mean()) == pytest.approx(0, abs=1e-3)
    assert float(middle.std()) == pytest.approx(1, abs=1e-3)
    entries = VariancePreserving(times="logit_normal", table=1000).training_times(torch.tensor([0.0, 1 - 2**-53]))
    assert (entries * 1000).tolist() == [1, 1000]
    shifted = RectifiedFlow("uniform", shift=3.0).training_times(uniform)
    torch.testing.assert_close(shifted, 3 * uniform / (1 + 2 * uniform))
    log_sigma = torch.log(EDM().sigma(EDM().training_times(uniform)))
    assert float(log_sigma.mean()) == pytest.approx(-1.2, abs=1e-3)
    assert float(log_sigma.std()) == pytest.approx(1.2, abs=1e-3)
    for process in EVERY.values():
        ends = process.training_times(torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64))
        assert bool(((ends >= 0) & (ends <= 1)).all())


@pytest.mark.parametrize("name", EVERY)
def test_narrow_dtypes_are_computed_in_float32(name, clean, noise):
    process = EVERY[name]
    t = times_of(process)
    noisy = process.corrupt(clean.bfloat16(), noise.bfloat16(), t)
    assert noisy.dtype == torch.float32
    assert process.network_input(noisy, t)[1].dtype == torch.float32
    assert process.estimate(noise.bfloat16(), noisy, t).clean.dtype == torch.float32
    assert process.target(clean.bfloat16(), noise.bfloat16(), t).dtype == torch.float32
    assert process.network_input(noisy, 0.5)[1].shape == (5,)


@pytest.mark.parametrize("spatial", [(6,), (4, 5), (3, 4, 5)])
def test_any_number_of_dimensions(spatial):
    clean = torch.randn(2, 3, *spatial)
    for process in (VariancePreserving(), RectifiedFlow(), EDM()):
        t = torch.tensor([0.2, 0.7])
        noisy = process.corrupt(clean, torch.ones_like(clean), t)
        one = process.corrupt(clean[1:], torch.ones_like(clean[1:]), 0.7)
        torch.testing.assert_close(noisy[1:], one)


@pytest.mark.parametrize("name", EVERY)
def test_a_process_is_rebuilt_from_its_description(name):
    process = EVERY[name]
    description = json.loads(json.dumps(process.to_dict()))
    rebuilt = process_from_dict(description)
    assert rebuilt == process
    assert repr(rebuilt) == repr(process)
    assert rebuilt.start == process.start
    from monai.bundle import ConfigParser

    assert ConfigParser({"process": description}).get_parsed_content("process") == process


def test_processes_differ_by_their_arguments():
    assert VariancePreserving() != VariancePreserving(prediction="noise")
    assert EDM() != EDM(sigma_data=1.0)
    assert len({RectifiedFlow(), RectifiedFlow(), RectifiedFlow(negate=True)}) == 2


def test_from_monai_tables_and_refusals():
    from monai.networks.schedulers import DDIMScheduler, DDPMScheduler, PNDMScheduler, RFlowScheduler

    cases = {"epsilon": "noise", "sample": "clean", "v_prediction": "v"}
    for theirs, ours in cases.items():
        for kind in (DDPMScheduler, DDIMScheduler):
            scheduler = kind(num_train_timesteps=200, schedule="scaled_linear_beta", prediction_type=theirs)
            process = from_monai(scheduler)
            assert (process.prediction, process.table) == (ours, 200)
            clean, noise, k = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4), torch.tensor([3, 199])
            t = (k + 1) / 200
            torch.testing.assert_close(process.corrupt(clean, noise, t), scheduler.add_noise(clean, noise, k))
            assert process.network_time(t).tolist() == k.tolist()
            if ours == "v":
                torch.testing.assert_close(process.target(clean, noise, t), scheduler.get_velocity(clean, noise, k))
    assert from_monai(PNDMScheduler(prediction_type="v_prediction")).prediction == "v"
    flow = from_monai(RFlowScheduler(sample_method="logit-normal", loc=0.3, scale=0.8))
    assert (flow.times, flow.negate) == ("logit_normal", True)
    assert (flow.mean, flow.std) == pytest.approx((0.3, 0.8))
    with pytest.raises(ValueError, match="learned"):
        from_monai(DDPMScheduler(variance_type="learned_range"))
    with pytest.raises(ValueError, match="found Linear"):
        from_monai(torch.nn.Linear(1, 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VariancePreserving("cosin"), "nearest: 'cosine'"),
        (lambda: VariancePreserving(prediction="velocity"), "prediction is 'velocity'"),
        (lambda: VariancePreserving(table=0), "table must be"),
        (lambda: VariancePreserving("cosine", beta_start=0.1), "cosine schedule takes no"),
        (lambda: VariancePreserving("linear", beta_start=0.5, beta_end=0.1), "beta_start <= beta_end"),
        (lambda: VariancePreserving(betas=[0.1], alphas_cumprod=[0.9]), "found both"),
        (lambda: VariancePreserving(alphas_cumprod=[0.5, 0.9]), "falls strictly"),
        (lambda: VariancePreserving(betas=[0.1, 1.5]), "falls strictly"),
        (lambda: VariancePreserving(betas=[[0.1]]), "list of numbers"),
        (lambda: VariancePreserving(betas=[0.1, 0.2], table=3), "has 2 values"),
        (lambda: VariancePreserving(betas=[0.1, 0.2], beta_end=0.3), "explicit table"),
        (lambda: RectifiedFlow("logit-normal"), "nearest: 'logit_normal'"),
        (lambda: RectifiedFlow(std=0.0), "std must be positive"),
        (lambda: RectifiedFlow(shift=-1.0), "shift must be positive"),
        (lambda: EDM(sigma_min=90.0), "sigma_min < sigma_max"),
        (lambda: EDM(sigma_data=0.0), "sigma_data must be positive"),
        (lambda: process_from_dict({"_target_": "medgen.processes.EDN"}), "nearest: 'EDM'"),
        (lambda: process_from_dict({"_target_": "EDM", "sigma_dat": 1.0}), "nearest: 'sigma_data'"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
