"""Restoring and filling in, against a Gaussian whose posterior is known."""

import math

import pytest
import torch
from linear_gaussian import DEVIATION, PROCESSES, LinearGaussian, images
from torch import nn

from medgen.inferers import Denoise, Inpaint
from medgen.inferers.denoise import time_of_noise
from medgen.inferers.inpaint import latent_mask
from medgen.networks import IdentityCodec
from medgen.processes import RectifiedFlow, VariancePreserving
from medgen.samplers import Sampler


def covariates(value, count):
    return torch.full((count, 1), value)


@pytest.mark.parametrize("name", PROCESSES)
def test_noise_of_a_known_size_has_its_time(name):
    process = PROCESSES[name]
    for sd in (0.05, 0.3, 1.5):
        t = time_of_noise(process, sd)
        assert float(process.sigma(t) / process.alpha(t)) == pytest.approx(sd, rel=1e-3)


@pytest.mark.parametrize("name", PROCESSES)
def test_the_mean_of_what_could_have_been_is_the_posterior_mean(name):
    process, sd = PROCESSES[name], 0.2
    clean = 0.1 + images(4, (8, 8))
    noisy = clean + sd * torch.randn(clean.shape, generator=torch.Generator().manual_seed(3))
    denoise = Denoise(process, Sampler("ddim", steps=4), sd=sd, mean=True)
    restored = denoise(noisy, LinearGaussian(process), covariates(0.1, 4))
    gain = DEVIATION**2 / (DEVIATION**2 + sd**2)
    torch.testing.assert_close(restored, 0.1 + gain * (noisy - 0.1), atol=3e-3, rtol=0)
    assert denoise.evaluations == 1


@pytest.mark.parametrize("size", [(32, 32), (10, 10, 10)], ids=["2D", "3D"])
@pytest.mark.parametrize(("solver", "eta"), [("heun", 0.0), ("ddim", 1.0)])
def test_a_sample_is_one_that_the_image_could_have_come_from(solver, eta, size):
    """The posterior's spread: a deterministic sampler keeps the data's spread, a stochastic one the posterior's too."""
    process, sd = RectifiedFlow(), 0.4
    network = LinearGaussian(process)
    clean = images(4, size)
    noisy = clean + sd * torch.randn(clean.shape, generator=torch.Generator().manual_seed(4))
    denoise = Denoise(process, Sampler(solver, steps=100, eta=eta), sd=sd, seed=1)
    restored = denoise(noisy, network, covariates(0.0, 4))
    assert float(restored.std()) == pytest.approx(DEVIATION, rel=0.06)
    gain = DEVIATION**2 / (DEVIATION**2 + sd**2)
    rest = (restored - gain * noisy).std()
    posterior = math.sqrt(gain) * sd
    if eta:
        assert float(rest) == pytest.approx(posterior, rel=0.08)
        again = denoise(noisy[:1], network, covariates(0.0, 1))
        torch.testing.assert_close(again, restored[:1], atol=1e-5, rtol=0)
    mean = Denoise(process, Sampler("ddim"), sd=sd, mean=True)(noisy, network, covariates(0.0, 4))
    error = [float(((x - clean) ** 2).mean()) for x in (mean, restored, noisy)]
    assert error[0] < error[1] < 2 * error[0] + 0.02
    assert error[0] < error[2]


def test_an_image_that_the_process_corrupted_is_taken_as_it_is():
    process = VariancePreserving()
    network, clean = LinearGaussian(process), images(2)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(6))
    t = time_of_noise(process, 0.3)
    sampler = Sampler("ddim", steps=5)
    by_time = Denoise(process, sampler, t=t)(process.corrupt(clean, noise, t), network, covariates(0.0, 2))
    by_size = Denoise(process, sampler, sd=0.3)(clean + 0.3 * noise, network, covariates(0.0, 2))
    torch.testing.assert_close(by_time, by_size, atol=1e-4, rtol=0)


