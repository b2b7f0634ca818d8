"""The simulated head: a known pose, layers where they belong, ventricles that grow inside one person."""

from __future__ import annotations

import numpy as np
import pytest

from medgen.data.simulated_anatomy import Anatomy
from medgen.data.simulated_head import (
    LANDMARKS,
    Head,
    Scanner,
    draw_person,
    rigid_pose,
    sagittal_grid,
    simulate_head,
)
from medgen.data.simulated_skull import Layers, load_surroundings, tissue_around

SILENT = Scanner(noise=0.0, bias=0.0, falloff=0.0, gain=870.0)  # intensities are 1000 times the tissue's
POSE = rigid_pose((8.0, -4.0, 5.0), (4.0, 6.0, -8.0))


def head_of(ventricle_ml: float = 30.0, deformation: float = 1.0, spacing: float = 4.0, scale: float = 0.96) -> Head:
    person = draw_person(np.random.default_rng(3), scale, deformation)
    anatomy = Anatomy(ventricle_ml, 0.5, scale)
    grid = sagittal_grid((spacing,) * 3, degrees=(1.0, -2.0, 3.0))
    return simulate_head(person, anatomy, np.random.default_rng(4), grid, POSE, SILENT)


def value_at(head: Head, point: tuple[float, ...]) -> int:
    """The intensity of the voxel nearest to a point in scanner mm."""
    voxel = np.rint(np.linalg.inv(head.affine) @ np.append(point, 1.0))[:3].astype(int)
    return int(head.intensity[tuple(voxel)])


def test_pose_is_exact_without_a_shape_of_its_own() -> None:
    head = head_of(deformation=0.0, scale=1.0)
    assert np.abs(head.to_template @ head.pose - np.eye(4)).max() < 2e-3
    for name, place in LANDMARKS.items():
        assert head.landmarks[name] == pytest.approx((POSE @ np.append(place, 1.0))[:3], abs=1e-2)


def test_pose_is_rigid_and_turns_as_said() -> None:
    assert POSE[:3, :3] @ POSE[:3, :3].T == pytest.approx(np.eye(3), abs=1e-6)
    assert np.linalg.det(POSE[:3, :3]) == pytest.approx(1.0, abs=1e-6)
    nod = rigid_pose((10.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    assert np.degrees(np.arccos(nod[1, 1])) == pytest.approx(10.0, abs=1e-4)


def test_size_is_the_affine_s_determinant() -> None:
    head = head_of(deformation=0.0, scale=0.9)
    assert np.linalg.det(head.to_template[:3, :3]) == pytest.approx(0.9**-3, rel=1e-3)


def test_landmarks_lie_where_the_deformed_head_has_them() -> None:
    person = draw_person(np.random.default_rng(3))
    places = np.array(list(LANDMARKS.values()), dtype=np.float32).T
    assert np.abs(person.to_template(person.from_template(places))[0] - places).max() < 0.05
    head = head_of()
    nearest = [
        np.linalg.norm((head.to_template @ np.append(p, 1.0))[:3] - LANDMARKS[n]) for n, p in head.landmarks.items()
    ]
    assert max(nearest) < 8.0  # the affine takes them near, the deformation does the rest
    assert max(nearest) > 0.3


@pytest.mark.parametrize("spacing", [4.0, 5.0])
def test_ventricles_have_the_wanted_volume_and_only_grow(spacing: float) -> None:
    voxel = spacing**3 / 1000
    small, large = head_of(25.0, spacing=spacing), head_of(45.0, spacing=spacing)
    assert small.ventricles.sum() * voxel == pytest.approx(25.0, abs=0.5 * voxel + 1e-6)
    assert large.ventricles.sum() * voxel == pytest.approx(45.0, abs=0.5 * voxel + 1e-6)
    assert not (small.ventricles & ~large.ventricles).any()
    assert np.array_equal(small.brain, large.brain)  # one person: the head itself does not change
    assert not (large.ventricles & ~large.brain).any()


def test_layers_follow_each_other_above_the_vertex() -> None:
    layers = Layers(fluid=3.0, skull=8.0, scalp=6.0)
    z = np.arange(60.0, 110.0, 0.25, dtype=np.float32)
    points = np.stack([np.full_like(z, 30.0), np.full_like(z, -30.0), z])
    surroundings = load_surroundings()
    found, intensity = tissue_around(surroundings, points, layers, np.zeros_like(z))
    thick = {
        "bone": 0.25 * float(((intensity < 0.12) & (z[found] > 64)).sum()),
        "fat": 0.25 * float((intensity > 0.7).sum()),
    }
    assert np.array_equal(found, np.arange(len(found)))  # from inside out, without a hole
    assert 2.0 < thick["bone"] < 8.0  # two tables; the marrow between them is brighter
    assert 3.0 < thick["fat"] < 7.0
    assert intensity[-1] == pytest.approx(0.45, abs=0.25)  # skin
    more, _ = tissue_around(surroundings, points, Layers(3.0, 12.0, 6.0), np.zeros_like(z))
    assert (len(more) - len(found)) * 0.25 == pytest.approx(4.0, rel=0.35)


def test_brain_is_brighter_than_eyes_and_air_is_dark() -> None:
    head = head_of(spacing=3.0)
    assert head.landmarks["left_eye"][0] < head.landmarks["right_eye"][0]
    for eye in ("left_eye", "right_eye"):
        assert value_at(head, head.landmarks[eye]) < 350
    assert np.median(head.intensity[head.brain > 0]) > 500
    assert head.intensity[:2].max() == 0  # beside the head
    rim = head.intensity[(head.brain == 0) & (head.intensity > 0)]
    assert np.mean(rim > 800) > 0.05  # scalp


def test_noise_and_field_come_from_the_scanner() -> None:
    person, grid = draw_person(np.random.default_rng(0)), sagittal_grid((6.0, 6.0, 6.0))
    anatomy = Anatomy(30.0, 0.5, 0.96)
    one, same = (simulate_head(person, anatomy, np.random.default_rng(1), grid) for _ in range(2))
    other = simulate_head(person, anatomy, np.random.default_rng(2), grid)
    assert np.array_equal(one.intensity, same.intensity)
    assert not np.array_equal(one.intensity, other.intensity)
    air = one.intensity[0]
    assert air.mean() == pytest.approx(500 / 0.87 * 0.025 * np.sqrt(np.pi / 2), rel=0.1)  # Rayleigh
    assert one.bias.std() > 0.03
    assert one.intensity.dtype == np.int16


def test_impossible_volume_is_refused() -> None:
    with pytest.raises(ValueError, match="ventricle_ml=500"):
        head_of(500.0)
