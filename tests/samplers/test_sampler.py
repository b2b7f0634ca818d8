"""The Sampler object: seeds, chunks, counting, recording, precision, modes."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from medgen.covariates import Covariates, Range
from medgen.networks.codec import IdentityCodec
from medgen.networks.unet import ConditionalUNet
from medgen.processes import EDM, RectifiedFlow, VariancePreserving
from medgen.samplers import SOLVERS, Sampler, sampling_mode, seeded_noise

PROCESSES = {"v": VariancePreserving(), "flow": RectifiedFlow(), "edm": EDM()}
SHAPE = (1, 8, 8)
SEEDS = [11, 3, 500, 4, 8]


@pytest.fixture(scope="module")
def network() -> ConditionalUNet:
    torch.manual_seed(0)
    covariates = Covariates(diagnosis=["NC", "AD"], age=Range(18, 100, "years"))
    unet = ConditionalUNet(
        2, 1, 1, (8, 16), (False, True), num_res_blocks=1, num_head_channels=8, norm_num_groups=8, covariates=covariates
    )
    for parameter in unet.parameters():
        nn.init.normal_(parameter, std=0.15)
    return unet


@pytest.fixture(scope="module")
def covariates() -> torch.Tensor:
    return torch.tensor([[1.0, 75.0], [0.0, 60.0], [1.0, math.nan], [math.nan, math.nan], [0.0, 90.0]])


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("solver", ["ddpm", "dpm_solver_pp_2m"])
def test_an_image_depends_on_its_seed_and_conditions_alone(network, covariates, process, solver):
    def images(rows, **options):
        sampler = Sampler(solver, steps=4, guidance=1.5, **options)
        return sampler(network, process, SHAPE, [SEEDS[i] for i in rows], covariates[rows]).images

    whole = images([0, 1, 2, 3, 4])
    assert float((whole[0] - whole[1]).abs().max()) > 0.1
    for rows, options in (([4, 2, 0, 1, 3], {}), ([0, 1, 2, 3, 4], {"max_batch": 2}), ([3], {})):
        torch.testing.assert_close(images(rows, **options), whole[rows], atol=1e-4, rtol=0)


def test_the_first_noise_and_the_noise_of_each_step(network):
    process = RectifiedFlow()
    samples = Sampler("ddpm", steps=3)(network, process, SHAPE, SEEDS, record=4)
    assert torch.equal(samples.steps[0].noisy, seeded_noise(SHAPE, SEEDS, 0))
    first, second = samples.steps[:2]
    alpha, ratio = (1 - first.t) / (1 - second.t), second.t / first.t
    variance = first.t**2 - (alpha * second.t) ** 2
    mean = alpha * ratio**2 * first.noisy + (1 - second.t) * variance / first.t**2 * first.clean
    drawn = (second.noisy - mean) / (math.sqrt(variance) * ratio)
    torch.testing.assert_close(drawn, seeded_noise(SHAPE, SEEDS, 1), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("solver", "plain"),
    [("ddpm", 6), ("ddim", 6), ("dpm_solver_pp_2m", 6), ("euler", 6), ("heun", 11), ("midpoint", 12)],
)
def test_evaluations_are_counted_per_image(network, covariates, solver, plain):
    rows = []
    hook = network.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    try:
        for guidance, factor in ((1.0, 1), (2.0, 2), ({"diagnosis": 2.0, "age": 1.5}, 3)):
            rows.clear()
            sampler = Sampler(solver, steps=6, guidance=guidance, max_batch=3)
            samples = sampler(network, VariancePreserving(), SHAPE, SEEDS, covariates)
            assert samples.evaluations == plain * factor
            assert sum(rows) == samples.evaluations * len(SEEDS)
            assert samples.seconds > 0
    finally:
        hook.remove()


def test_guidance_interval_in_the_sampler(network, covariates):
    sampler = Sampler("euler", steps=10, guidance=2.0, guidance_interval=(0.25, 0.65))
    assert sampler(network, RectifiedFlow(), SHAPE, SEEDS, covariates).evaluations == 10 + 4


@pytest.mark.parametrize("solver", SOLVERS)
def test_recorded_states(network, covariates, solver):
    process = RectifiedFlow()
    sampler = Sampler(solver, steps=8, max_batch=2)
    samples = sampler(network, process, SHAPE, SEEDS, covariates, record=5)
    assert [step.t for step in samples.steps] == [1.0, 0.75, 0.5, 0.25, 0.0]
    torch.testing.assert_close(samples.steps[0].noisy, seeded_noise(SHAPE, SEEDS))
    assert torch.equal(samples.steps[-1].clean, samples.images)
    for step in samples.steps:
        assert step.clean.shape == step.noisy.shape == (5, *SHAPE)
        with sampling_mode(network):
            denoiser = sampler.denoiser_for(network, process, covariates)
            if step.t > 0:
                torch.testing.assert_close(denoiser(step.noisy, step.t).clean, step.clean, atol=1e-4, rtol=1e-4)
    assert sampler(network, process, SHAPE, SEEDS, covariates).steps == []
    assert len(sampler(network, process, SHAPE, SEEDS, covariates, record=1).steps) == 1
    plain = sampler(network, process, SHAPE, SEEDS, covariates)
    assert torch.equal(plain.images, samples.images)


def test_partial_denoising_goes_on_where_it_is_told_to(network, covariates):
    process = VariancePreserving()
    sampler = Sampler("ddim", steps=10)
    whole = sampler(network, process, SHAPE, SEEDS, covariates, record=11)
    half = whole.steps[4]
    rest = Sampler("ddim", steps=6)(network, process, SHAPE, SEEDS, covariates, start=half.noisy, start_t=half.t)
    torch.testing.assert_close(rest.images, whole.images, atol=1e-4, rtol=0)
    assert rest.evaluations == 6


def test_inversion_through_the_sampler(network, covariates):
    process = RectifiedFlow()
    sampler = Sampler("midpoint", steps=40, guidance=3.0)
    images = torch.rand(5, *SHAPE) * 2 - 1
    with sampling_mode(network):
        denoiser = sampler.denoiser_for(network, process, covariates, guidance=1.0)
        times = sampler.times(process)
        latent = sampler.solve(process, denoiser, images, times[::-1])
        back = sampler.solve(process, denoiser, latent, times)
    assert denoiser.evaluations == 160
    assert float((latent - images).abs().max()) > 0.1
    torch.testing.assert_close(back, images, atol=1e-3, rtol=0)


class Constant(nn.Module):
    """Predicts a constant that bfloat16 holds exactly, in bfloat16, from bfloat16 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(0.5, dtype=torch.bfloat16))
        self.seen: set[tuple[torch.dtype, ...]] = set()

    def forward(self, noisy, t, covariates=None):
        self.seen.add((noisy.dtype, t.dtype, covariates.dtype))
        return self.value.expand_as(noisy)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_bfloat16_network_does_not_degrade_the_solver(solver):
    """The flow's velocity is constantly 0.5, so every deterministic solver must give noise - 0.5, to float32."""
    network, process = Constant(), RectifiedFlow()
    samples = Sampler(solver, steps=50)(network, process, SHAPE, SEEDS, torch.full((5, 1), 72.3))
    assert network.seen == {(torch.bfloat16, torch.float32, torch.float32)}
    assert samples.images.dtype == torch.float32
    exact = Sampler(solver, steps=50)(lambda noisy, t: torch.full_like(noisy, 0.5), process, SHAPE, SEEDS)
    torch.testing.assert_close(samples.images, exact.images, atol=1e-6, rtol=0)
    if solver != "ddpm":
        torch.testing.assert_close(samples.images, seeded_noise(SHAPE, SEEDS) - 0.5, atol=2e-6, rtol=0)


