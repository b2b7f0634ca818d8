"""Simulated whole heads as a scanner sees them: brain, skull, scalp, face and neck in a known pose.

A person's head lives in its own space: the template's, at the person's size and shape. A visit changes ventricles and
cortex, a scan changes pose, field, noise and sampling. All three transforms are known, so that a registration can be
measured against the truth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from medgen.data.deformation import rotation, sample, smooth_field
from medgen.data.simulated_anatomy import (
    HEAD_CENTRE,
    Anatomy,
    Template,
    brain_intensity,
    brain_points,
    grow_ventricles,
    load_template,
)
from medgen.data.simulated_skull import BOX, Layers, load_surroundings, tissue_around

__all__ = ["LANDMARKS", "Head", "Person", "Scanner", "draw_person", "rigid_pose", "sagittal_grid", "simulate_head"]

Array = NDArray[np.float32]
Affine = NDArray[np.float64]

FIELD_STEP = 4.0  # mm, grid of a person's deformation
LANDMARKS = MappingProxyType(
    {  # mm, MNI152 space; far enough from the ventricles that their growth does not move them
        "frontal_pole": (0.0, 66.0, -4.0),
        "occipital_pole": (0.0, -98.0, -2.0),
        "left_temporal_pole": (-42.0, 18.0, -36.0),
        "right_temporal_pole": (42.0, 18.0, -36.0),
        "vertex": (0.0, -28.0, 74.0),
        "left_eye": (-32.0, 61.0, -36.0),
        "right_eye": (32.0, 61.0, -36.0),
    }
)


@dataclass(frozen=True)
class Person:
    """The shape of one head, the same at every visit.

    Attributes:
        scale: size along x, y and z relative to the template, (3,).
        displacement: what is added to template coordinates, (3, x, y, z) in mm on a grid of 4 mm over the head's box.
        thickness: relative change of the skull's thickness, (x, y, z) on that grid.
        layers: thickness of fluid, skull and scalp.
    """

    scale: Array
    displacement: Array
    thickness: Array
    layers: Layers = field(default_factory=Layers)

    def to_template(self, head: Array) -> tuple[Array, Array]:
        """Return template coordinates (3, N) of points of the head (3, N), all in mm, and the skull's change there."""
        voxels = (head - np.array([low for low, _ in BOX], dtype=np.float32)[:, None]) / np.float32(FIELD_STEP)
        centre = HEAD_CENTRE[:, None]
        straight = (head - centre) / self.scale[:, None] + centre
        moved = straight + np.stack([sample(component, voxels) for component in self.displacement])
        return moved.astype(np.float32), sample(self.thickness, voxels)

    def from_template(self, points: Array, steps: int = 40) -> Array:
        """Return the head's coordinates (3, N) of template ``points`` (3, N), in mm, by fixed-point iteration."""
        head = points.astype(np.float32)
        for _ in range(steps):
            head = head + (points - self.to_template(head)[0]) * self.scale[:, None]
        return head


@dataclass(frozen=True)
class Scanner:
    """What a scanner does to the image.

    Args:
        noise: standard deviation of the noise in both channels, relative to white matter.
        bias: standard deviation of the log bias field's coefficients, 70 mm apart.
        falloff: loss of signal towards the neck, per 100 mm.
        gain: stored intensity of white matter, about.
    """

    noise: float = 0.025
    bias: float = 0.12
    falloff: float = 0.25
    gain: float = 500.0


@dataclass(frozen=True)
class Head:
    """One simulated acquisition of a head, with the truth about it.

    Attributes:
        intensity: (X, Y, Z) int16.
        brain: mask, (X, Y, Z) uint8.
        ventricles: mask of the lateral ventricles, (X, Y, Z) uint8.
        affine: voxel to scanner mm (RAS), (4, 4).
        pose: head to scanner, rigid, (4, 4); the head's space is the template's but for size and shape.
        to_template: the affine that takes scanner mm nearest to template mm over the brain, (4, 4); exact for a person
            without a displacement.
        bias: the multiplicative field in the image, (X, Y, Z).
        landmarks: positions of :data:`LANDMARKS` in scanner mm.
    """

    intensity: NDArray[np.int16]
    brain: NDArray[np.uint8]
    ventricles: NDArray[np.uint8]
    affine: Affine
    pose: Affine
    to_template: Affine
    bias: Array
    landmarks: dict[str, tuple[float, float, float]]


