"""How different two images look: losses on features, the default without any download."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from monai.losses.perceptual import (
    MedicalNetPerceptualSimilarity,
    PerceptualLoss,
    RadImageNetPerceptualSimilarity,
)
from monai.networks.nets import ResNetFeatures
from torch import nn
from torch.nn import functional

from medgen.networks.loading import load_weights
from medgen.randomness import generator
from medgen.spelling import one_of

__all__ = ["PretrainedPerceptualLoss", "PyramidLoss", "RandomFeatureLoss"]


class PyramidLoss(nn.Module):
    r"""Mean absolute difference of Laplacian pyramids; nothing in it was learned.

    .. math:: \sum_j 2^{-j} \, \overline{|L_j(x) - L_j(y)|}

    Bojanowski et al., arXiv 1707.05776, equation 4, with means in place of sums and the finest band weighing most. Band
    j is the image at resolution :math:`2^{-j}` less its own average over 2 pixels, the last one the mean image. Beside
    the absolute difference of pixels it counts missing edges twice and more, so it keeps an autoencoder from blurring
    them. It knows no anatomy: a discriminator, or :class:`PretrainedPerceptualLoss`, is what makes texture.

    Args:
        levels: bands; fewer where the image is smaller than :math:`2^{levels}`.

    Raises:
        ValueError: when ``levels`` is below 1.
    """

    def __init__(self, levels: int = 3) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"levels: expected 1 or more, found {levels!r}")
        self.levels = levels

    def forward(self, image: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return the mean over the batch; both ``(B, C, *spatial)``, 2D or 3D."""
        rest = image.float() - other.float()  # a pyramid is linear: that of the difference will do
        pool: Any = functional.avg_pool2d if image.ndim == 4 else functional.avg_pool3d
        total = rest.new_zeros(())
        for level in range(self.levels):
            if min(rest.shape[2:]) < 2:
                break
            coarse = pool(rest, 2, ceil_mode=True)
            band = rest - functional.interpolate(coarse, rest.shape[2:], mode="nearest")
            total = total + 2.0**-level * band.abs().mean()
            rest = coarse
        return total


class RandomFeatureLoss(nn.Module):
    """Squared difference of the features of a convolutional network with random weights; nothing in it was learned.

    The form of LPIPS (Zhang et al., arXiv 1801.03924, equation 1): features of unit length at every place, at three
    resolutions. Their section 4 finds random weights to follow human judgement worse than learned ones, and better than
    the difference of pixels. The weights are orthogonal and a function of ``seed``.

    Args:
        spatial_dims: 2 or 3.
        in_channels: of the images.
        channels: features at each resolution.
        seed: of the weights.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int = 1, channels: tuple[int, ...] = (16, 32, 64), seed: int = 0
    ) -> None:
        super().__init__()
        kind: Any = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
        self.pool: Any = functional.avg_pool2d if spatial_dims == 2 else functional.avg_pool3d
        self.layers = nn.ModuleList()
        for level, width in enumerate(channels):
            layer = kind(in_channels, width, 3, padding=1)
            nn.init.orthogonal_(layer.weight, 2.0**0.5, generator=generator("random features", seed, level))
            nn.init.zeros_(layer.bias)
            self.layers.append(layer)
            in_channels = width
        self.requires_grad_(False)

    def forward(self, image: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return the mean over places and the batch; both ``(B, C, *spatial)``."""
        hidden = torch.cat((image.float(), other.float()))
        total = hidden.new_zeros(())
        for level, layer in enumerate(self.layers):
            hidden = functional.relu(layer(self.pool(hidden, 2, ceil_mode=True) if level else hidden))
            one, two = functional.normalize(hidden, dim=1, eps=1e-3).chunk(2)
            total = total + (one - two).square().sum(1).mean()
        return total


class PretrainedPerceptualLoss(PerceptualLoss):
    """MONAI's perceptual loss with MedicalNet's or RadImageNet's weights from a file, never from the network.

    MONAI's own fetches code and weights of these networks by ``torch.hub``. This one reads a state dict from ``path``
    (``weights_only``), and computes what MONAI's does. MedicalNet (arXiv 1904.00625) is for volumes; RadImageNet
    (doi 10.1148/ryai.210315) for slices, and for half the slices of a volume along each axis.

    Args:
        path: the weights, keys as in MONAI's ``resnet10`` or ``resnet50`` (a prefix "module." or "backbone." is taken
            off; the classifier's are not read).
        network_type: "medicalnet_resnet10_23datasets", "medicalnet_resnet50_23datasets" or "radimagenet_resnet50".
        spatial_dims: of the images.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the weights are of another network, or MedicalNet is asked to look at slices.
    """

    def __init__(self, path: str | os.PathLike[str], network_type: str, spatial_dims: int) -> None:
        nn.Module.__init__(self)
        kinds = ("medicalnet_resnet10_23datasets", "medicalnet_resnet50_23datasets", "radimagenet_resnet50")
        medicalnet = one_of("network_type", network_type, kinds) != kinds[2]
        if medicalnet and spatial_dims != 3:
            raise ValueError(f"network_type: {network_type} looks at volumes, found spatial_dims={spatial_dims}")
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"perceptual loss: no file {path}; medgen downloads no weights, so fetch {network_type} yourself, or "
                "use medgen.losses.PyramidLoss, which needs none"
            )
        network = _Deepest(network_type.split("_")[1], 3 if medicalnet else 2, 1 if medicalnet else 3)
        network.fill(path)
        self.spatial_dims, self.is_fake_3d = spatial_dims, spatial_dims == 3 and not medicalnet
        self.fake_3d_ratio, self.channel_wise = 0.5, False
        self.perceptual_function = (_MedicalNet if medicalnet else _RadImageNet)(network)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> PretrainedPerceptualLoss:
        """Return the loss as it is: its network is frozen."""
        return super().train(False)

    def forward(self, image: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Return the mean over the batch; both ``(B, C, *spatial)`` in [-1, 1]."""
        if isinstance(self.perceptual_function, _RadImageNet):  # which was trained on [0, 1]
            image, other = 0.5 * image + 0.5, 0.5 * other + 0.5
        return super().forward(image, other)


class _Deepest(ResNetFeatures):
    """A ResNet that returns its deepest features, ``(B, F, *spatial)``."""

    def __init__(self, name: str, spatial_dims: int, in_channels: int) -> None:
        super().__init__(name, pretrained=False, spatial_dims=spatial_dims, in_channels=in_channels)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs)[-1]

    def fill(self, path: str | os.PathLike[str]) -> None:
        """Load weights.

        Raises:
            ValueError: when they are of another network.
        """
        weights = {}
        for name, value in load_weights(path).items():
            for prefix in ("module.", "backbone."):
                name = name.removeprefix(prefix)
            if not name.startswith("fc."):
                weights[name] = value
        try:
            self.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(
                f"perceptual loss: {path} does not fit MONAI's {type(self).__mro__[1].__name__}: {error}"
            ) from error


class _MedicalNet(MedicalNetPerceptualSimilarity):
    def __init__(self, model: nn.Module) -> None:
        nn.Module.__init__(self)  # MONAI's own constructor goes to the network
        self.model, self.channel_wise = model, False


class _RadImageNet(RadImageNetPerceptualSimilarity):
    def __init__(self, model: nn.Module) -> None:
        nn.Module.__init__(self)  # MONAI's own constructor goes to the network
        self.model = model
