"""N4: a known field is taken out, and what there is besides stays."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from monai.data import MetaTensor

from medgen.transforms import N4BiasFieldCorrection, N4BiasFieldCorrectiond


@pytest.mark.parametrize("dims", [2, 3])
def test_a_known_field_goes(known_head: Any, dims: int) -> None:
    even, brain = known_head.image.as_tensor() / known_head.bias, known_head.brain.as_tensor() > 0
    affine = known_head.image.affine
    if dims == 2:
        even, brain, affine = even[..., 76], brain[..., 76], torch.diag(torch.tensor([2.0, 2.0, 1.0, 1.0]))
    field = torch.exp(torch.linspace(-0.4, 0.4, even.shape[1])).reshape(-1, *[1] * (dims - 1)).expand_as(even)
    shaded = MetaTensor(even * field, affine=affine)
    corrected = N4BiasFieldCorrection()(shaded, brain)
    inside = brain & (even > 20.0)
    left = torch.log(corrected.as_tensor() / even)[inside]
    assert left.std() < 0.55 * torch.log(field)[inside].std()
    assert corrected[inside].mean() == pytest.approx(float(shaded[inside].mean()), rel=0.02)


def test_the_field_of_a_simulated_head_goes(known_head: Any) -> None:
    corrected = N4BiasFieldCorrection()(known_head.image, known_head.brain)
    inside = (known_head.brain.as_tensor() > 0) & (known_head.image.as_tensor() > 0)
    field = torch.log(known_head.bias[inside])
    left = field + torch.log(corrected.as_tensor()[inside] / known_head.image.as_tensor()[inside])
    assert left.std() < 0.7 * field.std()  # it was even to 4 per cent


def test_nothing_to_correct() -> None:
    for image in (torch.zeros(1, 20, 20), torch.ones(1, 20, 20)):
        assert torch.allclose(N4BiasFieldCorrection(1.0)(image).as_tensor(), image)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="spacing is 0"):
        N4BiasFieldCorrection(spacing=0)
    with pytest.raises(ValueError, match="iterations is"):
        N4BiasFieldCorrection(iterations=())
    with pytest.raises(ValueError, match=r"mask of the shape \(3, 3\), expected the image's \(4, 4\)"):
        N4BiasFieldCorrection()(torch.ones(1, 4, 4), torch.ones(1, 3, 3))
    with pytest.raises(KeyError, match="mask_key 'brain' is not in the data"):
        N4BiasFieldCorrectiond("image", mask_key="brain")({"image": torch.ones(1, 4, 4)})
