"""What the codecs of autoencoders share: a frozen network, and a latent space of mean 0 and variance 1."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from torch import nn

__all__ = ["Codec"]

logger = logging.getLogger(__name__)


class Codec(nn.Module):
    r"""An autoencoder with a standardised latent space (Rombach et al., arXiv 2112.10752, section 3.1 and appendix G).

    The autoencoder's latent :math:`z` is handed on as :math:`(z - shift_c) / scale_c` for each channel c, where
    shift and scale are mean and standard deviation over the training set, :meth:`measure`. So the process meets data of
    mean 0 and variance 1, which its noise schedule supposes, and :meth:`decode` undoes it.

    A codec is frozen: it computes in float32 whatever the autocast around it, in evaluation mode, without gradients.
    Its state is that of ``autoencoder``, and the buffers ``shift`` and ``scale`` ``(C',)``. It works in 2D and 3D.

    Args:
        autoencoder: as MONAI makes it; it can be trained beside, and keeps its own mode then.
        latent_channels: channels C' of the latent.
        image_channels: channels C of the image.

    Attributes:
        sha256: of the file that the weights came from; None before they were loaded.
        source: that file.
    """

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, autoencoder: nn.Module, latent_channels: int, image_channels: int) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.latent_channels, self.image_channels = latent_channels, image_channels
        self.sha256: str | None = None
        self.source: Path | None = None
        self.register_buffer("shift", torch.zeros(latent_channels))
        self.register_buffer("scale", torch.ones(latent_channels))

    @abstractmethod
    def _posterior(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation of the latent of an image, as the autoencoder has them."""

    @abstractmethod
    def _image(self, latent: torch.Tensor) -> torch.Tensor:
        """Return the image of a latent as the autoencoder has it."""

    @abstractmethod
    def _encoded_side(self, side: int) -> int:
        """Return the side of the latent of an image with this side."""

    @abstractmethod
    def _decoded_side(self, side: int) -> int:
        """Return the side of the image of a latent with this side."""

    def encode(self, image: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return the standardised latent of an image.

        Args:
            image: ``(B, C, *spatial)`` in [-1, 1].
            generator: draws the latent from the autoencoder's posterior; None gives the posterior's mean.

        Returns:
            ``(B, C', *latent)`` float32.

        Raises:
            ValueError: when channels or sides do not fit the autoencoder.
        """
        return self.draw(*self.moments(image), generator)

    @staticmethod
    def draw(mean: torch.Tensor, std: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return a latent with these :meth:`moments`, drawn by ``generator``; without one, the mean."""
        if generator is None:
            return mean
        noise = torch.randn(mean.shape, generator=generator, device=generator.device, dtype=torch.float32)
        return mean + std * noise.to(mean.device)

    def moments(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation ``(B, C', *latent)`` of the standardised latent of ``image``.

        Raises:
            ValueError: when channels or sides do not fit the autoencoder.
        """
        expected = self.latent_shape(tuple(image.shape[1:]))
        with _frozen(self.autoencoder, image.device.type):
            mean, std = self._posterior(image.float())
            if tuple(mean.shape[1:]) != expected:
                raise ValueError(f"autoencoder: gave a latent of shape {tuple(mean.shape[1:])}, expected {expected}")
            return (mean - self._of(self.shift, mean)) / self._of(self.scale, mean), std / self._of(self.scale, mean)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Return the image ``(B, C, *spatial)`` float32 of a standardised latent ``(B, C', *latent)``."""
        with _frozen(self.autoencoder, latent.device.type):
            latent = latent.float()
            return self._image(latent * self._of(self.scale, latent) + self._of(self.shift, latent)).float()

    def latent_shape(self, image_shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape ``(C', *latent)`` of the latent of an image of shape ``(C, *spatial)``.

        Raises:
            ValueError: when the image has other channels than the autoencoder, or a side that would not come back.
        """
        channels, *spatial = image_shape
        if channels != self.image_channels:
            raise ValueError(f"codec: takes images of {self.image_channels} channels, found {channels}")
        sides = [self._encoded_side(side) for side in spatial]
        for side, encoded in zip(spatial, sides, strict=True):
            if encoded < 1 or self._decoded_side(encoded) != side:
                near = sorted({self._decoded_side(max(n, 1)) for n in (encoded, encoded + 1)})
                raise ValueError(
                    f"codec: an image of {tuple(spatial)} does not survive its downsampling: {side} comes back as "
                    f"{self._decoded_side(max(encoded, 1))}; choose an image_size of {' or '.join(map(str, near))}"
                )
        return (self.latent_channels, *sides)

    def image_shape(self, latent_shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape ``(C, *spatial)`` of the image of a latent of shape ``(C', *latent)``."""
        return (self.image_channels, *(self._decoded_side(side) for side in latent_shape[1:]))

    def check_network(self, network_channels: int) -> None:
        """Refuse a generative network of other channels than the latent's, before hours are spent.

        Raises:
            ValueError: when they differ.
        """
        if network_channels != self.latent_channels:
            raise ValueError(
                f"network_def: works on {network_channels} channels, the codec's latents have {self.latent_channels}"
            )

    def measure(self, batches: Iterable[Any]) -> None:
        """Set ``shift`` and ``scale`` so that latents drawn over all ``batches`` have mean 0 and variance 1.

        The variance is that of what :meth:`encode` draws: of the posterior means, and the mean of the posterior
        variances. Sums are float64. Several processes add up their batches and take the first one's result.

        Args:
            batches: with "image" ``(B, C, *spatial)``, in one pass; for example a
                :class:`medgen.data.BatchLoader` of the training set with ``shuffle=False``.

        Raises:
            ValueError: when there is no image, the batches never end, or a latent is not finite.
        """
        if getattr(batches, "shuffle", False):
            raise ValueError("measure: expected one pass over the images, found an endless stream (shuffle=True)")
        self.shift.zero_()
        self.scale.fill_(1.0)
        sums = torch.zeros(2, self.latent_channels, dtype=torch.float64)
        count = torch.zeros(1, dtype=torch.float64)
        for batch in batches:
            mean, std = (part.double().cpu() for part in self.moments(batch["image"].to(self.shift.device)))
            along = [0, *range(2, mean.ndim)]
            sums += torch.stack((mean.sum(along), (mean.square() + std.square()).sum(along)))
            count += mean.numel() // self.latent_channels
        totals = torch.cat((sums.flatten(), count))
        if idist.get_world_size() > 1:
            shared: Any = idist.broadcast(idist.all_reduce(totals.to(idist.device())), src=0)  # type: ignore[arg-type]
            totals = shared.cpu()
        number = float(totals[-1])
        if not number or not bool(torch.isfinite(totals).all()):
            found = "latents that are not finite" if number else "no image"
            raise ValueError(f"measure: found {found}, expected images whose latents have a mean and a variance")
        first, second = totals[:-1].reshape(2, -1) / number
        scale = (second - first.square()).clamp_min(0.0).sqrt()
        constant = (scale < 1e-6).nonzero().flatten().tolist()
        if constant:
            logger.warning("the latent's channels %s are the same in every image: they carry nothing", constant)
            scale[constant] = 1.0
        self.shift.copy_(first)
        self.scale.copy_(scale)

    def train(self, mode: bool = True) -> Codec:
        """Return the codec as it is: it is frozen, and who trains the autoencoder sets its mode."""
        return self

    def freeze(self) -> Codec:
        """Put the autoencoder into evaluation mode, and let none of its weights have a gradient."""
        self.autoencoder.eval().requires_grad_(False)
        return self

    @staticmethod
    def _of(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return values.to(like.device).reshape(1, -1, *[1] * (like.ndim - 2))


@contextmanager
def _frozen(network: nn.Module, device_type: str) -> Iterator[None]:
    """No gradients, no autocast, and evaluation mode; afterwards the network's own mode again."""
    training = network.training
    with torch.no_grad(), torch.autocast(device_type, enabled=False):
        network.train(False)
        try:
            yield
        finally:
            if training:
                network.train()
