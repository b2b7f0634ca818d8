"""Codecs: what stands between an image and the space in which the process works."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import VQVAE, AutoencoderKL
from torch import nn

from medgen.networks.standardised import Codec

__all__ = ["IdentityCodec", "KLCodec", "VQCodec", "reconstruct"]


class IdentityCodec(nn.Module):
    """The codec of a pixel model: the latent is the image."""

    image_channels: int | None = None
    sha256: str | None = None
    source: Path | None = None

    def encode(self, image: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return ``image`` ``(B, C, *spatial)`` unchanged."""
        return image

    def moments(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``image`` and zeros."""
        return image, torch.zeros_like(image)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Return ``latent`` ``(B, C, *spatial)`` unchanged."""
        return latent

    def latent_shape(self, image_shape: Sequence[int]) -> tuple[int, ...]:
        """Shape ``(C, *spatial)`` of the latent of an image of ``image_shape``."""
        return tuple(image_shape)

    def image_shape(self, latent_shape: Sequence[int]) -> tuple[int, ...]:
        """Shape ``(C, *spatial)`` of the image of a latent of ``latent_shape``."""
        return tuple(latent_shape)

    def check_network(self, network_channels: int) -> None:
        """Do nothing: any network that takes the image's channels fits."""


class KLCodec(Codec):
    """The codec of MONAI's variational autoencoder (Kingma and Welling, arXiv 1312.6114; arXiv 2112.10752, 2209.07162).

    Args:
        autoencoder: a ``monai.networks.nets.AutoencoderKL``.

    Raises:
        TypeError: for another network.

    Example:
        >>> network = AutoencoderKL(2, 1, 1, 1, channels=(8, 8, 8), attention_levels=(False,) * 3, norm_num_groups=8)
        >>> codec = KLCodec(network)
        >>> codec.latent_shape((1, 64, 48))
        (3, 16, 12)
        >>> codec.decode(codec.encode(torch.zeros(2, 1, 64, 48))).shape
        torch.Size([2, 1, 64, 48])
    """

    autoencoder: AutoencoderKL

    def __init__(self, autoencoder: nn.Module) -> None:
        if not isinstance(autoencoder, AutoencoderKL):
            raise TypeError(f"autoencoder: expected MONAI's AutoencoderKL, found {type(autoencoder).__name__}")
        encoder: Any = autoencoder.encoder
        super().__init__(autoencoder, autoencoder.latent_channels, encoder.in_channels)
        self.factor = 2 ** (len(encoder.channels) - 1)

    def _posterior(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.autoencoder.encode(image)

    def _image(self, latent: torch.Tensor) -> torch.Tensor:
        return self.autoencoder.decode(latent)

    def _encoded_side(self, side: int) -> int:
        return side // self.factor

    def _decoded_side(self, side: int) -> int:
        return side * self.factor


class VQCodec(Codec):
    """The codec of MONAI's vector-quantised autoencoder (van den Oord et al., arXiv 1711.00937; arXiv 2209.03177).

    The process works on what the encoder gives, before it is quantised; :meth:`decode` quantises.

    Args:
        autoencoder: a ``monai.networks.nets.VQVAE``.

    Raises:
        TypeError: for another network.
    """

    autoencoder: VQVAE

    def __init__(self, autoencoder: nn.Module) -> None:
        if not isinstance(autoencoder, VQVAE):
            raise TypeError(f"autoencoder: expected MONAI's VQVAE, found {type(autoencoder).__name__}")
        super().__init__(autoencoder, autoencoder.embedding_dim, autoencoder.in_channels)

    def _posterior(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        latent = self.autoencoder.encode(image)
        return latent, torch.zeros_like(latent)

    def _image(self, latent: torch.Tensor) -> torch.Tensor:
        return self.autoencoder.decode_stage_2_outputs(latent)

    def _encoded_side(self, side: int) -> int:
        encoder: Any = self.autoencoder.encoder
        for stride, kernel, dilation, padding in encoder.downsample_parameters:
            side = (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        return side

    def _decoded_side(self, side: int) -> int:
        decoder: Any = self.autoencoder.decoder
        for stride, kernel, dilation, padding, extra in decoder.upsample_parameters:
            side = (side - 1) * stride - 2 * padding + dilation * (kernel - 1) + extra + 1
        return side


def reconstruct(autoencoder: nn.Module, image: torch.Tensor) -> torch.Tensor:
    """Return an image ``(B, C, *spatial)`` as the autoencoder gives it back, without drawing anything.

    Args:
        autoencoder: MONAI's ``AutoencoderKL`` or ``VQVAE``, in evaluation mode.
        image: ``(B, C, *spatial)``.
    """
    return autoencoder.reconstruct(image) if isinstance(autoencoder, AutoencoderKL) else autoencoder(image)[0]
