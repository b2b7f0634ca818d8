"""What handlers that write into the folder of a run have in common."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

from ignite.engine import Events

from medgen.engines.distributed import is_first_rank

__all__ = ["Periodic", "Window"]


class Periodic:
    """Base of handlers that write every ``interval`` iterations and once more at the end, in the first process only.

    A subclass defines ``write(engine)``.

    Args:
        interval: iterations; None = at the end only.
        run_dir: where to write; by default the trainer's ``run_dir``.

    Raises:
        ValueError: when ``interval`` is below 1.
    """

    def __init__(self, interval: int | None, run_dir: str | os.PathLike[str] | None = None) -> None:
        if interval is not None and interval < 1:
            raise ValueError(f"interval: expected 1 or more iterations, or null, found {interval!r}")
        self.interval = interval
        self.run_dir = None if run_dir is None else Path(run_dir)
        self._written_at = -1

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return Path(self.run_dir or ".")

    def attach(self, engine: Any) -> None:
        """Attach to a trainer.

        Raises:
            ValueError: when neither this handler nor the trainer has a ``run_dir``.
        """
        if self.run_dir is None:
            self.run_dir = getattr(engine, "run_dir", None)
        if self.run_dir is None:
            raise ValueError(f"{type(self).__name__}: expected a run_dir, here or in the trainer, found none")
        if is_first_rank():
            self.listen(engine)

    def listen(self, engine: Any) -> None:
        """Register with ``engine``'s events."""
        engine.add_event_handler(Events.STARTED, self._started)
        if self.interval is not None:
            engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self._due)
        engine.add_event_handler(Events.COMPLETED, self._due)

    def _started(self, engine: Any) -> None:
        # a run that was complete already was written at its end
        self._written_at = engine.state.iteration

    def _due(self, engine: Any) -> None:
        if engine.state.iteration != self._written_at:
            self._written_at = engine.state.iteration
            self.write(engine)

    def write(self, engine: Any) -> None:
        """Write the files."""


class Window:
    """Mean loss, and images per second of all processes together, since the last :meth:`clear`."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.images = 0
        self._losses: list[float] = []
        self._since = time.perf_counter()

    def add(self, engine: Any) -> None:
        """Count the iteration that ``engine`` has completed."""
        step = engine.step
        self.images += step.world_size * engine.batch_size
        if engine.state.iteration % step.accumulation_steps == 0 and math.isfinite(step.loss):
            self._losses.append(step.loss)

    @property
    def seconds(self) -> float:
        """Seconds passed."""
        return time.perf_counter() - self._since

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / max(self.seconds, 1e-9)

    @property
    def loss(self) -> float:
        """Mean over the optimizer steps whose loss was finite; NaN when there was none."""
        return sum(self._losses) / len(self._losses) if self._losses else math.nan
