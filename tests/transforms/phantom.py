"""A small head-like phantom: an ellipsoid of tissue with parts inside that make every pose different."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import MetaTensor

from medgen.data.deformation import rotation

SPACING = 5.0  # mm
HALF = (66.0, 84.0, 58.0)  # mm, about 1350 ml
PARTS = (  # centre and half axes relative to the ellipsoid's, intensity
    ((0.0, 0.0, 0.0), (0.85, 0.85, 0.85), 100.0),
    ((0.2, 0.3, 0.3), (0.2, 0.3, 0.3), 20.0),
    ((-0.3, 0.1, 0.1), (0.15, 0.3, 0.2), 20.0),
    ((0.0, -0.6, -0.4), (0.5, 0.25, 0.25), 75.0),
    ((0.3, 0.4, -0.4), (0.2, 0.2, 0.3), 60.0),
)


def grid(dims: int, spacing: float = SPACING, degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """The affine (4, 4) of a grid of 200 mm around the world's origin, turned; 2D only about z."""
    affine = np.eye(4)
    turn = rotation(np.asarray(degrees, dtype=np.float32)).astype(np.float64)
    count = int(200.0 / spacing)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = -affine[:3, :dims] @ np.full(dims, 0.5 * (count - 1))
    return affine


def phantom(dims: int, affine: np.ndarray | None = None, spacing: float = SPACING) -> MetaTensor:
    """float32 (1, *spatial) on a grid, 0 outside the ellipsoid."""
    affine = grid(dims, spacing) if affine is None else affine
    count = int(200.0 / spacing)
    voxels = np.stack(np.meshgrid(*[np.arange(count)] * dims, indexing="ij")).reshape(dims, -1)
    world = affine[:dims, :dims] @ voxels + affine[:dims, 3:]
    unit = world / np.array(HALF[:dims])[:, None]
    values = np.where((unit**2).sum(axis=0) < 1.0, 60.0, 0.0)
    for centre, half, intensity in PARTS:
        inside = (((unit - np.array(centre[:dims])[:, None]) / np.array(half[:dims])[:, None]) ** 2).sum(axis=0) < 1.0
        values[inside] = intensity
    image = torch.from_numpy(values.astype(np.float32).reshape(1, *[count] * dims))
    return MetaTensor(image, affine=torch.from_numpy(affine), meta={"filename_or_obj": "simulated"})


def blob(image: MetaTensor, world: tuple[float, ...], width: float = 8.0, height: float = 1.0) -> torch.Tensor:
    """A Gaussian of ``width`` mm at a place in the world (mm), on the grid of an image, (1, *spatial)."""
    dims = image.ndim - 1
    affine = np.asarray(image.affine)
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in image.shape[1:]], indexing="ij")).reshape(dims, -1)
    places = affine[:3, :dims] @ voxels + affine[:3, 3:]
    target = np.zeros(3)
    target[: len(world)] = world
    square = ((places - target[:, None]) ** 2).sum(axis=0)
    values = height * np.exp(-0.5 * square / width**2)
    return torch.from_numpy(values.astype(np.float32).reshape(image.shape[1:]))[None]


def centre_of(image: MetaTensor) -> np.ndarray:
    """The centre of mass of an image's first channel in its world, (3,) mm."""
    dims = image.ndim - 1
    values = image.numpy()[0].astype(np.float64)
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in values.shape], indexing="ij")).reshape(dims, -1)
    mean = voxels @ values.reshape(-1) / values.sum()
    affine = np.asarray(image.affine)
    return affine[:3, :dims] @ mean + affine[:3, 3]
