"""Images between two images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medgen.covariates import Covariates
from medgen.inferers.inversion import Inversion, strength_time, times_from
from medgen.processes.process import Process
from medgen.samplers.sampler import Sampler

__all__ = ["Interpolate", "between_covariates", "slerp"]

_PARALLEL = 1e-4  # rad; below, the straight line is the arc to float32's last digit


def slerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Go along the great circle between two noises of each row (Shoemake 1985; for DDIM: 2010.02502, appendix D.5).

    ``(sin((1 - share) angle) first + sin(share angle) second) / sin(angle)``: between two standard normal noises, which
    are nearly orthogonal and of one length, this keeps the length, which the straight line does not. Rows that are
    nearly parallel take the straight line.

    Args:
        first: ``(N, ...)``.
        second: like ``first``.
        share: 0 gives ``first``, 1 gives ``second``, exactly.

    Raises:
        ValueError: when a row of ``second`` points opposite to ``first``, so that there is no one arc between them.
    """
    wide = torch.float32 if first.device.type == "mps" else torch.float64  # where there is no float64
    a, b = first.to(wide).flatten(1), second.to(wide).flatten(1)
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-30)
    angle = torch.arccos(cosine.clamp(-1, 1))
    if bool((angle > torch.pi - _PARALLEL).any()):
        raise ValueError("slerp: found two opposite noises, expected some angle below 180 degrees")
    near = angle < _PARALLEL
    sine = torch.where(near, torch.ones_like(angle), torch.sin(angle))
    weights = []
    for part in (1 - share, share):
        arc = torch.sin(part * angle) / sine
        weights.append(torch.where(near, torch.full_like(angle, part), arc)[:, None])
    return (weights[0] * a + weights[1] * b).reshape(first.shape).to(first.dtype)


def between_covariates(first: Tensor, second: Tensor, share: float, covariates: Covariates | None = None) -> Tensor:
    """Return covariates between those of two images.

    Numbers go linearly. A label has no middle, so it is that of the nearer image (at exactly half way, of the first),
    and so is a number that is unknown on one side.

    Args:
        first: ``(N, K)``, NaN where unknown.
        second: like ``first``.
        share: 0 gives ``first``, 1 gives ``second``.
        covariates: the declaration, which says which are labels; None takes all for numbers.

    Example:
        >>> declared = Covariates(diagnosis=["NC", "AD"], age={"low": 18, "high": 100})
        >>> between_covariates(torch.tensor([[0.0, 60.0]]), torch.tensor([[1.0, 80.0]]), 0.75, declared).tolist()
        [[1.0, 75.0]]
    """
    nearer = first if share <= 0.5 else second
    linear = (1 - share) * first + share * second
    step = linear.isnan()
    if covariates is not None:
        step[:, [covariates.index(name) for name in covariates.categorical]] = True
    return torch.where(step, nearer, linear)


class Interpolate(Inversion):
    """Show what lies between two images: spherical between their noises, covariates in between.

    Both images are inverted with their own covariates, see :class:`medgen.inferers.Translate`; the ends of the series
    are the two images up to the error of the inversion. What lies between is nobody's image.

    Args:
        process: the process the network was trained with.
        sampler: a deterministic solver, its steps, and the guidance of the way back.
        covariates: the declaration, see :func:`between_covariates`.
        n: images of a series, both ends included.
        strength: in (0, 1], the time where the noises are mixed; 1 is pure noise.
        codec: encodes images and decodes latents; None for pixel models.
        refinements: of every inversion step.
        progress: show a progress bar.

    Raises:
        ValueError: for a stochastic sampler, or arguments out of range.
    """

    def __init__(
        self,
        process: Process,
        sampler: Sampler,
        covariates: Covariates | None = None,
        n: int = 7,
        strength: float = 1.0,
        codec: Any = None,
        refinements: int = 0,
        progress: bool = False,
    ) -> None:
        super().__init__(process, sampler, codec, refinements, progress)
        if isinstance(n, bool) or not isinstance(n, int) or n < 2:
            raise ValueError(f"n: expected a whole number of at least 2, both ends included, found {n!r}")
        if strength_time(process, strength) == 0:
            raise ValueError("strength: found 0, expected a number in (0, 1]; images cannot be mixed without noise")
        self.covariates, self.n, self.strength = covariates, n, strength

    @property
    def shares(self) -> list[float]:
        """How far along each image of a series lies, from 0 to 1."""
        return [i / (self.n - 1) for i in range(self.n)]

    def __call__(  # type: ignore[override]
        self,
        inputs: Tensor,
        network: Any,
        other: Tensor,
        source: Tensor | None = None,
        target: Tensor | None = None,
    ) -> Tensor:
        """Interpolate.

        Args:
            inputs: ``(N, C, *spatial)`` images in [-1, 1], the first of each pair.
            network: on the device to compute on.
            other: the second of each pair.
            source: ``(N, K)`` covariates of the first, NaN where unknown; None without covariates.
            target: those of the second.

        Returns:
            ``(N, n, C, *spatial)`` float32 on the CPU.

        Raises:
            ValueError: when the two sides differ in shape, or covariates are given on one side only.
        """
        if inputs.shape != other.shape:
            raise ValueError(f"other: expected {tuple(inputs.shape)} as the inputs, found {tuple(other.shape)}")
        if (source is None) != (target is None):
            raise ValueError("source and target belong together: expected both or neither")
        times = times_from(self.sampler, self.process, strength_time(self.process, self.strength))

        def work(part: Any, denoiser: Any) -> Tensor:
            ends = [(part["inputs"], part.get("source")), (part["other"], part.get("target"))]
            noises = [self.to_noise(denoiser(rows, guidance=1.0), self.encode(image), times) for image, rows in ends]
            made = []
            for share in self.shares:
                rows = None
                if "source" in part:
                    rows = between_covariates(part["source"], part["target"], share, self.covariates)
                mixed = slerp(noises[0], noises[1], share)
                made.append(self.decode(self.to_clean(denoiser(rows), mixed, times)))
            return torch.stack(made, 1)

        rows = {"inputs": inputs, "other": other, "source": source, "target": target}
        return self.batched(network, rows, self.evaluations_of(times, self.n), work)
