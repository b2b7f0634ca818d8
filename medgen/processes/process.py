"""What every process answers: how a clean image becomes noise, and how a prediction becomes an image again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Estimate", "Process", "Time", "expand_like", "solver_dtype"]

Time = float | Tensor


class Estimate(NamedTuple):
    """What a network's prediction says about a noisy image: the clean image and the noise in it.

    Attributes:
        clean: estimate of the clean image, ``(B, C, *spatial)``, float32 or float64.
        noise: estimate of the unit-variance noise, same shape and dtype.
    """

    clean: Tensor
    noise: Tensor


class Relations(NamedTuple):
    """The six coefficients that tie clean image, noise, noisy image and prediction together at one time.

    ``clean = clean_noisy * noisy + clean_prediction * prediction``;
    ``noise = noise_noisy * noisy + noise_prediction * prediction``;
    ``target = target_clean * clean + target_noise * noise``.
    """

    clean_noisy: Tensor
    clean_prediction: Tensor
    noise_noisy: Tensor
    noise_prediction: Tensor
    target_clean: Tensor
    target_noise: Tensor


def solver_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return ``dtype`` where it is float32 or float64, and float32 for anything narrower."""
    return torch.promote_types(dtype, torch.float32)


def as_time(t: Time) -> Tensor:
    """Return ``t`` as a float64 tensor (float32 on devices that have no float64) of the same shape."""
    t = torch.as_tensor(t, dtype=None if isinstance(t, Tensor) else torch.float64)
    return t.to(torch.float32 if t.device.type == "mps" else torch.float64)


def expand_like(coefficient: Tensor, image: Tensor) -> Tensor:
    """Give a scalar or ``(B,)`` coefficient trailing axes so that it multiplies ``(B, C, *spatial)``.

    Args:
        coefficient: tensor of shape ``()`` or ``(B,)``.
        image: tensor whose number of axes, device and (at least float32) dtype the result takes.
    """
    coefficient = coefficient.to(device=image.device, dtype=solver_dtype(image.dtype))
    return coefficient.reshape(coefficient.shape + (1,) * (image.ndim - coefficient.ndim))


