"""A solver that chooses its own steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.utils import optional_import
from torch import Tensor

from medgen.processes.process import Process
from medgen.samplers.solvers import Denoiser, NoiseSource

__all__ = ["dopri5"]

TOLERANCE = 1e-3  # of pixels in [-1, 1]: an eighth of a grey level of 256
MOMENT = 1e-6


def dopri5(
    process: Process,
    denoiser: Denoiser,
    noisy: Tensor,
    times: Sequence[float],
    noise_source: NoiseSource | None = None,
    rtol: float = TOLERANCE,
    atol: float = TOLERANCE,
) -> Tensor:
    """Follow the probability flow by Dormand and Prince's fifth-order rule with steps of its own choice.

    torchdiffeq integrates ``d noisy / dt = clean d alpha / dt + noise d sigma / dt``. One error is estimated for the
    whole batch, so :class:`medgen.samplers.Sampler` runs it image by image: what an image becomes does not depend on
    what else is in the batch. For processes whose alpha and sigma are smooth at both ends, as rectified flow's are.

    Args:
        process: gives alpha and sigma.
        denoiser: called as often as it takes.
        noisy: ``(B, C, *spatial)`` at ``times[0]``.
        times: only the first and the last matter; falling or rising.
        noise_source: not used.
        rtol: error that a step may make, relative to the state.
        atol: the same, absolute.

    Returns:
        The image at ``times[-1]``.

    Raises:
        ImportError: without torchdiffeq.
    """
    odeint, found = optional_import("torchdiffeq", name="odeint")
    if not found:
        raise ImportError('solver "dopri5" needs torchdiffeq: pip install "medgen[ode]"')

    def velocity(t: Tensor, state: Tensor) -> Tensor:
        now = min(max(float(t), 0.0), 1.0)
        alpha, sigma = _rates(process, now)
        estimate = denoiser(state, now)
        return alpha * estimate.clean + sigma * estimate.noise

    ends = torch.tensor([times[0], times[-1]], dtype=torch.float64, device=noisy.device)
    # a step ends at the last time: torchdiffeq would step over it, where the process is not defined, and interpolate
    options = {"step_t": ends[-1:]}
    state: Tensor = odeint(velocity, noisy, ends, rtol=rtol, atol=atol, method="dopri5", options=options)[-1]
    return state


def _rates(process: Process, t: float) -> tuple[float, float]:
    """Change of alpha and sigma a unit of time, by differences in float64."""
    low, high = max(t - MOMENT, 0.0), min(t + MOMENT, 1.0)
    alpha, sigma = ((float(f(high)) - float(f(low))) / (high - low) for f in (process.alpha, process.sigma))
    return alpha, sigma
