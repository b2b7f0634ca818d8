"""Normalisation by tissue: closed forms, white matter of a simulated brain, the way back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from phantom import phantom

from medgen.transforms import NormalizeIntensityByTissue, NormalizeIntensityByTissued
from medgen.transforms.intensity import white_stripe


def test_zscore_in_the_mask() -> None:
    image = 300.0 + 50.0 * torch.randn(2, 20, 20, 20, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 20, 20, 20)
    mask[:, 5:15] = 1
    result = NormalizeIntensityByTissue("zscore")(image, mask)
    for channel in result.as_tensor():
        assert channel[mask[0] > 0].mean() == pytest.approx(0.0, abs=1e-5)
        assert channel[mask[0] > 0].std() == pytest.approx(1.0, abs=1e-3)


def test_percentiles_and_outside() -> None:
    image = torch.arange(1001.0).reshape(1, 7, 143)
    normal = NormalizeIntensityByTissue("percentile", percentiles=(10, 90), clip=(-1, 1), outside=-1)
    result = normal(image, image > -1)
    assert result.flatten()[[0, 100, 500, 900, 1000]].tolist() == pytest.approx([-1, -1, 0, 1, 1], abs=1e-6)
    assert normal(image, image >= 700).flatten()[650] == -1.0


def test_white_stripe_finds_white_matter() -> None:
    random = np.random.default_rng(0)
    tissues = [random.normal(m, 25, n) for m, n in ((150, 20_000), (420, 60_000), (600, 50_000))]
    stripe = white_stripe(np.concatenate(tissues).astype(np.float32))
    assert np.median(stripe) == pytest.approx(600, abs=10)
    assert len(stripe) == pytest.approx(13_000, rel=0.05)


def test_white_stripe_of_a_simulated_head_is_near_its_white_matter(known_head: Any) -> None:
    even = known_head.image / known_head.bias
    result = NormalizeIntensityByTissue("white_stripe")(even, known_head.brain)
    assert float((result * 0 + even)[result.abs() < 0.5].mean()) == pytest.approx(500.0, rel=0.1)  # the scanner's gain


def test_the_same_brain_at_another_gain_is_the_same() -> None:
    image = phantom(3) + 2.0 * torch.randn(1, 40, 40, 40, generator=torch.Generator().manual_seed(0))
    mask = phantom(3) > 0
    for method in ("zscore", "white_stripe", "percentile"):
        normal = NormalizeIntensityByTissue(method)
        one, two = normal(image, mask), normal(7.0 * image + 40.0, mask)
        assert torch.allclose(one, two, atol=0.1 if method == "white_stripe" else 1e-3)
        assert torch.allclose(normal.inverse(one).as_tensor(), image.as_tensor(), atol=1e-2)


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"method is 'z-score'.*nearest: 'zscore'"):
        NormalizeIntensityByTissue("z-score")
    with pytest.raises(ValueError, match="percentiles is"):
        NormalizeIntensityByTissue(percentiles=(99, 1))
    with pytest.raises(ValueError, match="constant in the mask"):
        NormalizeIntensityByTissue()(torch.ones(1, 5, 5), torch.ones(1, 5, 5))
    with pytest.raises(ValueError, match="mask is empty"):
        NormalizeIntensityByTissue()(torch.ones(1, 5, 5), torch.zeros(1, 5, 5))
    with pytest.raises(ValueError, match=r"mask of the shape \(4, 4\)"):
        NormalizeIntensityByTissue()(torch.ones(1, 5, 5), torch.ones(1, 4, 4))
    with pytest.raises(ValueError, match="found 25 voxels in the mask, expected 100"):
        NormalizeIntensityByTissue("white_stripe")(torch.rand(1, 5, 5), torch.ones(1, 5, 5))
    with pytest.raises(KeyError, match="'mask' is not in the data"):
        NormalizeIntensityByTissued("image", mask_key="mask")({"image": torch.ones(1, 5, 5)})
