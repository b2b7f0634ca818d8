from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from medgen.losses import AutoencoderLoss, PyramidLoss, kl_divergence
from medgen.randomness import generator


def test_the_divergence_is_the_closed_form():
    source = generator("kl")
    mean, std = torch.randn(5, 3, 4, 2, generator=source), torch.rand(5, 3, 4, 2, generator=source) + 0.1
    expected = torch_kl(Normal(mean, std), Normal(0.0, 1.0)).flatten(1).sum(1)
    torch.testing.assert_close(kl_divergence(mean, std), expected)
    assert not kl_divergence(torch.zeros(2, 3), torch.ones(2, 3)).any()


def test_the_terms_are_weighted_and_add_up():
    image = torch.zeros(2, 1, 8, 8)
    mean, std = torch.full((2, 3, 2, 2), 2.0), torch.ones(2, 3, 2, 2)
    terms = AutoencoderLoss(0.5, lambda one, two: (one - two).square().mean(), 3.0)((image + 0.1, mean, std), image)
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(
        {"reconstruction": 0.1, "kl": 0.5 * 12 * 2.0, "perceptual": 3.0 * 0.01}
    )


def test_a_quantised_autoencoder_brings_its_commitment_loss():
    image = torch.zeros(2, 1, 8, 8)
    terms = AutoencoderLoss()((image, torch.tensor(0.25)), image)
    assert {name: float(value) for name, value in terms.items()} == {"reconstruction": 0.0, "commitment": 0.25}
    with pytest.raises(ValueError, match="two or three parts"):
        AutoencoderLoss()((image,), image)
    with pytest.raises(ValueError, match="kl_weight: expected 0 or more"):
        AutoencoderLoss(kl_weight=-1)
    assert set(AutoencoderLoss(perceptual=PyramidLoss())((image, image, image + 1), image)) == {
        "reconstruction", "kl", "perceptual",
    }  # fmt: skip
