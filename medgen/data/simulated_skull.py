"""What surrounds the simulated brain: fluid, skull, scalp, face and neck, as distances and intensities.

The cranial vault follows from the distance to the brain's smoothed surface, so that its layers have a thickness that
can be chosen for each person. Face and neck are drawn once, of ellipsoids and tubes where an adult's lie in the
template's space. They look like a T1 image; they are no anatomical model.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medgen.data.deformation import sample
from medgen.data.simulated_anatomy import CSF_INTENSITY, Template, load_template
from medgen.randomness import numpy_generator

__all__ = ["Layers", "Surroundings", "load_surroundings", "tissue_around"]

Array = NDArray[np.float32]

BOX = ((-112.0, 112.0), (-152.0, 132.0), (-200.0, 112.0))  # mm, MNI152 space
STEP = 2.0  # mm, grid of the fields
CLOSING = 14.0  # mm, radius that closes the brain's surface over sulci and fissures
BONE, MARROW, FAT, MUSCLE, SKIN, AIR = 0.05, 0.42, 1.0, 0.40, 0.45, 0.0  # T1 intensity; white matter is 0.87
SKIN_MM = 1.5

# centre, radii in mm, intensity; both sides where the first coordinate is not zero; later ones lie over earlier ones
Shape = tuple[tuple[float, float, float], tuple[float, float, float], float]
SOFT: tuple[Shape, ...] = (
    ((44.0, 52.0, -82.0), (12.0, 14.0, 18.0), FAT),  # cheeks
    ((58.0, 4.0, -88.0), (9.0, 13.0, 20.0), 0.65),  # parotid glands
    ((32.0, 52.0, -36.0), (19.0, 26.0, 17.0), FAT),  # orbits
    ((32.0, 61.0, -36.0), (12.5, 12.5, 12.5), 0.14),  # eyes
    ((32.0, 71.0, -36.0), (4.5, 2.0, 4.5), 0.45),  # lenses
    ((28.0, 36.0, -38.0), (3.5, 16.0, 3.5), 0.45),  # optic nerves
    ((0.0, 58.0, -60.0), (16.0, 34.0, 22.0), AIR),  # nose
    ((8.0, 56.0, -66.0), (3.5, 24.0, 6.0), 0.6),  # turbinates
    ((8.0, 56.0, -51.0), (3.0, 18.0, 4.5), 0.6),
    ((0.0, 62.0, -58.0), (1.5, 34.0, 20.0), 0.5),  # septum
    ((29.0, 54.0, -66.0), (12.0, 15.0, 14.0), AIR),  # maxillary sinuses
    ((0.0, 22.0, -42.0), (13.0, 12.0, 9.0), AIR),  # sphenoid sinus
    ((0.0, -2.0, -56.0), (11.0, 9.0, 13.0), 0.7),  # clivus
    ((57.0, -32.0, -56.0), (10.0, 13.0, 16.0), 0.08),  # mastoid
    ((0.0, 46.0, -103.0), (23.0, 32.0, 19.0), 0.5),  # tongue
    ((0.0, 44.0, -82.0), (20.0, 28.0, 3.0), BONE),  # palate
    ((0.0, 78.0, -94.0), (20.0, 6.0, 9.0), 0.12),  # teeth
    ((0.0, 8.0, -86.0), (12.0, 6.0, 30.0), AIR),  # pharynx
    ((0.0, 2.0, -140.0), (9.0, 8.0, 46.0), AIR),
)
# radii of the jaw's U in the axial plane, its height and its centre, in mm
JAW = ((44.0, 60.0), 11.0, (0.0, 18.0, -124.0))
OUTSIDE: tuple[Shape, ...] = (
    ((0.0, 26.0, -72.0), (63.0, 62.0, 66.0), 0.0),  # face
    ((28.0, 44.0, -44.0), (30.0, 36.0, 28.0), 0.0),  # lids and cheekbones
    ((0.0, 56.0, -124.0), (38.0, 34.0, 26.0), 0.0),  # chin
    ((0.0, 88.0, -56.0), (13.0, 22.0, 16.0), 0.0),  # nose
    ((52.0, 22.0, -28.0), (26.0, 40.0, 44.0), 0.0),  # temples
    ((83.0, -22.0, -32.0), (5.0, 14.0, 24.0), 0.0),  # ears
    ((0.0, -62.0, -92.0), (50.0, 44.0, 52.0), 0.0),  # nape
    ((42.0, 6.0, -82.0), (22.0, 36.0, 44.0), 0.0),  # angles of the jaw
)
NECK = ((56.0, 60.0), (0.0, -34.0))  # radii and centre in the axial plane, mm
NECK_TOP = -62.0  # mm
CORD = (0.0, -44.0)  # where spinal cord and canal run below the brain stem, mm


@dataclass(frozen=True)
class Layers:
    """Thickness in mm of what lies between brain and air in the cranial vault.

    Args:
        fluid: subarachnoid space and dura beyond the brain's smoothed surface.
        skull: both tables and the marrow between them.
        scalp: fat and skin.
    """

    fluid: float = 2.5
    skull: float = 6.5
    scalp: float = 6.0


@dataclass(frozen=True)
class Surroundings:
    """Fields on a 2 mm grid whose first voxel lies at ``origin`` (mm, MNI152 space), each (X, Y, Z).

    Attributes:
        origin: of all fields.
        envelope: signed distance to the brain's smoothed surface in mm, negative inside.
        skin: signed distance to the skin of face and neck in mm, negative inside.
        soft: T1 intensity of what lies in face and neck; white matter is 0.87.
    """

    origin: Array
    envelope: Array
    skin: Array
    soft: Array


def _ellipsoid(axes: Sequence[Array], centre: Sequence[float], radii: Sequence[float]) -> Array:
    """Return about the signed distance to an ellipsoid, exact at its surface to first order."""
    offsets = [axis - c for axis, c in zip(axes, centre, strict=True)]
    one = np.sqrt(sum((o / r) ** 2 for o, r in zip(offsets, radii, strict=True)))
    two = np.sqrt(sum((o / r**2) ** 2 for o, r in zip(offsets, radii, strict=True)))
    return np.asarray(one * (one - 1.0) / np.maximum(two, 1e-6), dtype=np.float32)


def _both_sides(shapes: Sequence[Shape]) -> list[Shape]:
    """Mirror the shapes that do not lie in the middle."""
    mirrored = []
    for (x, y, z), radii, value in shapes:
        mirrored += [((side * x, y, z), radii, value) for side in ((1.0, -1.0) if x else (1.0,))]
    return mirrored


def _join(one: Array, two: Array, width: float) -> Array:
    """Return the signed distance of a union whose seam is rounded over ``width`` mm."""
    overlap = np.clip(0.5 + 0.5 * (two - one) / width, 0.0, 1.0)
    return two + (one - two) * overlap - width * overlap * (1.0 - overlap)


def _paint(canvas: Array, distance: Array, value: float | Array) -> Array:
    """Lay ``value`` over the canvas where the signed distance is negative, with an edge of one voxel."""
    cover = np.clip(0.5 - distance / STEP, 0.0, 1.0)
    return canvas + (value - canvas) * cover


def _envelope(template: Template, axes: Sequence[Array]) -> Array:
    """Return the signed distance to the brain's surface, closed over sulci."""
    grid = np.stack(np.broadcast_arrays(*axes)).reshape(3, -1) - template.origin[:, None]
    limit = np.array(template.intensity.shape)[:, None] - 1
    inside = ((grid >= 0) & (grid <= limit)).all(axis=0)
    brain = np.zeros(grid.shape[1], dtype=bool)
    brain[inside] = template.intensity[tuple(np.rint(grid[:, inside]).astype(np.int64))] > 0
    shape = tuple(max(axis.shape) for axis in axes)
    dilated = ndimage.distance_transform_edt(~brain.reshape(shape), sampling=STEP) < CLOSING
    closed = ndimage.distance_transform_edt(dilated, sampling=STEP) > CLOSING
    closed |= brain.reshape(shape)
    distance = ndimage.distance_transform_edt(~closed, sampling=STEP) - ndimage.distance_transform_edt(
        closed, sampling=STEP
    )
    return ndimage.gaussian_filter(distance.astype(np.float32) + np.where(closed, 0.5, -0.5) * np.float32(STEP), 1.6)


