"""The numbers of a run for TensorBoard."""

from __future__ import annotations

from typing import Any

from ignite.engine import Events

from medgen.handlers.csv_logger import ScalarLogger, training_row

__all__ = ["TensorBoardLogger"]


class TensorBoardLogger(ScalarLogger):
    """Write scalars, and no image, to ``run_dir/tensorboard``.

    MONAI's ``TensorBoardStatsHandler`` works with medgen's engines too; this one opens its file when training starts
    and in the first process only, logs means over an interval, and drops what comes again after a resume.

    Args:
        interval: iterations between points.
        validator: the evaluator whose metrics to write; None = none.
        run_dir: where to write; by default the trainer's ``run_dir``.
    """

    _writer: Any = None

    def listen(self, engine: Any) -> None:
        """Register with the events of the trainer and of the validator."""
        super().listen(engine)
        engine.add_event_handler(Events.COMPLETED, self._close)

    def write(self, engine: Any) -> None:
        """Write one point of every scalar."""
        row = training_row(engine, self._window)
        self._scalars("train", row, int(row.pop("iteration")))
        self._window.clear()

    def _started(self, engine: Any) -> None:
        from torch.utils.tensorboard import SummaryWriter

        super()._started(engine)
        first = engine.state.iteration
        self._writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=first + 1 if first else None)

    def write_validation(self, engine: Any, numbers: dict[str, float]) -> None:
        """Write one point of every metric of a validation."""
        self._scalars("validation", numbers, engine.state.iteration)

    def _scalars(self, group: str, values: dict[str, float], iteration: int) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name}", value, iteration)
            self._writer.flush()

    def _close(self, engine: Any) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
