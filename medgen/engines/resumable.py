"""What medgen's trainers share: a run that goes on where it was interrupted."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ignite.engine import Engine, Events
from torch import nn

from medgen.engines.checkpoint import latest_checkpoint, read_checkpoint, restore
from medgen.engines.distributed import from_first_rank, is_first_rank, unwrap

if TYPE_CHECKING:
    import torch

    from medgen.engines.step import TrainingStep
    from medgen.handlers.ema import EMA

__all__ = ["Resumable"]

logger = logging.getLogger(__name__)


class Resumable(Engine):
    """Base of trainers whose run goes on from the latest whole checkpoint of its folder.

    Attributes:
        unwrapped_network: the trained network, without wrappers.
        optimizer: of that network.
        lr_scheduler: of that optimizer, or None.
        ema: the average of the weights, or None.
        step: the :class:`medgen.engines.step.TrainingStep` of that network.
        stateful: handlers by name whose ``state_dict`` belongs into a checkpoint.
        accumulation_steps: micro-batches per optimizer step.
        run_dir: folder of the run, or None.
        image_shape: ``(C, *spatial)`` of the training images; None before the first batch.
        batch_size: of the latest batch.
    """

    unwrapped_network: nn.Module
    optimizer: torch.optim.Optimizer
    lr_scheduler: Any
    ema: EMA | None
    step: TrainingStep
    stateful: dict[str, Any]
    accumulation_steps: int
    run_dir: Path | None
    image_shape: tuple[int, ...] | None
    batch_size: int
    data_loader: Any

    def _prepare(self, run_dir: str | os.PathLike[str] | None, ema: EMA | None) -> None:
        """Set what handlers ask for while MONAI's constructor attaches them."""
        self.stateful = {}
        self.image_shape = None
        self.batch_size = 0
        self.run_dir = None if run_dir is None else Path(run_dir)
        self.ema = ema

    def _place(self, network: nn.Module, device: torch.device, *others: Any) -> None:
        """Put the network, its average and what else is a module on the device."""
        self.unwrapped_network = unwrap(network)
        for module in (self.unwrapped_network, None if self.ema is None else self.ema.ema_model, *others):
            if isinstance(module, nn.Module):
                module.to(device)

    @property
    def inference_network(self) -> nn.Module:
        """The network to generate with, or to encode and decode with."""
        return self.unwrapped_network if self.ema is None else self.ema.ema_model

    def run_facts(self) -> dict[str, Any]:
        """What must stay the same for a resumed run to be the uninterrupted one."""
        return {
            "seed": self.step.seed,
            "accumulation_steps": self.step.accumulation_steps,
            "processes": self.step.world_size,
            "amp": self.step.precision.enabled,
            "batch_size": getattr(self.data_loader, "batch_size", None),
        }

    def network_state(self) -> dict[str, torch.Tensor]:
        """The network's state at the last completed group of micro-batches."""
        return self.unwrapped_network.state_dict()

    def extra_state(self) -> dict[str, Any]:
        """What a checkpoint holds beside network, optimizer, schedule, average and counters."""
        return {}

    def load_extra_state(self, state: Mapping[str, Any], where: str) -> None:
        """Restore :meth:`extra_state`; ``where`` is the file, named in errors."""

    def run(self) -> None:  # type: ignore[override]
        """Train; from the latest whole checkpoint if ``run_dir`` holds one and nothing was trained yet."""
        if self.state.iteration == 0 and not self.resume() and self.ema is not None:
            self.ema.reset()
        if hasattr(self.data_loader, "position"):
            self.data_loader.position = self.state.iteration
        elif self.state.iteration:
            logger.warning("the loader has no position to set: the resumed run sees other batches")
        length = self.state.epoch_length
        total = (length or 0) * (self.state.max_epochs or 0)
        if length and self.state.iteration >= total:
            logger.info("the run is complete already: %d iterations are done", self.state.iteration)
            self.fire_event(Events.STARTED)
            self.fire_event(Events.COMPLETED)
            return
        if left := total % self.accumulation_steps:
            logger.warning("the last %d micro-batches make no optimizer step: accumulation_steps does not divide", left)
        super().run()  # type: ignore[call-arg]

    def resume(self, path: str | os.PathLike[str] | None = None) -> bool:
        """Restore the state of a run.

        Args:
            path: a checkpoint, or a folder whose latest whole one is taken; by default ``run_dir``.

        Returns:
            Whether there was one.

        Raises:
            ValueError: when the checkpoint does not fit this trainer.
        """
        place = self.run_dir if path is None else Path(path)
        found = None
        if place is not None and is_first_rank():
            found = place if place.is_file() else latest_checkpoint(place)
        chosen = from_first_rank(None if found is None else str(found))
        if chosen is None:
            return False
        restore(self, read_checkpoint(chosen), chosen)
        logger.info("resumed from %s: %d iterations are done", chosen, self.state.iteration)
        return True
