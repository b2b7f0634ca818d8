"""Smooth random fields and rotations, from which a subject's own shape is made, and how fields are read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["rotation", "sample", "smooth_field"]

Array = NDArray[np.float32]


def smooth_field(axes: tuple[Array, ...], control_mm: float, amplitude: float, random: np.random.Generator) -> Array:
    """Draw a smooth random scalar field: a cubic B-spline with random coefficients.

    A displacement whose three coefficients stay below 0.4 control spacings is one-to-one (Choi and Lee, "Injectivity
    conditions of 2D and 3D uniform cubic B-spline functions", Graphical Models 62, 2000).

    Args:
        axes: coordinates in mm along each axis, each (n_i,).
        control_mm: distance of the control points, in mm.
        amplitude: standard deviation of the coefficients; they are cut at two standard deviations.
        random: where the coefficients come from.

    Returns:
        The field, (n_1, n_2, n_3) float32.
    """
    taps = []
    for axis in axes:
        position = (axis - axis[0]) / control_mm
        cell = np.floor(position).astype(np.int64)
        u = (position - cell).astype(np.float32)
        weights = ((1 - u) ** 3 / 6, (3 * u**3 - 6 * u**2 + 4) / 6, (-3 * u**3 + 3 * u**2 + 3 * u + 1) / 6, u**3 / 6)
        taps.append((cell, weights))
    size = [int(cell.max()) + 4 for cell, _ in taps]
    field = amplitude * np.clip(random.standard_normal(size, dtype=np.float32), -2.0, 2.0)
    for dim, (cell, weights) in enumerate(taps):
        shape = [1, 1, 1]
        shape[dim] = -1
        field = sum(weights[k].reshape(shape) * np.take(field, cell + k, axis=dim) for k in range(4))
    return np.asarray(field, dtype=np.float32)


def rotation(degrees: Array) -> Array:
    """Return the (3, 3) rotation about x, then y, then z, by ``degrees`` (3,)."""
    result = np.eye(3)
    for (i, j), angle in zip(((1, 2), (0, 2), (0, 1)), np.deg2rad(degrees), strict=True):
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result.astype(np.float32)


def sample(volume: Array, coordinates: Array) -> Array:
    """Read ``volume`` (X, Y, Z) at voxel ``coordinates`` (3, N) by trilinear interpolation, edges repeated."""
    return ndimage.map_coordinates(volume, coordinates, order=1, mode="nearest", output=np.float32)
