"""Translation, interpolation: against a Gaussian whose mean follows a covariate, where both have closed forms."""

import math

import pytest
import torch
from linear_gaussian import PROCESSES, UNKNOWN_MEAN, LinearGaussian, images
from torch import nn

from medgen.covariates import Covariates
from medgen.inferers import Interpolate, Translate
from medgen.inferers.interpolate import between_covariates, slerp
from medgen.processes import RectifiedFlow, VariancePreserving
from medgen.samplers import Sampler


def column(*values):
    return torch.tensor(values, dtype=torch.float32)[:, None]


SOURCE, TARGET = column(0.0, 0.3, -0.2), column(0.5, 0.3, 0.4)


@pytest.mark.parametrize("strength", [1.0, 0.6])
@pytest.mark.parametrize("size", [(4, 5), (3, 4, 2)], ids=["2D", "3D"])
@pytest.mark.parametrize("name", PROCESSES)
def test_a_gaussian_moves_by_the_difference_of_its_means(name, size, strength):
    process = PROCESSES[name]
    network = LinearGaussian(process)
    translate = Translate(process, Sampler("heun", steps=100 if name == "table" else 40), strength=strength)
    image = images(3, size)
    exact = network.translated(image, SOURCE, TARGET, strength * process.start)
    torch.testing.assert_close(translate(image, network, SOURCE, TARGET), exact, atol=0.02, rtol=0)
    if strength == 1:
        torch.testing.assert_close(
            exact, image + (TARGET - SOURCE).reshape(3, *(1,) * (image.ndim - 1)), atol=5e-3, rtol=0
        )


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("solver", ["euler", "ddim", "heun", "midpoint"])
def test_refinement_makes_the_inversion_exact_at_any_number_of_steps(name, solver):
    process = PROCESSES[name]
    network, image = LinearGaussian(process), images()

    def error(refinements):
        translate = Translate(process, Sampler(solver, steps=5), refinements=refinements)
        return float((translate(image, network, SOURCE, SOURCE) - image).abs().max())

    plain, refined = error(0), error(40)
    assert refined < max(0.05 * plain, 1e-3)


def test_it_inverts_without_guidance_and_comes_back_with_it():
    process = RectifiedFlow()
    network, image = LinearGaussian(process), images()

    def shift(guidance):
        sampler = Sampler("midpoint", steps=32, guidance=guidance)
        return float(
            (Translate(process, sampler)(image, network, column(0, 0, 0), column(0.5, 0.5, 0.5)) - image).mean()
        )

    # guidance moves the mean along mean - unknown mean
    assert shift(1.0) == pytest.approx(0.5, abs=0.01)
    assert shift(2.0) == pytest.approx(0.5 + 0.5 - UNKNOWN_MEAN, abs=0.03)


def test_unknown_source_covariates_are_unknown_to_the_network():
    process = RectifiedFlow()
    network, image = LinearGaussian(process), images(1)
    moved = Translate(process, Sampler("midpoint", steps=32))(image, network, column(math.nan), column(0.4))
    torch.testing.assert_close(moved, image + 0.4 - UNKNOWN_MEAN, atol=0.01, rtol=0)


def test_strength_zero_is_the_image_and_costs_nothing():
    process = RectifiedFlow()
    network, image = LinearGaussian(process), images()
    translate = Translate(process, Sampler("euler", steps=4), strength=0.0)
    assert torch.equal(translate(image, network, SOURCE, TARGET), image)
    assert (network.calls, translate.evaluations) == ([], 0)


def test_an_adaptive_solver_inverts_image_by_image():
    pytest.importorskip("torchdiffeq")
    process = RectifiedFlow()
    network, image = LinearGaussian(process), images()
    translate = Translate(process, Sampler("dopri5"))
    torch.testing.assert_close(
        translate(image, network, SOURCE, TARGET), image + (TARGET - SOURCE)[..., None, None], atol=0.01, rtol=0
    )
    assert set(network.calls) == {1}


def test_several_targets_share_one_inversion_and_batches_change_nothing():
    process = RectifiedFlow()
    network, image = LinearGaussian(process), images()
    targets = torch.stack([SOURCE, TARGET, TARGET + 0.1], dim=1)
    translate = Translate(process, Sampler("euler", steps=8, max_batch=2))
    several = translate(image, network, SOURCE, targets)
    assert several.shape == (3, 3, 1, 4, 5)
    assert sum(network.calls) == 3 * 8 * 4
    assert translate.evaluations == 8 * 4
    for number in range(3):
        alone = Translate(process, Sampler("euler", steps=8))(image, network, SOURCE, targets[:, number])
        torch.testing.assert_close(several[:, number], alone)


def test_a_short_table_gives_as_many_steps_as_it_has():
    process = VariancePreserving("linear", "noise", table=20)
    moved = Translate(process, Sampler("ddim", steps=20), strength=0.2)(
        images(), LinearGaussian(process), SOURCE, TARGET
    )
    assert moved.isfinite().all()


