"""The small residual network of :class:`medgen.metrics.FeatureClassifier`, and its augmentation."""

from __future__ import annotations

import math

import torch
from monai.networks.layers.factories import Conv
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ResidualCNN", "augment_batch"]


class ResidualCNN(nn.Module):
    """Residual network of pre-activation blocks with group normalisation (He et al. 2016, arXiv:1603.05027).

    The stem brings any image to about 32 pixels a side, so that cost hardly depends on the image size. Group
    normalisation keeps no running statistics: images are judged one by one, whatever else is in the batch.

    Args:
        in_channels: channels of an image.
        outputs: numbers to predict.
        image_size: pixels a side, which sets the stem's stride.
        widths: channels of the stages; the last is the width of the features.
        dropout: probability before the last layer.
        spatial_dims: 2 for pictures, 3 for volumes.
    """

    def __init__(
        self,
        in_channels: int,
        outputs: int,
        image_size: int,
        widths: tuple[int, ...] = (24, 48, 64),
        dropout: float = 0.2,
        spatial_dims: int = 2,
    ) -> None:
        super().__init__()
        stride = max(1, round(image_size / 32))
        convolution = Conv[Conv.CONV, spatial_dims]
        self.stem = convolution(in_channels, widths[0], kernel_size=2 * stride + 1, stride=stride, padding=stride)
        stages: list[nn.Module] = []
        previous = widths[0]
        for position, width in enumerate(widths):
            stages.append(ResidualBlock(previous, width, 1 if position == 0 else 2, spatial_dims))
            previous = width
        self.stages = nn.Sequential(*stages)
        self.norm = _norm(previous)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(previous, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Predictions ``(B, outputs)`` for images ``(B, C, *spatial)``."""
        return self.head(self.dropout(self._deep(self.stages(self.stem(images)))))

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features, then mean and spread over the image of the first stage's; ``(B, D)``.

        The penultimate ones see anatomy and are taught not to see texture; the first stage's see blur, grain, contrast.
        """
        first = self.stages[0](self.stem(images))
        texture = functional.silu(first).flatten(2)
        return torch.cat([self._deep(self.stages[1:](first)), texture.mean(2), texture.std(2)], dim=1)

    def _deep(self, activations: Tensor) -> Tensor:
        return functional.silu(self.norm(activations)).flatten(2).mean(2)


class ResidualBlock(nn.Module):
    """Norm, activation and convolution twice, beside a shortcut.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        stride: of the first convolution.
        spatial_dims: 2 or 3.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, spatial_dims: int = 2) -> None:
        super().__init__()
        convolution = Conv[Conv.CONV, spatial_dims]
        self.norm1 = _norm(in_channels)
        self.conv1 = convolution(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm2 = _norm(out_channels)
        self.conv2 = convolution(out_channels, out_channels, 3, 1, 1, bias=False)
        changes = stride != 1 or in_channels != out_channels
        self.shortcut = convolution(in_channels, out_channels, 1, stride, bias=False) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, out_channels, *spatial / stride)``."""
        y = self.conv1(functional.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(functional.silu(self.norm2(y)))


def augment_batch(images: Tensor, random: torch.Generator) -> Tensor:
    """Vary a batch lightly, as scanners and positioning do.

    Per image: left-right flip, rotation up to 8 degrees, scale within 4 %, shift within 4 % of the side; gain and
    offset of intensity within 10 %; half of the images blurred, the rest with noise, so that the classifier does not
    hang on texture, in which generated images differ.

    Args:
        images: ``(B, C, H, W)`` in [-1, 1].
        random: CPU generator that all draws come from.

    Returns:
        A new batch of the same shape, in [-1, 1].
    """
    count, device = len(images), images.device
    draws = torch.rand(count, 8, generator=random, dtype=torch.float32) * 2 - 1
    noise = torch.randn(images.shape, generator=random, dtype=torch.float32)
    angle, scale = draws[:, 0] * math.radians(8), 1 + 0.04 * draws[:, 1]
    flip = torch.where(draws[:, 2] < 0, -1.0, 1.0)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [cosine * flip, -sine, 0.08 * draws[:, 3], sine * flip, cosine, 0.08 * draws[:, 4]]
    theta = torch.stack(rows, dim=1).reshape(count, 2, 3).to(device)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    # shifted by one, so that what comes in from outside (0) is background (-1)
    moved = functional.grid_sample(images + 1, grid, align_corners=False)
    gain, offset, blurred = ((draws[:, i].to(device)).reshape(count, 1, 1, 1) for i in (5, 6, 7))
    smooth = functional.avg_pool2d(moved, 3, 1, 1, count_include_pad=False)
    noisy = moved + 0.04 * noise.to(device)
    varied = torch.where(blurred < 0, smooth, noisy)
    tissue = (moved > 0.1).to(moved.dtype)
    return (varied * (1 + 0.1 * gain) + 0.1 * offset * tissue - 1).clamp(-1, 1)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(math.gcd(8, channels), channels)
