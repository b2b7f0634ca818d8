"""The anatomy behind the simulated cohort: one template brain, deformed, aged and imaged once per subject.

The ventricles grow by the flow of :mod:`medgen.data.simulated_growth`; an image is read at ``flow(-amount)`` of its
coordinates. Every point has one amount at which it becomes ventricle, and sorting these amounts gives the one that
yields a wanted volume, to the voxel.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medgen.data.deformation import rotation, sample, smooth_field
from medgen.data.simulated_growth import (
    GROWTH_MAX,
    GROWTH_MIN,
    TABLE_SPACING,
    find_ventricles,
    tabulate_growth,
)
from medgen.data.templates import nilearn_map

__all__ = [
    "Anatomy",
    "Image",
    "Template",
    "brain_intensity",
    "brain_points",
    "grow_ventricles",
    "load_template",
    "simulate_image",
]

Array = NDArray[np.float32]

FIELD_OF_VIEW = ((-90.0, 90.0), (-126.0, 90.0), (-86.0, 94.0))  # mm, a little lower than the usual MNI152 box
HEAD_CENTRE = np.array([0.0, -18.0, 8.0], dtype=np.float32)
CSF_INTENSITY = 0.17  # of the template's white matter, 0.87


@dataclass(frozen=True)
class Template:
    """The template at 1 mm and the tabulated flow of the ventricle wall.

    Attributes:
        origin: world coordinates (mm) of voxel (0, 0, 0) of the 1 mm arrays.
        intensity: T1 intensity, (X, Y, Z), white matter near 0.87, zero outside the brain.
        atrophy: change of intensity at a thinning of 1, (X, Y, Z), zero or negative and only in the cortex.
        table_origin: world coordinates (mm) of the first point of the tables.
        displacement: what the backward flow adds to coordinates, (levels, 3, x, y, z) in mm; level k is GROWTH_MIN + k.
        becomes_ventricle: amount of growth (mm) at which a point becomes ventricle, (x, y, z).
    """

    origin: Array
    intensity: Array
    atrophy: Array
    table_origin: Array
    displacement: Array
    becomes_ventricle: Array


@dataclass(frozen=True)
class Anatomy:
    """What is chosen for one subject before its image is made.

    Attributes:
        ventricle_ml: volume of both lateral ventricles, in ml.
        thinning: cortical thinning, 0 (none) to about 1.5.
        head_scale: linear size of the head relative to the template.
    """

    ventricle_ml: float
    thinning: float
    head_scale: float


@dataclass(frozen=True)
class Image:
    """One simulated acquisition: intensity (int16, brain only), ventricle mask (uint8), affine to mm (RAS)."""

    intensity: NDArray[np.int16]
    ventricles: NDArray[np.uint8]
    affine: NDArray[np.float64]


@functools.lru_cache(maxsize=4)
def load_template(blur: float = 0.0) -> Template:
    """Load nilearn's bundled MNI152 T1, grey and white matter templates and tabulate the growth of the ventricles.

    Args:
        blur: standard deviation in mm of a smoothing of the intensities, against aliasing in coarse images.

    Raises:
        OptionalImportError: when nilearn is not installed.
    """
    if blur > 0:
        sharp = load_template()
        smooth = (ndimage.gaussian_filter(volume, blur) for volume in (sharp.intensity, sharp.atrophy))
        return replace(sharp, intensity=next(smooth), atrophy=next(smooth))
    t1, grey, white = (nilearn_map(name, "simulated cohort", "demo") for name in ("t1", "grey", "white"))
    intensity, g, w = (np.asarray(image.dataobj, dtype=np.float32) for image in (t1, grey, white))
    origin = np.asarray(t1.affine[:3, 3], dtype=np.float32)
    brain, tissue = intensity > 0, np.clip(g + w, 0.0, 1.0)
    ventricles = find_ventricles(tissue, origin)

    # The template is an average of many brains: sharpen its sulci, and give fluid its usual darkness.
    intensity = intensity + 0.6 * (intensity - ndimage.gaussian_filter(intensity, 2.0)) * ndimage.binary_erosion(
        brain, iterations=3
    )
    fluid = np.clip(1.0 - tissue, 0.0, 1.0)
    intensity = intensity + (CSF_INTENSITY - intensity) * 0.6 * fluid
    intensity = np.where(brain, np.clip(intensity, 0.1, 1.05), 0.0)
    near_fluid = np.clip(ndimage.gaussian_filter(fluid, 1.2) / 0.35, 0.0, 1.0)
    keep = ndimage.binary_dilation(ventricles, iterations=6)
    atrophy = np.where(brain & ~keep, (CSF_INTENSITY - intensity) * near_fluid, 0.0)
    low, displacement, becomes_ventricle = tabulate_growth(ventricles)
    return Template(
        origin=origin,
        intensity=intensity.astype(np.float32),
        atrophy=atrophy.astype(np.float32),
        table_origin=(origin + low).astype(np.float32),
        displacement=displacement,
        becomes_ventricle=becomes_ventricle,
    )


def _grow(template: Template, points: Array, amount: float) -> Array:
    """Move template ``points`` (3, N) in mm by the backward flow of ``amount`` mm."""
    table = (points - template.table_origin[:, None]) / np.float32(TABLE_SPACING)
    shape = np.array(template.becomes_ventricle.shape)[:, None]
    near = np.flatnonzero(((table > 0) & (table < shape - 1)).all(axis=0))
    level = min(int(np.floor(amount)) - GROWTH_MIN, len(template.displacement) - 2)
    weight = np.float32(amount - GROWTH_MIN - level)
    at_amount = (1 - weight) * template.displacement[level] + weight * template.displacement[level + 1]
    moved = points.copy()
    for axis in range(3):
        moved[axis, near] += sample(at_amount[axis], table[:, near])
    return moved


def brain_points(template: Template, points: Array) -> NDArray[np.intp]:
    """Return which template ``points`` (3, N) in mm lie in the brain, all but the rim's last voxel of the template."""
    limit = np.array(template.intensity.shape)[:, None] - 1
    voxels = points - template.origin[:, None]
    inside = np.flatnonzero(((voxels > 0) & (voxels < limit)).all(axis=0))
    return inside[template.intensity[tuple(np.rint(voxels[:, inside]).astype(np.int64))] > 0]


