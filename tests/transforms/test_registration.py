"""Registration: known poses found, sizes kept or stated, failures said, the way back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from phantom import phantom
from scipy import ndimage
from scipy.optimize import approx_fprime

from medgen.data.templates import mni152
from medgen.transforms import BrainMaskd, NormalizeIntensityByTissued, RegisterToTemplate, RegisterToTemplated
from medgen.transforms.alignment import nearest_rigid
from medgen.transforms.correlation_ratio import CorrelationRatio
from medgen.transforms.resampling import carry

BRAIN = np.array([[x, y, z, 1.0] for x in (-60, 0, 60) for y in (-95, -20, 60) for z in (-50, 10, 70)]).T  # mm


def distance(found: Any, true: Any) -> np.ndarray:
    """How far apart two (4, 4) from native to template place points of the template's brain in the scan, mm."""
    return np.linalg.norm((np.linalg.inv(np.asarray(found)) @ BRAIN - np.linalg.inv(true) @ BRAIN)[:3], axis=0)


@pytest.mark.parametrize("skull", [True, False], ids=["with skull", "stripped"])
def test_affine_of_a_simulated_head_is_found(known_head: Any, skull: bool) -> None:
    image = known_head.image if skull else known_head.image * known_head.brain
    fit = RegisterToTemplate(resample=False).fit(image)
    assert distance(fit["template_affine"], known_head.to_template).mean() < 1.5
    assert distance(fit["template_affine"], known_head.to_template).max() < 4.0
    assert fit["determinant"] == pytest.approx(np.linalg.det(known_head.to_template), rel=0.03)
    assert fit["similarity"] > 0.8
    assert fit["registration_problem"] == ""


def test_rigid_finds_the_pose_and_keeps_sizes(known_head: Any) -> None:
    fit = RegisterToTemplate(mode="rigid", resample=False).fit(known_head.image)
    rigid = np.asarray(fit["template_affine"])
    assert np.allclose(rigid[:3, :3] @ rigid[:3, :3].T, np.eye(3), atol=1e-9)
    left_over = rigid @ known_head.pose  # head -> scan -> template: no turn is left
    degrees = np.degrees(np.arccos(np.clip((np.trace(left_over[:3, :3]) - 1.0) / 2.0, -1.0, 1.0)))
    assert degrees < 2.0
    centre = np.array([0.0, -18.0, 8.0, 1.0])  # about which the simulated person is smaller
    assert np.linalg.norm((left_over @ centre - centre)[:3]) < 2.0
    assert fit["determinant"] == pytest.approx(np.linalg.det(known_head.to_template), rel=0.03)


def test_any_turn_of_the_same_scan_ends_in_the_same_place(known_head: Any) -> None:
    register = RegisterToTemplate(resample=False)
    turn = np.array([[0.906, -0.423, 0, 30], [0.423, 0.906, 0, -40], [0, 0, 1, 25], [0, 0, 0, 1.0]])  # 25 degrees
    turn = nearest_rigid(turn, np.zeros(3))
    moved = known_head.image.clone()
    moved.affine = torch.from_numpy(turn) @ moved.affine
    again = np.asarray(register.fit(moved)["template_affine"]) @ turn
    assert distance(again, np.asarray(register.fit(known_head.image)["template_affine"])).max() < 1.0


def test_template_grid_native_volume_and_inverse(known_head: Any) -> None:
    register = RegisterToTemplated(["image", "brain"], spacing=2.0, interpolation=["linear", "nearest"])
    given = {"image": known_head.image, "brain": known_head.brain}
    done = register(given)
    grid = mni152(2.0).image
    for key in given:
        assert done[key].shape == grid.shape
        assert torch.equal(done[key].affine, grid.affine)
        assert done[key].meta["in_template_space"]
    native_ml = float(done["brain"].sum()) * 8.0 / 1000.0 / done["brain"].meta["determinant"]
    assert native_ml == pytest.approx(float(known_head.brain.sum()) * 8.0 / 1000.0, rel=0.01)
    back = register.inverse(done)
    assert torch.allclose(back["brain"].affine, known_head.brain.affine)
    assert not back["brain"].meta["in_template_space"]
    overlap = 2.0 * (back["brain"] * known_head.brain).sum() / (back["brain"].sum() + known_head.brain.sum())
    assert overlap > 0.97


