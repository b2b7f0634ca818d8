"""From the images of a batch, or their cached latents, to what the process works on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from medgen.data.latents import MOMENTS
from medgen.randomness import seed_from

__all__ = ["encode", "image_shape", "posterior_generator"]


def encode(codec: Any, inputs: torch.Tensor, batchdata: Any, generator: torch.Generator | None = None) -> torch.Tensor:
    """Return the clean image or latent of a batch.

    Args:
        codec: None for none.
        inputs: images ``(B, C, *spatial)``, or moments ``(B, 2 C', *latent)`` where the batch has them.
        batchdata: the batch, as it came from the loader.
        generator: draws latents; None takes their mean.
    """
    if codec is None:
        return inputs
    if isinstance(batchdata, Mapping) and MOMENTS in batchdata:
        return codec.draw(*inputs.chunk(2, dim=1), generator)
    return codec.encode(inputs, generator)


def image_shape(codec: Any, inputs: torch.Tensor, batchdata: Any) -> tuple[int, ...]:
    """Return the shape ``(C, *spatial)`` of the images of a batch, also of one that holds their moments."""
    channels, *spatial = inputs.shape[1:]
    if isinstance(batchdata, Mapping) and MOMENTS in batchdata:
        return tuple(codec.image_shape((channels // 2, *spatial)))
    return (channels, *spatial)


def posterior_generator(device: torch.device, *key: int | str) -> torch.Generator:
    """Return what draws latents from an autoencoder's posterior, on the device where they are."""
    return torch.Generator(device).manual_seed(seed_from("posterior", *key))
