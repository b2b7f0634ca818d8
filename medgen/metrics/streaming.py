"""The distances as ignite metrics: fed batch by batch on an engine, over all processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced
from numpy.typing import NDArray
from torch import Tensor

from medgen.metrics.frechet import frechet_of_moments
from medgen.metrics.gathering import gathered, number_of, summed
from medgen.metrics.inception_score import InceptionScore, inception_score
from medgen.metrics.kernel import KernelDistance, kernel_distance
from medgen.metrics.manifold import Manifold, manifold_figures
from medgen.metrics.ms_ssim import sample_ms_ssim

__all__ = [
    "FrechetDistanceMetric",
    "InceptionScoreMetric",
    "KernelDistanceMetric",
    "ManifoldMetric",
    "SampleMSSSIMMetric",
]

Features = Callable[[Tensor], Any]


class _SampleMetric(Metric):
    """What the metrics here share: ``(generated, real)`` batches, features in float64, all processes.

    Args:
        features: turns a batch of images into features ``(B, D)``, tensor or array; None where the engine gives
            features already.
        output_transform: turns the engine's output into ``(generated, real)``; either may be None.
    """

    def __init__(
        self, features: Features | None = None, output_transform: Callable[[Any], Any] = lambda output: output
    ) -> None:
        self.features = features
        # features and sums are on the CPU, in float64, which not every accelerator has
        super().__init__(output_transform=output_transform, device="cpu")

    def _of(self, images: Tensor) -> Tensor:
        found = images if self.features is None else self.features(images)
        values = torch.as_tensor(found).detach().to("cpu", torch.float64)
        if values.ndim != 2:
            raise ValueError(
                f"{type(self).__name__}: expected features of shape (batch, width), found {tuple(values.shape)}"
            )
        return values

    def _pair(self, output: Any) -> tuple[Tensor | None, Tensor | None]:
        if not isinstance(output, (tuple, list)) or len(output) != 2:
            raise ValueError(f"{type(self).__name__}: expected (generated, real), found {type(output).__name__}")
        return output[0], output[1]


class FrechetDistanceMetric(_SampleMetric):
    """:func:`medgen.metrics.frechet_distance` of batches; only sums are kept, whatever the number of images.

    Count, sum and sum of products of features less a fixed origin (the first batch's mean on rank 0, so that nothing
    cancels) are added up in float64, over all processes. Arguments are those of the base class.
    """

    @reinit__is_reduced
    def reset(self) -> None:
        """Forget everything."""
        self._origin: Tensor | None = None
        self._sums: list[tuple[Tensor, Tensor, Tensor] | None] = [None, None]

    @reinit__is_reduced
    def update(self, output: Any) -> None:
        """Add a batch ``(generated, real)``."""
        for side, images in enumerate(self._pair(output)):
            if images is None or not len(images):
                continue
            values = self._of(images)
            if self._origin is None:
                self._origin = values.mean(0)
            centred = values - self._origin
            new = (torch.tensor(float(len(values)), dtype=torch.float64), centred.sum(0), centred.T @ centred)
            old = self._sums[side]
            self._sums[side] = new if old is None else tuple(a + b for a, b in zip(old, new, strict=True))  # type: ignore[assignment]

    def compute(self) -> float:
        """Return the distance over all processes."""
        origins = gathered(None if self._origin is None else self._origin[None])
        if not len(origins):
            raise NotComputableError("FrechetDistanceMetric: no batch was given")
        origin = origins[0]
        moments = []
        for name, sums in zip(("generated", "real"), self._sums, strict=True):
            width = len(origin)
            count = torch.zeros((), dtype=torch.float64)
            total, products = torch.zeros(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64)
            if sums is not None and self._origin is not None:
                shift = self._origin - origin  # what every process centred by, moved to rank 0's
                count, (n, s, p) = sums[0].clone(), sums
                total = s + n * shift
                products = p + torch.outer(s, shift) + torch.outer(shift, s) + n * torch.outer(shift, shift)
            count, total, products = (summed(x) for x in (count, total, products))
            if count < 2:
                raise NotComputableError(f"FrechetDistanceMetric: {int(count)} {name} images; expected two or more")
            mean = total / count
            covariance = (products - count * torch.outer(mean, mean)) / (count - 1)
            moments.append((mean.numpy(), covariance.numpy()))
        return frechet_of_moments(*moments[0], *moments[1])


class _Collecting(_SampleMetric):
    """A metric that needs all features of both sides, and the subjects of images that are not independent.

    Batches are ``(generated, real)``, or ``(generated, real, subjects of generated, subjects of real)`` with a list of
    names a side, or None for a side whose images are each their own.
    """

    @reinit__is_reduced
    def reset(self) -> None:
        """Forget everything."""
        self._kept: tuple[list[Tensor], list[Tensor]] = ([], [])
        self._names: tuple[list[Tensor], list[Tensor]] = ([], [])

    @reinit__is_reduced
    def update(self, output: Any) -> None:
        """Add a batch."""
        named = isinstance(output, (tuple, list)) and len(output) == 4
        pair, subjects = self._pair(output[:2] if named else output), output[2:] if named else (None, None)
        for kept, names, images, own in zip(self._kept, self._names, pair, subjects, strict=True):
            if images is None or not len(images):
                continue
            if own is not None and len(own) != len(images):
                raise ValueError(f"{type(self).__name__}: expected {len(images)} subjects of a batch, found {len(own)}")
            kept.append(self._of(images))
            if own is not None:
                names.append(torch.tensor([[number_of(str(name))] for name in own], dtype=torch.float64))

    def _all(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        sides = [gathered(torch.cat(kept) if kept else None).numpy() for kept in self._kept]
        if not all(len(side) for side in sides):
            raise NotComputableError(
                f"{type(self).__name__}: {len(sides[0])} generated and {len(sides[1])} real images; expected both"
            )
        return sides[0], sides[1]

    def _groups(self) -> list[list[int] | None]:
        """Numbers of the subjects of either side over all processes; None where none was named."""
        found: list[list[int] | None] = []
        for side, kept, names in zip(("generated", "real"), self._kept, self._names, strict=True):
            numbers = gathered(torch.cat(names) if names else None).flatten().tolist()
            count = len(gathered(torch.cat([part[:, :1] for part in kept]) if kept else None))
            if len(numbers) not in (0, count):
                raise ValueError(
                    f"{type(self).__name__}: subjects of {len(numbers)} of {count} {side} images; expected all or none"
                )
            found.append([int(number) for number in numbers] or None)
        return found


class KernelDistanceMetric(_Collecting):
    """:func:`medgen.metrics.kernel_distance` of batches, with its error.

    Arguments are those of the base class. Give the subjects of slices with the batches, ``(generated, real, subjects of
    generated, subjects of real)``, or the error takes them for independent; the subject of a generated image is the one
    whose covariates were asked for.
    """

    def compute(self) -> KernelDistance:
        """Return the distance over all processes."""
        return kernel_distance(*self._all(), *self._groups())


class ManifoldMetric(_Collecting):
    """Precision, recall, density and coverage of batches (:func:`medgen.metrics.manifold_figures`).

    With the subjects of real slices, ``(generated, real, None, subjects of real)``, slices of one brain are not each
    other's neighbours.

    Args:
        k: the neighbour that a neighbourhood reaches.
        features: as in the base class.
        output_transform: as in the base class.
    """

    def __init__(
        self,
        k: int = 5,
        features: Features | None = None,
        output_transform: Callable[[Any], Any] = lambda output: output,
    ) -> None:
        self.k = k
        super().__init__(features, output_transform)

    def compute(self) -> Manifold:
        """Return the four figures over all processes."""
        generated, real = self._all()
        of_generated, of_real = self._groups()
        return manifold_figures(real, generated, self.k, of_real, of_generated)


class InceptionScoreMetric(_SampleMetric):
    """:func:`medgen.metrics.inception_score` of batches of class probabilities.

    Args:
        splits: parts that the score is computed in.
        features: turns images into class probabilities ``(B, K)``.
        output_transform: turns the engine's output into the batch of images or probabilities.
    """

    def __init__(
        self,
        splits: int = 1,
        features: Features | None = None,
        output_transform: Callable[[Any], Any] = lambda output: output,
    ) -> None:
        self.splits = splits
        super().__init__(features, output_transform)

    @reinit__is_reduced
    def reset(self) -> None:
        """Forget everything."""
        self._kept: list[Tensor] = []

    @reinit__is_reduced
    def update(self, output: Tensor) -> None:
        """Add a batch."""
        self._kept.append(self._of(output))

    def compute(self) -> InceptionScore:
        """Return the score over all processes."""
        everything = gathered(torch.cat(self._kept) if self._kept else None)
        if not len(everything):
            raise NotComputableError("InceptionScoreMetric: no batch was given")
        return inception_score(everything.numpy(), self.splits)


class SampleMSSSIMMetric(Metric):
    """:func:`medgen.metrics.sample_ms_ssim` of the first images of batches.

    Args:
        pairs: pairs compared.
        images: images kept by each process.
        output_transform: turns the engine's output into a batch ``(B, C, *spatial)`` in [-1, 1].
        device: where MS-SSIM is computed.
    """

    def __init__(
        self,
        pairs: int = 500,
        images: int = 512,
        output_transform: Callable[[Any], Any] = lambda output: output,
        device: str | torch.device = "cpu",
    ) -> None:
        self.pairs, self.images = pairs, images
        super().__init__(output_transform=output_transform, device=device)

    @reinit__is_reduced
    def reset(self) -> None:
        """Forget everything."""
        self._kept: list[Tensor] = []
        self._count = 0

    @reinit__is_reduced
    def update(self, output: Tensor) -> None:
        """Add a batch."""
        wanted = output.detach()[: max(0, self.images - self._count)].to("cpu", torch.float32)
        self._count += len(wanted)
        if len(wanted):
            self._kept.append(wanted)

    def compute(self) -> float:
        """Return the mean over all processes."""
        everything = gathered(torch.cat(self._kept) if self._kept else None)
        if len(everything) < 2:
            raise NotComputableError(f"SampleMSSSIMMetric: {len(everything)} images; expected two or more")
        return sample_ms_ssim(everything.to(self._device), pairs=self.pairs)
