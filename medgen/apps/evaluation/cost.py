"""What images cost: size of the model, work, time and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from medgen.apps.evaluation.generated import GeneratedImages

__all__ = ["cost_of"]


def cost_of(network: Any, codec: Any, images: GeneratedImages) -> dict[str, Any]:
    """The cost of the images of one guidance.

    Args:
        network: that made them.
        codec: that decoded them; None for pixel models.
        images: with the work, and the time, memory and device that their parts were made with.

    Returns:
        "parameters" and "codec_parameters" (counts), "evaluations_per_image", "seconds_per_image" (on the wall, with
        decoding), "peak_memory_bytes", "memory_of" ("device" or "process") and "device"; None where not recorded.
    """
    return {
        "parameters": _parameters(network),
        "codec_parameters": _parameters(codec),
        "evaluations_per_image": images.evaluations,
        "seconds_per_image": images.seconds,
        **_together(images.made_on),
    }


def _together(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The peak of all parts; an evaluation that went on elsewhere names every device."""
    most: Mapping[str, Any] = max(parts, key=lambda part: part["peak_memory_bytes"] or 0, default={})
    devices = dict.fromkeys(part["device"] for part in parts)
    return {
        "peak_memory_bytes": most.get("peak_memory_bytes"),
        "memory_of": most.get("memory_of"),
        "device": " and ".join(devices) or None,
    }


def _parameters(module: Any) -> int:
    return sum(p.numel() for p in module.parameters()) if isinstance(module, torch.nn.Module) else 0
