"""Find the affine that lays a head, with its skull or without, onto a brain template.

Two steps. A search without gradients over many poses of a similarity on coarse images finds the brain in the head: it
starts from the top of the head, where scans agree, and maximises the correlation ratio. Gradient descent on all
parameters of the affine with Mattes' mutual information then goes from coarse to fine. Both look at the template's
brain and a rim around it: fluid and skull are dark on T1 there, as the template's background is. Nothing is random.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from scipy import ndimage, optimize
from scipy.spatial.transform import Rotation

from medgen.data.images import foreground, resample
from medgen.data.templates import BrainTemplate
from medgen.transforms.volumes import Affine, affine_of, spacing_of, to_itk

__all__ = ["align", "nearest_rigid"]

Array = NDArray[np.float32]

COARSE_MM = 4.0  # voxels of the coarse images
RIM_MM = 8.0  # how far the template is looked at outside its brain
CLASSES = 24  # bins of the template's intensity in the correlation ratio
HEAD_MM = 165.0  # from the top of the head to below the brain
STARTS = 4  # poses of the search that are refined
LEVELS = ((4.0, 2.0, 120), (2.0, 0.0, 60))  # voxel size in mm, further smoothing in mm, iterations


def align(image: MetaTensor, template: BrainTemplate) -> Affine:
    """Return the affine (4, 4) from the image's world to the template's, in mm, with all its 12 (2D: 6) parameters.

    P. Viola and W. M. Wells, IJCV 24 (1997); D. Mattes et al., SPIE 4322 (2001), for the mutual information; A. Roche
    et al., MICCAI 1998, for the correlation ratio.

    Args:
        image: float32 (C, *spatial), its first channel T1-weighted; any orientation, spacing and pose up to some 40
            degrees of pitch and 20 of the others from upright.
        template: of as many spatial dimensions.

    Raises:
        ValueError: when nothing stands out of the image's background.
    """
    values = image.as_tensor()[:1]
    head = foreground(values)
    if not head.any():
        raise ValueError("RegisterToTemplate: the image is empty, expected a head")
    top = float(np.quantile(values[0].numpy()[head][::7], 0.998))
    moving = MetaTensor(values.clamp(max=top) / top).copy_meta_from(image)
    to_native = _search(moving, head, template)
    for spacing, smoothing, iterations in LEVELS:
        to_native = _descend(moving, template, to_native, spacing, smoothing, iterations)
    return np.asarray(np.linalg.inv(to_native), dtype=np.float64)


def nearest_rigid(affine: Affine, centre: NDArray[np.float64]) -> Affine:
    """Return the rigid motion nearest to an affine (4, 4) that moves one point as it does.

    The rotation is the affine's polar factor (N. J. Higham, SIAM J. Sci. Stat. Comput. 7, 1986).

    Args:
        affine: world to world, of positive determinant.
        centre: the point, (3,), in the world that the affine leads to.
    """
    left, _, right = np.linalg.svd(affine[:3, :3])
    rigid = np.eye(4)
    rigid[:3, :3] = left @ right
    source = np.linalg.solve(affine, np.append(centre, 1.0))[:3]
    rigid[:3, 3] = centre - rigid[:3, :3] @ source
    return rigid


# Search


def _search(moving: MetaTensor, head: NDArray[np.bool_], template: BrainTemplate) -> Affine:
    """Return the similarity (4, 4) from template mm to native mm under which the brain is found in the head."""
    dims = template.spatial_dims
    coarse, affine = _shrink(moving, COARSE_MM)
    points, classes = _template_points(template)
    centre = points.mean(axis=0)
    to_voxel = np.linalg.inv(affine)
    counts = np.bincount(classes, minlength=CLASSES)

    def disagreement(pose: NDArray[np.float64]) -> float:
        matrix = to_voxel @ _similarity(pose, centre, dims)
        where = matrix[:dims, :dims] @ points.T + matrix[:dims, 3:]
        found = ndimage.map_coordinates(coarse, where, order=1, mode="constant", cval=0.0, prefilter=False)
        total = found.astype(np.float64)
        sums = np.bincount(classes, weights=total, minlength=CLASSES)
        explained = float((sums**2 / np.maximum(counts, 1)).sum())
        square, mean = float(total @ total), float(total.mean())
        variance = square - len(total) * mean**2
        return (square - explained) / variance if variance > 1e-6 * len(total) else 1.0

    starts = [np.asarray(pose) for c in _centres(moving, head, template) for pose in _poses(c, dims)]
    order = np.argsort([disagreement(pose) for pose in starts], kind="stable")[:STARTS]
    refined = [_refine(disagreement, starts[i], dims) for i in order]
    return _similarity(min(refined, key=disagreement), centre, dims)


def _refine(cost: Callable[[NDArray[np.float64]], float], start: NDArray[np.float64], dims: int) -> NDArray[np.float64]:
    """Improve a pose by Powell's method, in steps of about 5 degrees, 5 mm and 5 per cent."""
    turns = 3 if dims == 3 else 1
    unit = np.array([0.09] * turns + [5.0] * dims + [0.05])
    options = {"xtol": 0.05, "ftol": 1e-4, "maxiter": 6, "direc": np.eye(len(unit))}
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


def _poses(centre: NDArray[np.float64], dims: int) -> list[list[float]]:
    """List the poses that the search tries around a centre."""
    degree = np.pi / 180.0
    if dims == 2:
        turns, scales = (-20.0, -10.0, 0.0, 10.0, 20.0), (-0.1, 0.0, 0.1)
        return [[t * degree, *centre, s] for t, s in itertools.product(turns, scales)]
    pitches, back, up, scales = (-30, -20, -10, 0, 10, 20, 30), (-15, 0, 15), (-20, -10, 0, 10, 20), (-0.1, 0.0, 0.1)
    return [
        [p * degree, 0.0, 0.0, centre[0], centre[1] + y, centre[2] + z, s]
        for p, y, z, s in itertools.product(pitches, back, up, scales)
    ]


