"""From a batch of the loader to what a generative engine works on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from monai.engines import PrepareBatch

from medgen.data.latents import MOMENTS
from medgen.engines.condition_dropout import Conditions

__all__ = ["PrepareConditions", "batch_names"]

_NAMES = ("subject", "index", "filename", "path", "seed")


class PrepareConditions(PrepareBatch):
    """Pick the clean image (or the seeds of images to generate) and the conditions out of a batch.

    Args:
        image: key of the clean image ``(B, C, *spatial)``; a batch without it is a request for images.
        covariates: key of ``(B, K)``, NaN where unknown.
        context: key of text tokens ``(B, L, D)``.
        condition_image: key of an image ``(B, C', *spatial)`` to condition on (a mask, a low resolution).
        seed: key of the seeds ``(B,)`` of images to generate.
    """

    def __init__(
        self,
        image: str = "image",
        covariates: str = "covariates",
        context: str = "context",
        condition_image: str = "condition_image",
        seed: str = "seed",
    ) -> None:
        self.image = image
        self.covariates = covariates
        self.context = context
        self.condition_image = condition_image
        self.seed = seed

    def __call__(
        self,
        batchdata: Mapping[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Any, None, tuple, dict[str, Any]]:
        """Return ``(clean image or seeds, None, (), conditions as keyword arguments of the network)``.

        A batch of cached latents (:class:`medgen.data.LatentDataset`) has their ``moments`` instead of an image.

        Raises:
            KeyError: when the batch holds neither an image nor seeds.
            TypeError: when the batch is no mapping.
        """
        if not isinstance(batchdata, Mapping):
            raise TypeError(f"batch: expected a mapping of names to tensors, found {type(batchdata).__name__}")

        def move(key: str) -> torch.Tensor | None:
            value = batchdata.get(key)
            if value is None:
                return None
            value = value.as_tensor() if isinstance(value, MetaTensor) else torch.as_tensor(value)
            return value.to(device=device, non_blocking=non_blocking, **kwargs)

        conditions = Conditions(move(self.covariates), move(self.context), move(self.condition_image)).given()
        for key in (self.image, MOMENTS):
            if key in batchdata:
                return move(key), None, (), conditions
        if self.seed in batchdata:
            return batchdata[self.seed], None, (), conditions
        raise KeyError(f"batch: expected {self.image!r} or {self.seed!r} among its keys, found {sorted(batchdata)}")


def batch_names(batchdata: Any) -> dict[str, Any]:
    """Return what tells the samples of a batch apart (subjects, indices, files), for a private file only."""
    if not isinstance(batchdata, Mapping):
        return {}
    names = {key: batchdata[key] for key in _NAMES if key in batchdata}
    for key, value in batchdata.items():
        if isinstance(value, MetaTensor) and "filename_or_obj" in value.meta:
            names[f"{key}_file"] = value.meta["filename_or_obj"]
    return names
