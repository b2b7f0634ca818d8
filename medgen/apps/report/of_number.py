"""What a report says of a number: do images look as old as was asked, and differ as people of one age do?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from medgen.apps.evaluation.run import Evidence
from medgen.apps.report import of_trait, page, pictures, plots
from medgen.apps.report.ratio import ratio_card
from medgen.apps.report.words import (
    ALIKE,
    SIZE,
    SLOPE,
    adjusted_slope_words,
    agreement_words,
    likeness_words,
    listed,
    main_row,
    number,
    shown_band,
    sized,
    slope_words,
    spread_words,
    with_interval,
)

__all__ = ["cards", "guidance_columns", "guidance_panels", "opening", "reading", "sections", "shown", "summary"]

Metrics = Mapping[str, Any]
Add = Callable[[str, str, str, tuple[str, str]], None]
COLUMNS = 8


def opening(metrics: Metrics) -> str:
    """The sentence under the title."""
    name = metrics["settings"]["label"]
    return f"Synthetic images of any {name}: do they look it, by the right amount, and are they original?"


def cards(metrics: Metrics) -> list[str]:
    """Headline figures of the number and of the anatomy."""
    row, real, name = main_row(metrics), metrics["real"], metrics["settings"]["label"]
    found = row["label"]
    words = agreement_words(found["correlation_ratio"], real["agreement"]["correlation"], name)
    made = [
        ratio_card(f"Do the images show the {name}?", found["correlation_ratio"], words),
        ratio_card("By the right amount?", found["slope_ratio"], slope_words(found["slope_ratio"])),
    ]
    if row.get("ventricles"):
        spread = row["ventricles"]["spread_ratio"]
        made.append(ratio_card(f"Do people of one {name} differ enough?", spread, spread_words(spread)))
    return made


def shown(evidence: Evidence) -> list[str]:
    """Generated pictures from low to high, plane by plane, and simulated ones for comparison."""
    settings = evidence.metrics["settings"]
    images = evidence.generated[settings["guidance"]]
    allowed = np.array(pictures.publishable(evidence, settings["guidances"], images.profiles), dtype=int)
    parts = []
    for plane, rows in pictures.by_plane(evidence.covariates, images.covariates).items():
        kept = pictures.spaced(images.target, np.intersect1d(rows, allowed), COLUMNS)
        if not kept:
            continue
        caption = (
            f"SYNTHETIC. Guidance {settings['guidance']:g}{f', {plane}' if plane else ''}. By {settings['label']}."
        )
        titles = pictures.profile_titles(
            evidence.covariates, images.covariates[kept], settings["label"], evidence.metrics["simulated"]
        )
        parts.append(page.figure(pictures.grid(images.images[kept], len(kept), None, titles), caption))
    if parts and evidence.metrics["simulated"]:
        real, tiles = evidence.test, []
        for rows in pictures.by_plane(evidence.covariates, real.covariates).values():
            tiles.append(pictures.spaced(real.target, rows, COLUMNS, real.subjects))
        count = min(len(rows) for rows in tiles)
        kept = [row for rows in tiles for row in rows[:count]]
        caption = "SIMULATED cohort, for comparison: held-out images that the generator never saw, from low to high."
        parts.append(page.figure(pictures.grid(real.images[kept], count, None, None), caption))
    return parts


def summary(metrics: Metrics, add: Add) -> None:
    """Rows of the summary about the number, the planes and the anatomy."""
    row, real, settings = main_row(metrics), metrics["real"], metrics["settings"]
    found, true, name, unit = row["label"], real["agreement"], settings["label"], settings["unit"]
    words = agreement_words(found["correlation_ratio"], true["correlation"], name)
    add(
        f"Correlation of the {name} that a model of real images predicts with the one asked for",
        with_interval(found["correlation"]),
        f"{with_interval(true['correlation'])} with the true one of held-out images: the ceiling",
        (f"Ratio {with_interval(found['correlation_ratio'])}. {words[0]}", words[1]),
    )
    words = slope_words(found["slope_ratio"])
    add(
        f"Predicted {unit} per {unit} asked for (slope)",
        with_interval(found["slope"]),
        f"{with_interval(true['slope'])} per true one: a model shrinks to the mean",
        (f"Ratio {with_interval(found['slope_ratio'])}. {words[0]}", words[1]),
    )
    if true["adjusted_for"]:
        words = adjusted_slope_words(found["slope_adjusted_ratio"], true["slope_adjusted"], name)
        add(
            f"The same slope at equal {listed(true['adjusted_for'])}",
            with_interval(found["slope_adjusted"]),
            f"{with_interval(true['slope_adjusted'])} per true one",
            (f"Ratio {with_interval(found['slope_adjusted_ratio'])}. {words[0]}", words[1]),
        )
    for key, text in (("bias", "Predicted minus asked for"), ("error", "Mean absolute difference")):
        add(f"{text} ({unit})", with_interval(found[key]), with_interval(true[key]), ("", ""))
    if found["extrapolated"]:
        add(
            f"Images asked for outside the training range of {name}",
            str(found["extrapolated"]),
            "—",
            ("These are extrapolated: the model has seen nobody like that.", "warn"),
        )
    for plane, part in found["by_plane"].items():
        likeness, floor = row.get("likeness_by_plane", {}).get(plane), real["by_plane"].get(plane)
        if floor:
            said = (
                f"Ratio {with_interval(part['correlation_ratio'])}; slope ratio {with_interval(part['slope_ratio'])}."
            )
            add(
                f"Correlation, {plane} alone",
                with_interval(part["correlation"]),
                with_interval(floor["correlation"]),
                (said, ""),
            )
        if likeness:
            add(
                f"Fréchet distance, {plane} alone ({likeness['n']} generated against {likeness['n_real']})",
                with_interval(likeness["frechet"]),
                f"{with_interval(likeness['floor_frechet'])}: the floor; kernel {with_interval(likeness['kernel'], 3)} "
                f"against {with_interval(likeness['floor_kernel'], 3)}",
                likeness_words(likeness),
            )
    if row.get("ventricles"):
        _ventricle_rows(metrics, row["ventricles"], add)
    of_trait.summary(metrics, add)


def _ventricle_rows(metrics: Metrics, found: Metrics, add: Add) -> None:
    cohort, settings = metrics["real"]["ventricles"], metrics["settings"]
    unit, each = cohort["unit"], settings["unit"].removesuffix("s")
    adjusted = listed(cohort["adjusted_for"]) or "nothing"
    words = slope_words(found["slope_ratio"])
    place = settings["label"] if sized(unit) == "volume" else f"{settings['label']} and position"
    add(
        f"Ventricle {sized(unit)} per {each} ({unit}), adjusted for {adjusted}",
        with_interval(found["slope"]),
        f"{with_interval(cohort['slope'])} in the cohort",
        (f"Ratio {with_interval(found['slope_ratio'])}. {words[0]}", words[1]),
    )
    if known := cohort["known"]:
        add(
            f"The same against what was put into the simulation ({number(known['effect_ml'])} ml per {each})",
            f"{with_interval(found['known_ratio'])} times the known slope",
            f"{with_interval(known['effect'])} {unit} by {number(known['mm2_per_ml'])} {unit} per ml",
            slope_words(found["known_ratio"]),
        )
    add(
        f"Standard deviation of ventricle {sized(unit)} at one {place} ({unit})",
        with_interval(found["spread"]),
        with_interval(cohort["spread"]),
        spread_words(found["spread_ratio"]),
    )


def guidance_columns(metrics: Metrics) -> dict[str, Callable[[Metrics], str]]:
    """Columns of the guidance table: title, and the cell of a row."""

    def of(part: str, name: str) -> Callable[[Metrics], str]:
        return lambda row: with_interval(row[part][name]) if row.get(part) else "—"

    columns = {
        "Images": lambda row: str(row["per_class"]),
        "Correlation": of("label", "correlation"),
        "Correlation ratio": of("label", "correlation_ratio"),
        "Slope ratio": of("label", "slope_ratio"),
    }
    if metrics["real"]["ventricles"]:
        columns |= {
            f"{sized(metrics['real']['ventricles']['unit']).title()} slope ratio": of("ventricles", "slope_ratio"),
            "Spread ratio": of("ventricles", "spread_ratio"),
        }
    return columns


def guidance_panels() -> list[plots.Panel]:
    """What is drawn against guidance."""
    return [
        plots.Panel(
            "Agreement with what was asked\ngenerated / real",
            SLOPE,
            "label",
            (("correlation_ratio", plots.INK, "correlation"), ("slope_ratio", plots.SOFT, "slope")),
        ),
        plots.Panel(
            "Ventricle slope and spread\ngenerated / cohort",
            SIZE,
            "ventricles",
            (("slope_ratio", plots.OTHER, "slope"), ("spread_ratio", plots.REFERENCE, "spread")),
        ),
    ]


def sections(evidence: Evidence) -> list[str]:
    """Figures by band, traits, and the judge."""
    return [_by_band(evidence.metrics), *of_trait.sections(evidence.metrics), _regressor(evidence.metrics)]


def _by_band(metrics: Metrics) -> str:
    settings, row, real = metrics["settings"], main_row(metrics), metrics["real"]
    name, unit = settings["label"], settings["unit"]

    def bands(of: Metrics) -> list[str]:
        return [shown_band(band["low"], band["high"], name) for band in of["bands"]]

    def figures(parts: Mapping[str, Metrics], key: str) -> dict[str, Sequence[Any]]:
        return {source: [band[key] for band in part["bands"]] for source, part in parts.items()}

    few = "Bands of fewer than five people are not shown."
    if not real["agreement"]["bands"]:
        return page.section(f"By {name}", page.paragraph(few))
    both = {"held-out real": real["agreement"], "generated": row["label"]}
    plot = plots.band_plot(bands(real["agreement"]), figures(both, "bias"), unit, f"Predicted minus asked {name}", True)
    caption = (
        f"How far the {name} that the model sees lies from the one asked for, by band, with 95 % intervals. A model "
        f"shrinks to the mean, so neither lies at 0: generated images should lie where real ones do. {few}"
    )
    parts = [page.figure(plot, caption, 640)]
    if row.get("ventricles"):
        both = {"cohort": real["ventricles"], "generated": row["ventricles"]}
        size = sized(real["ventricles"]["unit"])
        seen = "volumes" if size == "volume" else "axial slices, at one position"
        for key, title in (("mean", f"Mean ventricle {size}"), ("spread", f"Spread of ventricle {size}")):
            plot = plots.band_plot(
                bands(real["ventricles"]), figures(both, key), real["ventricles"]["unit"], f"{title} by {name}", False
            )
            said = "standard deviation among people of one band" if key == "spread" else "mean"
            parts.append(page.figure(plot, f"{title}: {said}, of {seen}, with 95 % intervals.", 640))
    return page.section(f"By {name}", *parts)


def _regressor(metrics: Metrics) -> str:
    splits, true = metrics["data"]["splits"], metrics["real"]["agreement"]
    seen, stopped, held_out = (splits[name] for name in ("train", "validation", "test"))
    text = (
        f"A small residual network learned the {metrics['settings']['label']} from {seen['images']} real images of "
        f"{seen['subjects']} subjects and stopped on {stopped['subjects']} others; it never saw a generated one. On "
        f"single images of {held_out['subjects']} held-out subjects its predictions correlate with the truth at "
        f"{with_interval(true['correlation'])}, with a slope of {with_interval(true['slope'])} and a mean error of "
        f"{with_interval(true['error'])} {metrics['settings']['unit']}. That is the ceiling."
    )
    return page.section("Regressor", page.paragraph(text))


def reading(metrics: Metrics) -> list[str]:
    """How to read the figures."""
    name = metrics["settings"]["label"]
    return [
        f"Correlation ratio: correlation of predicted and asked {name} in generated images, over that of predicted and "
        f"true {name} in held-out real ones. {ALIKE:g} or more is faithful; much above 1, images show their {name} "
        "more clearly than people do.",
        f"Slope ratio: the regressor shrinks to the mean, for real images too, so that a low error alone can be a "
        f"collapse. {SLOPE[0]:g} to {SLOPE[1]:g} is of the right size.",
        f"Spread ratio: standard deviation of ventricle size among people of the same {name}, generated over cohort. "
        f"A generator that shows every {name} as its average person has the slope, but not the spread.",
        f"Profiles: every one ({name}, sex, diagnosis, plane, slice position) is that of a held-out image, so that "
        "what is asked for is distributed as in held-out people.",
    ]


def pairs(evidence: Evidence, scale: float, count: int) -> tuple[torch.Tensor, list[str]]:
    """Private: held-out images from low to high, and below each a generated one of nearest number in its plane."""
    test, images = evidence.test, evidence.generated[scale]
    above: list[int] = []
    below: list[int] = []
    groups = pictures.by_plane(evidence.covariates, images.covariates)
    plane, rows = next(iter(groups.items()))
    real = pictures.by_plane(evidence.covariates, test.covariates).get(plane, np.arange(len(test.subjects)))
    for row in pictures.spaced(test.target, real, count, test.subjects):
        above.append(row)
        below.append(int(rows[np.argmin(np.abs(images.target[rows] - test.target[row]))]))
    return torch.cat([test.images[above], images.images[below]]), ["real", "generated"]
