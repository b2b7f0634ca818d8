"""Plots of a report, drawn with matplotlib's objects (no global state, no display)."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

from medgen.apps.report.words import over_floor, sized

__all__ = [
    "Panel",
    "band_plot",
    "difference_plot",
    "guidance_plot",
    "scatter_plot",
    "score_plot",
    "solver_plot",
    "tradeoff_plot",
    "ventricle_plot",
]

REFERENCE, OTHER, INK, SOFT = "#2a7f9e", "#d1603d", "#26323a", "#8b6fb0"
GRID, BAND = "#e3e8eb", "#dff0e4"
REAL_ALPHA, GENERATED_ALPHA = 0.35, 0.9


class Panel(NamedTuple):
    """Ratios that are drawn against guidance."""

    title: str
    band: tuple[float, float]  # where real images lie
    part: str  # of a row of the metrics
    series: tuple[tuple[str, str, str], ...]  # name of the figure, colour, label


def guidance_plot(metrics: Mapping[str, Any], panels: Sequence[Panel]) -> bytes:
    """Ratios to real images, and likeness, against guidance; the green band is where real images lie."""
    rows = metrics["generated"]
    scales = np.array([row["guidance"] for row in rows])
    figure, axes = new_figure(1 + len(panels), (3.5 * (1 + len(panels)), 3.1))
    shift = 0.02 * max(float(np.ptp(scales)), 0.5)
    for axis, panel in zip(axes, panels, strict=False):
        if not all(row.get(panel.part) for row in rows):
            axis.set_axis_off()
            continue
        _band(axis, panel.band)
        for side, (name, colour, label) in zip((-shift, shift), panel.series, strict=True):
            _errorbars(axis, scales + side, [row[panel.part][name] for row in rows], colour, label)
        axis.legend(frameon=False, fontsize=8)
        axis.set_title(panel.title)
    last = axes[-1]
    last.axhline(1, color="#6fa57f", linewidth=1.5, linestyle="--")
    found = [over_floor(row["likeness_sweep"]) for row in rows]
    times = [np.nan if one["value"] is None else one["value"] for one in found]
    ends = [one["high"] for one in found if one["high"] is not None]
    last.plot(scales, times, "o-", color=INK, markersize=5, linewidth=1.3)
    if len(ends) == len(found):
        last.vlines(scales, [one["low"] for one in found], ends, color=INK, alpha=0.4)
    last.set_ylim(0, 1.15 * float(np.nanmax([*times, *ends, 1.0])))
    last.set_title("Fréchet distance to held-out images\nover that of training images")
    for axis in axes:
        axis.set_xlabel("guidance")
        axis.set_xticks(scales, [f"{scale:g}" for scale in scales])
    return png(figure)


def tradeoff_plot(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Fidelity against diversity, a point for each guidance, beside real images in place of generated ones."""
    pairs = (("recall", "precision"), ("coverage", "density"), ("ms_ssim", "precision"))
    figure, axes = new_figure(len(pairs), (10.6, 3.3))
    for axis, (across, up) in zip(axes, pairs, strict=True):
        found = [row["fidelity_sweep"] for row in rows]
        for prefix in ("real_", ""):
            x, y = (np.array([_or_nan(f[prefix + name]["value"]) for f in found]) for name in (across, up))
            ends = [
                np.nan_to_num([[v - _or_nan(f[prefix + n]["low"]), _or_nan(f[prefix + n]["high"]) - v]
                               for f, v in zip(found, values, strict=True)]).T.clip(min=0)
                for n, values in ((across, x), (up, y))
            ]  # fmt: skip
            if prefix:  # the same at every guidance
                axis.errorbar(x[:1], y[:1], ends[1][:, :1], ends[0][:, :1], fmt="D", color=REFERENCE, capsize=2,
                              markersize=6, label="real images", zorder=3)  # fmt: skip
                continue
            axis.errorbar(x, y, ends[1], ends[0], fmt="none", ecolor=OTHER, alpha=0.3)
            axis.plot(x, y, "o-", color=OTHER, markersize=5, linewidth=1.2, label="generated")
            for row, a, b in zip(rows, x, y, strict=True):
                axis.annotate(f"{row['guidance']:g}", (a, b), (5, 5), textcoords="offset points", fontsize=8)
        axis.set_xlabel("MS-SSIM (less is more diverse)" if across == "ms_ssim" else across)
        axis.set_ylabel(up)
        if across == "ms_ssim":
            axis.invert_xaxis()
        axis.legend(frameon=False, fontsize=8)
    axes[0].set_title("Fidelity against diversity, by guidance")
    return png(figure)


