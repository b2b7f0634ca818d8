"""What a report says of traits that the generator was not told of, such as a brain's volume."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from medgen.apps.evaluation.run import Evidence
from medgen.apps.report import page, plots
from medgen.apps.report.words import listed, main_row, number, shown_band, slope_words, spread_words, with_interval

__all__ = ["private_sections", "sections", "summary"]

Metrics = Mapping[str, Any]
DIGITS = 3


def summary(metrics: Metrics, add: Callable[[str, str, str, tuple[str, str]], None]) -> None:
    """Rows of the summary: slope and spread of every trait."""
    row, each = main_row(metrics), metrics["settings"].get("unit", "")
    for name, real in metrics["real"]["traits"].items():
        found = row["traits"][name]
        words, ratio = slope_words(found["slope_ratio"]), with_interval(found["slope_ratio"])
        add(
            f"{name} that a model of real images sees, per {number(real['per'], 0)} {each} asked for",
            with_interval(found["slope"], DIGITS),
            f"{with_interval(real['predicted']['slope'], DIGITS)} as the model sees held-out people; "
            f"{with_interval(real['true']['slope'], DIGITS)} as they are",
            (f"Ratio {ratio}. {words[0]}", words[1]),
        )
        add(
            f"Standard deviation of that {name} at one {metrics['settings']['label']}",
            with_interval(found["spread"], DIGITS),
            with_interval(real["predicted"]["spread"], DIGITS),
            spread_words(found["spread_ratio"]),
        )


def sections(metrics: Metrics) -> list[str]:
    """A section for each trait: its trend in bands of five people or more, and how well the model sees it."""
    row, label = main_row(metrics), metrics["settings"]["label"]
    parts = []
    for name, real in metrics["real"]["traits"].items():
        sources = {
            "held-out people, measured": real["true"],
            "held-out people, as the model sees them": real["predicted"],
            "generated, as the model sees them": row["traits"][name],
        }
        bands = [shown_band(band["low"], band["high"], label) for band in real["true"]["bands"]]
        figures = {source: [band["mean"] for band in part["bands"]] for source, part in sources.items()}
        agreed = real["agreement"]
        text = (
            f"{name} is in the cohort's table, but the generator was never told it. A small network learned it from "
            f"the training images; in {real['images']} images of {real['subjects']} held-out people its predictions "
            f"correlate with the truth at {with_interval(agreed['correlation'])}, at equal {label} at "
            f"{with_interval(agreed['correlation_at_equal_number'])} (near 0 it would see no more than {label}), and "
            f"change by {with_interval(agreed['slope'])} of the true change: it shrinks to the mean, so generated "
            "images are read beside its predictions of real ones."
        )
        equal = listed(list(dict.fromkeys(column.split("=")[0] for column in real["adjusted_for"])))
        caption = (
            f"Mean {name} by {label}, with 95 % intervals; slopes are at equal {equal or 'covariates'}. "
            "Bands of fewer than five held-out people are not shown."
        )
        plot = plots.band_plot(bands, figures, name, f"{name} by {label}", False) if bands else None
        shown = [page.figure(plot, caption, 640)] if plot else []
        parts.append(page.section(f"{name} by {label}", page.paragraph(text), *shown))
    return parts


def private_sections(evidence: Evidence) -> list[str]:
    """Private: every held-out person's trait, true and predicted, beside those of generated images."""
    label = evidence.metrics["settings"]["label"]
    parts = []
    for name, series in evidence.traits.items():
        plot = plots.scatter_plot(
            {
                "held-out people: measured": series["true"],
                "held-out images: predicted": series["real"],
                "generated images: predicted": series["generated"],
            },
            label,
            name,
        )
        caption = f"{name} against {label}; every point of the first two panels is a person of the cohort."
        parts.append(page.section(f"{name} by {label}", page.figure(plot, caption)))
    return parts
