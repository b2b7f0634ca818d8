"""Variance-preserving diffusion: alpha² + sigma² = 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medgen.processes.process import Process, Relations, Time, as_time, logit_normal
from medgen.processes.schedules import BETA_RANGES, SCHEDULES, beta_table
from medgen.spelling import one_of

__all__ = ["VariancePreserving"]

# Where an estimate divides by alpha (noise prediction) or by sigma (clean prediction), the divisor stops here: at the
# log-SNR that DDPM's linear schedule ends with, and at the first thousandth of time.
LOWEST_LOG_SNR = -10.1
FIRST_TIME = 1e-3


class VariancePreserving(Process):
    """Diffusion with ``alpha(t)² + sigma(t)² = 1`` (Ho et al. 2006.11239; Kingma et al. 2107.00630).

    Time is continuous and alpha, sigma have a closed form, unless a table is asked for: then index k of the table is
    the time t = (k + 1) / table, the network is told k, and DDPM and DDIM agree with their papers to the digit. Between
    two entries of a table alpha is interpolated linearly and the network is told a fractional k.

    Args:
        schedule: "linear", "scaled_linear", "cosine" or "sigmoid".
        prediction: "noise", "clean" or "v" (``alpha * noise - sigma * clean``, Salimans and Ho 2202.00512).
        table: number of discrete times; None for continuous time.
        beta_start: first beta of a table (for continuous time: of a table of 1000). Default: 1e-4 for "linear" and
            "sigmoid", 8.5e-4 for "scaled_linear", in a table of 1000; in inverse proportion for other sizes. "cosine"
            takes none.
        beta_end: last beta; default 0.02, or 0.012 for "scaled_linear", in the same way.
        betas: an explicit table of betas, instead of ``schedule`` and ``table``.
        alphas_cumprod: an explicit table of alpha², instead of ``schedule`` and ``table``.
        times: "uniform" or "logit_normal", which trains more often in the middle of the noise levels.

    Raises:
        ValueError: for an unknown schedule or prediction, betas outside (0, 1), a table that does not fall, or two
            descriptions of the table at once.

    Example:
        >>> process = VariancePreserving(schedule="linear", prediction="noise", table=1000)
        >>> round(float(process.alpha(1.0)) ** 2, 7)
        4.04e-05
    """

    def __init__(
        self,
        schedule: str = "cosine",
        prediction: str = "v",
        table: int | None = None,
        beta_start: float | None = None,
        beta_end: float | None = None,
        betas: Sequence[float] | Tensor | None = None,
        alphas_cumprod: Sequence[float] | Tensor | None = None,
        times: str = "uniform",
    ) -> None:
        self.prediction = one_of("prediction", prediction, ("noise", "clean", "v"))
        self.schedule = one_of("schedule", schedule, tuple(SCHEDULES))
        self.times = one_of("times", times, ("uniform", "logit_normal"))
        self.beta_start, self.beta_end = beta_start, beta_end
        self._explicit: dict[str, list[float]] = {}
        self._alphas: Tensor | None = None
        self._on_device: dict[torch.device, Tensor] = {}
        if betas is not None or alphas_cumprod is not None:
            if betas is not None and alphas_cumprod is not None:
                raise ValueError("give betas or alphas_cumprod, found both")
            if beta_start is not None or beta_end is not None:
                raise ValueError("beta_start and beta_end describe a schedule; found beside an explicit table")
            name, values = ("betas", betas) if betas is not None else ("alphas_cumprod", alphas_cumprod)
            explicit = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
            self._explicit = {name: explicit.tolist()}
            alpha_bar = torch.cumprod(1 - explicit, dim=0) if name == "betas" else explicit
            self._tabulate(alpha_bar, name)
            if table is not None and table != self.table:
                raise ValueError(f"table is {table}, but {name} has {self.table} values")
        else:
            if (beta_start is not None or beta_end is not None) and schedule == "cosine":
                raise ValueError("the cosine schedule takes no beta_start and no beta_end")
            if table is not None and (isinstance(table, bool) or not isinstance(table, int) or table < 1):
                raise ValueError(f"table must be a positive integer or None, found {table!r}")
            first, last = BETA_RANGES.get(schedule, (0.0, 0.0))
            size = table or 1000
            first = min(first * 1000 / size, 0.999) if beta_start is None else float(beta_start)
            last = min(last * 1000 / size, 0.999) if beta_end is None else float(beta_end)
            if schedule != "cosine" and not 0 < first <= last < 1:
                raise ValueError(f"betas must satisfy 0 < beta_start <= beta_end < 1, found {first} and {last}")
            # continuous time counts beta per unit of t, and a table of 1000 counts it per thousandth
            self._rates = (first * 1000, last * 1000)
            if table is not None:
                self._tabulate(torch.cumprod(1 - beta_table(schedule, table, first, last), dim=0), "the schedule")
        self._set_ends()

    def _tabulate(self, alpha_bar: Tensor, name: str) -> None:
        if alpha_bar.ndim != 1 or len(alpha_bar) < 1:
            raise ValueError(f"{name} must be a list of numbers, found shape {tuple(alpha_bar.shape)}")
        padded = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar])
        if not bool((padded[1:] < padded[:-1]).all()) or float(padded[-1]) < 0:
            raise ValueError(f"{name} must give alpha² that falls strictly from below 1 and stays at or above 0")
        self.table = len(alpha_bar)
        self.spacing = "trailing"
        self._alphas = padded.sqrt()

    def _set_ends(self) -> None:
        self._lowest_sigma = float(self.sigma(FIRST_TIME if self.table is None else 1 / self.table))
        if self.prediction == "noise" and self._alphas is not None and float(self._alphas[-1]) == 0:
            self.start = (len(self._alphas) - 2) / (len(self._alphas) - 1)
        elif self.prediction == "noise" and self.table is None and float(self.log_snr(1.0)) < LOWEST_LOG_SNR:
            self.start = float(self.time_at(LOWEST_LOG_SNR))
        self._lowest_alpha = float(self.alpha(self.start))

    def _position(self, t: Time) -> Tensor:
        """Return t * table, exactly whole where t is an entry of the table up to rounding in float32."""
        position = as_time(t) * (self.table or 1)
        nearest = position.round()
        return torch.where((position - nearest).abs() < 1e-4, nearest, position)

    def _alpha_sigma(self, t: Time) -> tuple[Tensor, Tensor]:
        if self._alphas is None:
            return SCHEDULES[self.schedule](as_time(t), *self._rates)
        position = self._position(t)
        if position.device not in self._on_device:
            self._on_device[position.device] = self._alphas.to(position.device, position.dtype)
        alphas = self._on_device[position.device]
        below = position.floor().clamp(0, len(alphas) - 2)
        index, share = below.long(), position - below
        alpha = (1 - share) * alphas[index] + share * alphas[index + 1]
        return alpha, torch.sqrt((1 - alpha) * (1 + alpha))

    def alpha(self, t: Time) -> Tensor:
        """Return sqrt(alpha_bar) at t."""
        return self._alpha_sigma(t)[0]

    def sigma(self, t: Time) -> Tensor:
        """Return sqrt(1 - alpha_bar) at t."""
        return self._alpha_sigma(t)[1]

    def network_time(self, t: Time) -> Tensor:
        """Return 1000 t for continuous time and the index k = t * table - 1 for a table."""
        if self.table is None:
            return 1000 * as_time(t)
        return (self._position(t) - 1).clamp(min=0)

    def training_times(self, uniform: Tensor) -> Tensor:
        """Return uniform or logit-normal times; those of a table are rounded up to its entries."""
        t = as_time(uniform) if self.times == "uniform" else logit_normal(uniform)
        if self.table is None:
            return t
        return (torch.floor(t * self.table).clamp(max=self.table - 1) + 1) / self.table

    def relations(self, t: Time) -> Relations:
        """Return the relations for noise, clean or v prediction; see :class:`Process`."""
        alpha, sigma = self._alpha_sigma(t)
        zero, one = torch.zeros_like(alpha), torch.ones_like(alpha)
        if self.prediction == "noise":
            divisor = alpha.clamp(min=self._lowest_alpha)
            return Relations(1 / divisor, -sigma / divisor, zero, one, zero, one)
        if self.prediction == "clean":
            divisor = sigma.clamp(min=self._lowest_sigma)
            return Relations(zero, one, 1 / divisor, -alpha / divisor, one, zero)
        return Relations(alpha, -sigma, sigma, alpha, -sigma, alpha)

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain JSON values."""
        if self._explicit:
            return {"prediction": self.prediction, "times": self.times, **self._explicit}
        return {
            "schedule": self.schedule,
            "prediction": self.prediction,
            "table": self.table,
            "beta_start": self.beta_start,
            "beta_end": self.beta_end,
            "times": self.times,
        }
