"""How the lateral ventricles of the template grow: a flow that is tabulated once.

The lateral ventricles grow along a stationary velocity field that points out of them and fades over some 20 mm. The
flow is integrated in half-millimetre steps, so it stays one-to-one where a single large step would fold. Because it
only ever moves outwards, every point has one amount at which it becomes ventricle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medgen.data.deformation import sample

__all__ = ["GROWTH_MAX", "GROWTH_MIN", "TABLE_SPACING", "find_ventricles", "tabulate_growth"]

Array = NDArray[np.float32]

VENTRICLE_SEEDS = ((-14.0, -15.0, 15.0), (14.0, -15.0, 15.0))  # mm, MNI152
GROWTH_MIN, GROWTH_MAX, GROWTH_STEP = -4, 11, 0.5  # mm travelled by the ventricle wall
GROWTH_REACH = 24.0  # mm from the wall at which the velocity has faded to zero
TABLE_SPACING = 2  # mm, grid on which the flow is tabulated


def find_ventricles(tissue: Array, origin: Array) -> NDArray[np.bool_]:
    """Find the lateral ventricles: components of little tissue whose centres lie near the known positions."""
    labels, count = ndimage.label(tissue < 0.3)
    sizes = ndimage.sum_labels(np.ones_like(tissue), labels, np.arange(1, count + 1))
    large = np.flatnonzero(sizes > 3000) + 1
    centres = np.array(ndimage.center_of_mass(np.ones_like(tissue), labels, large)) + origin
    found = np.zeros(tissue.shape, dtype=bool)
    for seed in VENTRICLE_SEEDS:
        distance = np.linalg.norm(centres - np.array(seed), axis=1)
        if distance.min() > 8.0:
            raise RuntimeError(f"no lateral ventricle found near {seed} mm in the MNI152 template")
        found |= labels == large[int(distance.argmin())]
    return ndimage.binary_dilation(found, iterations=2) & (tissue < 0.5)


def tabulate_growth(ventricles: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Array, Array]:
    """Integrate the backward flow of the ventricle wall; returns first voxel, displacements, first-passage amounts."""
    margin = int(GROWTH_REACH) + 4
    where = np.argwhere(ventricles)
    low = np.maximum(where.min(axis=0) - margin, 0)
    high = np.minimum(where.max(axis=0) + margin + 1, ventricles.shape)
    inside = ventricles[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    distance = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    distance = ndimage.gaussian_filter(
        distance.astype(np.float32) + np.where(inside, 0.5, -0.5).astype(np.float32), 0.7
    )
    outwards = np.stack(np.gradient(ndimage.gaussian_filter(distance, 1.5)))
    fade = np.clip((distance - 1.0) / (GROWTH_REACH - 1.0), 0.0, 1.0)
    velocity = (outwards * (0.5 + 0.5 * np.cos(np.pi * fade))).astype(np.float32)

    axes = [np.arange(0, n, TABLE_SPACING, dtype=np.float32) for n in inside.shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    moving = sample(distance, grid.reshape(3, -1)) < GROWTH_REACH  # the others never move
    start = grid.reshape(3, -1)[:, moving]
    levels = GROWTH_MAX - GROWTH_MIN + 1
    displacement = np.zeros((levels, 3, *grid.shape[1:]), dtype=np.float32)
    first = np.full(moving.shape, float(GROWTH_MAX + 1), dtype=np.float32)
    initial = sample(distance, start)
    passage = np.where(initial > 0, float(GROWTH_MAX + 1), float(GROWTH_MIN - 1)).astype(np.float32)
    for sign, stop in ((1, GROWTH_MAX), (-1, GROWTH_MIN)):
        points, before, amount = start.copy(), initial, 0.0
        while amount != stop:
            halfway = points - 0.5 * sign * GROWTH_STEP * np.stack([sample(v, points) for v in velocity])
            points = points - sign * GROWTH_STEP * np.stack([sample(v, halfway) for v in velocity])
            after = sample(distance, points)
            crossed = (before > 0) & (after <= 0) if sign > 0 else (before <= 0) & (after > 0)
            fraction = before[crossed] / (before[crossed] - after[crossed])
            passage[crossed] = amount + sign * GROWTH_STEP * fraction
            before, amount = after, amount + sign * GROWTH_STEP
            if amount == int(amount):
                level = displacement[int(amount) - GROWTH_MIN].reshape(3, -1)
                level[:, moving] = points - start
    first[moving] = passage
    return low, displacement, first.reshape(grid.shape[1:])