def _soft(axes: Sequence[Array], canal: Array) -> Array:
    """Draw what lies in face and neck."""
    x, y, z = axes
    shape = tuple(max(axis.shape) for axis in axes)
    noise = numpy_generator("simulated head", "texture").standard_normal(shape, dtype=np.float32)
    streaks = ndimage.gaussian_filter(noise, (0.8, 0.8, 5.0))
    soft = np.asarray(MUSCLE + 0.09 * streaks / streaks.std(), dtype=np.float32)
    planes = np.abs(np.sin(np.hypot(x, y + 40.0) / 5.5 + 1.5 * np.arctan2(y + 40.0, x + 1e-3)))
    soft = soft + 0.35 * np.asarray(np.clip(0.3 - planes, 0.0, 0.3) / 0.3 * (y < -55.0), dtype=np.float32)
    vertebra = np.hypot(x / 1.2, y + 24.0) - 11.0
    disc = np.abs(np.mod(z + 90.0, 17.0) - 8.5) - 6.5
    below = z + 76.0
    soft = _paint(soft, np.maximum(np.maximum(vertebra, below), disc + 0 * x), 0.62)
    soft = _paint(soft, np.maximum(np.maximum(vertebra, below), -disc + 0 * x), 0.3)
    soft = _paint(soft, np.maximum(np.maximum(np.abs(canal - 11.0) - 2.0, below), -y - 90.0), 0.12)
    for centre, radii, value in _both_sides(SOFT):
        soft = _paint(soft, _ellipsoid(axes, centre, radii), value)
    (across, along), height, (jx, jy, jz) = JAW
    arc = (np.hypot((x - jx) / across, (y - jy) / along) - 1.0) * across
    jaw = np.hypot(np.maximum(np.abs(arc) - 3.0, 0.0), np.maximum(np.abs(z - jz) - height, 0.0)) - 3.5
    jaw = np.maximum(jaw, 6.0 - (y - jy))
    soft = _paint(_paint(soft, jaw, BONE), jaw + 2.5, 0.85)
    soft = _paint(soft, canal - 9.0 + 0 * z, CSF_INTENSITY)
    return np.asarray(_paint(soft, canal - 5.5 + 0 * z, 0.7), dtype=np.float32)