def logit_normal(uniform: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Turn uniform numbers into logit-normal ones (Esser et al. 2403.03206, section 3.1)."""
    return torch.sigmoid(mean + std * torch.special.ndtri(as_time(uniform)))


class Process(ABC):
    """A Gaussian process from a clean image (t = 0) to noise (t = 1).

    ``noisy = alpha(t) * clean + sigma(t) * noise``. A subclass states ``alpha``, ``sigma``, the times to train at, the
    time its network is told, and the linear relations between its prediction, the clean image and the noise.

    Attributes:
        prediction: what the network learns: "noise", "clean", "v", "flow" or "edm".
        start: the time in (0, 1] where sampling starts.
        table: number of discrete times, or None where time is continuous.
        spacing: the time grid that suits the process (see :func:`medgen.samplers.time_grid`).
        noise_range: smallest and largest sigma / alpha of the "karras" and "log_snr" grids.
        shift: how strongly the uniform grid and training times lean to the noisy side (1: not at all).
    """

    prediction: str
    start: float = 1.0
    table: int | None = None
    spacing: str = "uniform"
    noise_range: tuple[float, float] = (0.002, 80.0)
    shift: float = 1.0

    @abstractmethod
    def alpha(self, t: Time) -> Tensor:
        """Return the factor on the clean image, float64, of ``t``'s shape."""

    @abstractmethod
    def sigma(self, t: Time) -> Tensor:
        """Return the factor on the noise, float64, of ``t``'s shape."""

    @abstractmethod
    def network_time(self, t: Time) -> Tensor:
        """Return the time as the network is told it, float64, of ``t``'s shape."""

    @abstractmethod
    def training_times(self, uniform: Tensor) -> Tensor:
        """Turn uniform random numbers into training times.

        Args:
            uniform: ``(B,)`` float64 in [0, 1); the caller owns the randomness, so draws may be stratified.

        Returns:
            ``(B,)`` float64 times in [0, 1].
        """

    @abstractmethod
    def relations(self, t: Time) -> Relations:
        """Return the coefficients of :class:`Relations` at ``t``."""

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain JSON values."""

    def log_snr(self, t: Time) -> Tensor:
        """Return ``ln(alpha² / sigma²)``, float64: +inf where there is no noise, -inf where there is no image."""
        return 2 * (torch.log(self.alpha(t)) - torch.log(self.sigma(t)))

    def time_at(self, log_snr: Time) -> Tensor:
        """Return the time in [0, 1] at which :meth:`log_snr` takes the given value (bisection, float64)."""
        wanted = as_time(log_snr)
        low, high = torch.zeros_like(wanted), torch.ones_like(wanted)
        for _ in range(100):
            middle = (low + high) / 2
            cleaner = self.log_snr(middle) > wanted
            low, high = torch.where(cleaner, middle, low), torch.where(cleaner, high, middle)
        return high

    def corrupt(self, clean: Tensor, noise: Tensor, t: Time) -> Tensor:
        """Return ``alpha(t) * clean + sigma(t) * noise``.

        Args:
            clean: ``(B, C, *spatial)``.
            noise: standard normal, same shape.
            t: ``(B,)`` tensor or float in [0, 1].

        Returns:
            The noisy images, float32 or float64.
        """
        return expand_like(self.alpha(t), clean) * clean + expand_like(self.sigma(t), clean) * noise

    def prior(self, noise: Tensor) -> Tensor:
        """Return what sampling starts from at :attr:`start`, given standard normal noise."""
        return noise

    def network_input(self, noisy: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """Return the image and the time that the network is given.

        Args:
            noisy: ``(B, C, *spatial)``.
            t: ``(B,)`` tensor or float in [0, 1].

        Returns:
            The (scaled) image, and the network's time ``(B,)``; float32 or float64.
        """
        time = self.network_time(t).to(device=noisy.device, dtype=solver_dtype(noisy.dtype))
        return noisy, time.expand(noisy.shape[0])

    def target(self, clean: Tensor, noise: Tensor, t: Time) -> Tensor:
        """Return what the network should predict for ``corrupt(clean, noise, t)``; shapes as there."""
        relations = self.relations(t)
        return expand_like(relations.target_clean, clean) * clean + expand_like(relations.target_noise, clean) * noise

    def estimate(self, prediction: Tensor, noisy: Tensor, t: Time) -> Estimate:
        """Turn the network's prediction into a clean image and a noise estimate.

        Args:
            prediction: the network's output, ``(B, C, *spatial)``, any floating dtype.
            noisy: the noisy images it was made for.
            t: their time, ``(B,)`` tensor or float in [0, 1].

        Returns:
            An :class:`Estimate` in float32 or better, finite at both ends of time.
        """
        dtype = torch.promote_types(solver_dtype(noisy.dtype), prediction.dtype)
        noisy, prediction = noisy.to(dtype), prediction.to(dtype)
        relations = Relations(*(expand_like(coefficient, noisy) for coefficient in self.relations(t)))
        return Estimate(
            clean=relations.clean_noisy * noisy + relations.clean_prediction * prediction,
            noise=relations.noise_noisy * noisy + relations.noise_prediction * prediction,
        )

    def to_dict(self) -> dict[str, Any]:
        """Describe the process in plain JSON, as MONAI's ConfigParser and :func:`process_from_dict` read it."""
        return {"_target_": f"medgen.processes.{type(self).__name__}", **self.arguments()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Process) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(repr(self.to_dict()))

    def __repr__(self) -> str:
        shown = {
            name: f"[{len(value)} values]" if isinstance(value, list) else value
            for name, value in self.arguments().items()
            if value is not None
        }
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"
