"""The anatomy behind the simulated cohort: one template brain, deformed, aged and imaged once per subject.

The lateral ventricles grow along a stationary velocity field that points out of them and fades over some 20 mm. A
subject's image is read at ``flow(-amount)`` of its coordinates; the flow is integrated in half-millimetre steps, so
it stays one-to-one where a single large step would fold. Because the flow only ever moves outwards, every point has one
amount at which it becomes ventricle. Sorting these amounts gives the one that yields a wanted volume, to the voxel.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from monai.utils import optional_import
from numpy.typing import NDArray
from scipy import ndimage

from medgen.data.deformation import rotation, smooth_field

__all__ = ["Anatomy", "Image", "Template", "load_template", "simulate_image"]

Array = NDArray[np.float32]

VENTRICLE_SEEDS = ((-14.0, -15.0, 15.0), (14.0, -15.0, 15.0))  # mm, MNI152
GROWTH_MIN, GROWTH_MAX, GROWTH_STEP = -4, 11, 0.5  # mm travelled by the ventricle wall
GROWTH_REACH = 24.0  # mm from the wall at which the velocity has faded to zero
TABLE_SPACING = 2  # mm, grid on which the flow is tabulated
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


def _sample(volume: Array, coordinates: Array) -> Array:
    """Read ``volume`` (X, Y, Z) at voxel ``coordinates`` (3, N) by trilinear interpolation, edges repeated."""
    return ndimage.map_coordinates(volume, coordinates, order=1, mode="nearest", output=np.float32)


def _ventricles(tissue: Array, origin: Array) -> NDArray[np.bool_]:
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


def _tabulate_growth(ventricles: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Array, Array]:
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
    moving = _sample(distance, grid.reshape(3, -1)) < GROWTH_REACH  # the others never move
    start = grid.reshape(3, -1)[:, moving]
    levels = GROWTH_MAX - GROWTH_MIN + 1
    displacement = np.zeros((levels, 3, *grid.shape[1:]), dtype=np.float32)
    first = np.full(moving.shape, float(GROWTH_MAX + 1), dtype=np.float32)
    initial = _sample(distance, start)
    passage = np.where(initial > 0, float(GROWTH_MAX + 1), float(GROWTH_MIN - 1)).astype(np.float32)
    for sign, stop in ((1, GROWTH_MAX), (-1, GROWTH_MIN)):
        points, before, amount = start.copy(), initial, 0.0
        while amount != stop:
            halfway = points - 0.5 * sign * GROWTH_STEP * np.stack([_sample(v, points) for v in velocity])
            points = points - sign * GROWTH_STEP * np.stack([_sample(v, halfway) for v in velocity])
            after = _sample(distance, points)
            crossed = (before > 0) & (after <= 0) if sign > 0 else (before <= 0) & (after > 0)
            fraction = before[crossed] / (before[crossed] - after[crossed])
            passage[crossed] = amount + sign * GROWTH_STEP * fraction
            before, amount = after, amount + sign * GROWTH_STEP
            if amount == int(amount):
                level = displacement[int(amount) - GROWTH_MIN].reshape(3, -1)
                level[:, moving] = points - start
    first[moving] = passage
    return low, displacement, first.reshape(grid.shape[1:])


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
    datasets, _ = optional_import(
        "nilearn.datasets", descriptor='the simulated cohort needs nilearn: pip install "medgen[demo]" ({})'
    )
    t1 = datasets.load_mni152_template(resolution=1)
    grey, white = datasets.load_mni152_gm_template(resolution=1), datasets.load_mni152_wm_template(resolution=1)
    intensity, g, w = (np.asarray(image.dataobj, dtype=np.float32) for image in (t1, grey, white))
    origin = np.asarray(t1.affine[:3, 3], dtype=np.float32)
    brain, tissue = intensity > 0, np.clip(g + w, 0.0, 1.0)
    ventricles = _ventricles(tissue, origin)

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
    low, displacement, becomes_ventricle = _tabulate_growth(ventricles)
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
        moved[axis, near] += _sample(at_amount[axis], table[:, near])
    return moved


def simulate_image(
    template: Template,
    anatomy: Anatomy,
    random: np.random.Generator,
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    noise: float = 0.025,
    bias: float = 0.06,
) -> Image:
    """Make one T1-weighted image: pose, deformation, growth, thinning, contrast, bias field, Rician noise.

    Args:
        template: from :func:`load_template`.
        anatomy: what the subject's brain should look like.
        random: where deformation, contrast, bias field and noise come from.
        spacing: voxel size in mm.
        noise: standard deviation of the noise in both channels, relative to white matter.
        bias: standard deviation of the log bias field's coefficients.

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

    limit = np.array(template.intensity.shape)[:, None] - 1
    voxels = points - template.origin[:, None]
    inside = np.flatnonzero(((voxels > 0) & (voxels < limit)).all(axis=0))
    head = inside[
        template.intensity[tuple(np.rint(voxels[:, inside]).astype(np.int64))] > 0
    ]  # all but the rim's last voxel
    points = points[:, head]

    passage = np.full(len(head), float(GROWTH_MAX + 1), dtype=np.float32)
    table = (points - template.table_origin[:, None]) / np.float32(TABLE_SPACING)
    near = ((table > 0) & (table < np.array(template.becomes_ventricle.shape)[:, None] - 1)).all(axis=0)
    passage[near] = _sample(template.becomes_ventricle, table[:, near])
    count = round(anatomy.ventricle_ml * 1000.0 / float(np.prod(spacing)))
    if (
        not (0 < count < len(head))
        or not GROWTH_MIN < (amount := np.partition(passage, count - 1)[count - 1]) < GROWTH_MAX
    ):
        smallest, largest = (
            int((passage < edge).sum()) * float(np.prod(spacing)) / 1000.0 for edge in (GROWTH_MIN, GROWTH_MAX)
        )
        raise ValueError(
            f"ventricle_ml={anatomy.ventricle_ml:g} cannot be reached: "
            f"this head's ventricles go from {smallest:.1f} to {largest:.1f} ml"
        )
    is_ventricle = np.zeros(len(head), dtype=bool)
    is_ventricle[np.argpartition(passage, count - 1)[:count]] = True

    moved = _grow(template, points, float(amount)) - template.origin[:, None]
    clean = _sample(template.intensity, moved) + anatomy.thinning * _sample(template.atrophy, moved)
    clean = np.maximum(clean, 0.0) ** gamma * np.exp(log_bias.reshape(-1)[head])
    real, imaginary = random.standard_normal((2, len(head)), dtype=np.float32) * noise
    measured = 1000.0 * gain * np.hypot(clean + real, imaginary)

    flat = np.zeros((2, int(np.prod(shape))), dtype=np.int16)
    flat[0, head], flat[1, head] = np.clip(np.rint(measured), 1, 32767), is_ventricle
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [low for low, _ in FIELD_OF_VIEW]
    intensity, mask = flat.reshape(2, *shape)
    return Image(intensity=intensity, ventricles=mask.astype(np.uint8), affine=affine)
