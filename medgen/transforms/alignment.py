"""Find the affine that lays a head, with its skull or without, onto a brain template.

Both steps minimise the correlation ratio of :class:`~medgen.transforms.correlation_ratio.CorrelationRatio`. A search
without derivatives over many poses of a similarity, on coarse images, finds the brain in the head: it starts from the
top of the head, where scans agree. L-BFGS on all parameters of the affine then goes from coarse to fine. The classes
are the template's intensities in its brain, and shells around it: fluid and skull are dark on T1 there.

Mattes' mutual information was tried: where the field is even and the scalp bright, its optimum takes the scalp's outer
edge for the brain's. The correlation ratio with a mild prior on size does not. Nothing is random.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy import ndimage, optimize
from scipy.spatial.transform import Rotation

from medgen.data.images import foreground, resample
from medgen.data.templates import BrainTemplate
from medgen.transforms.correlation_ratio import CorrelationRatio
from medgen.transforms.volumes import Affine, affine_of, spacing_of

__all__ = ["align", "nearest_rigid"]

Array = NDArray[np.float32]
Points = tuple[NDArray[np.float64], NDArray[np.int64]]

RIM_MM, SHELL_MM = 6.0, 2.0  # how far the template is looked at outside its brain, in shells
CLASSES = 24  # of the template's intensity
HEAD_MM = 165.0  # from the top of the head to below the brain
BRIGHTEST = 1.6  # times the head's median intensity: fat is cut to it, which is brighter than white matter
BRAIN_ML = 1350.0  # what the template's brain mask holds in most adults, fluid around the brain included
SIZE_WEIGHT = 2.0  # of the squared log of the linear size relative to that
SHAPE_WEIGHT = 1.0  # of the squared stretch and shear that is left without a change of size
STARTS = 4  # poses of the search that are refined
RADIUS = 60.0  # mm, makes turning and stretching comparable to moving
SEARCH = (4.0, 0.0, 2)  # voxel size in mm, further smoothing in mm, voxels from point to point
LEVELS = ((4.0, 2.0, 1), (2.0, 1.0, 2))  # the same, of the descent


def align(image: MetaTensor, template: BrainTemplate) -> Affine:
    """Return the affine (4, 4) from the image's world to the template's, in mm, with all its 12 (2D: 6) parameters.

    Args:
        image: float32 (C, *spatial), its first channel T1-weighted; any orientation and spacing, and any pose up to
            some 40 degrees of nodding and 20 of tilting and shaking.
        template: of as many spatial dimensions.

    Raises:
        ValueError: when nothing stands out of the image's background.
    """
    values = image.as_tensor()[:1]
    head = foreground(values)
    if not head.any():
        raise ValueError("RegisterToTemplate: the image is empty, expected a head")
    top = BRIGHTEST * float(np.median(values[0].numpy()[head]))
    moving = MetaTensor(values.clamp(max=top) / top).copy_meta_from(image)
    to_native = _search(moving, head, template)
    for spacing, smoothing, stride in LEVELS:
        ratio = CorrelationRatio(*_coarse(moving, spacing, smoothing), *_points(template, spacing, smoothing, stride))
        to_native = _descend(ratio, to_native, _usual_scale(template))
    return np.asarray(np.linalg.inv(to_native), dtype=np.float64)


def nearest_rigid(affine: Affine, centre: NDArray[np.float64]) -> Affine:
    """Return the rigid motion nearest to an affine (4, 4) that moves one point as it does.

    The rotation is the affine's polar factor (N. J. Higham, SIAM J. Sci. Stat. Comput. 7, 1986).

    Args:
        affine: world to world, of positive determinant.
        centre: the point, (3,), in the world that the affine leads to.

    Example:
        >>> turn = Rotation.from_euler("z", 30, degrees=True).as_matrix()
        >>> affine = np.eye(4)
        >>> affine[:3, :3] = 1.2 * turn
        >>> bool(np.allclose(nearest_rigid(affine, np.zeros(3))[:3, :3], turn))
        True
    """
    left, _, right = np.linalg.svd(affine[:3, :3])
    rigid = np.eye(4)
    rigid[:3, :3] = left @ right
    source = np.linalg.solve(affine, np.append(centre, 1.0))[:3]
    rigid[:3, 3] = centre - rigid[:3, :3] @ source
    return rigid


def _usual_scale(template: BrainTemplate) -> float:
    """Return the log of an adult brain's usual linear size relative to the template's; 0 in 2D."""
    if template.spatial_dims == 2:
        return 0.0
    template_ml = float(template.mask.sum()) * float(np.prod(spacing_of(template.mask))) / 1000.0
    return float(np.log(BRAIN_ML / template_ml)) / 3.0


def _coarse(image: MetaTensor, spacing: float, smoothing: float = 0.0) -> tuple[Array, Affine]:
    """Return an image's first channel on voxels of about ``spacing`` mm, smoothed, and its affine."""
    affine, dims = affine_of(image), image.ndim - 1
    step = np.maximum(spacing / spacing_of(image), 1.0)
    shape = image.shape[1:]
    size = [int(np.ceil(n / s)) for n, s in zip(shape, step, strict=True)]
    centre = [0.5 * (n - 1) for n in shape]
    small = resample(image.as_tensor()[:1], centre, step.tolist(), size)[0].numpy()
    change = np.eye(4)
    change[range(dims), range(dims)] = step
    change[:dims, 3] = np.asarray(centre) - 0.5 * (np.asarray(size) - 1) * step
    if smoothing > 0.0:
        small = ndimage.gaussian_filter(small, smoothing / (step * spacing_of(image)))
    return np.maximum(small, 0.0), affine @ change


