"""The main figures of several runs, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medgen.apps.report.plots import GRID, INK, OTHER, REFERENCE, SOFT, png

__all__ = ["comparison_plot"]

COLOURS = (REFERENCE, OTHER, SOFT, "#3f8f5f", "#b0892c", "#7a7f86")
REAL = "#6fa57f"
ACROSS = 3


def comparison_plot(figures: Sequence[Mapping[str, Any]], names: Sequence[str]) -> bytes | None:
    """A panel for each main figure, a line for each run; what may not be compared with the largest group is hollow.

    Args:
        figures: of :func:`medgen.apps.report.compare.verdicts.compared_figures`.
        names: of the runs, in order.

    Returns:
        PNG; None where fewer than two runs share a main figure.
    """
    shown = [found for found in figures if found["figure"].plotted and len(found["readings"]) > 1]
    if not shown:
        return None
    rows = -(-len(shown) // ACROSS)
    canvas = Figure(figsize=(10.6, rows * (1.0 + 0.34 * len(names))), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots(rows, min(ACROSS, len(shown)), squeeze=False)
    for axis in axes.flat[len(shown) :]:
        axis.set_axis_off()
    for place, (axis, found) in enumerate(zip(axes.flat, shown, strict=False)):
        _panel(axis, found, names, labelled=place % ACROSS == 0)
    return png(canvas)


def _panel(axis: Axes, found: Mapping[str, Any], names: Sequence[str], labelled: bool) -> None:
    largest = max(found["groups"], key=len)
    ideals = {reading.ideal for reading in found["readings"].values()}
    if len(ideals) == 1 and (ideal := next(iter(ideals))) != 0:
        axis.axvline(ideal, color=REAL, linewidth=1.3, linestyle="--")
    span: list[float] = []
    for place, name in enumerate(names):
        if (reading := found["readings"].get(name)) is None or reading.figure["value"] is None:
            continue
        value, low, high = (_number(reading.figure[key]) for key in ("value", "low", "high"))
        span += [value, low, high]
        if reading.reference and "features" in found["figure"].needs:  # in the figure's own unit
            span.append(_number(reading.reference["value"]))
            axis.plot(span[-1:], [place], "|", color=REAL, markersize=13, markeredgewidth=2)
        colour, comparable = COLOURS[place % len(COLOURS)], name in largest and len(largest) > 1
        ends = np.nan_to_num(np.array([[value - low], [high - value]])).clip(min=0)
        axis.errorbar([value], [place], xerr=ends, fmt="o", color=colour, capsize=3, markersize=6,
                      markerfacecolor=colour if comparable else "white")  # fmt: skip
    span = [value for value in span if np.isfinite(value)]
    if span:
        values = [abs(_number(reading.figure["value"])) for reading in found["readings"].values()]
        reach, rim = 3 * max(float(np.nanmax(values)), 1.0), 0.08 * float(np.ptp(span)) + 0.02
        axis.set_xlim(max(min(span) - rim, -reach), min(max(span) + rim, reach))  # an interval may be very long
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_yticks(range(len(names)), [_short(name) for name in names] if labelled else [""] * len(names))
    axis.tick_params(labelsize=8.5, colors=INK)
    axis.tick_params(axis="y", length=0)
    axis.set_title(found["figure"].name)
    axis.grid(axis="x", color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def _short(name: str) -> str:
    return name if len(name) <= 26 else f"…{name[-25:]}"


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
