"""The metric of validation: the mean loss over samples."""

from __future__ import annotations

from typing import Any

import ignite.distributed as idist
import torch
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric

__all__ = ["MeanLoss", "lower_is_better"]


def lower_is_better(current: float, best: float) -> bool:
    """Compare metrics such as losses and distances, as MONAI's ``metric_cmp_fn``."""
    return current < best


class MeanLoss(Metric):
    """Mean over all samples of all batches and processes, whatever the batch sizes.

    Args:
        key: entry of ``engine.state.output`` with one number per sample.
    """

    def __init__(self, key: str = "sample_loss") -> None:
        self.key = key
        super().__init__(output_transform=self._pick)

    def _pick(self, output: Any) -> torch.Tensor:
        if isinstance(output, dict):
            return output[self.key]
        return torch.stack([torch.as_tensor(sample[self.key]) for sample in output])

    def reset(self) -> None:
        """Forget all samples."""
        self._sum: torch.Tensor | float = 0.0
        self._count = 0

    def update(self, output: torch.Tensor) -> None:
        """Add the losses ``(B,)`` of one batch."""
        losses = output.detach()
        self._sum = self._sum + losses.to(torch.float32 if losses.device.type == "mps" else torch.float64).sum()
        self._count += losses.numel()

    def compute(self) -> float:
        """Return the mean.

        Raises:
            NotComputableError: when there was no sample.
        """
        total, count = float(self._sum), float(self._count)
        if idist.get_world_size() > 1:
            total, count = float(idist.all_reduce(total)), float(idist.all_reduce(count))
        if count == 0:
            raise NotComputableError("mean loss: the loader gave no sample to validate on")
        return total / count
