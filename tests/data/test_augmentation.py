"""Batched augmentation: geometry with known answers, draws that depend on their key alone."""

from __future__ import annotations

import math

import pytest
import torch

from medgen.data import BatchAugmentation
from medgen.data.augmentation import affine_grid, affine_matrices, hashed_uniform
from medgen.randomness import generator

STILL = {"flip": 0.0, "rotate": 0.0, "scale": 0.0, "translate": 0.0, "intensity": 0.0}


def keys(count: int, epoch: int = 0) -> torch.Tensor:
    return torch.stack([torch.full((count,), epoch), torch.arange(count)], dim=1)


def blob(*centres: tuple[float, ...], size: tuple[int, ...] = (33, 33), width: float = 2.0) -> torch.Tensor:
    grids = torch.meshgrid(*[torch.arange(n).float() for n in size], indexing="ij")
    images = [torch.exp(-sum((g - c) ** 2 for g, c in zip(grids, at, strict=True)) / 2 / width**2) for at in centres]
    return (torch.stack(images)[:, None] * 2 - 1).float()


def centre_of_mass(image: torch.Tensor) -> list[float]:
    weight = image[0] + 1
    grids = torch.meshgrid(*[torch.arange(n).float() for n in weight.shape], indexing="ij")
    return [float((g * weight).sum() / weight.sum()) for g in grids]


def test_draws_are_uniform_and_independent_of_the_batch() -> None:
    draws = hashed_uniform(11, keys(20_000), 4)
    assert draws.shape == (20_000, 4)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert torch.allclose(draws.mean(0), torch.tensor(0.5, dtype=torch.float64), atol=0.01)
    assert torch.allclose(draws.var(0), torch.tensor(1 / 12, dtype=torch.float64), atol=0.002)
    off_diagonal = torch.corrcoef(draws.T) - torch.eye(4, dtype=torch.float64)
    assert off_diagonal.abs().max() < 0.03
    assert torch.equal(hashed_uniform(11, keys(20_000)[777:778], 4), draws[777:778])
    assert torch.equal(hashed_uniform(11, keys(9), 2), draws[:9, :2])
    assert not torch.equal(hashed_uniform(12, keys(9), 4), draws[:9])
    swapped = hashed_uniform(11, torch.tensor([[3, 5], [5, 3]]), 1)
    assert swapped[0] != swapped[1]


def test_nothing_asked_nothing_changed() -> None:
    images = torch.rand(3, 2, 9, 9) * 2 - 1
    assert torch.equal(BatchAugmentation(**STILL)(images, keys(3)), images)


def test_flip_is_left_right() -> None:
    images = torch.rand(4, 1, 6, 8) * 2 - 1
    flipped = BatchAugmentation(**{**STILL, "flip": 1.0})(images, keys(4))
    assert torch.allclose(flipped, images.flip(-1), atol=1e-5)
    volume = torch.rand(2, 1, 4, 5, 6) * 2 - 1
    flipped = BatchAugmentation(**{**STILL, "flip": 1.0})(volume, keys(2))
    assert torch.allclose(flipped, volume.flip(2), atol=1e-5)  # the first axis of a RAS volume


def test_flip_probability() -> None:
    images = blob((16, 6)).repeat(400, 1, 1, 1)
    flipped = BatchAugmentation(**{**STILL, "flip": 0.25})(images, keys(400))
    share = (flipped[:, 0, 16, 26] > 0).float().mean()
    assert share == pytest.approx(0.25, abs=0.07)


def test_rotation_keeps_the_radius_and_stays_in_range() -> None:
    images = blob((16, 26)).repeat(64, 1, 1, 1)
    turned = BatchAugmentation(**{**STILL, "rotate": 30.0})(images, keys(64))
    angles = []
    for image in turned:
        row, column = centre_of_mass(image)
        assert math.hypot(row - 16, column - 16) == pytest.approx(10.0, abs=0.05)
        angles.append(math.degrees(math.atan2(row - 16, column - 16)))
    assert -30.1 < min(angles) < -20
    assert 20 < max(angles) < 30.1


def test_rotation_is_rigid_on_oblong_images() -> None:
    images = blob((16, 40), size=(33, 65)).repeat(16, 1, 1, 1)
    turned = BatchAugmentation(**{**STILL, "rotate": 40.0})(images, keys(16))
    for image in turned:
        row, column = centre_of_mass(image)
        assert math.hypot(row - 16, column - 32) == pytest.approx(8.0, abs=0.05)


def test_scale_and_translation_ranges() -> None:
    images = blob((16, 26)).repeat(64, 1, 1, 1)
    scaled = BatchAugmentation(**{**STILL, "scale": 0.2})(images, keys(64))
    radii = [centre_of_mass(image)[1] - 16 for image in scaled]
    assert 10 / 1.2 - 0.1 < min(radii) < 9
    assert 11 < max(radii) < 12.1
    moved = BatchAugmentation(**{**STILL, "translate": 0.1})(images, keys(64))
    shifts = [centre_of_mass(image)[0] - 16 for image in moved]
    assert -3.35 < min(shifts) < -2
    assert 2 < max(shifts) < 3.35


