"""The ResNet-50 of RadImageNet, written so that the published file of its weights fits."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["RadImageNetResNet50"]

MEANS = (0.406, 0.456, 0.485)  # of blue, green and red, in that order, as in training
EPS = 1.001e-5  # Keras' in its residual networks


class RadImageNetResNet50(nn.Module):
    """ResNet-50 trained on 1.35 million radiologic images (Mei et al. 2022, doi:10.1148/ryai.210315).

    It was trained by Keras: convolutions have biases, and the stride is on a block's first convolution. Names of
    parameters are those of the file for PyTorch that MONAI's perceptual loss, too, takes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64, eps=EPS)
        self.layer1, self.layer2 = _stage(64, 64, 3, 1), _stage(256, 128, 4, 2)
        self.layer3, self.layer4 = _stage(512, 256, 6, 2), _stage(1024, 512, 3, 2)

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(B, 2048)`` of images ``(B, 3, H, W)``, red, green, blue in [0, 1]."""
        x = images.flip(1) - images.new_tensor(MEANS).reshape(1, 3, 1, 1)
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


class _Bottleneck(nn.Module):
    def __init__(self, in_channels: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(in_channels, width, 1, stride), nn.BatchNorm2d(width, eps=EPS)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width, eps=EPS)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1), nn.BatchNorm2d(4 * width, eps=EPS)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(functional.relu(self.bn2(self.conv2(y)))))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


def _stage(in_channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    shortcut = nn.Sequential(nn.Conv2d(in_channels, 4 * width, 1, stride), nn.BatchNorm2d(4 * width, eps=EPS))
    first = _Bottleneck(in_channels, width, stride, shortcut)
    return nn.Sequential(first, *(_Bottleneck(4 * width, width, 1, None) for _ in range(blocks - 1)))