def grow_ventricles(
    template: Template, points: Array, ventricle_ml: float, voxel_ml: float
) -> tuple[float, NDArray[np.bool_]]:
    """Find the growth that gives a wanted ventricle volume in one image.

    Args:
        template: from :func:`load_template`.
        points: template coordinates in mm of the image's brain voxels, (3, N).
        ventricle_ml: wanted volume of both lateral ventricles in ml.
        voxel_ml: volume of one voxel in ml.

    Returns:
        The growth in mm and which of the points are ventricle, (N,); these hold the volume to within half a voxel.

    Raises:
        ValueError: when the wanted volume is outside what the anatomy allows.
    """
    passage = np.full(points.shape[1], float(GROWTH_MAX + 1), dtype=np.float32)
    table = (points - template.table_origin[:, None]) / np.float32(TABLE_SPACING)
    near = ((table > 0) & (table < np.array(template.becomes_ventricle.shape)[:, None] - 1)).all(axis=0)
    passage[near] = sample(template.becomes_ventricle, table[:, near])
    count = round(ventricle_ml / voxel_ml)
    if (
        not (0 < count < len(passage))
        or not GROWTH_MIN < (amount := np.partition(passage, count - 1)[count - 1]) < GROWTH_MAX
    ):
        smallest, largest = (int((passage < edge).sum()) * voxel_ml for edge in (GROWTH_MIN, GROWTH_MAX))
        raise ValueError(
            f"ventricle_ml={ventricle_ml:g} cannot be reached: "
            f"this head's ventricles go from {smallest:.1f} to {largest:.1f} ml"
        )
    is_ventricle = np.zeros(len(passage), dtype=bool)
    is_ventricle[np.argpartition(passage, count - 1)[:count]] = True
    return float(amount), is_ventricle