def test_background_stays_background() -> None:
    images = blob((16, 16)).repeat(32, 1, 1, 1)
    changed = BatchAugmentation(rotate=45, scale=0.3, translate=0.1, intensity=0.3)(images, keys(32))
    assert changed[:, 0, 0, 0].max() < -0.999
    assert changed.min() >= -1
    assert changed.max() <= 1


def test_intensity_is_a_gain_and_a_gamma() -> None:
    ramp = torch.linspace(-1, 1, 21).reshape(1, 1, 1, 21).repeat(50, 1, 3, 1)
    changed = BatchAugmentation(**{**STILL, "intensity": 0.2})(ramp, keys(50))
    assert torch.all(changed[:, 0, 0].diff(dim=-1) >= 0)
    assert torch.all(changed[:, 0, 0, 0] == -1)
    middle = (changed[:, 0, 0, 10] + 1) / 2
    assert 0.5**1.2 / 1.2 <= middle.min() < 0.47
    assert 0.53 < middle.max() <= 1.2 * 0.5 ** (1 / 1.2)


def test_volumes_are_turned_rigidly() -> None:
    volume = blob((10, 10, 15), size=(21, 21, 21)).repeat(8, 1, 1, 1, 1)
    turned = BatchAugmentation(**{**STILL, "rotate": 25.0})(volume, keys(8))
    for image in turned:
        assert math.dist(centre_of_mass(image), (10, 10, 10)) == pytest.approx(5.0, abs=0.1)


def test_same_key_same_change() -> None:
    images = torch.rand(6, 1, 16, 16) * 2 - 1
    augment = BatchAugmentation(flip=0.5, rotate=10, scale=0.1, translate=0.05, intensity=0.1, seed=4)
    whole = augment(images, keys(6, epoch=2))
    assert torch.allclose(augment(images[4:5], keys(6, epoch=2)[4:5]), whole[4:5], atol=1e-6)
    assert not torch.allclose(augment(images, keys(6, epoch=3)), whole, atol=1e-3)
    assert not torch.allclose(BatchAugmentation(seed=5)(images, keys(6)), BatchAugmentation(seed=4)(images, keys(6)))


@pytest.mark.parametrize("spatial", [(7, 5), (3, 4, 6)])
def test_grid_is_that_of_torch(spatial: tuple[int, ...]) -> None:
    theta = torch.randn(4, len(spatial), len(spatial) + 1)
    expected = torch.nn.functional.affine_grid(theta, [4, 1, *spatial], align_corners=False)
    assert torch.allclose(affine_grid(theta, spatial), expected, atol=1e-5)


def test_affine_of_no_change_is_the_identity() -> None:
    theta = affine_matrices(
        torch.zeros(2, 3), torch.ones(2), torch.zeros(2, dtype=torch.bool), torch.zeros(2, 3), (4, 5, 6)
    )
    assert torch.equal(theta, torch.eye(3, 4).repeat(2, 1, 1))


@pytest.mark.parametrize(
    ("name", "value"), [("flip", 1.5), ("rotate", -1), ("scale", 2), ("translate", -0.1), ("intensity", 1)]
)
def test_ranges_are_checked(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected a number from 0"):
        BatchAugmentation(**{name: value})


def test_keys_must_fit_the_images() -> None:
    with pytest.raises(ValueError, match="augmentation: found images"):
        BatchAugmentation()(torch.zeros(3, 1, 4, 4), keys(2))


@pytest.mark.parametrize(("size", "crop", "kept"), [((12, 10), 8, (8, 8)), ((8, 12, 10), (4, 20, 6), (4, 12, 6))])
def test_a_crop_is_a_random_part_and_changes_nothing_else(size, crop, kept):
    images = torch.rand(6, 1, *size, generator=generator("crop")) * 2 - 1
    keys = torch.stack([torch.zeros(6, dtype=torch.int64), torch.arange(6)], dim=1)
    whole, part = BatchAugmentation(seed=3)(images, keys), BatchAugmentation(seed=3, crop=crop)(images, keys)
    assert part.shape == (6, 1, *kept)
    places = set()
    for image, found in zip(whole, part, strict=True):
        windows = image[0]
        for axis, side in enumerate(kept):
            windows = windows.unfold(axis, side, 1)
        same = (windows == found[0]).flatten(len(kept)).all(-1).nonzero()
        assert len(same) == 1
        places.add(tuple(same[0].tolist()))
    assert len(places) > 2
    assert torch.equal(BatchAugmentation(seed=3, crop=crop)(images[2:3], keys[2:3])[0], part[2])


def test_a_crop_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="crop: expected a positive number"):
        BatchAugmentation(crop=0)
    with pytest.raises(ValueError, match="a size for each of 2 sides"):
        BatchAugmentation(crop=(4, 4, 4))(torch.zeros(1, 1, 8, 8), torch.zeros(1, 2, dtype=torch.int64))
