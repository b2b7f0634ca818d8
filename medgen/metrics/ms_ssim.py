"""Multi-scale structural similarity among samples: are they too alike?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics.regression import compute_ms_ssim
from numpy.typing import NDArray
from torch import Tensor

from medgen.metrics.checks import group_indices
from medgen.randomness import numpy_generator

__all__ = ["draw_pairs", "ms_ssim", "ms_ssim_settings", "sample_ms_ssim"]

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the five scales, Wang et al. 2003


def ms_ssim(a: Tensor, b: Tensor, block: int = 64) -> NDArray[np.float64]:
    """Multi-scale structural similarity of pairs of images (Wang, Simoncelli and Bovik 2003), by MONAI.

    The paper's five scales need 160 pixels a side or more; smaller images take the scales that fit, with their weights
    scaled to add up to 1, and volumes a kernel of 7 in place of 11 voxels (see :func:`ms_ssim_settings`). So compare
    values of one image size only.

    Args:
        a: images ``(N, C, *spatial)`` in [-1, 1].
        b: images of the same shape.
        block: pairs compared at once.

    Returns:
        Shape ``(N,)``; 1 for equal images.

    Raises:
        ValueError: when shapes differ or images are smaller than 3 pixels.
    """
    if a.shape != b.shape or a.ndim not in (4, 5):
        raise ValueError(
            f"expected two batches (N, C, H, W) or (N, C, X, Y, Z) of one shape, found {a.shape} and {b.shape}"
        )
    kernel, weights = ms_ssim_settings(tuple(a.shape[2:]))
    dimensions = a.ndim - 2
    found = [
        compute_ms_ssim(
            # MONAI's measure is of intensities from 0
            (part_a.float() + 1) / 2, (part_b.float() + 1) / 2, dimensions,
            data_range=1.0, kernel_size=kernel, weights=weights,
        )
        for part_a, part_b in zip(a.split(block), b.split(block), strict=True)
    ]  # fmt: skip
    result: NDArray[np.float64] = torch.cat(found).flatten().cpu().double().numpy()
    return result


def ms_ssim_settings(spatial: Sequence[int]) -> tuple[int, tuple[float, ...]]:
    """Kernel size and weights of the scales that fit images of a size.

    Example:
        >>> ms_ssim_settings((256, 256))
        (11, (0.0448, 0.2856, 0.3001, 0.2363, 0.1333))
        >>> ms_ssim_settings((64, 64))[0], len(ms_ssim_settings((64, 64))[1])
        (11, 3)
    """
    smallest = min(spatial)
    if smallest < 3:
        raise ValueError(f"expected images of 3 pixels a side or more, found {tuple(spatial)}")
    kernel = min(11 if len(spatial) == 2 else 7, smallest - 1 + smallest % 2)
    levels = 1
    # the second condition is MONAI's own
    while levels < 5 and smallest >> levels >= kernel and smallest // levels**2 > kernel - 1:
        levels += 1
    chosen = WEIGHTS[:levels]
    return kernel, chosen if levels == len(WEIGHTS) else tuple(w / sum(chosen) for w in chosen)


def draw_pairs(
    groups: Sequence[str | int] | None,
    count: int,
    pairs: int,
    seed: int = 0,
    strata: Sequence[str | int] | None = None,
) -> NDArray[np.intp]:
    """Draw pairs of samples of different groups, every sample about as often as any other.

    Args:
        groups: the subject of each sample; None for each its own.
        count: number of samples.
        pairs: pairs wanted; fewer come back where there are no more.
        seed: of the draw.
        strata: what a pair must share, such as the plane; None for nothing.

    Returns:
        Rows ``(P, 2)``, no pair twice.
    """
    member = group_indices(groups, count, "groups")
    stratum = np.zeros(count, np.intp) if strata is None else group_indices(strata, count, "strata")
    random = numpy_generator("pairs", seed, count)
    found: list[tuple[int, int]] = []
    seen: set[tuple[int, int]] = set()
    for _ in range(8 * (pairs // max(count, 1) + 1)):  # rounds: in each, neighbours in a random order are paired
        order = random.permutation(count)
        order = order[np.argsort(stratum[order], kind="stable")]
        for one, other in zip(order, np.roll(order, -1), strict=True):
            key = (int(min(one, other)), int(max(one, other)))
            if member[one] != member[other] and stratum[one] == stratum[other] and key not in seen:
                seen.add(key)
                found.append(key)
        if len(found) >= pairs:
            break
    return np.array(found[:pairs], dtype=np.intp).reshape(-1, 2)


def sample_ms_ssim(images: Tensor, groups: Sequence[str | int] | None = None, pairs: int = 500, seed: int = 0) -> float:
    """Mean MS-SSIM of random pairs of samples: high where the samples are alike (Odena et al. 2017, arXiv:1610.09585).

    Read it beside that of as many pairs of real images of different people.

    Args:
        images: ``(N, C, *spatial)`` in [-1, 1].
        groups: the subject of each; samples of one group are no pair.
        pairs: number of pairs.
        seed: of the draw.

    Returns:
        The mean.

    Raises:
        ValueError: when there is no pair.
    """
    rows = draw_pairs(groups, len(images), pairs, seed)
    if not len(rows):
        raise ValueError(f"images: expected samples of two groups or more, found {len(images)} samples of one")
    return float(ms_ssim(images[torch.from_numpy(rows[:, 0])], images[torch.from_numpy(rows[:, 1])]).mean())