@functools.lru_cache(maxsize=1)
def load_surroundings() -> Surroundings:
    """Return what surrounds the brain of :func:`medgen.data.simulated_anatomy.load_template`.

    Raises:
        OptionalImportError: when nilearn is not installed.
    """
    axes = tuple(
        np.arange(low, high + 1e-3, STEP, dtype=np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
        for axis, (low, high) in enumerate(BOX)
    )
    x, y, z = axes
    canal = np.hypot(x - CORD[0], y - CORD[1] + 0.12 * (z + 75.0))
    envelope = _envelope(load_template(), axes)
    # bone leaves the spinal canal open
    envelope = envelope + 40.0 * np.clip((13.0 - canal) / 3.0, 0.0, 1.0) * np.clip((-70.0 - z) / 3.0, 0.0, 1.0)
    (across, along), (nx, ny) = NECK
    tube = (np.hypot((x - nx) / across, (y - ny) / along) - 1.0) * across + 0 * z
    skin = -_join(-tube, NECK_TOP - z, 20.0)  # the part of the tube below the head
    for centre, radii, _ in _both_sides(OUTSIDE):
        skin = _join(skin, _ellipsoid(axes, centre, radii), 12.0 if abs(centre[0]) < 80 else 4.0)
    return Surroundings(
        origin=np.array([low for low, _ in BOX], dtype=np.float32),
        envelope=envelope.astype(np.float32),
        skin=skin.astype(np.float32),
        soft=_soft(axes, canal),
    )


def tissue_around(
    surroundings: Surroundings, points: Array, layers: Layers, thicker: Array
) -> tuple[NDArray[np.intp], Array]:
    """Return where there is a head, and the T1 intensity of all of it but the brain.

    Args:
        surroundings: from :func:`load_surroundings`.
        points: template coordinates in mm, (3, N).
        layers: of this person's head.
        thicker: relative change of the skull's thickness at each point, (N,).

    Returns:
        The indices of the points within the skin, and the intensity at these; where there is brain it is fluid's.
    """
    voxels = (points - surroundings.origin[:, None]) / np.float32(STEP)
    limit = np.array(surroundings.envelope.shape)[:, None] - 1
    inside = np.flatnonzero(((voxels > 0) & (voxels < limit)).all(axis=0))
    distance = sample(surroundings.envelope, voxels[:, inside])
    face = sample(surroundings.skin, voxels[:, inside])
    skull = np.float32(layers.skull) * (1.0 + thicker[inside])
    depth = -_join(distance - np.float32(layers.fluid + layers.scalp) - skull, face, 10.0)
    head = np.flatnonzero(depth > 0)
    inside, distance, depth, skull = inside[head], distance[head], depth[head], skull[head]

    intensity = sample(surroundings.soft, voxels[:, inside])
    fat = np.clip((layers.scalp + 0.5 - depth) / 1.5, 0.0, 1.0)
    intensity += (FAT * (0.9 + 0.25 * (intensity - MUSCLE)) - intensity) * fat
    intensity += (SKIN - intensity) * np.clip((SKIN_MM + 0.5 - depth) / 1.0, 0.0, 1.0)
    within = (distance - layers.fluid) / skull  # 0 at the inner, 1 at the outer surface of the skull
    marrow = np.clip((0.25 - np.abs(within - 0.5)) / 0.12, 0.0, 1.0) * np.clip((skull - 4.0) / 3.0, 0.0, 1.0)
    bone = BONE + (MARROW - BONE) * marrow
    intensity += (bone - intensity) * np.clip((1.0 - within) * skull + 0.5, 0.0, 1.0)
    intensity += (CSF_INTENSITY - intensity) * np.clip(0.5 - within * skull, 0.0, 1.0)
    return inside, np.maximum(intensity, 0.0).astype(np.float32)
