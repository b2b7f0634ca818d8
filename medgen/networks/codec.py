"""Codecs: what stands between an image and the space in which the process works."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["IdentityCodec"]


class IdentityCodec(nn.Module):
    """The codec of a pixel model: the latent is the image."""

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        """Return ``image`` ``(B, C, *spatial)`` unchanged."""
        return image

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Return ``latent`` ``(B, C, *spatial)`` unchanged."""
        return latent

    def latent_shape(self, image_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape ``(C, *spatial)`` of the latent of an image of ``image_shape``."""
        return tuple(image_shape)
