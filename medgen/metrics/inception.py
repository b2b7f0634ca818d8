"""The Inception network of the FID, written so that torch-fidelity's file of its weights fits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["FIDInception", "resize_like_tensorflow"]

SIDE = 299  # pixels


class FIDInception(nn.Module):
    """Inception v3 as TensorFlow trained it in 2015 (Szegedy et al., arXiv:1512.00567), whose features make an FID.

    It differs from torchvision's: average pools do not count padding, the last block pools by maximum, there are 1,008
    classes. Names of parameters are those of torch-fidelity's ``weights-inception-2015-12-05-6726825d.pth``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = _Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _A(192, 32), _A(256, 64), _A(288, 64)
        self.Mixed_6a = _B(288)
        self.Mixed_6b, self.Mixed_6c = _C(768, 128), _C(768, 160)
        self.Mixed_6d, self.Mixed_6e = _C(768, 160), _C(768, 192)
        self.Mixed_7a = _D(768)
        self.Mixed_7b, self.Mixed_7c = _E(1280, average=True), _E(2048, average=False)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(B, 2048)`` and logits without bias ``(B, 1008)``, which the Inception Score takes.

        Args:
            images: ``(B, 3, H, W)``, whole numbers from 0 to 255, of any float type.
        """
        x = (resize_like_tensorflow(images, SIDE) - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(functional.max_pool2d(x, 3, 2)))
        x = functional.max_pool2d(x, 3, 2)
        for block in (self.Mixed_5b, self.Mixed_5c, self.Mixed_5d, self.Mixed_6a, self.Mixed_6b, self.Mixed_6c,
                      self.Mixed_6d, self.Mixed_6e, self.Mixed_7a, self.Mixed_7b, self.Mixed_7c):  # fmt: skip
            x = block(x)
        features = x.mean((2, 3))
        return features, features @ self.fc.weight.T


def resize_like_tensorflow(images: Tensor, side: int) -> Tensor:
    """Resize ``(B, C, H, W)`` bilinearly as TensorFlow 1 does: pixel i of the result lies at i * H / side."""
    rows, columns = (_interpolation(size, side).to(images) for size in images.shape[2:])
    return rows @ images @ columns.T


def _interpolation(size: int, side: int) -> Tensor:
    """The matrix ``(side, size)`` that interpolates one axis."""
    place = torch.arange(side, dtype=torch.float64) * (size / side)
    below = place.floor().long().clamp(max=size - 1)
    above, weight = (below + 1).clamp(max=size - 1), place - below
    matrix = torch.zeros(side, size, dtype=torch.float64)
    matrix.scatter_add_(1, below[:, None], (1 - weight)[:, None])
    return matrix.scatter_add_(1, above[:, None], weight[:, None])


class _Conv(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, kernel: Any, **more: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, bias=False, **more)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


def _average(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class _A(nn.Module):
    def __init__(self, width: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = _Conv(width, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = _Conv(width, 48, 1), _Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Conv(width, 64, 1), _Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, padding=1)
        self.branch_pool = _Conv(width, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat(
            [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double, self.branch_pool(_average(x))], 1
        )


class _B(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch3x3 = _Conv(width, 384, 3, stride=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Conv(width, 64, 1), _Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, functional.max_pool2d(x, 3, 2)], 1)


class _C(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        along, across = {"kernel": (1, 7), "padding": (0, 3)}, {"kernel": (7, 1), "padding": (3, 0)}
        self.branch1x1 = _Conv(width, 192, 1)
        self.branch7x7_1, self.branch7x7_2 = _Conv(width, inner, 1), _Conv(inner, inner, **along)
        self.branch7x7_3 = _Conv(inner, 192, **across)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = _Conv(width, inner, 1), _Conv(inner, inner, **across)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = _Conv(inner, inner, **along), _Conv(inner, inner, **across)
        self.branch7x7dbl_5 = _Conv(inner, 192, **along)
        self.branch_pool = _Conv(width, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), single, double, self.branch_pool(_average(x))], 1)


class _D(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = _Conv(width, 192, 1), _Conv(192, 320, 3, stride=2)
        self.branch7x7x3_1 = _Conv(width, 192, 1)
        self.branch7x7x3_2 = _Conv(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = _Conv(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = _Conv(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        long = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), long, functional.max_pool2d(x, 3, 2)], 1)


class _E(nn.Module):
    def __init__(self, width: int, average: bool) -> None:
        super().__init__()
        self.average = average
        along, across = {"kernel": (1, 3), "padding": (0, 1)}, {"kernel": (3, 1), "padding": (1, 0)}
        self.branch1x1 = _Conv(width, 320, 1)
        self.branch3x3_1 = _Conv(width, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = _Conv(384, 384, **along), _Conv(384, 384, **across)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = _Conv(width, 448, 1), _Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = _Conv(384, 384, **along), _Conv(384, 384, **across)
        self.branch_pool = _Conv(width, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = _average(x) if self.average else functional.max_pool2d(x, 3, 1, 1)
        parts = [self.branch1x1(x), self.branch3x3_2a(single), self.branch3x3_2b(single)]
        return torch.cat(
            [*parts, self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(pooled)], 1
        )
