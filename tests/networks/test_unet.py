from __future__ import annotations

import pytest
import torch
from monai.networks.nets import DiffusionModelUNet

from medgen.covariates import Covariates, Range
from medgen.networks import ConditionalUNet
from medgen.networks.unet import _from_patches, _to_patches

COVARIATES = Covariates(diagnosis=["NC", "AD"], age=Range(18, 100, "years"))
NAN = float("nan")


def network(spatial_dims: int = 2, **kwargs) -> ConditionalUNet:
    torch.manual_seed(0)
    settings = {"channels": (8, 16), "attention_levels": (False, True), "num_res_blocks": 1, "norm_num_groups": 4}
    settings |= {"num_head_channels": 8, "in_channels": 1, "out_channels": 1, "covariates": COVARIATES}
    model = ConditionalUNet(spatial_dims, **(settings | kwargs))
    for parameter in model.parameters():  # the zero-initialised layers would hide every dependence
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.mark.parametrize("patch_size", [1, 2])
@pytest.mark.parametrize("size", [(16, 16), (13, 18), (5, 7, 9)])
def test_any_size_in_2d_and_3d(size, patch_size):
    model = network(len(size), patch_size=patch_size, in_channels=2, out_channels=2)
    noisy = torch.randn(2, 2, *size)
    assert model(noisy, 0.5).shape == noisy.shape


def test_patches_are_pixel_unshuffle_and_invert():
    image = torch.randn(2, 3, 8, 12)
    assert torch.equal(_to_patches(image, 2), torch.nn.functional.pixel_unshuffle(image, 2))
    volume = torch.randn(2, 3, 4, 6, 8)
    assert torch.equal(_from_patches(_to_patches(volume, 2), 2), volume)


def test_without_conditions_it_is_monais_network():
    model = network(covariates=None)
    reference = DiffusionModelUNet(2, 1, 1, 1, (8, 16), (False, True), 4, num_head_channels=8)
    reference.load_state_dict(model.unet.state_dict())
    noisy, t = torch.randn(3, 1, 16, 16), torch.tensor([0.0, 10.0, 999.0])
    assert torch.allclose(model(noisy, t), reference(noisy, t), atol=1e-5)


def test_a_number_for_t_is_a_tensor_of_it():
    model, noisy = network(), torch.randn(2, 1, 16, 16)
    assert torch.equal(model(noisy, 250.0), model(noisy, torch.tensor([250.0, 250.0])))
    assert not torch.equal(model(noisy, 250.0), model(noisy, 251.0))


def test_no_covariates_means_all_unknown_and_each_row_is_its_own():
    model, noisy = network(), torch.randn(2, 1, 16, 16)
    unknown = model(noisy, 1.0)
    assert torch.equal(unknown, model(noisy, 1.0, torch.full((2, 2), NAN)))
    mixed = model(noisy, 1.0, torch.tensor([[1.0, 70.0], [NAN, NAN]]))
    assert torch.allclose(mixed[1], unknown[1], atol=1e-6)
    assert not torch.allclose(mixed[0], unknown[0], atol=1e-4)


def test_nan_covariates_keep_gradients_finite_in_bfloat16():
    model, noisy = network().train(), torch.randn(2, 1, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(noisy, torch.tensor([3.0, 900.0]), torch.tensor([[1.0, NAN], [NAN, 64.2]]))
    output.float().square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_context_may_be_unknown():
    model, noisy = network(context_dim=12), torch.randn(2, 1, 16, 16)
    without = model(noisy, 1.0)
    assert torch.equal(without, model(noisy, 1.0, context=torch.full((2, 1, 12), NAN)))
    assert not torch.allclose(without, model(noisy, 1.0, context=torch.randn(2, 5, 12)))


def test_an_image_condition_is_seen():
    model, noisy = network(image_channels=2), torch.randn(2, 1, 16, 16)
    assert torch.equal(model(noisy, 1.0), model(noisy, 1.0, image=torch.zeros(2, 2, 16, 16)))
    assert not torch.allclose(model(noisy, 1.0), model(noisy, 1.0, image=torch.ones(2, 2, 16, 16)))


@pytest.mark.parametrize("dims", [2, 3])
def test_checkpointing_changes_memory_not_numbers(dims):
    plain, saving = network(dims), network(dims, activation_checkpointing=True)
    assert plain.state_dict().keys() == saving.state_dict().keys()
    noisy, values = torch.randn(2, 1, *[16, 16, 8][:dims]), torch.tensor([[1.0, NAN], [0.0, 64.2]])
    for model in (plain, saving):
        model.train()(noisy, 5.0, values).square().mean().backward()
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: m(x[:, :, :, 0], 1.0), "noisy"),
        (lambda m, x: m(x.repeat(1, 2, 1, 1), 1.0), "noisy"),
        (lambda m, x: m(x, 1.0, context=torch.zeros(2, 1, 4)), "context_dim"),
        (lambda m, x: m(x, 1.0, torch.zeros(2, 5)), "diagnosis"),
        (lambda m, x: network(image_channels=1)(x, 1.0, image=torch.zeros(2, 1, 4, 4)), "image"),
        (lambda m, x: network(covariates=None)(x, 1.0, torch.zeros(2, 1)), "without any"),
    ],
)
def test_shapes_that_do_not_fit_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(network(), torch.randn(2, 1, 16, 16))


@pytest.mark.slow
def test_compiled_equals_eager_with_nan_covariates():
    model, noisy = network().train(), torch.randn(2, 1, 13, 18)
    values, t = torch.tensor([[1.0, NAN], [NAN, 64.2]]), torch.tensor([3.0, 900.0])
    compiled = torch.compile(model, backend="aot_eager")
    eager = model(noisy, t, values)
    eager.square().mean().backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    output = compiled(noisy, t, values)
    output.square().mean().backward()
    assert torch.allclose(output, eager, atol=1e-5)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-5)