def test_autocast_surrounds_the_network_only(network, covariates, monkeypatch):
    inside, outside = [], []
    hook = network.register_forward_pre_hook(lambda *_: inside.append(torch.is_autocast_enabled("cpu")))
    estimate = RectifiedFlow.estimate

    def watching(self, prediction, noisy, t):
        outside.append((torch.is_autocast_enabled("cpu"), noisy.dtype))
        return estimate(self, prediction, noisy, t)

    monkeypatch.setattr(RectifiedFlow, "estimate", watching)
    try:
        plain = Sampler("euler", steps=3)(network, RectifiedFlow(), SHAPE, SEEDS, covariates)
        assert set(inside) == {False}
        inside.clear()
        fast = Sampler("euler", steps=3, amp=True)(network, RectifiedFlow(), SHAPE, SEEDS, covariates)
        assert set(inside) == {True}
    finally:
        hook.remove()
    assert set(outside) == {(False, torch.float32)}
    assert fast.images.dtype == torch.float32
    assert 0 < float((fast.images - plain.images).abs().max()) < 0.1


def test_mode_and_gradients_are_restored(network, covariates):
    network.train()
    network.unet.middle_block.eval()
    before = [module.training for module in network.modules()]
    modes = set()
    hook = network.register_forward_pre_hook(lambda module, _: modes.add((module.training, torch.is_grad_enabled())))
    Sampler("euler", steps=1)(network, RectifiedFlow(), SHAPE, SEEDS, covariates)
    hook.remove()
    assert modes == {(False, False)}
    assert [module.training for module in network.modules()] == before
    assert torch.is_grad_enabled()
    with pytest.raises(ValueError, match="noisy: expected shape"):
        Sampler("euler", steps=1)(network, RectifiedFlow(), (3, 8, 8), SEEDS, covariates)
    assert [module.training for module in network.modules()] == before
    assert torch.is_grad_enabled()
    network.train()


def test_clip_keeps_the_images_in_range_but_not_the_noise():
    def network(noisy, t):
        return torch.full_like(noisy, -3.0)

    samples = Sampler("ddim", steps=5, clip=1.0)(network, VariancePreserving(), SHAPE, SEEDS, record=6)
    assert float(samples.images.abs().max()) <= 1
    assert float(samples.steps[0].noisy.abs().max()) > 2
    assert float(Sampler("ddim", steps=5)(network, VariancePreserving(), SHAPE, SEEDS).images.abs().max()) > 1


