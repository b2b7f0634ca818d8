"""The UNet that every medgen bundle trains: MONAI's, conditioned on covariates, text and images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from monai.networks.nets import DiffusionModelUNet
from torch import nn
from torch.utils.checkpoint import checkpoint

from medgen.covariates import Covariates
from medgen.networks.covariate_embedding import CovariateEmbedding

__all__ = ["ConditionalUNet"]


class ConditionalUNet(nn.Module):
    """MONAI's ``DiffusionModelUNet`` (arXiv 2112.10752, 2209.07162) with covariates, context, images and any size.

    Covariates join the time embedding, ``context`` (text) enters by cross-attention, ``image`` (a mask, a
    low-resolution or a sketched image) is concatenated to the input channels. Images whose size the levels do not
    divide are padded inside and cropped again. 2D and 3D are the same code.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels C of the image, for example 2 for T1 and FLAIR.
        out_channels: channels of the prediction, normally C.
        channels: feature channels of each level; each a multiple of ``norm_num_groups``.
        attention_levels: for each level, whether it attends.
        num_res_blocks: residual blocks of each level.
        num_head_channels: channels of an attention head.
        norm_num_groups: groups of the group norms.
        covariates: the declaration, or None for a network without covariates.
        patch_size: side P of the patches that are folded into channels before the first level, and unfolded after the
            last (arXiv 2301.11093, section 2.4): the UNet then works on a grid P times coarser.
        context_dim: width of the context tokens, or None for a network without context.
        image_channels: channels of the conditioning image, 0 for none.
        activation_checkpointing: recompute activations in the backward pass, to fit volumes into memory.
        use_flash_attention: PyTorch's fused attention.

    Raises:
        ValueError: when ``patch_size`` is below 1, or MONAI's network refuses its arguments.

    Example:
        >>> network = ConditionalUNet(2, 1, 1, channels=(32, 64), attention_levels=(False, True))
        >>> network(torch.zeros(1, 1, 45, 54), t=0.5).shape
        torch.Size([1, 1, 45, 54])
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        channels: Sequence[int] = (64, 128, 256),
        attention_levels: Sequence[bool] = (False, False, True),
        num_res_blocks: int | Sequence[int] = 2,
        num_head_channels: int | Sequence[int] = 32,
        norm_num_groups: int = 32,
        covariates: Covariates | None = None,
        patch_size: int = 1,
        context_dim: int | None = None,
        image_channels: int = 0,
        activation_checkpointing: bool = False,
        use_flash_attention: bool = True,
    ) -> None:
        super().__init__()
        if patch_size < 1:
            raise ValueError(f"patch_size: expected 1 or more, found {patch_size}")
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.image_channels = image_channels
        self.patch_size = patch_size
        self.covariates = covariates if covariates is not None and len(covariates) else None
        self.context_dim = context_dim
        self.multiple = patch_size * 2 ** (len(channels) - 1)
        patch = patch_size**spatial_dims
        self.unet = DiffusionModelUNet(
            spatial_dims=spatial_dims,
            in_channels=(in_channels + image_channels) * patch,
            out_channels=out_channels * patch,
            num_res_blocks=num_res_blocks,
            channels=tuple(channels),
            attention_levels=tuple(attention_levels),
            norm_num_groups=norm_num_groups,
            num_head_channels=num_head_channels,
            with_conditioning=context_dim is not None,
            cross_attention_dim=context_dim,
            use_flash_attention=use_flash_attention,
        )
        if self.covariates is not None:
            # MONAI adds class_embedding(class_labels) to the time embedding: the place where covariates belong.
            self.unet.num_class_embeds = len(self.covariates)
            self.unet.add_module("class_embedding", CovariateEmbedding(self.covariates, 4 * channels[0]))
        if context_dim is not None:
            self.null_context = nn.Parameter(torch.zeros(1, 1, context_dim))
        if activation_checkpointing:
            for block in (*self.unet.down_blocks, self.unet.middle_block, *self.unet.up_blocks):
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)

    def forward(
        self,
        noisy: torch.Tensor,
        t: torch.Tensor | float,
        covariates: torch.Tensor | None = None,
        context: torch.Tensor | None = None,
        image: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Predict what the process trains the network for.

        Args:
            noisy: ``(B, C, *spatial)``, scaled by the process's ``network_input``.
            t: network time of that call, ``(B,)`` or a number.
            covariates: ``(B, K)``, NaN where unknown; None = all unknown.
            context: ``(B, L, context_dim)``, NaN where unknown; None = unknown.
            image: ``(B, image_channels, *spatial)``; None = zeros.

        Returns:
            Prediction ``(B, out_channels, *spatial)``.

        Raises:
            ValueError: when a tensor's shape does not fit, or a condition is given that the network was built without.
        """
        spatial = noisy.shape[2:]
        if noisy.ndim != self.spatial_dims + 2 or noisy.shape[1] != self.in_channels:
            expected = f"(B, {self.in_channels}, " + ", ".join("HWD"[: self.spatial_dims]) + ")"
            raise ValueError(f"noisy: expected shape {expected}, found {tuple(noisy.shape)}")
        batch = noisy.shape[0]
        times = torch.as_tensor(t, dtype=torch.float32, device=noisy.device).reshape(-1).expand(batch)
        hidden = self._fold(torch.cat([noisy, self._image(noisy, image)], dim=1) if self.image_channels else noisy)
        output = self.unet(
            hidden, times, context=self._context(noisy, context), class_labels=self._covariates(noisy, covariates)
        )
        output = _from_patches(output, self.patch_size)
        for dim, size in enumerate(spatial, start=2):
            output = output.narrow(dim, 0, size)
        return output

    def _fold(self, image: torch.Tensor) -> torch.Tensor:
        padding: list[int] = []
        for size in reversed(image.shape[2:]):
            padding += [0, -size % self.multiple]
        if any(padding):
            image = nn.functional.pad(image, padding, mode="replicate")
        return _to_patches(image, self.patch_size)

    def _covariates(self, noisy: torch.Tensor, covariates: torch.Tensor | None) -> torch.Tensor | None:
        if self.covariates is None:
            if covariates is not None and covariates.shape[-1]:
                raise ValueError("covariates were given, but this network was built without any")
            return None
        if covariates is None:
            return torch.full((noisy.shape[0], len(self.covariates)), torch.nan, device=noisy.device)
        return covariates

    def _context(self, noisy: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor | None:
        if self.context_dim is None:
            if context is not None:
                raise ValueError("context was given, but this network was built without context_dim")
            return None
        null = self.null_context.to(noisy.dtype)
        if context is None:
            return null.expand(noisy.shape[0], -1, -1)
        unknown = torch.isnan(context)
        return torch.where(unknown, null.to(context.dtype), context.masked_fill(unknown, 0.0))

    def _image(self, noisy: torch.Tensor, image: torch.Tensor | None) -> torch.Tensor:
        shape = (noisy.shape[0], self.image_channels, *noisy.shape[2:])
        if image is None:
            return noisy.new_zeros(shape)
        if tuple(image.shape) != shape:
            raise ValueError(f"image: expected shape {shape}, found {tuple(image.shape)}")
        return image.to(noisy.dtype)


def _to_patches(image: torch.Tensor, size: int) -> torch.Tensor:
    """Fold ``(B, C, *spatial)`` into ``(B, C * size**d, *(spatial / size))``."""
    if size == 1:
        return image
    batch, channels, *spatial = image.shape
    dims = len(spatial)
    split = image.reshape(batch, channels, *(n for s in spatial for n in (s // size, size)))
    order = [0, 1, *(3 + 2 * d for d in range(dims)), *(2 + 2 * d for d in range(dims))]
    return split.permute(order).reshape(batch, channels * size**dims, *(s // size for s in spatial))


def _from_patches(image: torch.Tensor, size: int) -> torch.Tensor:
    """Undo :func:`_to_patches`."""
    if size == 1:
        return image
    batch, channels, *spatial = image.shape
    dims = len(spatial)
    split = image.reshape(batch, channels // size**dims, *([size] * dims), *spatial)
    order = [0, 1, *(n for d in range(dims) for n in (2 + dims + d, 2 + d))]
    return split.permute(order).reshape(batch, channels // size**dims, *(s * size for s in spatial))