def draw_person(random: np.random.Generator, head_scale: float = 0.96, deformation: float = 1.0) -> Person:
    """Draw the shape of a head.

    Args:
        random: where it comes from.
        head_scale: linear size relative to the template.
        deformation: scale of everything that is not a size; 0 gives the template's own shape at that size.
    """
    axes = tuple(np.arange(low, high + FIELD_STEP, FIELD_STEP, dtype=np.float32) for low, high in BOX)
    stretch = np.exp(0.012 * deformation * np.clip(random.standard_normal(3), -2.0, 2.0))
    smooth = [
        smooth_field(axes, 45.0, 4.0 * deformation, random) + smooth_field(axes, 18.0, 1.6 * deformation, random)
        for _ in range(3)
    ]
    thickness = smooth_field(axes, 40.0, 0.18 * deformation, random)
    fluid, skull, scalp = np.exp(0.15 * deformation * np.clip(random.standard_normal(3), -2.0, 2.0))
    return Person(
        scale=(head_scale * stretch).astype(np.float32),
        displacement=np.stack(smooth),
        thickness=thickness,
        layers=Layers(2.5 * float(fluid), 6.5 * float(skull), 6.0 * float(scalp)),
    )


def rigid_pose(degrees: tuple[float, float, float], shift: tuple[float, float, float]) -> Affine:
    """Return the (4, 4) map from head to scanner: turned about the head's centre, then moved.

    Args:
        degrees: about x (nodding), y (tilting to a shoulder) and z (shaking).
        shift: of the head's centre from the scanner's, in mm.
    """
    pose = np.eye(4)
    pose[:3, :3] = rotation(np.asarray(degrees, dtype=np.float32)).astype(np.float64)
    pose[:3, 3] = np.asarray(shift) - pose[:3, :3] @ HEAD_CENTRE
    return pose


def sagittal_grid(
    spacing: tuple[float, float, float] = (1.2, 1.0, 1.0),
    degrees: tuple[float, float, float] = (0.0, 0.0, 0.0),
    size: tuple[float, float, float] = (192.0, 240.0, 256.0),
    centre: tuple[float, float, float] = (0.0, 12.0, -24.0),
) -> tuple[Affine, tuple[int, int, int]]:
    """Return the affine and the shape of a sagittal acquisition.

    Args:
        spacing: of the slices (left to right) and within a slice (back to front, down to up), in mm.
        degrees: by which the slices are turned about x, y and z.
        size: of the field of view along these axes, in mm.
        centre: of the field of view in scanner mm.
    """
    shape = tuple(max(2, round(extent / step)) for extent, step in zip(size, spacing, strict=True))
    affine = np.eye(4)
    affine[:3, :3] = rotation(np.asarray(degrees, dtype=np.float32)).astype(np.float64) * np.asarray(spacing)
    affine[:3, 3] = np.asarray(centre) - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2.0)
    return affine, (shape[0], shape[1], shape[2])


def simulate_head(
    person: Person,
    anatomy: Anatomy,
    random: np.random.Generator,
    grid: tuple[Affine, tuple[int, int, int]] | None = None,
    pose: Affine | None = None,
    scanner: Scanner | None = None,
) -> Head:
    """Make one T1-weighted image of a head with skull and scalp.

    Args:
        person: from :func:`draw_person`.
        anatomy: ventricles and cortex at this visit; its ``head_scale`` is the person's and not used.
        random: where bias field and noise come from.
        grid: affine and shape, by default :func:`sagittal_grid`'s at 1.2 x 1 x 1 mm.
        pose: from :func:`rigid_pose`, by default straight in the middle.
        scanner: its noise and field.

    Returns:
        The image with its truth; ``ventricles`` holds ``anatomy.ventricle_ml`` to within half a voxel.

    Raises:
        ValueError: when the wanted volume is outside what the anatomy allows.
        OptionalImportError: when nilearn, which carries the template, is not installed.

    Example:
        >>> person = draw_person(np.random.default_rng(0))
        >>> grid = sagittal_grid((6.0, 6.0, 6.0))
        >>> head = simulate_head(person, Anatomy(30.0, 0.5, 0.96), np.random.default_rng(1), grid)
        >>> head.intensity.shape, round(float(head.ventricles.sum()) * 0.216)
        ((32, 40, 43), 30)
    """
    affine, shape = sagittal_grid() if grid is None else grid
    pose = rigid_pose((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)) if pose is None else pose
    scanner = Scanner() if scanner is None else scanner
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    template = load_template(round(0.3 * float(spacing.max()), 3) if spacing.max() > 2 else 0.0)

    head, tissue, brain, points, voxels = _locate(person, template, np.linalg.inv(pose) @ affine, shape)
    voxel_ml = float(np.prod(spacing)) / 1000.0
    amount, ventricles = grow_ventricles(template, points, anatomy.ventricle_ml, voxel_ml)
    tissue[brain] = np.maximum(brain_intensity(template, points, amount, anatomy.thinning), 0.0)

    bias = _bias(shape, affine, scanner, random).reshape(-1)
    clean = np.zeros(bias.shape, dtype=np.float32)
    clean[head] = tissue * bias[head]
    real, imaginary = random.standard_normal((2, clean.size), dtype=np.float32) * np.float32(scanner.noise)
    measured = np.rint(scanner.gain / 0.87 * np.hypot(clean + real, imaginary)).clip(0, 32767)
    masks = np.zeros((2, clean.size), dtype=np.uint8)
    masks[0, head[brain]] = 1
    masks[1, head[brain[ventricles]]] = 1
    return Head(
        intensity=measured.astype(np.int16).reshape(shape),
        brain=masks[0].reshape(shape),
        ventricles=masks[1].reshape(shape),
        affine=affine,
        pose=pose,
        to_template=_nearest_affine(voxels, points) @ np.linalg.inv(affine),
        bias=bias.reshape(shape),
        landmarks=_landmarks(person, pose),
    )