class Halving(IdentityCodec):
    """A codec whose latents have two channels and half the size."""

    def decode(self, latent):
        return latent.mean(1, keepdim=True).repeat_interleave(2, -1).repeat_interleave(2, -2)

    def latent_shape(self, image_shape):
        return (2, *(side // 2 for side in image_shape[1:]))


def test_a_codec_decodes_images_and_states():
    def network(noisy, t):
        assert noisy.shape[1:] == (2, 4, 4)
        return noisy

    plain = Sampler("euler", steps=2)(network, RectifiedFlow(), (2, 4, 4), SEEDS)
    samples = Sampler("euler", steps=2)(network, RectifiedFlow(), SHAPE, SEEDS, codec=Halving(), record=2)
    assert torch.equal(samples.images, Halving().decode(plain.images))
    assert samples.steps[0].noisy.shape == (5, *SHAPE)
    identity = Sampler("euler", steps=2)(network, RectifiedFlow(), (2, 4, 4), SEEDS, codec=IdentityCodec())
    assert torch.equal(identity.images, plain.images)


def test_volumes(covariates):
    samples = Sampler("heun", steps=2)(lambda noisy, t, covariates: noisy, EDM(), (2, 3, 4, 5), SEEDS, covariates)
    assert samples.images.shape == (5, 2, 3, 4, 5)


def test_context_and_image_are_split_with_the_seeds():
    def network(noisy, t, context, image):
        return noisy * 0 + image + context.mean((1, 2)).reshape(-1, 1, 1, 1)

    context, image = torch.arange(5.0).reshape(5, 1, 1), torch.randn(5, *SHAPE)
    samples = Sampler("euler", steps=2, max_batch=2)(
        network, RectifiedFlow(), SHAPE, SEEDS, context=context, image=image
    )
    expected = seeded_noise(SHAPE, SEEDS) - image - context.reshape(5, 1, 1, 1)
    torch.testing.assert_close(samples.images, expected, atol=1e-5, rtol=0)


def test_progress_goes_to_the_bar_only(network, capsys):
    Sampler("heun", steps=3, max_batch=2)(network, RectifiedFlow(), SHAPE, SEEDS, progress=True)
    shown = capsys.readouterr()
    assert "9/9" in shown.err
    assert not shown.out
    Sampler("heun", steps=3)(network, RectifiedFlow(), SHAPE, SEEDS)
    assert not capsys.readouterr().err


def test_description_rebuilds_the_sampler():
    from monai.bundle import ConfigParser

    sampler = Sampler("ddim", 20, {"age": 2}, (0.1, 0.9), 0.5, "karras", 1.0, 8, "auto", ("covariates",))
    description = json.loads(json.dumps(sampler.to_dict()))
    rebuilt = ConfigParser({"sampler": description}).get_parsed_content("sampler")
    assert repr(rebuilt) == repr(sampler)
    assert rebuilt.to_dict() == description


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "ddimm"}, "nearest: 'ddim'"),
        ({"steps": 0}, "steps must be an integer of at least 1, found 0"),
        ({"steps": 2.0}, "steps must be an integer"),
        ({"max_batch": 0}, "max_batch must be"),
        ({"eta": 0.5, "solver": "euler"}, "only 'ddim' takes one; the solver is 'euler'"),
        ({"eta": 1.5}, r"eta must lie in \[0, 1\]"),
        ({"spacing": "kerras"}, "nearest: 'karras'"),
        ({"guidance_interval": (0.9, 0.1)}, "reversed"),
        ({"guidance": "high"}, "guidance must be a number"),
        ({"amp": "yes"}, "amp must be"),
        ({"clip": 0.0}, "clip must be"),
        ({"drop": ("text",)}, "drop is 'text'"),
    ],
)
def test_bad_construction(options, message):
    with pytest.raises(ValueError, match=message):
        Sampler(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": []}, "seeds is empty"),
        ({"seeds": [1, 2]}, "covariates has 5 rows, but there are 2 seeds"),
        ({"start": torch.zeros(5, *SHAPE)}, "start and start_t belong together"),
        ({"start_t": 0.5}, "start and start_t belong together"),
        ({"start": torch.zeros(5, 1, 4, 4), "start_t": 0.5}, r"start has images of shape \(1, 4, 4\)"),
        ({"record": -1}, "record must not be negative"),
    ],
)
def test_bad_calls(network, covariates, options, message):
    with pytest.raises(ValueError, match=message):
        Sampler("euler", steps=2)(
            network, RectifiedFlow(), SHAPE, **{"seeds": SEEDS, "covariates": covariates, **options}
        )


def test_guidance_on_a_covariate_the_network_does_not_declare(network, covariates):
    with pytest.raises(ValueError, match="nearest: 'diagnosis'"):
        Sampler(guidance={"diagnose": 2.0})(network, RectifiedFlow(), SHAPE, SEEDS, covariates)
