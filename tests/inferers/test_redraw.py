"""Drawing an image again from under noise, against a Gaussian whose probability flow is known."""

import math

import pytest
import torch
from linear_gaussian import DEVIATION, PROCESSES, LinearGaussian, images
from torch import nn

from medgen.inferers import Redraw
from medgen.processes import RectifiedFlow
from medgen.samplers import Sampler
from medgen.samplers.noise import seeded_noise


def known(count, value=0.2):
    return torch.full((count, 1), value)


@pytest.mark.parametrize("size", [(6, 5), (4, 5, 3)], ids=["2D", "3D"])
@pytest.mark.parametrize("name", PROCESSES)
def test_the_flow_takes_the_noised_image_back_to_the_data(name, size):
    """The flow of N(m, s²) maps x + sd * noise at its time to m + s / sqrt(s² + sd²) (x + sd * noise - m)."""
    process, sd, seeds = PROCESSES[name], 0.5, [3, 1]
    clean = 0.2 + images(2, size)
    redraw = Redraw(process, Sampler("heun" if name != "table" else "ddim", steps=400), sd=sd)
    assert float(process.sigma(redraw.t) / process.alpha(redraw.t)) == pytest.approx(sd, rel=5e-3)
    drawn = redraw(clean, LinearGaussian(process), known(2), seeds=seeds)
    noisy = clean + sd * seeded_noise(clean.shape[1:], seeds)
    expected = 0.2 + DEVIATION / math.sqrt(DEVIATION**2 + sd**2) * (noisy - 0.2)
    torch.testing.assert_close(drawn, expected, atol=0.02, rtol=0)
    assert float(drawn.std()) == pytest.approx(DEVIATION, rel=0.4)


def test_less_noise_leaves_more_of_the_image():
    process, clean = RectifiedFlow(), images(4, (16, 16))
    found = []
    for sd in (0.05, 0.3, 1.0, 5.0):
        drawn = Redraw(process, Sampler("euler", steps=50), sd=sd)(clean, LinearGaussian(process), known(4, 0.0))
        found.append(float(torch.corrcoef(torch.stack([clean.flatten(), drawn.flatten()]))[0, 1]))
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.97
    assert found[-1] < 0.2


def test_an_image_depends_on_its_own_seed_alone_and_the_steps_are_the_samplers_below_its_time():
    process, clean = RectifiedFlow(), images(5)
    redraw = Redraw(process, Sampler("ddim", steps=20, eta=1.0, max_batch=2), sd=0.25, seed=9)
    network = LinearGaussian(process)
    drawn = redraw(clean, network, known(5))
    assert redraw.t == pytest.approx(0.2)
    assert redraw.evaluations == 4  # 20 steps from 1 to 0: four are below 0.2
    torch.testing.assert_close(redraw(clean[:2], network, known(2)), drawn[:2])
    other = redraw(clean, network, known(5), seeds=[7, 8, 9, 10, 11])
    assert float((other - drawn).abs().max()) > 0.01
    assert Redraw(process, Sampler("euler", steps=2), sd=0.01).shorter.steps == 1


class Halved(nn.Module):
    """A codec whose latent is half of the image's numbers."""

    def encode(self, image):
        return image[..., ::2] / 2

    def decode(self, latent):
        return 2 * latent.repeat_interleave(2, -1)

    def latent_shape(self, shape):
        return (*shape[:-1], shape[-1] // 2)


def test_a_latent_model_draws_in_its_latents():
    process, image = RectifiedFlow(), 0.5 + images(2, (4, 6)).repeat_interleave(2, -1)
    drawn = Redraw(process, Sampler("euler", steps=40), sd=0.05, codec=Halved())(
        image, LinearGaussian(process), known(2, 0.25)
    )
    assert drawn.shape == image.shape
    assert torch.equal(drawn[..., ::2], drawn[..., 1::2])
    assert float((drawn - image).abs().mean()) < 0.15


@pytest.mark.parametrize("sd", [0, -1.0, True, math.nan])
def test_a_size_of_noise_that_is_none_is_refused(sd):
    with pytest.raises(ValueError, match="sd: expected a positive standard deviation"):
        Redraw(RectifiedFlow(), Sampler("euler", steps=2), sd=sd)
