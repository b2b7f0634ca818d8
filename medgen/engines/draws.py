"""Times and noise that training and validation draw, each a function of its place in the run alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment

from medgen.randomness import generator, seed_from
from medgen.spelling import one_of

__all__ = ["COUPLINGS", "couple", "fixed_noise", "fixed_times", "training_noise", "training_times"]

COUPLINGS = ("independent", "optimal_transport")

_GOLDEN = 0.6180339887498949


def training_times(process: Any, batch: int, stratified: bool, *key: int | str) -> torch.Tensor:
    """Draw the training times of one micro-batch on the CPU.

    Args:
        process: maps uniform numbers to times.
        batch: number B of samples.
        stratified: one draw in each of B equal parts of [0, 1), in random order: each time has the same distribution as
            without, but the batch covers all noise levels, which lowers the variance of its loss (as in Kingma et al.,
            arXiv 2107.00630, appendix I.1).
        key: of the draw, for example (seed, rank, step, micro-batch).

    Returns:
        ``(B,)``.
    """
    source = generator("t", *key)
    uniform = torch.rand(batch, generator=source, dtype=torch.float64)
    if stratified:
        uniform = (torch.randperm(batch, generator=source) + uniform) / batch
    return process.training_times(uniform)


def training_noise(like: torch.Tensor, *key: int | str) -> torch.Tensor:
    """Draw Gaussian noise of ``like``'s shape on its own device: repeatable there, but not the same on CPU and GPU."""
    source = torch.Generator(like.device).manual_seed(seed_from("noise", *key))
    return torch.randn(like.shape, generator=source, device=like.device, dtype=torch.float32)


def couple(clean: torch.Tensor, noise: torch.Tensor, coupling: str) -> torch.Tensor:
    """Say which noise of a batch goes with which image.

    "optimal_transport" takes the permutation with the smallest sum of squared distances, an exact assignment (Pooladian
    et al. 2304.14772; Tong et al. 2302.00482): paths cross less, so that fewer solver steps do. With conditions it has
    a price: the noise that an image is paired with then tells something of its conditions, while sampling draws noise
    without regard to them (Cheng and Schwing 2503.10636). So it is no default.

    Args:
        clean: images (or latents) ``(B, C, *spatial)``.
        noise: like ``clean``.
        coupling: one of :data:`COUPLINGS`.

    Returns:
        The rows of ``noise``, in an order that is a function of the arguments alone.

    Example:
        >>> images, noise = torch.tensor([[[1.0]], [[-1.0]]]), torch.tensor([[[-0.5]], [[0.5]]])
        >>> couple(images, noise, "optimal_transport").flatten().tolist()
        [0.5, -0.5]
    """
    if one_of("coupling", coupling, COUPLINGS) == "independent":
        return noise
    # the squared norms do not depend on the order, so the largest sum of inner products is wanted
    products = clean.flatten(1).double() @ noise.flatten(1).double().T
    _, order = linear_sum_assignment(products.cpu().numpy(), maximize=True)
    return noise[torch.from_numpy(order).to(noise.device)]


def fixed_times(process: Any, indices: Sequence[int], seed: int) -> torch.Tensor:
    """Return the validation time of each sample: a low-discrepancy sequence in its index, so any part covers [0, 1).

    Returns:
        ``(B,)`` on the CPU.
    """
    offset = torch.rand((), generator=generator("validation t", seed), dtype=torch.float64)
    uniform = (offset + torch.tensor(list(indices), dtype=torch.float64) * _GOLDEN) % 1.0
    return process.training_times(uniform)


def fixed_noise(shape: Sequence[int], indices: Sequence[int], seed: int) -> torch.Tensor:
    """Return the validation noise of each sample, a function of (seed, index).

    Args:
        shape: ``(C, *spatial)`` of one sample.
        indices: of B samples.
        seed: of the validation.

    Returns:
        ``(B, C, *spatial)`` float32 on the CPU.
    """
    return torch.stack([torch.randn(*shape, generator=generator("validation noise", seed, i)) for i in indices])