@functools.lru_cache(maxsize=8)
def _points(template: BrainTemplate, spacing: float, smoothing: float, stride: int) -> Points:
    """Return points (N, dims) in and around the template's brain, in mm, and the class of each."""
    values, affine = _coarse(template.image, spacing, smoothing)
    dims = values.ndim
    distance, _ = _coarse(_outside(template), spacing)
    near = np.zeros(values.shape, dtype=bool)
    thin = tuple(slice(None, None, stride if dims == 3 else 1) for _ in range(dims))
    near[thin] = distance[thin] <= RIM_MM
    inside = distance[near] < 0.5
    edges = np.quantile(values[near][inside], np.linspace(0.0, 1.0, CLASSES + 1)[1:-1])
    shells = CLASSES + (distance[near] / SHELL_MM).astype(np.int64)
    points = np.argwhere(near) @ affine[:dims, :dims].T + affine[:dims, 3]
    return points, np.where(inside, np.searchsorted(edges, values[near]), shells)


@functools.lru_cache(maxsize=2)
def _outside(template: BrainTemplate) -> MetaTensor:
    """Return the distance from the template's brain in mm, 0 inside, (1, *spatial)."""
    mask = template.mask.as_tensor()[0].numpy() > 0
    distance = ndimage.distance_transform_edt(~mask, sampling=spacing_of(template.mask)).astype(np.float32)
    return MetaTensor(torch.from_numpy(distance[None])).copy_meta_from(template.mask)


# Search


def _search(moving: MetaTensor, head: NDArray[np.bool_], template: BrainTemplate) -> Affine:
    """Return the similarity (4, 4) from template mm to native mm under which the brain is found in the head."""
    points, classes = _points(template, *SEARCH)
    ratio = CorrelationRatio(*_coarse(moving, *SEARCH[:2]), points, classes)
    centre, usual, dims = points.mean(axis=0), _usual_scale(template), template.spatial_dims

    def disagreement(pose: NDArray[np.float64]) -> float:
        return ratio(_similarity(pose, centre, dims)) + SIZE_WEIGHT * float(pose[-1] - usual) ** 2

    starts = [np.asarray(pose) for c in _centres(moving, head) for pose in _poses(c, usual, dims)]
    order = np.argsort([disagreement(pose) for pose in starts], kind="stable")[:STARTS]
    refined = [_refine(disagreement, starts[i], dims) for i in order]
    return _similarity(min(refined, key=disagreement), centre, dims)


def _refine(cost: Callable[[NDArray[np.float64]], float], start: NDArray[np.float64], dims: int) -> NDArray[np.float64]:
    """Improve a pose by Powell's method, in steps of about 5 degrees, 5 mm and 5 per cent."""
    turns = 3 if dims == 3 else 1
    unit = np.array([0.09] * turns + [5.0] * dims + [0.05])
    options = {"xtol": 0.05, "ftol": 1e-4, "maxiter": 6}
    found = optimize.minimize(lambda x: cost(start + x * unit), np.zeros(len(unit)), method="Powell", options=options)
    return start + found.x * unit


