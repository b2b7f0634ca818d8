"""Where on the way from noise to image the loss lies."""

from __future__ import annotations

import csv
import os
from typing import Any

import torch
from ignite.engine import Events

from medgen.handlers.csv_logger import keep_rows
from medgen.handlers.periodic import Periodic
from medgen.handlers.plots import new_figure, save_figure

__all__ = ["LossByNoiseLevel"]


class LossByNoiseLevel(Periodic):
    """Write the mean loss in equal parts of t: ``loss_by_noise_level.csv`` and, of the latest rows, a PNG.

    Args:
        bins: parts of [0, 1].
        interval: iterations per set of rows; the mean starts anew after each.
        run_dir: where to write; by default the trainer's ``run_dir``.

    Raises:
        ValueError: when ``bins`` is below 1.
    """

    def __init__(
        self, bins: int = 20, interval: int | None = 1000, run_dir: str | os.PathLike[str] | None = None
    ) -> None:
        if bins < 1:
            raise ValueError(f"bins: expected 1 or more, found {bins!r}")
        super().__init__(interval, run_dir)
        self.bins = bins
        self._sums: torch.Tensor | None = None
        self._earlier: list[tuple[int, list[float]]] = []

    def listen(self, engine: Any) -> None:
        """Register with ``engine``'s events."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        super().listen(engine)

    def _started(self, engine: Any) -> None:
        super()._started(engine)
        keep_rows(self.folder / "loss_by_noise_level.csv", engine.state.iteration)

    def _add(self, engine: Any) -> None:
        t, losses = engine.state.output["t"], engine.state.output["sample_loss"]
        if self._sums is None:
            self._sums = torch.zeros(2, self.bins, device=losses.device)
        index = (t * self.bins).long().clamp_(0, self.bins - 1)
        values = torch.stack((losses.float(), torch.ones_like(losses, dtype=torch.float32)))
        # a sample without a finite loss counts nowhere
        self._sums.index_add_(1, index, torch.where(torch.isfinite(losses), values, 0.0))

    def write(self, engine: Any) -> None:
        """Append a row per part of t to the table, and draw."""
        if self._sums is None:
            return
        sums, counts = self._sums.tolist()
        self._sums.zero_()
        means = [total / count if count else float("nan") for total, count in zip(sums, counts, strict=True)]
        path = self.folder / "loss_by_noise_level.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        with open(path, "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["iteration", "t_low", "t_high", "mean_loss", "samples"])
            for k, (mean, count) in enumerate(zip(means, counts, strict=True)):
                row = [engine.state.iteration, f"{k / self.bins:g}", f"{(k + 1) / self.bins:g}", f"{mean:.8g}"]
                writer.writerow([*row, int(count)])
        self._draw(engine.state.iteration, means)

    def _draw(self, iteration: int, means: list[float]) -> None:
        figure, axes = new_figure("t (0 clean, 1 noise)", "mean loss")
        edges = [k / self.bins for k in range(self.bins + 1)]
        for earlier, values in self._earlier[-1:]:
            axes.stairs(values, edges, color="tab:gray", label=f"up to iteration {earlier}")
        axes.stairs(means, edges, color="tab:blue", linewidth=1.5, label=f"up to iteration {iteration}")
        axes.set_xlim(0, 1)
        axes.legend()
        save_figure(figure, self.folder / "loss_by_noise_level.png")
        self._earlier = [(iteration, means)]
