"""Classifier-free guidance: the layer between a network and a solver."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from medgen.processes.process import Estimate, Process, solver_dtype
from medgen.samplers.network import covariate_names, dtype_of
from medgen.spelling import one_of

__all__ = ["GuidedDenoiser", "clip_range", "guidance_scale", "interval_of_times"]

Conditions = dict[str, Tensor]
UNKNOWN = {"covariates": math.nan, "context": math.nan, "image": 0.0}
# one forward of all variants halves the time of one 64² image on two CPU cores; from about 4 images on it gains nothing
BATCHED_PIXELS = {"cpu": 2**15}
BATCHED_PIXELS_ELSEWHERE = 2**24


def guidance_scale(guidance: float | Mapping[str, float]) -> float | dict[str, float]:
    """Return a finite scale, or a dict of them by covariate.

    Raises:
        ValueError: for anything else.
    """
    scales = guidance if isinstance(guidance, Mapping) else {"": guidance}
    for name, scale in scales.items():
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not math.isfinite(scale):
            raise ValueError(f"guidance {name!r} must be a number, found {scale!r}" if name else _not_a_scale(scale))
    if isinstance(guidance, Mapping):
        if not guidance:
            raise ValueError("guidance is an empty dict, expected a number or scales by covariate")
        return {str(name): float(scale) for name, scale in guidance.items()}
    return float(guidance)


def _not_a_scale(found: Any) -> str:
    return f"guidance must be a number or a dict of numbers by covariate, found {found!r}"


def interval_of_times(interval: Sequence[float] | None) -> tuple[float, float] | None:
    """Return ``(t_low, t_high)`` with 0 <= t_low < t_high <= 1, or None.

    Raises:
        ValueError: for anything else; a reversed interval is named as such.
    """
    if interval is None:
        return None
    if len(interval) != 2 or not all(0 <= t <= 1 for t in interval):
        raise ValueError(f"guidance_interval must be (t_low, t_high) within [0, 1], found {interval!r}")
    low, high = float(interval[0]), float(interval[1])
    if low >= high:
        raise ValueError(f"guidance_interval is reversed or empty: expected t_low < t_high, found {interval!r}")
    return low, high


def clip_range(clip: float | Sequence[float] | None) -> tuple[float, float] | None:
    """Return ``(low, high)``, or None for no clipping; a number c stands for (-c, c).

    Raises:
        ValueError: for anything else.
    """
    if clip is None:
        return None
    if isinstance(clip, bool) or (isinstance(clip, (int, float)) and not clip > 0):
        raise ValueError(f"clip must be None, a positive number or (low, high), found {clip!r}")
    low, high = (-clip, clip) if isinstance(clip, (int, float)) else clip
    if not low < high:
        raise ValueError(f"clip must have low < high, found {clip!r}")
    return float(low), float(high)


class GuidedDenoiser:
    """A network with its conditions, as the callable that solvers take: ``denoiser(noisy, t) -> Estimate``.

    With a number w, ``uncond + w * (cond - uncond)`` (Ho and Salimans 2207.12598, in the form where w = 1 is the plain
    conditional prediction and costs one evaluation). With scales by covariate,
    ``uncond + sum_k w_k * (only_k - uncond)`` at K + 1 evaluations (Liu et al. 2206.01714, eq. 11): there "uncond"
    leaves the named covariates unknown, "only_k" knows one of them, and covariates that are not named (like context
    and image) stay as they were given in both.

    Args:
        network: ``network(noisy, t, covariates=, context=, image=) -> prediction``.
        process: the process it was trained for.
        covariates: ``(B, K)`` float32, NaN where unknown.
        context: ``(B, L, D)``.
        image: ``(B, C, *spatial)``.
        guidance: w, or w by covariate name.
        interval: ``(t_low, t_high)`` outside of which the plain conditional prediction is used
            (Kynkäänniemi et al. 2404.07724); None for everywhere.
        drop: conditions that the unconditional prediction lacks: of "covariates", "context" (NaN) and "image" (zeros).
        names: the covariates' names in order; default: those that the network declares.
        clip: range of clean images; the clean ESTIMATE is clamped to it and the noise derived again.
        precision: called for the context that the network, and nothing else, runs in.
        batched_pixels: largest variants * B * pixels that go through the network in one forward; default by device.

    Attributes:
        evaluations: network evaluations so far, per image.

    Raises:
        ValueError: for guidance on an unknown covariate, guidance without a condition, or arguments out of range.
    """

    def __init__(
        self,
        network: Any,
        process: Process,
        covariates: Tensor | None = None,
        context: Tensor | None = None,
        image: Tensor | None = None,
        guidance: float | Mapping[str, float] = 1.0,
        interval: Sequence[float] | None = None,
        drop: Sequence[str] = ("covariates", "context"),
        names: Sequence[str] | None = None,
        clip: float | Sequence[float] | None = None,
        precision: Any = nullcontext,
        batched_pixels: int | None = None,
    ) -> None:
        self.network, self.process = network, process
        self.interval, self.clip = interval_of_times(interval), clip_range(clip)
        self.precision, self.batched_pixels = precision, batched_pixels
        self.evaluations = 0
        self.dtype = dtype_of(network)
        given = {"covariates": covariates, "context": context, "image": image}
        conditions = {
            name: value if self.dtype is None or name == "covariates" else value.to(self.dtype)
            for name, value in given.items()
            if value is not None
        }
        for name in drop:
            one_of("drop", name, tuple(UNKNOWN))
        self._plain: list[tuple[float, Conditions]] = [(1.0, conditions)]
        scale = guidance_scale(guidance)
        if isinstance(scale, dict):
            self._guided = _by_covariate(conditions, scale, covariate_names(network) if names is None else tuple(names))
        else:
            self._guided = _joint(conditions, scale, drop)

    def __call__(self, noisy: Tensor, t: float) -> Estimate:
        """Return the guided estimate for ``noisy`` ``(B, C, *spatial)`` at time ``t``, float32 or better."""
        guided = self.interval is None or self.interval[0] <= t <= self.interval[1]
        variants = self._guided if guided else self._plain
        prediction = self._predict(noisy, t, variants)
        self.evaluations += len(variants)
        estimate = self.process.estimate(prediction, noisy, t)
        return estimate if self.clip is None else self._clipped(estimate, t, *self.clip)

    def _predict(self, noisy: Tensor, t: float, variants: list[tuple[float, Conditions]]) -> Tensor:
        scaled, time = self.process.network_input(noisy, t)
        count = len(variants)
        limit = self.batched_pixels
        if limit is None:
            limit = BATCHED_PIXELS.get(noisy.device.type, BATCHED_PIXELS_ELSEWHERE)
        if count == 1:
            predictions = [self._forward(scaled, time, variants[0][1])]
        elif count * noisy.shape[0] * math.prod(noisy.shape[2:]) <= limit:
            together = {name: torch.cat([variant[name] for _, variant in variants]) for name in variants[0][1]}
            scaled = scaled.repeat(count, *(1,) * (scaled.ndim - 1))
            predictions = list(self._forward(scaled, time.repeat(count), together).chunk(count))
        else:
            predictions = [self._forward(scaled, time, variant) for _, variant in variants]
        dtype = solver_dtype(noisy.dtype)
        weighted = [weight * value.to(dtype) for (weight, _), value in zip(variants, predictions, strict=True)]
        return weighted[0] if count == 1 else torch.stack(weighted).sum(0)

    def _forward(self, scaled: Tensor, time: Tensor, conditions: Conditions) -> Tensor:
        if self.dtype is not None:
            scaled, time = scaled.to(self.dtype), time.to(solver_dtype(self.dtype))
        running: AbstractContextManager[Any] = self.precision()
        with running:
            return self.network(scaled, time, **conditions)

    def _clipped(self, estimate: Estimate, t: float, low: float, high: float) -> Estimate:
        clean = estimate.clean.clamp(low, high)
        alpha, sigma = float(self.process.alpha(t)), float(self.process.sigma(t))
        if sigma == 0:
            return Estimate(clean, estimate.noise)
        return Estimate(clean, estimate.noise + (alpha / sigma) * (estimate.clean - clean))


def _joint(conditions: Conditions, scale: float, drop: Sequence[str]) -> list[tuple[float, Conditions]]:
    if scale == 1:
        return [(1.0, conditions)]
    if not any(name in conditions for name in drop):
        raise ValueError(f"guidance is {scale:g}, but there is no condition to guide by: expected {' or '.join(drop)}")
    free = {
        name: torch.full_like(value, UNKNOWN[name]) if name in drop else value for name, value in conditions.items()
    }
    return [(1.0, free)] if scale == 0 else [(scale, conditions), (1 - scale, free)]


def _by_covariate(
    conditions: Conditions, scales: dict[str, float], names: tuple[str, ...]
) -> list[tuple[float, Conditions]]:
    if "covariates" not in conditions:
        raise ValueError(f"guidance by covariate ({', '.join(scales)}) needs covariates, found None")
    covariates = conditions["covariates"]
    if len(names) != covariates.shape[1]:
        raise ValueError(
            f"covariates have {covariates.shape[1]} columns, but the names are {', '.join(names) or 'none'}"
        )
    columns = {name: names.index(one_of("guidance on covariate", name, names)) for name in scales}
    free = covariates.clone()
    free[:, list(columns.values())] = math.nan
    variants = [(1 - sum(scales.values()), {**conditions, "covariates": free})]
    for name, column in columns.items():
        only = free.clone()
        only[:, column] = covariates[:, column]
        variants.append((scales[name], {**conditions, "covariates": only}))
    return [variant for variant in variants if variant[0] != 0]