def band_plot(
    bands: Sequence[str], sources: Mapping[str, Sequence[Mapping[str, Any]]], ylabel: str, title: str, zero: bool
) -> bytes:
    """One figure with its interval for each band of a number, real beside generated; three sources at most."""
    figure, (axis,) = new_figure(1, (6.4, 3.2))
    places = np.arange(len(bands))
    if zero:
        axis.axhline(0, color="#9aa7ae", linewidth=1)
    colours = (REFERENCE, OTHER) if len(sources) == 2 else (INK, REFERENCE, OTHER)
    sides = 0.16 * (np.arange(len(sources)) - (len(sources) - 1) / 2)
    for side, colour, (source, figures) in zip(sides, colours, sources.items(), strict=True):
        value, low, high = (np.array([_or_nan(f[name]) for f in figures]) for name in ("value", "low", "high"))
        errors = np.nan_to_num(np.stack([value - low, high - value]).clip(min=0))
        axis.errorbar(places + side, value, errors, fmt="o-", color=colour, capsize=3, markersize=5, label=source)
    axis.set_xticks(places, list(bands))
    axis.set_ylabel(ylabel)
    axis.set_title(title)
    axis.legend(frameon=False, fontsize=8)
    return png(figure)


def scatter_plot(series: Mapping[str, tuple[Any, Any]], xlabel: str, ylabel: str) -> bytes:
    """Single values against a number, a panel for each series, with its line of least squares; private."""
    figure, axes = new_figure(len(series), (3.2 * len(series), 3.0), sharey=True)
    for axis, colour, (title, (x, y)) in zip(axes, (INK, REFERENCE, OTHER), series.items(), strict=True):
        axis.scatter(x, y, s=9, color=colour, alpha=0.45, linewidth=0)
        ends = np.array([np.min(x), np.max(x)])
        axis.plot(ends, np.polyval(np.polyfit(x, y, 1), ends), color=colour, linewidth=1.5)
        axis.set_title(title)
        axis.set_xlabel(xlabel)
    axes[0].set_ylabel(ylabel)
    return png(figure)


def solver_plot(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Distance against network evaluations, a line for each solver."""
    figure, (axis,) = new_figure(1, (6.4, 3.2))
    colours = (REFERENCE, OTHER, SOFT, INK)
    for number, solver in enumerate(dict.fromkeys(row["solver"] for row in rows)):
        own = sorted((row for row in rows if row["solver"] == solver), key=lambda row: row["evaluations"])
        at = np.array([row["evaluations"] for row in own])
        value, low, high = (np.array([row["frechet"][name] for row in own]) for name in ("value", "low", "high"))
        errors = np.stack([value - low, high - value]).clip(min=0)
        colour = colours[number % len(colours)]
        axis.errorbar(at, value, errors, fmt="o-", color=colour, capsize=3, markersize=5, label=solver)
    axis.set_xscale("log")
    ticks = sorted({row["evaluations"] for row in rows})
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.set_xlabel("network evaluations per image")
    axis.set_ylabel("Fréchet distance")
    axis.set_title("Distance to held-out images by solver and evaluations")
    axis.legend(frameon=False, fontsize=8)
    return png(figure)


def ventricle_plot(areas: Mapping[str, Any], labels: tuple[str, str], unit: str) -> bytes:
    """Distribution of ventricle areas at equal covariates by label, cohort beside generated; nobody is singled out."""
    figure, (axis,) = new_figure(1, (6.4, 3.4))
    ticks = []
    for place, (label, colour) in enumerate(zip(labels, (REFERENCE, OTHER), strict=True)):
        for offset, source, alpha in ((-0.2, "cohort", REAL_ALPHA), (0.2, "generated", GENERATED_ALPHA)):
            values, group = areas[source]
            _violin(axis, values[group == place], place + offset, colour, alpha)
        ticks.append(label)
    axis.set_xticks(range(2), ticks)
    axis.set_xlim(-0.6, 1.6)
    size = sized(unit)
    axis.set_ylabel(f"ventricle {size} ({unit})")
    axis.set_title(f"Ventricle {size} at equal age, sex and slice, as far as known")
    patches = [Patch(color=INK, alpha=alpha, label=name) for name, alpha in
               (("cohort", REAL_ALPHA), ("generated", GENERATED_ALPHA))]  # fmt: skip
    axis.legend(handles=patches, frameon=False, fontsize=8, loc="upper left")
    return png(figure)


def score_plot(scores: Mapping[str, Any], labels: tuple[str, str]) -> bytes:
    """Distribution of the classifier's log odds by label, held-out real beside generated."""
    figure, axes = new_figure(2, (8.4, 2.9), sharey=True)
    everything = np.concatenate([values for values, _ in scores.values()])
    low, high = np.quantile(everything, [0.005, 0.995])
    grid = np.linspace(low - 0.5, high + 0.5, 200)
    for axis, (source, title) in zip(axes, (("real", "held-out real"), ("generated", "generated")), strict=True):
        values, positive = scores[source]
        for which, (label, colour) in enumerate(zip(labels, (REFERENCE, OTHER), strict=True)):
            density = _density(values[positive == which], grid)
            axis.fill_between(grid, density, color=colour, alpha=0.35, linewidth=0)
            axis.plot(grid, density, color=colour, linewidth=1.5, label=label)
        axis.set_title(title)
        axis.set_xlabel(f"classifier: log odds of {labels[1]}")
        axis.set_yticks([])
        axis.legend(frameon=False, fontsize=8)
    return png(figure)


def difference_plot(
    groups: Sequence[str], series: Mapping[str, tuple[str, Sequence[Mapping[str, Any]]]], ylabel: str
) -> bytes:
    """Differences with intervals: groups along the axis, in each a point for every series (colour, figures)."""
    figure, (axis,) = new_figure(1, (7.2, 3.4))
    axis.axhline(0, color=INK, linewidth=1)
    places = np.arange(len(groups), dtype=float)
    for shift, (name, (colour, found)) in zip(np.linspace(-0.24, 0.24, len(series)), series.items(), strict=True):
        value, low, high = (np.array([_or_nan(one[end]) for one in found]) for end in ("value", "low", "high"))
        errors = np.nan_to_num(np.stack([value - low, high - value]).clip(min=0))
        axis.errorbar(places + shift, value, errors, fmt="o", color=colour, capsize=3, markersize=6, label=name)
    axis.set_xticks(places, list(groups))
    axis.set_xlim(-0.5, len(groups) - 0.5)
    axis.set_ylabel(ylabel)
    figure.legend(frameon=False, fontsize=8, loc="outside upper center", ncols=2)
    return png(figure)


def new_figure(columns: int, size: tuple[float, float], sharey: bool = False) -> tuple[Figure, NDArray[Any]]:
    """A figure of the report's style with a row of axes."""
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(1, columns, sharey=sharey))
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color("#9aa7ae")
        axis.tick_params(colors=INK, labelsize=8)
        axis.grid(axis="y", color=GRID, linewidth=0.8)
        axis.set_axisbelow(True)
    return figure, axes


