"""The inferer of training and validation: one noise level, one network evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer

__all__ = ["DenoisingInferer"]


class DenoisingInferer(Inferer):
    """Corrupt clean images and predict what the process trains the network for.

    Args:
        process: a :mod:`medgen.processes` process.
    """

    def __init__(self, process: Any) -> None:
        self.process = process

    def __call__(  # type: ignore[override]
        self,
        inputs: torch.Tensor,
        network: Callable[..., torch.Tensor],
        noise: torch.Tensor,
        t: torch.Tensor,
        **conditions: torch.Tensor,
    ) -> torch.Tensor:
        """Predict.

        Args:
            inputs: clean images (or latents) ``(B, C, *spatial)``.
            network: called as ``network(scaled, network_time, **conditions)``.
            noise: like ``inputs``.
            t: ``(B,)`` in [0, 1].
            conditions: any of ``covariates``, ``context`` and ``image``.

        Returns:
            The prediction, like ``inputs``.
        """
        noisy = self.process.corrupt(inputs, noise, t)
        scaled, network_time = self.process.network_input(noisy, t)
        return network(scaled, network_time, **conditions)
