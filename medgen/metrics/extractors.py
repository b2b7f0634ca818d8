"""Networks whose features judge likeness, by name; weights come from a file, never from the network."""

from __future__ import annotations

import abc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks.nets import resnet10, resnet18, resnet34, resnet50
from numpy.typing import NDArray
from torch import Tensor, nn

from medgen.files import file_sha256
from medgen.metrics.inception import FIDInception
from medgen.metrics.radimagenet import RadImageNetResNet50
from medgen.spelling import nearest

__all__ = ["EXTRACTORS", "FeatureExtractor", "distance_name", "feature_extractor"]

EXTRACTORS = ("in_domain", "inception", "radimagenet", "medicalnet", "pixels")
BLOCK = 32  # images held by a network at once


def feature_extractor(
    name: str,
    weights: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
) -> FeatureExtractor | None:
    """Make the extractor of a name.

    Args:
        name: "in_domain" (the model that was trained on the real training images; None is returned, since whoever has
            those images makes it), "inception", "radimagenet", "medicalnet" or "pixels".
        weights: the file of the network's weights, which is never downloaded. "inception":
            ``weights-inception-2015-12-05-6726825d.pth`` of torch-fidelity; "radimagenet": the ResNet-50 for PyTorch
            that MONAI's perceptual loss takes; "medicalnet": ``resnet_{10,18,34,50}_23dataset.pth``. Others need none.
        device: where to compute.

    Raises:
        ValueError: on another name, weights where none are needed, or weights that do not fit.
        FileNotFoundError: when weights are needed and there is no such file.
    """
    if name not in EXTRACTORS:
        raise ValueError(
            f"extractor: expected one of {', '.join(EXTRACTORS)}, found {name!r}{nearest(name, EXTRACTORS)}"
        )
    if name in ("in_domain", "pixels"):
        if weights is not None:
            raise ValueError(f"extractor_weights: found {weights}, but {name} takes none")
        return Pixels() if name == "pixels" else None
    if weights is None or not Path(weights).is_file():
        raise FileNotFoundError(
            f"extractor_weights: expected the file of the weights of {name}, found {weights}; medgen downloads none, "
            "see medgen.metrics.extractors"
        )
    kinds: dict[str, type[_Network]] = {"inception": Inception, "radimagenet": RadImageNet, "medicalnet": MedicalNet}
    return kinds[name](weights, device)


def distance_name(extractor: str, dimensions: int = 2) -> str:
    """What the Fréchet distance in an extractor's features may be called; only that in Inception's is an FID.

    Args:
        extractor: its name.
        dimensions: of the images; of volumes the middle slices are compared.

    Example:
        >>> distance_name("inception"), distance_name("pixels")
        ('FID', 'Fréchet distance of pixels')
    """
    named = {
        "inception": "FID",
        "in_domain": "Fréchet distance in features of a model of such images",
        "radimagenet": "Fréchet distance in RadImageNet features",
        "medicalnet": "Fréchet distance in MedicalNet features",
        "pixels": "Fréchet distance of pixels",
    }[extractor]
    return f"{named} (middle slices)" if dimensions == 3 and extractor in ("inception", "radimagenet") else named


class FeatureExtractor(abc.ABC):
    """Turns images into features.

    Attributes:
        name: one of ``EXTRACTORS``.
        sha256: of the file of weights; None without.
    """

    name = ""
    sha256: str | None = None

    @abc.abstractmethod
    def features(self, images: Tensor) -> NDArray[np.float64]:
        """Features ``(N, D)`` of images ``(N, C, *spatial)`` in [-1, 1], float64."""

    def probabilities(self, images: Tensor) -> NDArray[np.float64] | None:
        """Class probabilities ``(N, K)`` for an Inception Score; None where the network has no classes."""
        return None

    def described(self) -> dict[str, Any]:
        """Name and hash, for provenance."""
        return {"name": self.name, "sha256": self.sha256}


class Pixels(FeatureExtractor):
    """The pixels themselves."""

    name = "pixels"

    def features(self, images: Tensor) -> NDArray[np.float64]:
        """Pixels ``(N, C * prod(spatial))``."""
        result: NDArray[np.float64] = images.flatten(1).cpu().double().numpy()
        return result


