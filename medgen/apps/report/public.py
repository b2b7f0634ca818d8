"""``report.html``: what may be passed on. Figures, plots, generated or simulated pictures; no real image, no name."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from medgen.apps.evaluation.provenance import SIMULATED_NOTICE
from medgen.apps.evaluation.run import Evidence
from medgen.apps.report import page, pictures, plots
from medgen.apps.report.background import limits, provenance, reading
from medgen.apps.report.words import (
    headline,
    label_words,
    likeness_words,
    listed,
    main_row,
    number,
    originality_words,
    recommended,
    size_words,
    spread_words,
    with_interval,
)

__all__ = ["public_report"]

COLUMNS = 8


def public_report(evidence: Evidence) -> str:
    """The page as HTML text."""
    metrics = evidence.metrics
    parts = [_header(metrics)]
    if metrics["simulated"]:
        parts.append(page.notice(SIMULATED_NOTICE, "loud"))
    parts += [page.notice(text) for text in metrics["notices"] if text != SIMULATED_NOTICE]
    parts += [_cards(metrics), _pictures(evidence), _summary(metrics), _guidance(evidence)]
    if evidence.areas:
        parts.append(_ventricles(evidence))
    parts += [_classifier(evidence), reading(metrics), limits(metrics), provenance(metrics)]
    return page.document(f"{metrics['name'] or 'Generator'}: evaluation", parts)


def _header(metrics: Mapping[str, Any]) -> str:
    mark = page.badge("SIMULATED DATA") if metrics["simulated"] else ""
    reference, other = metrics["settings"]["labels"]
    name = metrics["name"] or "Generator"
    text = f"Synthetic images of {other} and {reference}: are they faithful, by the right amount, and original?"
    return f"<header><h1>{escape(name)}{mark}</h1><p>{escape(text)}</p></header>"


def _cards(metrics: Mapping[str, Any]) -> str:
    row, real, suffix = main_row(metrics), metrics["real"], headline(metrics)
    label = metrics["settings"]["label"]
    ratio = row["label"][f"ratio{suffix}"]
    words, mark = label_words(ratio, real[f"auc{suffix}"], label)
    cards = [page.card(f"Do the images carry the {label}?", number(ratio["value"]), _interval(ratio), words, mark)]
    if row.get("ventricles"):
        size, spread = row["ventricles"]["effect_ratio"], row["ventricles"]["spread_ratio"]
        words, mark = size_words(size, row["ventricles"]["effect"])
        cards.append(page.card("Is the effect of the right size?", number(size["value"]), _interval(size), words, mark))
        words, mark = spread_words(spread)
        cards.append(page.card("Do people differ enough?", number(spread["value"]), _interval(spread), words, mark))
    words, mark = likeness_words(row["likeness"])
    times = row["likeness"]["frechet_over_floor"]
    value = "—" if times is None else f"{number(times, 1)} ×"
    cards.append(page.card("Do they look like real images?", value, "distance over real to real", words, mark))
    words, mark = originality_words(row["originality"])
    found = row["originality"]
    copies = f"{found['near_copies']} / {found['images']}"
    cards.append(page.card("Are they new?", copies, "near copies of training images", words, mark))
    return f'<div class="cards">{"".join(cards)}</div>'


def _interval(figure: Mapping[str, float | None]) -> str:
    if figure["low"] is None:
        return "generated / real"
    return f"generated / real, 95 % interval {number(figure['low'])} to {number(figure['high'])}"


def _pictures(evidence: Evidence) -> str:
    metrics = evidence.metrics
    settings, scales = metrics["settings"], metrics["settings"]["guidances"]
    chosen = pictures.publishable(evidence, scales, COLUMNS)
    grid = pictures.class_grids(evidence, evidence.covariates, settings["guidance"], chosen)
    if grid is None:
        return page.section(
            "Generated images", page.paragraph("None is shown: all are near copies of training images.")
        )
    caption = (
        f"SYNTHETIC. Guidance {settings['guidance']:g}. A column is one profile and one noise, generated as "
        f"{settings['labels'][0]} above and {settings['labels'][1]} below: only the {settings['label']} differs."
    )
    parts = [page.figure(grid, caption)]
    if metrics["simulated"]:
        shown = pictures.real_grid(evidence, COLUMNS)
        parts.append(
            page.figure(shown, "SIMULATED cohort, for comparison: held-out images that the generator never saw.")
        )
    return page.section("Generated images", *parts)


def _summary(metrics: Mapping[str, Any]) -> str:
    row, real = main_row(metrics), metrics["real"]
    label, labels = metrics["settings"]["label"], metrics["settings"]["labels"]
    suffix = headline(metrics)
    likeness, found = row["likeness"], row["originality"]
    rows: list[list[str]] = []
    marks: list[str] = []

    def add(question: str, generated: str, reference: str, words: tuple[str, str]) -> None:
        rows.append([question, generated, reference, words[0]])
        marks.append(words[1])

    for key, text in (("", "each slice by itself"), ("_adjusted", "at equal age, sex and slice, as far as known")):
        ratio = row["label"][f"ratio{key}"]
        words = label_words(ratio, real[f"auc{key}"], label)
        told = f"Ratio {with_interval(ratio)}. {words[0]}" if key == suffix else f"Ratio {with_interval(ratio)}."
        add(
            f"How well a classifier of real images tells {labels[1]} from {labels[0]} (AUC, {text})",
            with_interval(row["label"][f"auc{key}"]),
            f"{with_interval(real[f'auc{key}'])} on held-out images: the ceiling",
            (told, words[1] if key == suffix else ""),
        )
    if row.get("ventricles"):
        _ventricle_rows(metrics, row["ventricles"], add)
    floor = f"{with_interval(likeness['floor_frechet'])} for as many training images: the floor"
    size = f"{likeness['n']} generated against {likeness['n_real']} held-out images"
    add(f"Fréchet distance in the classifier's features ({size})", with_interval(likeness["frechet"]), floor,
        likeness_words(likeness))  # fmt: skip
    kernel, below = likeness["kernel"], likeness["floor_kernel"]
    add("Kernel distance, same features (unbiased; 0 means alike)", with_interval(kernel, 3),
        f"{with_interval(below, 3)} for as many training images: the floor",
        ("Value and error by jackknife over subjects.", ""))  # fmt: skip
    add("Correlation with the nearest training image (median)", number(found["generated"], 3),
        f"{number(found['held_out'], 3)} for held-out images", originality_words(found))  # fmt: skip
    head = ["Question", f"Generated, guidance {row['guidance']:g}", "Real", "In words"]
    note = page.paragraph("Values with 95 % intervals; subjects, not slices, were resampled.")
    return page.section("Summary", note, page.table(head, rows, marks))


def _ventricle_rows(metrics: Mapping[str, Any], found: Mapping[str, Any], add: Any) -> None:
    cohort, labels = metrics["real"]["ventricles"], metrics["settings"]["labels"]
    unit, adjusted = cohort["unit"], listed(cohort["adjusted_for"]) or "nothing"
    add(
        f"Ventricle area, {labels[1]} minus {labels[0]} ({unit}), adjusted for {adjusted}",
        with_interval(found["effect"]),
        f"{with_interval(cohort['effect'])} in the cohort; unadjusted {with_interval(cohort['unadjusted'])}",
        size_words(found["effect_ratio"], found["effect"]),
    )
    known = cohort["known"]
    if known:
        times = found["known_ratio"]
        add(
            f"The same against what was put into the simulation ({number(known['effect_ml'])} ml)",
            f"{with_interval(times)} times the known effect",
            f"{with_interval(known['effect'])} {unit} by {number(known['mm2_per_ml'])} {unit} per ml",
            size_words(times, found["effect"], "the known one"),
        )
    add(f"Standard deviation within a class ({unit})", with_interval(found["spread"]), with_interval(cohort["spread"]),
        spread_words(found["spread_ratio"]))  # fmt: skip
    if found["age_slope"] and cohort["age_slope"]:
        add(f"Ventricle area per year of age ({unit})", with_interval(found["age_slope"]),
            with_interval(cohort["age_slope"]), ("Whether age, too, was learned.", ""))  # fmt: skip


def _guidance(evidence: Evidence) -> str:
    metrics, suffix = evidence.metrics, headline(evidence.metrics)
    rows = []
    for row in metrics["generated"]:
        found = row.get("ventricles")
        cells = [
            f"{row['guidance']:g}{' (main)' if row['main'] else ''}",
            str(row["per_class"]),
            with_interval(row["label"][f"auc{suffix}"]),
            with_interval(row["label"]["ratio"]),
            with_interval(row["label"]["ratio_adjusted"]),
        ]
        if metrics["real"]["ventricles"]:
            cells += (
                [with_interval(found["effect_ratio"]), with_interval(found["spread_ratio"])] if found else ["—", "—"]
            )
        times = row["likeness"]["frechet_over_floor"]
        cells += ["—" if times is None else f"{number(times, 1)} ×", str(row["evaluations_per_image"])]
        rows.append([*cells, number(row["seconds_per_image"])])
    head = ["Guidance", "Images a class", "AUC", "Label ratio", "Label ratio at equal age, sex, slice"]
    head += ["Effect ratio", "Spread ratio"] if metrics["real"]["ventricles"] else []
    head += ["Fréchet / floor", "Network evaluations", "Seconds an image"]
    parts = [
        page.paragraph(
            "Guidance makes the label clearer than it is in people, and people more alike. The setting to use is the "
            "one whose effect is that of real images, not the one that classifies best."
        ),
        page.figure(
            plots.guidance_plot(metrics), "Generated over real against guidance, with 95 % intervals; 1 is real."
        ),
        page.table(head, rows),
    ]
    if (best := recommended(metrics)) is not None:
        parts.append(page.paragraph(f"Nearest to real images by this measure: guidance {best:g}."))
    scales = metrics["settings"]["guidances"]
    strip = pictures.guidance_strip(evidence, scales, pictures.publishable(evidence, scales, 4))
    if strip is not None:
        parts.append(page.figure(strip, "SYNTHETIC. The same four profiles and noise at every guidance."))
    return page.section("Guidance", *parts)


def _ventricles(evidence: Evidence) -> str:
    metrics = evidence.metrics
    cohort, labels = metrics["real"]["ventricles"], metrics["settings"]["labels"]
    plot = plots.ventricle_plot(evidence.areas, (labels[0], labels[1]), cohort["unit"])
    who = "SIMULATED cohort" if metrics["simulated"] else "cohort"
    caption = (
        f"Generated images beside the {who} ({cohort['subjects']} subjects, {cohort['images']} slices), moved to the "
        "mean of every known covariate. White line: median; the outermost 3 % are not drawn."
    )
    parts = [page.figure(plot, caption, 640)]
    if cohort["known"]:
        parts.append(
            page.paragraph(
                "The area is measured without learning. In this cohort, where volumes are known, a subject's mean area "
                f"correlates with its volume at {number(cohort['known']['correlation'])}."
            )
        )
    return page.section("Ventricle area", *parts)


def _classifier(evidence: Evidence) -> str:
    metrics = evidence.metrics
    labels, splits = metrics["settings"]["labels"], metrics["data"]["splits"]
    seen, stopped, held_out = (splits[name] for name in ("train", "validation", "test"))
    by_slice, by_subject = (with_interval(metrics["real"][name]) for name in ("auc", "auc_subject"))
    text = (
        f"A small residual network was trained on {seen['images']} real images of {seen['subjects']} subjects and "
        f"stopped on {stopped['subjects']} others; it never saw a generated one. On {held_out['subjects']} held-out "
        f"subjects its AUC is {by_slice} for single slices and {by_subject} for subjects (mean of their slices). "
        "Generated images are single slices, so the former is the ceiling."
    )
    plot = plots.score_plot(evidence.scores, (labels[0], labels[1]))
    return page.section(
        "Classifier", page.paragraph(text), page.figure(plot, "How the classifier scores either class.")
    )
