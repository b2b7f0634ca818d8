"""Ventricle areas of drawn brains, and against the masks of a small simulated cohort."""

import nibabel
import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from medgen.metrics import ventricle_area

PIXEL = 3.4


def _brain(half, pixel=PIXEL, size=64, centre=(0.0, 0.0), turned=False):
    """A brain of 140 x 176 mm with two fluid discs of radius ``half`` mm; exact partial volumes by supersampling."""
    fine = 8
    y, x = (np.mgrid[: size * fine, : size * fine] + 0.5) / fine - size / 2
    y, x = y * pixel - centre[0], x * pixel - centre[1]
    image = np.where(np.hypot(y / 88, x / 70) < 1, 0.6, 0.0)
    image = np.where(np.hypot(y / 74, x / 57) < 1, 0.85, image)
    for side in (-1, 1):
        image = np.where(np.hypot(y, x - side * (half + 3)) < half, 0.15, image)
    image = image.reshape(size, fine, size, fine).mean((1, 3))
    return 2 * (image.T if turned else image) - 1


def test_area_of_known_discs_with_partial_volumes():
    halves = np.array([5.0, 7.0, 9.0, 12.0, 15.0])
    found = ventricle_area(np.stack([_brain(half) for half in halves]), PIXEL)
    np.testing.assert_allclose(found, 2 * np.pi * halves**2, rtol=0.12, atol=15)


def test_does_not_depend_on_position_orientation_gain_or_resolution():
    expected = ventricle_area(_brain(12)[None], PIXEL)[0]
    same = [_brain(12, centre=(9, -6)), _brain(12, turned=True), 0.7 * (_brain(12) + 1) - 1]
    np.testing.assert_allclose(ventricle_area(np.stack(same), PIXEL), expected, rtol=0.03)
    assert ventricle_area(_brain(12, pixel=1.7, size=128)[None], 1.7)[0] == pytest.approx(expected, rel=0.05)
    rows = ventricle_area(_brain(12)[None], (PIXEL, 2 * PIXEL))[0]
    assert rows == pytest.approx(2 * expected)


def test_bears_noise_and_blur():
    image = _brain(12)
    noisy = image + np.random.default_rng(0).normal(0, 0.08, image.shape)
    found = ventricle_area(np.stack([image, noisy, ndimage.gaussian_filter(image, 0.6)]), PIXEL)
    np.testing.assert_allclose(found[1:], found[0], rtol=0.1)


def test_fluid_outside_the_centre_does_not_count():
    image = _brain(8)
    expected = ventricle_area(image[None], PIXEL)
    image[32:40, 47:50] = -0.7  # a lateral fissure
    image[10:14, 31:33] = -0.7  # the fissure between the hemispheres, at the front
    np.testing.assert_allclose(ventricle_area(image[None], PIXEL), expected, rtol=0.05)


def test_without_a_brain_there_is_no_area():
    random = np.random.default_rng(1)
    nothing = [np.full((64, 64), -1.0), np.full((64, 64), 1.0), random.normal(0, 1, (64, 64))]
    found = ventricle_area(np.stack(nothing), PIXEL)
    assert np.isfinite(found).all()
    assert found[0] == found[1] == 0


@pytest.mark.parametrize(
    ("images", "pixel", "message"),
    [
        (np.zeros((64, 64)), 1.0, r"found \(64, 64\)"),
        (np.full((1, 8, 8), np.nan), 1.0, "64 of 64 values"),
        (np.zeros((1, 8, 8)), 0.0, "positive size in mm, found 0"),
    ],
)
def test_refuses(images, pixel, message):
    with pytest.raises(ValueError, match=message):
        ventricle_area(images, pixel)


def _slices(volume, affine, heights, square=208.0, size=64):
    """Axial slices at heights in mm, padded to a square of ``square`` mm and averaged to ``size`` pixels."""
    made = []
    for height in heights:
        plane = torch.from_numpy(volume[:, :, round((height - affine[2, 3]) / affine[2, 2])].copy())[None, None]
        side = round(square / affine[0, 0])
        pads = [(side - n) // 2 for n in plane.shape[:1:-1]]
        plane = functional.pad(
            plane, [pads[0], side - plane.shape[3] - pads[0], pads[1], side - plane.shape[2] - pads[1]]
        )
        made.append(functional.interpolate(plane, size=(size, size), mode="area")[0, 0].numpy())
    return made


@pytest.mark.slow
def test_agrees_with_the_masks_of_the_simulated_cohort(tmp_path):
    pytest.importorskip("nilearn", reason="nilearn carries the template of the simulated cohort")
    from medgen.data import simulated_cohort

    root = simulated_cohort(tmp_path, subjects=24, spacing=(2.0, 2.0, 4.0), progress=False)
    heights, images, masks = (8, 12, 16, 20, 24), [], []
    for path in sorted(root.glob("sub-*/anat/*_T1w.nii.gz")):
        image = nibabel.load(path)
        data = np.asarray(image.dataobj, np.float32)
        name = path.name.replace("_T1w", "_label-ventricles_mask")
        mask = nibabel.load(root / "derivatives" / "ventricles" / path.parts[-3] / "anat" / name)
        images += _slices((data / np.percentile(data[data > 0], 99.5)).clip(0, 1), image.affine, heights)
        masks += _slices(np.asarray(mask.dataobj, np.float32), image.affine, heights)
    pixel = 208.0 / 64
    found, true = ventricle_area(2 * np.stack(images) - 1, pixel), np.stack(masks).sum((1, 2)) * pixel**2
    within = np.tile(np.arange(len(heights)), 24)
    centred = [v - np.array([v[within == k].mean() for k in within]) for v in (found, true)]
    slope = (centred[0] * centred[1]).sum() / (centred[1] ** 2).sum()
    assert np.corrcoef(found, true)[0, 1] > 0.92
    assert np.corrcoef(*centred)[0, 1] > 0.9
    assert 0.85 < slope < 1.15
    assert found.mean() == pytest.approx(true.mean(), rel=0.25)
