"""Rectified flow: straight lines from the clean image to noise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from medgen.processes.process import Process, Relations, Time, as_time, logit_normal
from medgen.spelling import one_of

__all__ = ["RectifiedFlow", "shift_time"]


def shift_time(t: Tensor, shift: float) -> Tensor:
    """Return ``shift * t / (1 + (shift - 1) * t)`` (Esser et al. 2403.03206, eq. 23); 1 / shift undoes it."""
    return shift * t / (1 + (shift - 1) * t)


class RectifiedFlow(Process):
    """Straight paths, ``noisy = (1 - t) * clean + t * noise`` (Liu et al. 2209.03003; Lipman et al. 2210.02747).

    The network learns the velocity ``noise - clean`` and is told 1000 t.

    Args:
        times: training times: "uniform", or "logit_normal" (Esser et al. 2403.03206, section 3.1).
        mean: mean of ln(t / (1 - t)) for "logit_normal".
        std: its standard deviation, > 0.
        shift: > 0; above 1 moves training times and the uniform sampling grid to the noisy side, as large images need.
        negate: the network learns ``clean - noise`` instead, as those trained with MONAI's RFlowScheduler do.
        time_scale: what t = 1 is called when the network is told the time.

    Raises:
        ValueError: for unknown times, or a std, shift or time_scale that is not positive.
    """

    prediction = "flow"

    def __init__(
        self,
        times: str = "logit_normal",
        mean: float = 0.0,
        std: float = 1.0,
        shift: float = 1.0,
        negate: bool = False,
        time_scale: float = 1000.0,
    ) -> None:
        self.times = one_of("times", times, ("uniform", "logit_normal"))
        for name, value in (("std", std), ("shift", shift), ("time_scale", time_scale)):
            if not value > 0:
                raise ValueError(f"{name} must be positive, found {value!r}")
        self.mean, self.std, self.shift = float(mean), float(std), float(shift)
        self.negate, self.time_scale = bool(negate), float(time_scale)

    def alpha(self, t: Time) -> Tensor:
        """Return 1 - t."""
        return 1 - as_time(t)

    def sigma(self, t: Time) -> Tensor:
        """Return t."""
        return as_time(t)

    def network_time(self, t: Time) -> Tensor:
        """Return t times ``time_scale``."""
        return self.time_scale * as_time(t)

    def training_times(self, uniform: Tensor) -> Tensor:
        """Return uniform or logit-normal times, shifted."""
        t = as_time(uniform) if self.times == "uniform" else logit_normal(uniform, self.mean, self.std)
        return shift_time(t, self.shift)

    def relations(self, t: Time) -> Relations:
        """Return clean = noisy - t * velocity, noise = noisy + (1 - t) * velocity."""
        t = as_time(t)
        one, sign = torch.ones_like(t), -1.0 if self.negate else 1.0
        return Relations(one, -sign * t, one, sign * (1 - t), -sign * one, sign * one)

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain JSON values."""
        return {
            "times": self.times,
            "mean": self.mean,
            "std": self.std,
            "shift": self.shift,
            "negate": self.negate,
            "time_scale": self.time_scale,
        }