def _similarity(pose: NDArray[np.float64], centre: NDArray[np.float64], dims: int) -> Affine:
    """Return the matrix of a pose: rotation vector (radians), where the template's centre goes (mm), log of scale."""
    turns = 3 if dims == 3 else 1
    vector = pose[:3] if dims == 3 else np.array([0.0, 0.0, pose[0]])
    matrix = np.eye(4)
    matrix[:dims, :dims] = np.exp(pose[-1]) * Rotation.from_rotvec(vector).as_matrix()[:dims, :dims]
    matrix[:dims, 3] = pose[turns : turns + dims] - matrix[:dims, :dims] @ centre
    return matrix


def _poses(centre: NDArray[np.float64], usual: float, dims: int) -> list[list[float]]:
    """List the poses that the search tries around a centre."""
    degree, scales = np.pi / 180.0, (usual - 0.08, usual, usual + 0.08)
    if dims == 2:
        return [[t * degree, *centre, s] for t, s in itertools.product((-20, -10, 0, 10, 20), scales)]
    nods, back, up = (-30, -20, -10, 0, 10, 20, 30), (-15, 0, 15), (-20, -10, 0, 10, 20)
    return [
        [p * degree, 0.0, 0.0, centre[0], centre[1] + y, centre[2] + z, s]
        for p, y, z, s in itertools.product(nods, back, up, scales)
    ]


def _centres(moving: MetaTensor, head: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Guess where the brain's centre is: that of all there is, and in 3D that of what is below the top of the head."""
    affine, dims = affine_of(moving), head.ndim
    parts, _ = ndimage.label(head[tuple(slice(None, None, 2) for _ in range(dims))])
    sizes = np.bincount(parts.ravel())[1:]
    voxels = np.argwhere(parts == 1 + int(sizes.argmax())) * 2
    world = voxels @ affine[:dims, :dims].T + affine[:dims, 3]
    centres = [world.mean(axis=0)]
    if dims == 3:
        top = float(np.quantile(world[:, 2], 0.9995))
        centres.append(world[world[:, 2] > top - HEAD_MM].mean(axis=0))
        centres[-1][2] = top - 0.5 * HEAD_MM
    return centres


# Descent


def _descend(ratio: CorrelationRatio, start: Affine, usual: float) -> Affine:
    """Improve the affine from template mm to native mm by L-BFGS-B, starting where the search or a level ended."""
    dims = ratio.dims
    centre = ratio.points[:-1].mean(axis=1)
    scale = np.log(np.linalg.det(start[:dims, :dims])) / dims
    eye = np.eye(dims)

    def unpack(x: NDArray[np.float64]) -> Affine:
        change = np.eye(4)
        change[:dims, :dims] += x[:-dims].reshape(dims, dims) / RADIUS
        change[:dims, 3] = centre + x[-dims:] - change[:dims, :dims] @ centre
        return change

    def cost(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        change = unpack(x)
        linear = change[:dims, :dims]
        value, slope = ratio.derivative(start @ change)
        slope = start[:dims, :dims].T @ slope
        by_linear, by_move = slope[:, :dims] - np.outer(slope[:, dims], centre), slope[:, dims]
        size = scale + np.linalg.slogdet(linear)[1] / dims - usual
        stretch = 0.5 * (linear + linear.T) - eye * np.trace(linear) / dims
        value += SIZE_WEIGHT * size**2 + SHAPE_WEIGHT * float((stretch**2).sum())
        by_linear = by_linear + 2.0 * SIZE_WEIGHT * size / dims * np.linalg.inv(linear).T + 2.0 * SHAPE_WEIGHT * stretch
        return value, np.concatenate([by_linear.reshape(-1) / RADIUS, by_move])

    nothing = np.zeros(dims * (dims + 1))
    found = optimize.minimize(cost, nothing, jac=True, method="L-BFGS-B", options={"maxiter": 60, "ftol": 1e-6})
    return np.asarray(start @ unpack(found.x), dtype=np.float64)
