"""Plots of a run, through matplotlib's objects: no global state, no window."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgen import __version__
from medgen.files import atomic_write
from medgen.handlers.csv_logger import read_csv
from medgen.handlers.periodic import Periodic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["LossCurve", "new_figure", "save_figure"]


def new_figure(xlabel: str, ylabel: str, size: tuple[float, float] = (6.4, 4.0)) -> tuple[Figure, Axes]:
    """Return a figure of ``size`` inches and its labelled axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(alpha=0.3)
    return figure, axes


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write ``figure`` as PNG, whole or not at all."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, metadata={"Software": f"medgen {__version__}"})
    return Path(path)


class LossCurve(Periodic):
    """Draw ``loss_curve.png`` from the tables of :class:`medgen.handlers.CsvLogger`, which must be attached before.

    Args:
        interval: iterations between drawings; None = at the end only.
        run_dir: where the tables are; by default the trainer's ``run_dir``.
    """

    def __init__(self, interval: int | None = 1000, run_dir: str | os.PathLike[str] | None = None) -> None:
        super().__init__(interval, run_dir)

    def _due(self, engine: Any) -> None:
        self.write(engine)  # at the end in any case: the tables may have got their last rows since

    def write(self, engine: Any) -> None:
        """Draw what the tables hold."""
        training = read_csv(self.folder / "metrics.csv")
        if not training:
            return
        validation = read_csv(self.folder / "validation.csv")
        figure, axes = new_figure("iteration", "loss")
        axes.plot(training["iteration"], training["loss"], color="tab:blue", alpha=0.35, linewidth=0.8)
        axes.plot(training["iteration"], _smooth(training["loss"]), color="tab:blue", label="training")
        for name, values in validation.items():
            if name not in ("iteration", "epoch"):
                axes.plot(validation["iteration"], values, color="tab:orange", marker=".", label=f"validation: {name}")
                break
        positive = [value for value in training["loss"] if value > 0]
        if positive and max(positive) > 5 * min(positive):
            axes.set_yscale("log")
        axes.legend()
        save_figure(figure, self.folder / "loss_curve.png")


def _smooth(values: list[float], weight: float = 0.9) -> list[float]:
    """Exponential moving average without the bias of its start; NaN is passed over."""
    smoothed, total, norm = [], 0.0, 0.0
    for value in values:
        if value == value:
            total, norm = weight * total + (1 - weight) * value, weight * norm + (1 - weight)
        smoothed.append(total / norm if norm else float("nan"))
    return smoothed
