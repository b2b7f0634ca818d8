"""Processes from MONAI's schedulers, and from their own description."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

from medgen.processes.edm import EDM
from medgen.processes.process import Process
from medgen.processes.rectified_flow import RectifiedFlow
from medgen.processes.variance_preserving import VariancePreserving
from medgen.spelling import one_of

__all__ = ["from_monai", "process_from_dict"]

PROCESSES: dict[str, type[Process]] = {
    "VariancePreserving": VariancePreserving,
    "RectifiedFlow": RectifiedFlow,
    "EDM": EDM,
}
PREDICTIONS = {"epsilon": "noise", "sample": "clean", "v_prediction": "v"}


def from_monai(scheduler: Any, spatial_size: Sequence[int] | None = None) -> Process:
    """Return the process that a MONAI scheduler describes, so that weights trained with it can be sampled here.

    DDPMScheduler, DDIMScheduler and PNDMScheduler (of MONAI or of monai-generative) become a
    :class:`VariancePreserving` table. RFlowScheduler becomes a :class:`RectifiedFlow` with ``negate``: its time also
    runs from 0 (clean) to num_train_timesteps (noise) and is given to the network unscaled, but its networks learn
    ``clean - noise``. Clipping is the sampler's business: give ``Sampler(clip=1.0)`` where the scheduler clips.

    Args:
        scheduler: a MONAI scheduler.
        spatial_size: size of the images; needed by an RFlowScheduler with ``use_timestep_transform``, whose times
            depend on it.

    Raises:
        ValueError: for learned variances, a missing ``spatial_size``, or an object that is no such scheduler.
    """
    name = type(scheduler).__name__
    if hasattr(scheduler, "sample_method"):
        shift = 1.0
        if scheduler.use_timestep_transform:
            if spatial_size is None:
                raise ValueError(f"{name} has use_timestep_transform, so from_monai needs spatial_size, found None")
            # without scheduler.transform_scale, which MONAI takes but uses neither in training nor in sampling
            shift = (math.prod(spatial_size) / scheduler.base_img_size_numel) ** (1 / len(spatial_size))
        normal = scheduler.sample_method == "logit-normal"
        return RectifiedFlow(
            times="logit_normal" if normal else "uniform",
            mean=float(scheduler.distribution.loc[0]) if normal else 0.0,
            std=float(scheduler.distribution.scale[0]) if normal else 1.0,
            shift=shift,
            negate=True,
            time_scale=scheduler.num_train_timesteps,
        )
    if not hasattr(scheduler, "alphas_cumprod") or not hasattr(scheduler, "prediction_type"):
        raise ValueError(f"from_monai expects a DDPM, DDIM, PNDM or RFlow scheduler, found {name}")
    if str(getattr(scheduler, "variance_type", "")).startswith("learned"):
        raise ValueError(f"{name} has variance_type {scheduler.variance_type!r}; networks that predict it do not fit")
    prediction = one_of("prediction_type", str(scheduler.prediction_type), tuple(PREDICTIONS))
    return VariancePreserving(prediction=PREDICTIONS[prediction], alphas_cumprod=scheduler.alphas_cumprod)


def process_from_dict(description: Mapping[str, Any]) -> Process:
    """Rebuild a process from :meth:`Process.to_dict`.

    Args:
        description: ``_target_`` ("medgen.processes.EDM" or "EDM") and the constructor's arguments.

    Raises:
        ValueError: for an unknown process or argument.
    """
    arguments = dict(description)
    target = one_of("_target_", str(arguments.pop("_target_", "")).split(".")[-1], tuple(PROCESSES))
    known = tuple(inspect.signature(PROCESSES[target]).parameters)
    for argument in arguments:
        one_of(f"argument of {target}", argument, known)
    return PROCESSES[target](**arguments)
