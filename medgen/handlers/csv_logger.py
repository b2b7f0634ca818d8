"""The numbers of a run as plain tables."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

from ignite.engine import Events

from medgen.files import write_text
from medgen.handlers.periodic import Periodic, Window

__all__ = ["CsvLogger", "ScalarLogger", "keep_rows", "read_csv", "training_row"]


def training_row(engine: Any, window: Window) -> dict[str, float]:
    """Return what is worth logging of a trainer: counters, and means since the window's last ``clear``."""
    state = engine.state
    return {
        "iteration": state.iteration,
        "epoch": state.epoch,
        "optimizer_steps": state.optimizer_steps,
        "loss": window.loss,
        "grad_norm": state.grad_norm,
        "learning_rate": engine.optimizer.param_groups[0]["lr"],
        "images_per_second": window.rate,
        "skipped": state.skipped,
        # of an autoencoder's loss: those of the last micro-batch
        **{name: float(value) for name, value in getattr(engine, "terms", {}).items()},
    }


def read_csv(path: str | os.PathLike[str]) -> dict[str, list[float]]:
    """Return the columns of a table of numbers by name; of an absent file, none."""
    if not Path(path).is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}


class ScalarLogger(Periodic):
    """What the loggers of a run share: means over an interval of training, and the metrics of a validator.

    Args:
        interval: iterations per row or point.
        validator: the evaluator whose metrics to write; None = none.
        run_dir: where to write; by default the trainer's ``run_dir``.
    """

    def __init__(
        self, interval: int = 50, validator: Any = None, run_dir: str | os.PathLike[str] | None = None
    ) -> None:
        super().__init__(interval, run_dir)
        self.validator = validator
        self._window = Window()

    def listen(self, engine: Any) -> None:
        """Register with the events of the trainer and of the validator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._window.add)
        super().listen(engine)
        if self.validator is not None:
            self.validator.add_event_handler(Events.COMPLETED, self._validated, engine)

    def _started(self, engine: Any) -> None:
        super()._started(engine)
        self._window.clear()

    def _validated(self, validator: Any, engine: Any) -> None:
        numbers = {name: float(v) for name, v in validator.state.metrics.items() if isinstance(v, (int, float))}
        self.write_validation(engine, numbers)

    def write_validation(self, engine: Any, numbers: dict[str, float]) -> None:
        """Write the metrics of a validation; by default nothing."""


class CsvLogger(ScalarLogger):
    """Write ``metrics.csv`` (training, a row per interval) and ``validation.csv`` (a row per validation).

    When a run is resumed, rows later than its checkpoint are dropped: they come again.

    Args:
        interval: iterations per row.
        validator: the evaluator whose metrics to write; None = none.
        run_dir: where to write; by default the trainer's ``run_dir``.
    """

    def write(self, engine: Any) -> None:
        """Append a row to ``metrics.csv``."""
        self._append("metrics.csv", training_row(engine, self._window))
        self._window.clear()

    def _started(self, engine: Any) -> None:
        super()._started(engine)
        for name in ("metrics.csv", "validation.csv"):
            keep_rows(self.folder / name, engine.state.iteration)

    def write_validation(self, engine: Any, numbers: dict[str, float]) -> None:
        """Append a row to ``validation.csv``."""
        self._append("validation.csv", {"iteration": engine.state.iteration, "epoch": engine.state.epoch} | numbers)

    def _append(self, name: str, row: dict[str, float]) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow({key: f"{value:.8g}" for key, value in row.items()})


def keep_rows(path: Path, iteration: int) -> None:
    """Drop the rows of a table that are later than ``iteration``, and a last line that was cut short."""
    if not path.is_file():
        return
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    kept = [row for row in rows if len(row) == len(header) and row[0].isdigit() and int(row[0]) <= iteration]
    text = io.StringIO()
    csv.writer(text).writerows([header, *kept])
    write_text(path, text.getvalue())