def _band(axis: Axes, limits: tuple[float, float]) -> None:
    axis.axhspan(*limits, color=BAND, linewidth=0)
    axis.axhline(1, color="#6fa57f", linewidth=1.2, linestyle="--")


def _errorbars(
    axis: Axes, at: NDArray[Any], figures: list[Mapping[str, float | None]], colour: str, label: str | None
) -> None:
    bottom, top = axis.get_ylim()
    value, low, high = (np.array([_or_nan(f[name]) for f in figures]) for name in ("value", "low", "high"))
    errors = np.nan_to_num(np.stack([value - low, high - value]).clip(min=0))
    axis.errorbar(at, value, errors, fmt="o-", color=colour, capsize=3, markersize=5, linewidth=1.3, label=label)
    # an interval of a ratio may be very long; the plot shows where the values are
    needed = min(1.05 * float(np.nanmax([*high, *value, 1.0])), 1.6 * float(np.nanmax([*value, 1.0])))
    axis.set_ylim(max(min(bottom, 0, float(np.nanmin([*low, *value, 0.0]))), -1), max(top, needed, 1.4))


def _violin(axis: Axes, values: NDArray[Any], at: float, colour: str, alpha: float) -> None:
    low, middle, high = np.quantile(values, [0.03, 0.5, 0.97])  # no extremes: those are single people
    grid = np.linspace(low, high, 120)
    density = _density(values, grid)
    half = 0.17 * density / max(float(density.max()), 1e-12)
    axis.fill_betweenx(grid, at - half, at + half, color=colour, alpha=alpha, linewidth=0)
    axis.plot([at - 0.1, at + 0.1], [middle, middle], color="white", linewidth=1.6)


def _density(values: NDArray[Any], grid: NDArray[Any]) -> NDArray[Any]:
    if len(values) < 3 or float(np.std(values)) < 1e-9:
        return np.zeros_like(grid)
    return np.asarray(gaussian_kde(values)(grid))


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file."""
    for axis in figure.axes:
        axis.title.set(fontsize=9.5, color=INK)
        for label in (axis.xaxis.label, axis.yaxis.label):
            label.set(fontsize=9, color=INK)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": "medgen"})
    return buffer.getvalue()
