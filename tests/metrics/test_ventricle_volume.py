"""Ventricle volumes of drawn brains of known volume."""

import numpy as np
import pytest

from medgen.metrics import ventricle_volume


def draw(half, voxel=3.0, shift=(0.0, 0.0, 0.0), third=0.0):
    """A brain of 140 x 176 x 136 mm; two fluid balls of radius ``half`` mm, and a third ventricle ``third`` mm wide."""
    shape = (56, 64, 52) if voxel == 3.0 else tuple(round(n * 3.0 / voxel) for n in (56, 64, 52))
    fine = 3
    axes = [((np.arange(n * fine) + 0.5) / fine - n / 2) * voxel - s for n, s in zip(shape, shift, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    image = np.where((x / 70) ** 2 + (y / 88) ** 2 + (z / 68) ** 2 < 1, 0.6, 0.0)
    image = np.where((x / 57) ** 2 + (y / 74) ** 2 + (z / 55) ** 2 < 1, 0.85, image)
    for side in (-1, 1):
        image = np.where((x - side * (half + 6)) ** 2 + y**2 + (z - 8) ** 2 < half**2, 0.15, image)
    if third:
        image = np.where((np.abs(x) < third / 2) & (np.abs(y) < 12) & (np.abs(z + 8) < 7), 0.15, image)
    image = image.reshape(shape[0], fine, shape[1], fine, shape[2], fine).mean((1, 3, 5))
    return 2 * image - 1


def millilitres(half):
    return 2 * 4 / 3 * np.pi * half**3 / 1000


def test_millilitres_of_known_balls():
    halves = np.array([8.0, 11.0, 14.0])
    found = ventricle_volume(np.stack([draw(half) for half in halves]), 3.0)
    np.testing.assert_allclose(found, millilitres(halves), rtol=0.15)


def test_does_not_depend_on_place_gain_grid_or_channels():
    image = draw(12)
    moved = draw(12, shift=(4.0, -5.0, 6.0))
    found = ventricle_volume(np.stack([image, moved, 0.7 * (image + 1) - 1])[:, None], 3.0)
    np.testing.assert_allclose(found, found[0], rtol=0.05)
    assert ventricle_volume(draw(12, voxel=4.0)[None], 4.0)[0] == pytest.approx(found[0], rel=0.1)
    assert ventricle_volume(image[None], (3.0, 3.0, 6.0))[0] == pytest.approx(2 * found[0])


def test_the_third_ventricle_does_not_count_and_noise_is_borne():
    image = draw(12)
    noisy = image + np.random.default_rng(0).normal(0, 0.06, image.shape)
    found = ventricle_volume(np.stack([image, draw(12, third=5.0), noisy]), 3.0)
    np.testing.assert_allclose(found[1:], found[0], rtol=0.1)


def test_refusals_and_no_brain():
    assert ventricle_volume(np.full((2, 8, 8, 8), -1.0)).tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match=r"expected \(N, X, Y, Z\)"):
        ventricle_volume(np.zeros((4, 8, 8)))
    with pytest.raises(ValueError, match="voxel_mm"):
        ventricle_volume(np.zeros((1, 8, 8, 8)), 0.0)
    with pytest.raises(ValueError, match="NaN"):
        ventricle_volume(np.full((1, 8, 8, 8), np.nan))
