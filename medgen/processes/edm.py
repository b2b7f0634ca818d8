"""EDM: variance-exploding noise with the preconditioning of Karras et al."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from medgen.processes.process import Process, Relations, Time, as_time, expand_like

__all__ = ["EDM"]


class EDM(Process):
    """Noise added to an unscaled image, ``noisy = clean + sigma(t) * noise`` (Karras et al. 2206.00364, table 1).

    The map from time to noise level is ``sigma(t) = sigma_max * t ** rho``, so that t = 0 is clean, and the paper's
    time steps (eq. 5) are equally spaced in t, from 1 down to ``(sigma_min / sigma_max) ** (1 / rho)``, then 0: the
    "karras" grid. The network F sees ``c_in * noisy`` and ``ln(sigma) / 4``, and ``clean = c_skip * noisy + c_out * F``
    (eq. 7). Its target is F's own, so that a plain squared error on it is the paper's loss with its weight
    ``lambda(sigma) = 1 / c_out²``.

    Args:
        sigma_data: standard deviation of the clean images; 0.5 suits [-1, 1].
        sigma_min: lowest noise level that the sampling grid visits and that the network is told.
        sigma_max: noise level at t = 1.
        rho: exponent of the map.
        log_mean: mean of ln(sigma) in training (P_mean).
        log_std: its standard deviation (P_std).

    Raises:
        ValueError: unless 0 < sigma_min < sigma_max, and sigma_data, rho and log_std are positive.
    """

    prediction = "edm"
    spacing = "karras"

    def __init__(
        self,
        sigma_data: float = 0.5,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        rho: float = 7.0,
        log_mean: float = -1.2,
        log_std: float = 1.2,
    ) -> None:
        if not 0 < sigma_min < sigma_max:
            raise ValueError(f"expected 0 < sigma_min < sigma_max, found {sigma_min!r} and {sigma_max!r}")
        for name, value in (("sigma_data", sigma_data), ("rho", rho), ("log_std", log_std)):
            if not value > 0:
                raise ValueError(f"{name} must be positive, found {value!r}")
        self.sigma_data, self.sigma_min, self.sigma_max = float(sigma_data), float(sigma_min), float(sigma_max)
        self.rho, self.log_mean, self.log_std = float(rho), float(log_mean), float(log_std)
        self.noise_range = (self.sigma_min, self.sigma_max)

    def alpha(self, t: Time) -> Tensor:
        """Return 1."""
        return torch.ones_like(as_time(t))

    def sigma(self, t: Time) -> Tensor:
        """Return sigma_max * t ** rho."""
        return self.sigma_max * as_time(t) ** self.rho

    def time_at(self, log_snr: Time) -> Tensor:
        """Return the time at which ``-2 ln(sigma)`` takes the given value."""
        sigma = torch.exp(-as_time(log_snr) / 2)
        return ((sigma / self.sigma_max) ** (1 / self.rho)).clamp(max=1.0)

    def network_time(self, t: Time) -> Tensor:
        """Return ln(sigma) / 4, that of sigma_min where there is less noise."""
        return torch.log(self.sigma(t).clamp(min=self.sigma_min)) / 4

    def network_input(self, noisy: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """Return ``c_in * noisy`` and ``ln(sigma) / 4``."""
        noisy, time = super().network_input(noisy, t)
        return noisy * expand_like(1 / self._total(t), noisy), time

    def prior(self, noise: Tensor) -> Tensor:
        """Return sigma_max * noise."""
        return noise * self.sigma_max

    def training_times(self, uniform: Tensor) -> Tensor:
        """Return times whose ln(sigma) is normal with mean ``log_mean`` and standard deviation ``log_std``."""
        log_sigma = self.log_mean + self.log_std * torch.special.ndtri(as_time(uniform))
        return torch.exp((log_sigma - math.log(self.sigma_max)) / self.rho).clamp(max=1.0)

    def _total(self, t: Time) -> Tensor:
        """Return the standard deviation of the noisy image."""
        return torch.sqrt(self.sigma(t) ** 2 + self.sigma_data**2)

    def relations(self, t: Time) -> Relations:
        """Return c_skip, c_out (table 1) and what follows for the noise and the target, free of 0 / 0 at t = 0."""
        sigma, total, data = self.sigma(t), self._total(t), self.sigma_data
        return Relations(
            clean_noisy=data**2 / total**2,
            clean_prediction=sigma * data / total,
            noise_noisy=sigma / total**2,
            noise_prediction=-data / total,
            target_clean=sigma / (data * total),
            target_noise=-data / total,
        )

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain JSON values."""
        names = ("sigma_data", "sigma_min", "sigma_max", "rho", "log_mean", "log_std")
        return {name: getattr(self, name) for name in names}