def _centres(moving: MetaTensor, head: NDArray[np.bool_], template: BrainTemplate) -> list[NDArray[np.float64]]:
    """Guess where the brain's centre is: that of all there is, and in 3D that of what is below the top of the head."""
    dims = template.spatial_dims
    affine = affine_of(moving)
    largest, _ = ndimage.label(head[tuple(slice(None, None, 2) for _ in range(dims))])
    sizes = np.bincount(largest.ravel())[1:]
    voxels = np.argwhere(largest == 1 + int(sizes.argmax())) * 2
    world = voxels @ affine[:dims, :dims].T + affine[:dims, 3]
    centres = [world.mean(axis=0)]
    if dims == 3:
        top = float(np.quantile(world[:, 2], 0.9995))
        centres.append(world[world[:, 2] > top - HEAD_MM].mean(axis=0))
        centres[-1][2] = top - 0.5 * HEAD_MM
    return centres


def _shrink(image: MetaTensor, spacing: float) -> tuple[Array, Affine]:
    """Return an image's first channel, smoothed and on voxels of about ``spacing`` mm, and its affine."""
    affine, dims = affine_of(image), image.ndim - 1
    step = np.maximum(spacing / spacing_of(image), 1.0)
    shape = image.shape[1:]
    size = [int(np.ceil(n / s)) for n, s in zip(shape, step, strict=True)]
    centre = [0.5 * (n - 1) for n in shape]
    small = resample(image.as_tensor()[:1], centre, step.tolist(), size)[0].numpy()
    change = np.eye(4)
    change[range(dims), range(dims)] = step
    change[:dims, 3] = np.asarray(centre) - 0.5 * (np.asarray(size) - 1) * step
    return np.maximum(small, 0.0), affine @ change


@functools.lru_cache(maxsize=4)
def _template_points(template: BrainTemplate) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return points (N, dims) in and around the template's brain, in mm, and the class of intensity of each."""
    values, affine = _shrink(template.image, COARSE_MM)
    rim = _shrink(_rim(template), COARSE_MM)[0] > 0.5
    chosen = np.zeros(values.shape, dtype=bool)
    chosen[tuple(slice(None, None, 2) for _ in range(values.ndim))] = True
    if values.ndim == 2:
        chosen[:] = True
    voxels = np.argwhere(rim & chosen)
    dims = values.ndim
    points = voxels @ affine[:dims, :dims].T + affine[:dims, 3]
    inside = values[tuple(voxels.T)]
    edges = np.quantile(inside[inside > 0.02 * inside.max()], np.linspace(0, 1, CLASSES)[1:-1])
    return points, np.where(inside > 0.02 * inside.max(), 1 + np.searchsorted(edges, inside), 0)


@functools.lru_cache(maxsize=4)
def _rim(template: BrainTemplate) -> MetaTensor:
    """Return the template's brain mask with the rim around it."""
    mask = template.mask.as_tensor()[0].numpy() > 0
    distance = ndimage.distance_transform_edt(~mask, sampling=spacing_of(template.mask))
    return MetaTensor(torch.from_numpy((distance <= RIM_MM)[None].astype(np.float32))).copy_meta_from(template.mask)


# Descent


def _descend(
    moving: MetaTensor, template: BrainTemplate, start: Affine, spacing: float, smoothing: float, iterations: int
) -> Affine:
    """Improve the affine from template mm to native mm by gradient descent on the mutual information."""
    dims = template.spatial_dims
    fixed_values, fixed_affine = _shrink(template.image, spacing)
    rim = (_shrink(_rim(template), spacing)[0] > 0.5).astype(np.uint8)
    if smoothing > 0.0:
        fixed_values = ndimage.gaussian_filter(fixed_values, smoothing / spacing)
    moving_values, moving_affine = _shrink(moving, spacing)
    if smoothing > 0.0:
        moving_values = ndimage.gaussian_filter(moving_values, smoothing / spacing)
    fixed, moved = to_itk(fixed_values, fixed_affine), to_itk(moving_values, moving_affine)
    mask = to_itk(rim, fixed_affine)

    flip = np.diag([-1.0, -1.0, 1.0, 1.0]) if dims == 3 else np.eye(4)
    matrix = flip @ start @ flip
    transform = sitk.AffineTransform(dims)
    where = np.argwhere(rim).mean(axis=0)
    centre = flip @ np.append(fixed_affine[:dims, :dims] @ where + fixed_affine[:dims, 3], [0.0] * (3 - dims) + [1.0])
    centre = centre[:dims]
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(matrix[:dims, :dims].reshape(-1).tolist())
    transform.SetTranslation((matrix[:dims, :dims] @ centre + matrix[:dims, 3] - centre).tolist())

    method = sitk.ImageRegistrationMethod()
    method.SetGlobalDefaultNumberOfThreads(1)
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricFixedMask(sitk.Cast(mask, sitk.sitkUInt8))
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=0.01, numberOfIterations=iterations, relaxationFactor=0.5
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moved)

    linear = np.array(transform.GetMatrix()).reshape(dims, dims)
    result = np.eye(4)
    result[:dims, :dims] = linear
    result[:dims, 3] = np.array(transform.GetTranslation()) + centre - linear @ centre
    return flip @ result @ flip
