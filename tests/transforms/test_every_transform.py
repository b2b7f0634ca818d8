"""One sweep over all preprocessing transforms: 2D, 3D, array, dictionary, metadata, pickle, landmarks, inverse."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from phantom import blob, centre_of, grid, phantom

from medgen import transforms
from medgen.transforms import (
    BrainMask,
    BrainMaskd,
    ExtractSlices,
    ExtractSlicesd,
    FitToSize,
    FitToSized,
    N4BiasFieldCorrection,
    N4BiasFieldCorrectiond,
    NormalizeIntensityByTissue,
    NormalizeIntensityByTissued,
    RegisterToTemplate,
    RegisterToTemplated,
)

FILES = {"LoadScan", "LoadDicomSeries"} | {name for name in transforms.__all__ if name.startswith("Save")}
TURN = {2: (0.0, 0.0, 8.0), 3: (6.0, -4.0, 8.0)}
PLACE = {2: (20.0, -15.0), 3: (20.0, -15.0, 10.0)}  # mm


@dataclass(frozen=True)
class Case:
    """How to make one transform, and where it moves a landmark."""

    array: Callable[[int], Any]
    dictionary: Callable[[int], Any]
    dims: tuple[int, ...] = (2, 3)
    exact: bool = True  # whether the inverse gives the same voxels


def square(dims: int) -> list[int]:
    return [48, 56, 44][:dims]


CASES = {
    "N4BiasFieldCorrection": Case(
        lambda dims: N4BiasFieldCorrection(10.0, (5,)), lambda dims: N4BiasFieldCorrectiond("image", None, 10.0, (5,))
    ),
    "RegisterToTemplate": Case(
        lambda dims: RegisterToTemplate(phantom(dims), spacing=4.0, interpolation="linear"),
        lambda dims: RegisterToTemplated("image", phantom(dims), spacing=4.0, interpolation="linear"),
        exact=False,
    ),
    "BrainMask": Case(
        lambda dims: BrainMask(mask=phantom(dims)),
        lambda dims: BrainMaskd("image", mask_key="image", source_key="mask"),
    ),
    "NormalizeIntensityByTissue": Case(
        lambda dims: NormalizeIntensityByTissue("percentile"),
        lambda dims: NormalizeIntensityByTissued("image", method="percentile"),
    ),
    "ExtractSlices": Case(
        lambda dims: ExtractSlices("coronal", count=40), lambda dims: ExtractSlicesd("image", "coronal", count=40), (3,)
    ),
    "FitToSize": Case(
        lambda dims: FitToSize(square(dims)), lambda dims: FitToSized("image", square(dims)), exact=False
    ),
}
EVERY = [pytest.param(name, dims, id=f"{name}-{dims}d") for name, case in CASES.items() for dims in case.dims]


def scan(dims: int) -> MetaTensor:
    return phantom(dims, grid(dims, degrees=TURN[dims]))


def data(dims: int) -> dict[str, Any]:
    return {"image": scan(dims), "mask": phantom(dims), "subject": "P1"}


def test_every_exported_transform_is_swept() -> None:
    arrays = {name for name in transforms.__all__ if f"{name}d" in transforms.__all__}
    assert {name for name in arrays if name not in FILES} == set(CASES)
    assert set(transforms.__all__) == arrays | {f"{name}d" for name in arrays}


@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_metatensor_in_and_out(name: str, dims: int) -> None:
    image = scan(dims)
    before = image.clone()
    result = CASES[name].array(dims)(image)
    assert isinstance(result, MetaTensor)
    assert result.dtype == torch.float32
    assert result.shape[0] == 1
    assert torch.isfinite(result).all()
    assert result.meta["filename_or_obj"] == "simulated"
    assert torch.linalg.det(result.affine[:3, :3]) != 0
    assert torch.equal(image.as_tensor(), before.as_tensor())
    assert image.meta.keys() == before.meta.keys()
    assert image.applied_operations == []


@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_dictionary_does_as_the_array(name: str, dims: int) -> None:
    transform = CASES[name].dictionary(dims)
    assert isinstance(transform, MapTransform)
    given = data(dims)
    result = transform(given)
    assert given.keys() == result.keys()
    assert result["subject"] == "P1"
    expected = CASES[name].array(dims)(scan(dims))
    assert torch.equal(result["image"].as_tensor(), expected.as_tensor())
    assert torch.equal(result["image"].affine, expected.affine)


@pytest.mark.parametrize("name", CASES)
def test_keys(name: str) -> None:
    transform = CASES[name].dictionary(3)
    with pytest.raises(KeyError, match="image"):
        transform({"other": 1})


@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_survives_pickle_and_repeats_itself(name: str, dims: int) -> None:
    transform, given = CASES[name].dictionary(dims), data(dims)  # holds the array form
    again = pickle.loads(pickle.dumps(transform))
    assert torch.equal(transform(given)["image"].as_tensor(), again(given)["image"].as_tensor())


@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_plain_arrays_and_channels(name: str, dims: int) -> None:
    image = phantom(dims)
    two = torch.cat([image.as_tensor(), 0.5 * image.as_tensor()])
    for given in (two, two.numpy()):
        result = CASES[name].array(dims)(given)
        assert isinstance(result, MetaTensor)
        assert result.shape[0] == (1 if name == "BrainMask" else 2)


@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_refuses_what_is_no_image(name: str, dims: int) -> None:
    transform = CASES[name].array(dims)
    with pytest.raises(ValueError, match=rf"{name}.*\(7,\).*expected \(C"):
        transform(torch.zeros(7))
    with pytest.raises(ValueError, match=f"{name}.*not finite"):
        transform(torch.full_like(scan(dims).as_tensor(), float("nan")))


@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_a_landmark_stays_where_it_is(name: str, dims: int) -> None:
    """The affine says, to a tenth of a voxel, where a blob is after the transform."""
    image = scan(dims)
    spot = MetaTensor(blob(image, PLACE[dims])).copy_meta_from(image)
    transform = CASES[name].array(dims)
    expected = np.zeros(3)
    expected[:dims] = PLACE[dims]
    if name == "RegisterToTemplate":
        fit = transform.fit(image)
        result = transform.apply(spot, fit)
        expected = (np.asarray(fit["template_affine"]) @ np.append(expected, 1.0))[:3]
    elif name == "BrainMask":
        other = phantom(dims, spacing=2.5)  # the mask has a grid of its own
        supplied = MetaTensor((blob(other, PLACE[dims], 12.0) > 0.5).float()).copy_meta_from(other)
        result = transform(image, supplied)
    elif name == "N4BiasFieldCorrection":
        result = transform(spot)
        assert torch.equal(result.affine, image.affine)
        return
    else:
        result = transform(spot)
        result = result - result.flatten(1).median()  # of the background
    tolerance = 0.1 * float(np.linalg.norm(result.affine[:3, 0]))
    assert np.abs(centre_of(result) - expected).max() < (1.0 if name == "BrainMask" else tolerance)


@pytest.mark.parametrize(
    ("name", "dims"), [p for p in EVERY if isinstance(CASES[p.values[0]].array(3), InvertibleTransform)]
)
def test_inverse(name: str, dims: int) -> None:
    given = data(dims)
    transform = CASES[name].dictionary(dims)
    done = transform(given)
    back = transform.inverse(done)
    assert len(done["image"].applied_operations) == 1
    assert back["image"].applied_operations == []
    assert back["image"].shape == given["image"].shape
    assert torch.allclose(back["image"].affine, given["image"].affine, atol=1e-6)
    error = (back["image"] - given["image"]).as_tensor().abs()
    assert error.max() < 1e-3 if CASES[name].exact else error.mean() < 4.0  # of 100, at edges