def _locate(
    person: Person, template: Template, voxel_to_head: Affine, shape: tuple[int, int, int]
) -> tuple[NDArray[np.intp], Array, NDArray[np.intp], Array, Array]:
    """Find the head's voxels slab by slab, as a whole grid's coordinates would need gigabytes.

    Returns:
        The flat indices of the head's voxels and their intensity without brain, (N,); which of these are brain, (M,);
        the brain's template coordinates in mm and its voxel coordinates, (3, M).
    """
    turn, move = voxel_to_head[:3, :3].astype(np.float32), voxel_to_head[:3, 3:].astype(np.float32)
    surroundings, plane = load_surroundings(), shape[1] * shape[2]
    slab = max(1, 1_000_000 // plane)
    parts = []
    found = 0
    for first in range(0, shape[0], slab):
        index = np.indices((min(slab, shape[0] - first), *shape[1:]), dtype=np.float32).reshape(3, -1)
        index[0] += first
        points, thicker = person.to_template(turn @ index + move)
        head, tissue = tissue_around(surroundings, points, person.layers, thicker)
        brain = brain_points(template, points[:, head])
        inside = head[brain]
        parts.append((head + first * plane, tissue, brain + found, points[:, inside], index[:, inside]))
        found += len(head)
    head, tissue, brain, points, voxels = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
    return head, tissue, brain, points, voxels


def _bias(shape: tuple[int, ...], affine: Affine, scanner: Scanner, random: np.random.Generator) -> Array:
    """Return the multiplicative field on the voxels: smooth, and weaker towards the neck."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = tuple(np.arange(n, dtype=np.float32) * np.float32(s) for n, s in zip(shape, spacing, strict=True))
    log_bias = smooth_field(axes, 70.0, scanner.bias, random)
    return np.exp(log_bias + scanner.falloff / 100.0 * (axes[2] - 0.6 * axes[2].max()).clip(max=0.0))


def _nearest_affine(voxels: Array, points: Array) -> Affine:
    """Return the (4, 4) affine that takes ``voxels`` (3, N) nearest to ``points`` (3, N) in least squares."""
    thin = slice(None, None, max(1, voxels.shape[1] // 20000))
    ones = np.ones_like(voxels[:1, thin])
    solution, *_ = np.linalg.lstsq(
        np.concatenate([voxels[:, thin], ones]).T.astype(np.float64), points[:, thin].T.astype(np.float64), rcond=None
    )
    return np.vstack([solution.T, [0.0, 0.0, 0.0, 1.0]])


def _landmarks(person: Person, pose: Affine) -> dict[str, tuple[float, float, float]]:
    """Return where the landmarks lie in the scanner, in mm."""
    head = person.from_template(np.array(list(LANDMARKS.values()), dtype=np.float32).T)
    scanner = pose[:3, :3] @ head + pose[:3, 3:]
    return {name: (float(x), float(y), float(z)) for name, (x, y, z) in zip(LANDMARKS, scanner.T, strict=True)}
