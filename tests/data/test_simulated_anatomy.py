"""The deformations behind the simulated cohort: one-to-one, monotone, anisotropic."""

from __future__ import annotations

import numpy as np
import pytest

from medgen.data.deformation import smooth_field
from medgen.data.simulated_anatomy import GROWTH_MIN, TABLE_SPACING, Anatomy, load_template, simulate_image


def jacobian(displacement: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Determinant of identity + displacement, (3, x, y, z) in the unit of ``spacing``, by central differences."""
    rows = [np.stack(np.gradient(component, *spacing)) for component in displacement]
    matrix = np.stack(rows) + np.eye(3)[:, :, None, None, None]
    return np.linalg.det(np.moveaxis(matrix, (0, 1), (-2, -1)))


def test_growth_does_not_fold_and_only_adds() -> None:
    template = load_template(1.2)
    for amount in (2, 6, 9):
        determinant = jacobian(template.displacement[amount - GROWTH_MIN], (TABLE_SPACING,) * 3)
        assert determinant.min() > 0
    assert np.abs(template.displacement[-GROWTH_MIN]).max() == 0  # no growth, no displacement
    volumes = [(template.becomes_ventricle < amount).sum() for amount in range(GROWTH_MIN, 11)]
    assert np.all(np.diff(volumes) > 0)
    assert volumes[-GROWTH_MIN] * TABLE_SPACING**3 / 1000 == pytest.approx(17, abs=3)  # ml in the template


def test_left_and_right_ventricle_are_found_alone() -> None:
    template = load_template(1.2)
    where = np.argwhere(template.becomes_ventricle <= 0) * TABLE_SPACING + template.table_origin
    assert np.abs(where[:, 0]).max() < 45
    assert where[:, 1].min() > -60
    assert where[:, 2].min() > -30
    left, right = (where[:, 0] < 0).sum(), (where[:, 0] > 0).sum()
    assert left == pytest.approx(right, rel=0.05)


@pytest.mark.parametrize(("control", "amplitude"), [(45.0, 4.0), (18.0, 2.0)])
def test_random_deformation_does_not_fold(control: float, amplitude: float) -> None:
    axes = tuple(np.arange(0, 100, 2, dtype=np.float32) for _ in range(3))
    for seed in range(3):
        random = np.random.default_rng(seed)
        field = np.stack([smooth_field(axes, control, amplitude, random) for _ in range(3)])
        assert jacobian(field, (2.0, 2.0, 2.0)).min() > 0.2
        assert field.std() > 0.2 * amplitude


def test_spline_of_constant_coefficients_is_constant() -> None:
    class Ones:
        def standard_normal(self, size: list[int], dtype: type) -> np.ndarray:
            return np.ones(size, dtype=dtype)

    axes = tuple(np.linspace(-5, 7, n, dtype=np.float32) for n in (5, 6, 7))
    assert np.allclose(smooth_field(axes, 3.3, 1.5, Ones()), 1.5, atol=1e-6)  # B-splines are a partition of unity


@pytest.mark.parametrize("spacing", [(4.0, 4.0, 4.0), (3.0, 3.0, 6.0)])
def test_wanted_volume_is_reached_to_half_a_voxel(spacing: tuple[float, float, float]) -> None:
    template = load_template(1.2)
    for seed, wanted in enumerate((12.0, 30.0, 66.0)):
        image = simulate_image(template, Anatomy(wanted, 0.5, 0.96), np.random.default_rng(seed), spacing)
        voxel = np.prod(spacing) / 1000
        assert image.ventricles.sum() * voxel == pytest.approx(wanted, abs=0.5 * voxel + 1e-6)
        assert np.allclose(np.diag(image.affine)[:3], spacing)


def test_thinning_darkens_the_cortex_only() -> None:
    template = load_template(1.2)
    young, old = (
        simulate_image(template, Anatomy(30.0, thinning, 0.96), np.random.default_rng(0), (4.0, 4.0, 4.0), noise=0.0)
        for thinning in (0.0, 1.2)
    )
    change = old.intensity.astype(float) - young.intensity
    assert change.max() <= 0
    assert change.min() < -100
    assert np.array_equal(young.ventricles, old.ventricles)
    assert np.abs(change[young.ventricles > 0]).max() == 0


def test_impossible_volume_is_refused() -> None:
    with pytest.raises(ValueError, match="ventricle_ml=500"):
        simulate_image(load_template(1.2), Anatomy(500.0, 0.5, 1.0), np.random.default_rng(0), (4.0, 4.0, 4.0))
