"""Time grids: where the solver stops between noise and image."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch

from medgen.processes.process import Process
from medgen.spelling import one_of

__all__ = ["SPACINGS", "time_grid"]

KARRAS_RHO = 7.0


def time_grid(process: Process, steps: int, spacing: str = "auto", start: float | None = None) -> list[float]:
    """Return ``steps + 1`` falling times from ``start`` to 0.

    - "uniform": equal steps of t, leaning to the noisy side where ``process.shift`` is above 1.
    - "karras": equal steps of ``(sigma / alpha) ** (1 / 7)`` between the ends of ``process.noise_range``, then 0
      (Karras et al. 2206.00364, eq. 5); for EDM with its own rho.
    - "log_snr": equal steps of the log-SNR in the same range, then 0 (Lu et al. 2206.00927).
    - "trailing": entries of a discrete table, the last one included (Lin et al. 2305.08891, table 2).
    - "leading": entries of a discrete table at equal distance from the first, as DDIM spaced them (2010.02502).

    Args:
        process: whose times they are.
        steps: number of steps, at least 1.
        spacing: one of the above, or "auto" for ``process.spacing``.
        start: time to start from, in (0, 1]; default ``process.start``.

    Raises:
        ValueError: for an unknown spacing, a grid of a table on continuous time, more steps than the table has times,
            or steps or start out of range.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be an integer of at least 1, found {steps!r}")
    name = process.spacing if one_of("spacing", spacing, ("auto", *SPACINGS)) == "auto" else spacing
    first = process.start if start is None else float(start)
    if not 0 < first <= 1:
        raise ValueError(f"the start time must lie in (0, 1], found {start!r}")
    times = SPACINGS[name](process, steps, min(first, process.start))
    if any(later >= earlier for earlier, later in pairwise(times)):
        raise ValueError(f"steps is {steps}, too many for the {name!r} grid from t = {first:g} of {process!r}")
    return times


def _uniform(process: Process, steps: int, start: float) -> list[float]:
    def shifted(t: float, shift: float) -> float:
        return shift * t / (1 + (shift - 1) * t)

    first = shifted(start, 1 / process.shift)
    return [start, *(shifted(first * (steps - i) / steps, process.shift) for i in range(1, steps + 1))]


def _between(
    process: Process, steps: int, start: float, curve: Callable[[float], float], inverse: Callable[[float], float]
) -> list[float]:
    """Return equal steps of ``curve(sigma / alpha)`` between the noisiest and the cleanest level, then 0."""
    low, high = process.noise_range
    alpha = float(process.alpha(start))
    ratio = float(process.sigma(start)) / alpha if alpha > 0 else math.inf
    if ratio <= low:
        raise ValueError(f"t = {start:g} has less noise than the grid's cleanest level, sigma / alpha = {low:g}")
    first, last = curve(min(ratio, high)), curve(low)
    levels = [inverse(first + (last - first) * i / (steps - 1)) for i in range(1, steps)]
    times = process.time_at(-2 * torch.tensor(levels, dtype=torch.float64).log())
    return [start, *times.tolist(), 0.0]


def _karras(process: Process, steps: int, start: float) -> list[float]:
    rho = getattr(process, "rho", KARRAS_RHO)
    return _between(process, steps, start, lambda ratio: ratio ** (1 / rho), lambda level: level**rho)


def _log_snr(process: Process, steps: int, start: float) -> list[float]:
    return _between(process, steps, start, math.log, math.exp)


def _table(process: Process, spacing: str, start: float) -> tuple[int, int]:
    """Return the size of the process's table and the number of its entries up to ``start``."""
    if process.table is None:
        raise ValueError(f"spacing {spacing!r} needs a process with a table; {process!r} is continuous: use 'uniform'")
    return process.table, round(start * process.table)


def _trailing(process: Process, steps: int, start: float) -> list[float]:
    size, entries = _table(process, "trailing", start)
    return [start, *(round(entries - entries * i / steps) / size for i in range(1, steps + 1))]


def _leading(process: Process, steps: int, start: float) -> list[float]:
    size, entries = _table(process, "leading", start)
    times = [(1 + i * (entries // steps)) / size for i in reversed(range(steps))]
    if start < process.start:
        times[0] = start
    return [*times, 0.0]


SPACINGS: dict[str, Callable[[Process, int, float], list[float]]] = {
    "uniform": _uniform,
    "karras": _karras,
    "log_snr": _log_snr,
    "trailing": _trailing,
    "leading": _leading,
}