class Folding(nn.Module):
    def latent_shape(self, shape):
        return (4 * shape[0], *(side // 2 for side in shape[1:]))

    def encode(self, image):
        return nn.functional.pixel_unshuffle(image, 2)

    def decode(self, latent):
        return nn.functional.pixel_shuffle(latent, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected one of sd and t"),
        ({"sd": 0.1, "t": 0.1}, "expected one of sd and t"),
        ({"sd": 0.0}, "sd: expected a positive standard deviation"),
        ({"t": 1.5}, r"t: expected a time in \(0, 1\]"),
        ({"sd": 0.1, "codec": Folding()}, "only a pixel model can remove it"),
    ],
)
def test_denoising_checks_its_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Denoise(RectifiedFlow(), Sampler("euler"), **arguments)
    Denoise(RectifiedFlow(), Sampler("euler"), sd=0.1, codec=IdentityCodec())


def test_more_noise_than_the_process_has_is_refused():
    process = VariancePreserving("linear", "noise", table=1000)
    with pytest.raises(ValueError, match="where sampling starts"):
        time_of_noise(process, 1e4)


class Halves(nn.Module):
    """Clean images are one constant each, drawn with DEVIATION: what is known of one pixel is known of all."""

    def __init__(self, process):
        super().__init__()
        self.process = process
        self.parameter = nn.Parameter(torch.zeros(1))

    def forward(self, noisy, time, **conditions):
        t = float(time[0]) / 1000
        alpha, sigma = float(self.process.alpha(t)), float(self.process.sigma(t))
        pixels = noisy[0].numel()
        axes = tuple(range(1, noisy.ndim))
        mean = noisy.mean(axes, keepdim=True)
        clean = alpha * DEVIATION**2 * mean / (alpha**2 * DEVIATION**2 + sigma**2 / pixels)
        clean = clean.expand_as(noisy)
        return self.process.target(clean, (noisy - alpha * clean) / max(sigma, 1e-4), t).float()


def mask_of(size):
    mask = torch.zeros(size)
    mask[tuple(slice(0, side // 2) for side in size)] = 1
    return mask


@pytest.mark.parametrize("size", [(8, 8), (4, 4, 4)], ids=["2D", "3D"])
@pytest.mark.parametrize("solver", ["ddim", "ddpm", "heun"])
def test_what_is_known_stays_and_what_is_made_fits_it(solver, size):
    process = VariancePreserving()
    image = torch.tensor([0.5, -0.4]).reshape(2, 1, *(1,) * len(size)).expand(2, 1, *size).clone()
    mask = mask_of(size)
    filled = Inpaint(process, Sampler(solver, steps=20), resamplings=3, jump=3)(image, Halves(process), mask)
    assert torch.equal(filled[:, :, mask == 0], image[:, :, mask == 0])
    made = filled[:, :, mask == 1].mean((1, 2))
    torch.testing.assert_close(made, torch.tensor([0.5, -0.4]), atol=0.08, rtol=0)


def test_what_lies_under_the_mask_is_not_looked_at_and_seeds_decide():
    process = RectifiedFlow()
    network, mask = LinearGaussian(process), mask_of((8, 8))
    image = images(2, (8, 8))
    spoilt = torch.where(mask > 0, torch.full_like(image, 7.0), image)
    inpaint = Inpaint(process, Sampler("euler", steps=4), resamplings=2)
    filled = inpaint(image, network, mask)
    assert torch.equal(filled, inpaint(spoilt, network, mask))
    other = Inpaint(process, Sampler("euler", steps=4), resamplings=2, seed=1)(image, network, mask)
    assert not torch.allclose(filled, other)
    one = Inpaint(process, Sampler("euler", steps=4, max_batch=1), resamplings=2)(image, network, mask)
    torch.testing.assert_close(one, filled, atol=1e-5, rtol=0)


def test_the_parts_that_are_made_have_the_spread_of_the_data():
    process = RectifiedFlow()
    image = torch.zeros(8, 1, 24, 24)
    filled = Inpaint(process, Sampler("heun", steps=24), resamplings=1)(
        image, LinearGaussian(process), torch.ones(24, 24), covariates(0.2, 8)
    )
    assert float(filled.mean()) == pytest.approx(0.2, abs=0.02)
    assert float(filled.std()) == pytest.approx(DEVIATION, rel=0.08)


def test_latents_that_touch_the_mask_are_unknown_and_pixels_outside_stay():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 1, 1] = 1
    assert latent_mask(mask, (2, 2)).tolist() == [[[[True, False], [False, False]]]]
    process, image = RectifiedFlow(), images(1, (4, 4))
    filled = Inpaint(process, Sampler("euler", steps=3), codec=Folding())(image, LinearGaussian(process), mask)
    assert torch.equal(filled[mask == 0], image[mask == 0])


def test_inpainting_checks_its_arguments():
    process = RectifiedFlow()
    with pytest.raises(ValueError, match="resamplings: expected"):
        Inpaint(process, Sampler("euler"), resamplings=0)
    with pytest.raises(ValueError, match="one-step solver"):
        Inpaint(process, Sampler("dpm_solver_pp_2m"))
    inpaint = Inpaint(process, Sampler("euler", steps=2))
    with pytest.raises(ValueError, match=r"mask: found \(3, 3\)"):
        inpaint(images(), LinearGaussian(process), torch.ones(3, 3))
    with pytest.raises(ValueError, match="mask: found values"):
        inpaint(images(), LinearGaussian(process), torch.full((4, 5), 0.5))