def brain_intensity(template: Template, points: Array, amount: float, thinning: float) -> Array:
    """Return the T1 intensity at template ``points`` (3, N) in mm, for ventricles grown by ``amount`` mm.

    Args:
        template: from :func:`load_template`.
        points: where to look.
        amount: from :func:`grow_ventricles`.
        thinning: see :class:`Anatomy`.
    """
    moved = _grow(template, points, amount) - template.origin[:, None]
    return sample(template.intensity, moved) + np.float32(thinning) * sample(template.atrophy, moved)


def simulate_image(
    template: Template,
    anatomy: Anatomy,
    random: np.random.Generator,
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    noise: float = 0.025,
    bias: float = 0.06,
    noise_random: np.random.Generator | None = None,
) -> Image:
    """Make one T1-weighted image: pose, deformation, growth, thinning, contrast, bias field, Rician noise.

    Args:
        template: from :func:`load_template`.
        anatomy: what the subject's brain should look like.
        random: where deformation, contrast, bias field and noise come from.
        spacing: voxel size in mm.
        noise: standard deviation of the noise in both channels, relative to white matter.
        bias: standard deviation of the log bias field's coefficients.
        noise_random: where the noise comes from instead; with the same ``random`` it is then the same head in the same
            pose and contrast, scanned again.

    Returns:
        The image; ``ventricles`` holds ``ventricle_ml`` to within half a voxel.

    Raises:
        ValueError: when the wanted volume is outside what the anatomy allows.
    """
    axes = tuple(
        np.arange(low, high + 1e-3, step, dtype=np.float32)
        for (low, high), step in zip(FIELD_OF_VIEW, spacing, strict=True)
    )
    shape = tuple(len(axis) for axis in axes)
    degrees, shift = random.standard_normal(3).astype(np.float32) * 1.5, random.standard_normal(3).astype(np.float32)
    stretch = anatomy.head_scale * np.exp(0.01 * np.clip(random.standard_normal(3), -2.0, 2.0)).astype(np.float32)
    turn = rotation(degrees) / stretch[:, None]
    coarse = [smooth_field(axes, 45.0, 4.0, random) for _ in range(3)]
    fine = [smooth_field(axes, 18.0, 2.0, random) for _ in range(3)]
    log_bias = smooth_field(axes, 70.0, bias, random)
    gamma, gain = np.exp(0.06 * random.standard_normal()), np.exp(0.08 * random.standard_normal())

    centred = [axis - centre - move for axis, centre, move in zip(axes, HEAD_CENTRE, shift, strict=True)]
    points = np.empty((3, *shape), dtype=np.float32)
    for i in range(3):
        x, y, z = (turn[i, j] * centred[j] for j in range(3))
        points[i] = x[:, None, None] + y[None, :, None] + z[None, None, :] + (coarse[i] + fine[i] + HEAD_CENTRE[i])
    points = points.reshape(3, -1)

    head = brain_points(template, points)
    points = points[:, head]
    amount, is_ventricle = grow_ventricles(template, points, anatomy.ventricle_ml, float(np.prod(spacing)) / 1000.0)
    clean = np.maximum(brain_intensity(template, points, amount, anatomy.thinning), 0.0)
    clean = clean**gamma * np.exp(log_bias.reshape(-1)[head])
    real, imaginary = (noise_random or random).standard_normal((2, len(head)), dtype=np.float32) * noise
    measured = 1000.0 * gain * np.hypot(clean + real, imaginary)

    flat = np.zeros((2, int(np.prod(shape))), dtype=np.int16)
    flat[0, head], flat[1, head] = np.clip(np.rint(measured), 1, 32767), is_ventricle
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [low for low, _ in FIELD_OF_VIEW]
    intensity, mask = flat.reshape(2, *shape)
    return Image(intensity=intensity, ventricles=mask.astype(np.uint8), affine=affine)
