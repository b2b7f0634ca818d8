"""Slices and sizes: places in mm, proportions, orientation, the way back."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from phantom import blob, grid, phantom

from medgen.data.images import PLANES, plane_view
from medgen.transforms import ExtractSlices, FitToSize


def coordinates(affine: np.ndarray, shape: tuple[int, int, int]) -> MetaTensor:
    """A volume of three channels whose values are its own world coordinates, mm."""
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")).reshape(3, -1)
    world = (affine[:3, :3] @ voxels + affine[:3, 3:]).reshape(3, *shape)
    return MetaTensor(torch.from_numpy(world).float(), affine=torch.from_numpy(affine))


def where(image: MetaTensor) -> np.ndarray:
    """The world coordinates of every voxel by the affine, (3, *spatial)."""
    axes = [np.arange(n) for n in image.shape[1:]]
    voxels = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(len(axes), -1)
    affine = np.asarray(image.affine)
    return (affine[:3, : len(axes)] @ voxels + affine[:3, 3:]).reshape(3, *image.shape[1:])


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("codes", ["RAS", "LPI", "PSR", "SRA"])
def test_every_pixel_is_where_the_affine_says(plane: str, codes: str) -> None:
    """Of a volume of coordinates, in any orientation and a little tilted, for slices between planes of voxels."""
    turn = nibabel.orientations.axcodes2ornt(codes)
    affine = grid(3, 2.0, (3.0, -2.0, 4.0)) @ nibabel.orientations.inv_ornt_aff(turn, (14, 16, 18))
    volume = coordinates(affine @ np.diag([1.0, 1.5, 1.2, 1.0]), (14, 16, 18))
    for cut in (ExtractSlices(plane, 0.43), ExtractSlices(plane, 0.5, count=3, spacing=5.0)):
        result = cut(volume)
        assert np.abs(where(result) - result.numpy()).max() < 1e-3
        back = cut.inverse(result)
        assert back.shape == volume.shape
        assert torch.allclose(back.affine, volume.affine)
        hit = back.numpy().any(axis=0)
        assert 0 < hit.mean() < 0.3
        assert np.abs(back.numpy() - volume.numpy())[:, hit].max() < 2.0  # half a voxel


def test_slices_look_as_the_field_shows_them() -> None:
    volume = MetaTensor(torch.rand(1, 6, 7, 8), affine=torch.eye(4))
    for plane, axis in PLANES.items():
        last = volume.shape[axis + 1] - 1
        view = plane_view(volume.as_tensor(), plane)
        assert torch.allclose(ExtractSlices(plane, 2 / last)(volume).as_tensor(), view[2])
        several = ExtractSlices(plane, count=last + 1)(volume)
        assert torch.equal(several.as_tensor(), view.permute(1, 2, 3, 0))


def test_position_in_mm() -> None:
    affine = grid(3)
    volume = phantom(3, affine)
    spot = volume.as_tensor() * 0 + blob(volume, (10.0, -20.0, 30.0), 10.0)
    volume = MetaTensor(spot, affine=volume.affine)
    for plane, mm in (("sagittal", 10.0), ("coronal", -20.0), ("axial", 30.0)):
        cut = ExtractSlices(plane, mm, "mm")(volume)
        assert float(cut.max()) > 0.9 * float(volume.max())
        assert float(ExtractSlices(plane, mm + 30.0, "mm")(volume).max()) < 0.05
        assert where(cut)[PLANES[plane]].mean() == pytest.approx(mm, abs=1e-6)
    with pytest.raises(ValueError, match=r"position 300 \(mm\) .* expected 0 to 39 \(-98 to 98 mm\)"):
        ExtractSlices("axial", 300, "mm")(volume)


def test_nearest_keeps_labels_and_says_where_they_are() -> None:
    labels = MetaTensor(torch.arange(8.0).reshape(1, 1, 1, 8).expand(1, 4, 4, 8), affine=torch.eye(4))
    result = ExtractSlices("axial", 3.4, "mm", interpolation="nearest")(labels)
    assert float(result.min()) == float(result.max()) == 3.0
    assert float(result.affine[2, 3]) == 3.0


def test_slices_refuse() -> None:
    for given, message in (
        ({"plane": "axiel"}, r"plane is 'axiel'.*nearest: 'axial'"),
        ({"position": 1.5}, "position is 1.5, expected a fraction"),
        ({"count": 0}, "count is 0"),
        ({"spacing": 0.0}, "spacing is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            ExtractSlices(**given)
    with pytest.raises(ValueError, match=r"ExtractSlices: .*\(1, 8, 8\), expected \(C, X, Y, Z\)"):
        ExtractSlices()(torch.zeros(1, 8, 8))


@pytest.mark.parametrize(("spacing", "size"), itertools.product([None, 3.0], [30, (20, 36, 28)]))
def test_resized_coordinates_stay(spacing: float | None, size: int | tuple[int, ...]) -> None:
    volume = coordinates(grid(3, 2.0, (3.0, -2.0, 4.0)) @ np.diag([1.0, 1.5, 0.7, 1.0]), (24, 20, 40))
    fit = FitToSize(size, spacing)
    result = fit(volume)
    assert result.shape[1:] == ((size,) * 3 if isinstance(size, int) else size)
    steps = result.pixdim
    assert torch.allclose(steps, steps[:1].expand(3))
    places = np.einsum(
        "ij,j...->i...", np.linalg.inv(volume.affine)[:3, :3], where(result) - where(volume)[:, :1, :1, :1]
    )
    reach = 2.0 * np.maximum(np.asarray(steps[:3]) / np.asarray(volume.pixdim), 1.0).reshape(3, 1, 1, 1)
    last = np.array(volume.shape[1:]).reshape(3, 1, 1, 1) - 1
    inner = ((places > reach) & (places < last - reach)).all(axis=0)
    assert inner.any()
    error = np.abs(where(result) - result.numpy())[:, inner]
    assert error.max() < 0.03 * float(steps[0])  # the kernel reproduces what is linear, nearly
    outside = ((places < -0.501) | (places > last + 0.501)).any(axis=0)
    assert np.abs(result.numpy()[:, outside]).max(initial=0.0) == 0.0
    back = fit.inverse(result)
    assert back.shape == volume.shape
    assert torch.allclose(back.affine, volume.affine)


def test_same_size_is_the_same_image() -> None:
    image = phantom(2)
    assert torch.allclose(FitToSize(40)(image).as_tensor(), image.as_tensor(), atol=1e-4)
    wider = FitToSize((60, 40), pad_value=-5.0)(image)
    assert torch.allclose(wider[:, 10:50], image, atol=1e-4)
    assert float(wider[0, 0, 0]) == -5.0


def test_labels_stay_labels() -> None:
    image = phantom(3)
    result = FitToSize(27, interpolation="nearest")(image)
    assert set(result.unique().tolist()) <= set(image.unique().tolist())


def test_size_refuses() -> None:
    with pytest.raises(ValueError, match="size is 0"):
        FitToSize(0)
    with pytest.raises(ValueError, match=r"size is \[8, 8, 8\], expected one number, or 2"):
        FitToSize((8, 8, 8))(torch.zeros(1, 9, 9))