def test_whole_pipeline_inverts(known_head: Any) -> None:
    pipeline = Compose(
        [
            RegisterToTemplated("image", spacing=3.0, interpolation="linear"),
            BrainMaskd("image"),
            NormalizeIntensityByTissued("image", "brain_mask"),
        ]
    )
    done = pipeline({"image": known_head.image})
    back = pipeline.inverse(done)["image"]
    assert back.shape == known_head.image.shape
    inside = known_head.brain.as_tensor() > 0
    both = torch.stack([back.as_tensor()[inside], known_head.image.as_tensor()[inside]])
    assert torch.corrcoef(both)[0, 1] > 0.9
    assert both.mean(dim=1).diff().abs() < 10.0  # of about 400


def test_without_resampling_only_the_fit_is_added() -> None:
    image = phantom(3)
    result = RegisterToTemplate(phantom(3), resample=False)(image)
    assert torch.equal(result.as_tensor(), image.as_tensor())
    assert distance(result.meta["template_affine"], np.eye(4)).mean() < 2.0
    assert not result.meta["in_template_space"]


def test_an_implausible_fit_is_flagged_or_an_error() -> None:
    noise = MetaTensor(torch.rand(1, 40, 40, 40, generator=torch.Generator().manual_seed(0)), affine=phantom(3).affine)
    assert "similarity" in RegisterToTemplate(phantom(3), spacing=8.0)(noise).meta["registration_problem"]
    with pytest.raises(ValueError, match=r"RegisterToTemplate: similarity .* expected 0.55 or more"):
        RegisterToTemplate(phantom(3), on_failure="error")(noise)
    with pytest.raises(ValueError, match="empty"):
        RegisterToTemplate(phantom(3))(torch.zeros(1, 16, 16, 16))


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match=r"mode is 'rigit'.*nearest: 'rigid'"):
        RegisterToTemplate(mode="rigit")
    with pytest.raises(ValueError, match=r"interpolation has 1 entries"):
        RegisterToTemplated(["a", "b"], interpolation=["linear"])
    with pytest.raises(ValueError, match="spacing is -1"):
        RegisterToTemplate(spacing=-1.0)
    upright = phantom(2)
    upright.affine = upright.affine[[2, 0, 1, 3]]
    with pytest.raises(ValueError, match="does not lie in x and y"):
        RegisterToTemplate(phantom(2))(upright)


@pytest.mark.parametrize("dims", [2, 3])
def test_derivative_of_the_correlation_ratio(dims: int) -> None:
    random = np.random.default_rng(0)
    image = ndimage.gaussian_filter(phantom(dims).numpy()[0], 3.0)
    points = random.uniform(-60, 60, (500, dims))
    ratio = CorrelationRatio(image, np.asarray(phantom(dims).affine), points, random.integers(0, 5, 500))
    start = np.eye(4)
    start[:dims, :dims] += 0.1 * random.standard_normal((dims, dims))

    def value(upper: np.ndarray) -> float:
        matrix = start.copy()
        matrix[:dims, [*range(dims), 3]] = upper.reshape(dims, dims + 1)
        return ratio(matrix)

    upper = start[:dims, [*range(dims), 3]].reshape(-1)
    numeric = approx_fprime(upper, value, 1e-6)
    found = ratio.derivative(start)[1].reshape(-1)
    # slopes of the image are central differences, those of its linear interpolation one-sided
    assert np.corrcoef(found, numeric)[0, 1] > 0.98


def test_carrying_to_larger_voxels_does_not_alias() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(64)[None, :, None].expand(1, 128, 128).contiguous()
    coarse = carry(stripes, np.eye(4), np.eye(4), (16, 16), np.diag([8.0, 8.0, 1.0, 1.0]))
    assert (coarse[:, 2:-2, 2:-2] - 0.5).abs().max() < 0.02


@pytest.mark.real_data
@pytest.mark.slow
def test_real_heads_with_skull(real_data: Any) -> None:
    from medgen.data.images import read_image

    heads = [*sorted((real_data / "ixi_bids").glob("*/anat/*.nii.gz")), real_data / "dicom_t1"]
    assert len(heads) == 7
    for head in heads:
        fit = RegisterToTemplate(resample=False).fit(read_image(str(head)))
        assert fit["registration_problem"] == ""
        assert fit["similarity"] > 0.65
        assert 1.2 < fit["determinant"] < 1.7
