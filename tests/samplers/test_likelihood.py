"""Likelihood along the flow, against Gaussian data whose density is known."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch

from medgen.processes import Estimate, RectifiedFlow, VariancePreserving
from medgen.samplers import bits_per_dimension, log_likelihood, model_bits
from medgen.samplers.grids import time_grid


def _exact(gaussian, images):
    law = torch.distributions.MultivariateNormal(gaussian.mean, gaussian.covariance)
    return law.log_prob(images.reshape(-1, 2))


def _images(count=5):
    return torch.randn(count, 1, 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.5


def _signs(images, count, seed=0):
    random = torch.Generator().manual_seed(seed)
    return [2.0 * torch.randint(0, 2, images.shape, generator=random).double() - 1 for _ in range(count)]


@pytest.mark.parametrize(
    ("process", "spacing"), [(RectifiedFlow(), "uniform"), (VariancePreserving(), "log_snr")], ids=["flow", "cosine"]
)
def test_a_correlated_gaussian(gaussian, process, spacing):
    images = _images()
    # the four sign patterns of two pixels, each once: Hutchinson's expectation, exactly
    probes = [torch.tensor([a, b], dtype=torch.float64).expand_as(images) for a in (-1, 1) for b in (-1, 1)]
    errors = []
    for steps in (100, 200):
        times = time_grid(process, steps, spacing)[::-1]
        found = log_likelihood(process, gaussian.denoiser(process), images, times, probes)
        errors.append(float((found - _exact(gaussian, images)).abs().max()))
    assert errors[1] < 0.01
    if isinstance(process, RectifiedFlow):
        assert errors[0] > 3 * errors[1]  # second order


def test_one_probe_is_unbiased(gaussian):
    process, image = RectifiedFlow(), _images(1)
    many = image.expand(4000, 1, 1, 2)
    times = time_grid(process, 60)[::-1]
    found = log_likelihood(process, gaussian.denoiser(process), many, times, _signs(many, 1))
    assert float(found.std()) > 0.05  # the covariance is not diagonal, so a probe errs
    error = float(found.std()) / math.sqrt(len(many))
    assert float(found.mean() - _exact(gaussian, image)) == pytest.approx(0, abs=4 * error + 0.01)


def test_bits_of_a_model(gaussian):
    process, images, straight = RectifiedFlow(), _images(3).float(), copy.copy(gaussian)
    straight.covariance = torch.diag(gaussian.variances)  # so that one probe is exact
    network = straight.network(process)
    bits = model_bits(network, process, images, seeds=[5, 6, 7], steps=100)
    exact = bits_per_dimension(_exact(straight, images.double()), 2)
    assert bits.tolist() == pytest.approx(exact.tolist(), abs=0.06)  # the noise of a level
    again = model_bits(network, process, images[1:], seeds=[6, 7], steps=100)
    assert torch.allclose(bits[1:], again)
    assert not bits.requires_grad


def test_likely_images_take_fewer_bits():
    process = RectifiedFlow()

    def narrow(noisy, t):  # data of standard deviation 0.1
        total = (1 - t) ** 2 * 0.01 + t**2
        return Estimate((1 - t) * 0.01 * noisy / total, t * noisy / total)

    images = torch.stack([torch.zeros(1, 4, 4), torch.full((1, 4, 4), 0.5)]).double()
    times = time_grid(process, 100)[::-1]
    typical, far = bits_per_dimension(log_likelihood(process, narrow, images, times, _signs(images, 1)), 16)
    assert far - typical == pytest.approx(0.5 * 25 / math.log(2), rel=0.02)


def test_what_cannot_be_measured_is_refused(gaussian):
    process, images = RectifiedFlow(), _images(2)
    with pytest.raises(ValueError, match="expected rising ones"):
        log_likelihood(process, gaussian.denoiser(process), images, [1.0, 0.0], _signs(images, 1))
    with pytest.raises(ValueError, match="expected at least one"):
        log_likelihood(process, gaussian.denoiser(process), images, [0.0, 1.0], [])
    with pytest.raises(ValueError, match="one for each of 2 images, found 1"):
        model_bits(gaussian.network(process), process, images, seeds=[1])
    with pytest.raises(ValueError, match="at least 1, found 0"):
        model_bits(gaussian.network(process), process, images, seeds=[1, 2], probes=0)
    latent = SimpleNamespace(autoencoder=None)
    with pytest.raises(ValueError, match="a model of latents gives no likelihood of images"):
        model_bits(gaussian.network(process), process, images, seeds=[1, 2], codec=latent)
    wide = SimpleNamespace(in_channels=3)
    with pytest.raises(ValueError, match="images: found 1 channels, expected 3"):
        model_bits(wide, process, images, seeds=[1, 2])
