"""The average of the weights, which is what generates."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine
from ignite.handlers import EMAHandler
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from medgen.engines.distributed import unwrap
from medgen.engines.events import OptimizerEvents

__all__ = ["EMA"]


class EMA(EMAHandler):
    r"""Ignite's exponential moving average, advanced by completed optimizer steps, with a warm-up that fits any length.

    At its n-th update (n = 0, 1, ...), for decay :math:`d`,

    .. math:: \theta_{EMA} \leftarrow d_n \theta_{EMA} + (1 - d_n) \theta, \qquad
              d_n = \min\left(d, \frac{1 + n}{10 + n}\right)

    so that the average spans about the last tenth of a young run, and :math:`1 / (1 - d)` updates of an old one. It
    starts as a copy of the network when training starts, after any weights were loaded into it.

    Args:
        network: the network to average; the average is ``ema_model``, in evaluation mode.
        decay: d in (0, 1), per update.
        warmup: False = :math:`d_n = d` from the start.
        every: optimizer steps per update.
        start: optimizer steps before the first averaging update; until then the average equals the network.
        handle_buffers: "copy" or "update" or "ema_train", as in Ignite.

    Attributes:
        ema_model: the average.
        updates: number of updates made.

    Raises:
        ValueError: when an argument is out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        decay: float = 0.9999,
        warmup: bool = True,
        every: int = 1,
        start: int = 0,
        handle_buffers: str = "copy",
    ) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"decay: expected a number between 0 and 1, found {decay!r}")
        if every < 1 or start < 0:
            raise ValueError(f"expected every >= 1 and start >= 0, found every={every!r}, start={start!r}")
        super().__init__(unwrap(network), momentum=1.0 - decay, handle_buffers=handle_buffers)
        # listed once: to walk through the modules of a UNet takes longer than the update
        self._average = [parameter.requires_grad_(False) for parameter in self.ema_model.parameters()]
        self._current = list(self.model.parameters())
        self.decay = decay
        self.warmup = warmup
        self.every = every
        self.start = start
        self.updates = 0

    def decay_at(self, update: int) -> float:
        """Return the decay of the given update (from 0)."""
        return min(self.decay, (1 + update) / (10 + update)) if self.warmup else self.decay

    def reset(self) -> None:
        """Make the average a copy of the network."""
        self.updates = 0
        with torch.no_grad():
            self.ema_model.load_state_dict(self.model.state_dict())

    def attach(  # type: ignore[override]
        self,
        engine: Engine,
        name: str = "ema_momentum",
        warn_if_exists: bool = False,
        event: Any = OptimizerEvents.OPTIMIZER_STEP_COMPLETED,
    ) -> None:
        """Follow ``engine``'s completed optimizer steps; ``engine.state.ema_momentum`` is 1 - decay at the moment."""
        super().attach(engine, name, warn_if_exists, event)

    def state_dict(self) -> dict[str, Any]:
        """Average and number of updates."""
        return {"network": self.ema_model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.ema_model.load_state_dict(state["network"])
        self.updates = int(state["updates"])

    @torch.no_grad()
    def _update_ema_model(self, engine: Any, name: str) -> None:
        steps = engine.state.optimizer_steps
        if steps % self.every:
            return
        decay = 0.0 if steps <= self.start else self.decay_at(self.updates)
        setattr(engine.state, name, 1.0 - decay)
        get_ema_multi_avg_fn(decay)(self._average, self._current, None)
        if self.handle_buffers != "ema_train":
            for mean, current in zip(self.ema_model.buffers(), self.model.buffers(), strict=True):
                if self.handle_buffers == "update" and mean.is_floating_point():
                    mean.lerp_(current, 1.0 - decay)
                else:  # copied, since Ignite's assignment would make both networks share one buffer
                    mean.copy_(current)
        if steps > self.start:
            self.updates += 1
