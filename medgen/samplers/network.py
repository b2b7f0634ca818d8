"""What sampling does to a network: its mode, its device and precision, and watching it from outside the mathematics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from medgen.processes.process import Estimate
from medgen.samplers.solvers import Denoiser

__all__ = ["WatchedDenoiser", "covariate_names", "device_of", "dtype_of", "sampling_mode"]


@contextmanager
def sampling_mode(network: Any) -> Iterator[None]:
    """Run without gradients and with ``network`` in evaluation mode; every module's mode is restored afterwards."""
    modules = list(network.modules()) if isinstance(network, nn.Module) else []
    training = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in zip(modules, training, strict=True):
            module.training = mode


class WatchedDenoiser:
    """A denoiser that reports progress and keeps the states at marked times, so that solvers only step."""

    def __init__(
        self, denoiser: Denoiser, times: Sequence[float], marks: set[float], update: Callable[[int], Any]
    ) -> None:
        self.denoiser, self.marks, self.update = denoiser, marks, update
        self.ahead = set(times)
        self.seen: dict[float, tuple[Tensor, Tensor]] = {}

    def __call__(self, noisy: Tensor, t: float) -> Estimate:
        """Return the denoiser's estimate."""
        estimate = self.denoiser(noisy, t)
        if t in self.marks:
            self.seen[t] = (estimate.clean, noisy)
        if t in self.ahead:
            self.ahead.remove(t)
            self.update(1)
        return estimate


def device_of(network: Any) -> torch.device:
    """Return the device of a network's parameters, the CPU for a plain function."""
    parameters = network.parameters() if isinstance(network, nn.Module) else ()
    return next((parameter.device for parameter in parameters), torch.device("cpu"))


def dtype_of(network: Any) -> torch.dtype | None:
    """Return the dtype of a network's parameters, None for a plain function."""
    parameters = network.parameters() if isinstance(network, nn.Module) else ()
    return next((parameter.dtype for parameter in parameters if parameter.is_floating_point()), None)


def covariate_names(network: Any) -> tuple[str, ...]:
    """Return the covariates' names that a network declares, also behind DDP or ``torch.compile``."""
    for inner in (network, getattr(network, "module", None), getattr(network, "_orig_mod", None)):
        names = getattr(getattr(inner, "covariates", None), "names", None)
        if names is not None:
            return tuple(names)
    return ()