class _Network(FeatureExtractor):
    """A network with weights from a file.

    Args:
        weights: the file; what it holds beside the network's own weights must be of its ``heads``.
        device: where to compute.
    """

    heads: tuple[str, ...] = ()  # first names of layers that files have and features do not need

    def __init__(self, weights: str | os.PathLike[str], device: str | torch.device = "cpu") -> None:
        self.device, self.sha256 = torch.device(device), file_sha256(Path(weights))
        state = _state(weights)
        self.network = self._build(state)
        expected = self.network.state_dict()
        # counters of batches are absent from converted files, and not needed
        absent = {k for k in expected if k not in state and not k.endswith("num_batches_tracked")}
        wrong = [k for k in expected if k in state and expected[k].shape != state[k].shape]
        if absent or wrong:
            example = sorted(absent)[:1] or wrong[:1]
            raise ValueError(
                f"{weights}: does not hold the weights of {self.name}: {len(absent)} of {len(expected)} are missing, "
                f"{len(wrong)} are of another shape, for example {example[0]}"
            )
        if unknown := sorted(k for k in state if k not in expected and k.split(".")[0] not in self.heads):
            raise ValueError(
                f"{weights}: holds {len(unknown)} weights that {self.name} has not: {', '.join(unknown[:5])}"
                f"{', ...' if len(unknown) > 5 else ''}; expected those of the published network alone"
            )
        self.network.load_state_dict({k: state.get(k, value) for k, value in expected.items()})
        self.network = self.network.to(self.device).eval().requires_grad_(False)

    @abc.abstractmethod
    def _build(self, state: Mapping[str, Tensor]) -> nn.Module:
        """The network without its weights."""

    @abc.abstractmethod
    def _forward(self, images: Tensor) -> Tensor:
        """Features of a block on the device."""

    def features(self, images: Tensor) -> NDArray[np.float64]:
        """Features ``(N, D)``; of volumes, networks of slices see the three middle ones, features side by side."""
        return self._blocks(images, self._forward)

    @torch.no_grad()
    def _blocks(self, images: Tensor, function: Any) -> NDArray[np.float64]:
        parts = [function(part.to(self.device, torch.float32)).cpu().double() for part in images.split(BLOCK)]
        result: NDArray[np.float64] = torch.cat(parts).numpy()
        return result


class Inception(_Network):
    """:class:`medgen.metrics.inception.FIDInception`; grey images become red, green and blue alike, in 256 steps."""

    name = "inception"

    def _build(self, state: Mapping[str, Tensor]) -> nn.Module:
        return FIDInception()

    def _forward(self, images: Tensor) -> Tensor:
        return torch.cat([self.network(_bytes(part))[0] for part in _slices(images)], 1)

    def probabilities(self, images: Tensor) -> NDArray[np.float64] | None:
        """Of 1,008 classes, of 2D images; without the last layer's bias, as the published scores are."""
        if images.ndim != 4:
            return None
        logits = self._blocks(images, lambda part: self.network(_bytes(_colours(part)))[1])
        return torch.from_numpy(logits).softmax(1).numpy()


class RadImageNet(_Network):
    """:class:`medgen.metrics.radimagenet.RadImageNetResNet50`."""

    name = "radimagenet"
    heads = ("fc",)

    def _build(self, state: Mapping[str, Tensor]) -> nn.Module:
        return RadImageNetResNet50()

    def _forward(self, images: Tensor) -> Tensor:
        return torch.cat([self.network((part.clamp(-1, 1) + 1) / 2) for part in _slices(images)], 1)


class MedicalNet(_Network):
    """MONAI's 3D ResNet with the weights of MedicalNet (Chen et al. 2019, arXiv:1904.00625); volumes only.

    Each volume is standardised by its mean and standard deviation, as in training. Only the first channel counts. The
    layers that segmented (``conv_seg``), which checkpoints of training have, are left out.
    """

    name = "medicalnet"
    heads = ("conv_seg",)

    def _build(self, state: Mapping[str, Tensor]) -> nn.Module:
        blocks = len({key.split(".")[1] for key in state if key.startswith("layer3.")})
        deep = any(".conv3." in key for key in state)
        make = {(1, False): resnet10, (2, False): resnet18, (6, False): resnet34, (6, True): resnet50}.get(
            (blocks, deep), resnet10
        )
        # as MedicalNet was built: with 18 and 34 layers its shortcuts have no weights
        plain = make in (resnet18, resnet34)
        return make(
            spatial_dims=3, n_input_channels=1, feed_forward=False, shortcut_type="A" if plain else "B",
            bias_downsample=plain,
        )  # fmt: skip

    def _forward(self, images: Tensor) -> Tensor:
        if images.ndim != 5:
            raise ValueError(f"medicalnet: expected volumes (N, C, X, Y, Z), found {tuple(images.shape)}")
        first = images[:, :1]
        mean, spread = first.mean((1, 2, 3, 4), keepdim=True), first.std((1, 2, 3, 4), keepdim=True)
        features: Tensor = self.network((first - mean) / spread.clamp(min=1e-6))
        return features.flatten(1)


def _state(weights: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a file, without what wraps them."""
    content = torch.load(weights, map_location="cpu", weights_only=True)
    content = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    return {str(k).removeprefix("module."): v for k, v in content.items() if isinstance(v, Tensor)}


def _slices(images: Tensor) -> list[Tensor]:
    """The image itself, or the three middle slices of a volume, in three colours."""
    if images.ndim == 4:
        return [_colours(images)]
    return [_colours(images.select(axis, images.shape[axis] // 2)) for axis in (2, 3, 4)]


def _colours(images: Tensor) -> Tensor:
    """Three channels: those there are, or the first one three times."""
    return images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)


def _bytes(images: Tensor) -> Tensor:
    """Whole numbers from 0 to 255, as float."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round()