class Halving(nn.Module):
    """A codec whose latents are half as large in every direction and twice as strong."""

    def encode(self, image):
        return 2 * image[..., ::2, ::2]

    def decode(self, latent):
        return (latent / 2).repeat_interleave(2, -1).repeat_interleave(2, -2)

    def latent_shape(self, shape):
        return (shape[0], shape[1] // 2, shape[2] // 2)


def test_a_codec_stands_on_both_sides():
    process = RectifiedFlow()
    image = images(2, (4, 4))[..., ::2, ::2].repeat_interleave(2, -1).repeat_interleave(2, -2)
    translate = Translate(process, Sampler("midpoint", steps=32), codec=Halving())
    moved = translate(image, LinearGaussian(process, 0.6), SOURCE[:2], TARGET[:2])
    torch.testing.assert_close(moved, image + (TARGET - SOURCE)[:2, :, None, None] / 2, atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": Sampler("ddpm")}, "adds noise and cannot be inverted"),
        ({"sampler": Sampler("ddim", eta=0.5)}, "with eta 0.5 adds noise"),
        ({"sampler": Sampler("dpm_solver_pp_2m"), "refinements": 1}, "depends on those before it"),
        ({"strength": 1.2}, r"strength: expected a number in \[0, 1\], found 1.2"),
        ({"strength": True}, "strength: expected a number"),
        ({"refinements": -1}, "refinements: expected a whole number"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        Translate(**{"process": RectifiedFlow(), "sampler": Sampler("euler")} | arguments)


def test_rows_are_checked():
    translate = Translate(RectifiedFlow(), Sampler("euler", steps=2))
    network = LinearGaussian(RectifiedFlow())
    with pytest.raises(ValueError, match="expected both or neither"):
        translate(images(), network, SOURCE, None)
    with pytest.raises(ValueError, match="as many rows of each"):
        translate(images(), network, SOURCE[:2], TARGET[:2])
    with pytest.raises(ValueError, match="target has 2 covariates, expected 1"):
        translate(images(), network, SOURCE, TARGET.repeat(1, 2))


def test_spherical_interpolation_keeps_length_and_ends():
    random = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 5, 1, 16, 16, generator=random, dtype=torch.float64)
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    middle = slerp(a, b, 0.5).flatten(1).norm(dim=1)
    assert (middle / a.flatten(1).norm(dim=1) - 1).abs().max() < 0.06
    # angles grow in proportion to the share
    unit = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.6, 0.8]])
    quarter = slerp(*unit, 0.25)
    whole = torch.arccos((unit[0] * unit[1]).sum(1))
    torch.testing.assert_close(torch.arccos((quarter * unit[0]).sum(1)), whole / 4)


def test_noises_that_are_nearly_parallel_take_the_straight_line_and_opposite_ones_none():
    a = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(slerp(a, a, 0.3), a)
    torch.testing.assert_close(slerp(a, 1.5 * a, 0.5), 1.25 * a)
    with pytest.raises(ValueError, match="opposite"):
        slerp(a, -a, 0.5)


def test_covariates_go_linearly_and_labels_to_the_nearer_side():
    declared = Covariates(diagnosis=["NC", "AD"], age={"low": 18, "high": 100})
    first, second = torch.tensor([[0.0, 60.0], [1.0, math.nan]]), torch.tensor([[1.0, 80.0], [math.nan, 70.0]])
    quarter = between_covariates(first, second, 0.25, declared)
    torch.testing.assert_close(quarter, torch.tensor([[0.0, 65.0], [1.0, math.nan]]), equal_nan=True)
    late = between_covariates(first, second, 0.9, declared)
    torch.testing.assert_close(late, torch.tensor([[1.0, 78.0], [math.nan, 70.0]]), equal_nan=True)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_series_begins_and_ends_with_its_images(name):
    process = PROCESSES[name]
    a, b = images(2, seed=0), images(2, seed=5)
    interpolate = Interpolate(process, Sampler("heun", steps=24), n=3, refinements=4)
    series = interpolate(a, LinearGaussian(process), b, SOURCE[:2], TARGET[:2])
    assert series.shape == (2, 3, 1, 4, 5)
    torch.testing.assert_close(series[:, 0], a, atol=0.02, rtol=0)
    torch.testing.assert_close(series[:, -1], b, atol=0.02, rtol=0)
    assert interpolate.shares == [0.0, 0.5, 1.0]


def test_a_series_checks_its_arguments():
    with pytest.raises(ValueError, match="n: expected a whole number of at least 2"):
        Interpolate(RectifiedFlow(), Sampler("euler"), n=1)
    with pytest.raises(ValueError, match="strength: found 0"):
        Interpolate(RectifiedFlow(), Sampler("euler"), strength=0.0)
    with pytest.raises(ValueError, match="other: expected"):
        Interpolate(RectifiedFlow(), Sampler("euler"))(images(2), LinearGaussian(RectifiedFlow()), images(3))
