"""What a report says of a label: how well it shows, how large the effect is, how much people differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from medgen.apps.evaluation.run import Evidence
from medgen.apps.report import page, pictures, plots
from medgen.apps.report.ratio import ratio_card
from medgen.apps.report.words import (
    FAITHFUL,
    SIZE,
    headline,
    label_words,
    listed,
    main_row,
    number,
    size_words,
    sized,
    spread_words,
    with_interval,
)

__all__ = ["cards", "guidance_columns", "guidance_panels", "opening", "reading", "sections", "shown", "summary"]

Metrics = Mapping[str, Any]
Add = Callable[[str, str, str, tuple[str, str]], None]
COLUMNS = 8


def opening(metrics: Metrics) -> str:
    """The sentence under the title."""
    reference, other = metrics["settings"]["labels"]
    return f"Synthetic images of {other} and {reference}: are they faithful, by the right amount, and original?"


def cards(metrics: Metrics) -> list[str]:
    """Headline figures of the label and of the anatomy."""
    row, real, suffix = main_row(metrics), metrics["real"], headline(metrics)
    label, labels = metrics["settings"]["label"], metrics["settings"]["labels"]
    ratio = row["label"][f"ratio{suffix}"]
    words = label_words(ratio, real[f"auc{suffix}"], label, labels)
    made = [ratio_card(f"Do the images carry the {label}?", ratio, words)]
    if row.get("ventricles"):
        size, spread = row["ventricles"]["effect_ratio"], row["ventricles"]["spread_ratio"]
        said = size_words(size, row["ventricles"]["effect"], cohort=real["ventricles"]["effect"])
        made.append(ratio_card("Is the effect of the right size?", size, said))
        made.append(ratio_card("Do people differ enough?", spread, spread_words(spread)))
    return made


def shown(evidence: Evidence) -> list[str]:
    """Generated pictures, and simulated ones for comparison."""
    metrics = evidence.metrics
    settings = metrics["settings"]
    chosen = pictures.publishable(evidence, settings["guidances"], COLUMNS)
    grid = pictures.class_grids(evidence, evidence.covariates, settings["guidance"], chosen)
    if grid is None:
        return []
    caption = (
        f"SYNTHETIC. Guidance {settings['guidance']:g}. A column is one profile and one noise, generated as "
        f"{settings['labels'][0]} above and {settings['labels'][1]} below: only the {settings['label']} differs."
    )
    parts = [page.figure(grid, caption)]
    if metrics["simulated"]:
        real = pictures.real_grid(evidence, COLUMNS)
        parts.append(
            page.figure(real, "SIMULATED cohort, for comparison: held-out images that the generator never saw.")
        )
    return parts


def summary(metrics: Metrics, add: Add) -> None:
    """Rows of the summary about the label and the anatomy."""
    row, real = main_row(metrics), metrics["real"]
    label, labels = metrics["settings"]["label"], metrics["settings"]["labels"]
    suffix = headline(metrics)
    for key, text in (("", "each slice by itself"), ("_adjusted", "at equal age, sex and slice, as far as known")):
        ratio = row["label"][f"ratio{key}"]
        words = label_words(ratio, real[f"auc{key}"], label, labels)
        told = f"Ratio {with_interval(ratio)}. {words[0]}" if key == suffix else f"Ratio {with_interval(ratio)}."
        add(
            f"How well a classifier of real images tells {labels[1]} from {labels[0]} (AUC, {text})",
            with_interval(row["label"][f"auc{key}"]),
            f"{with_interval(real[f'auc{key}'])} on held-out images: the ceiling",
            (told, words[1] if key == suffix else ""),
        )
    if row.get("ventricles"):
        _ventricle_rows(metrics, row["ventricles"], add)


def _ventricle_rows(metrics: Mapping[str, Any], found: Mapping[str, Any], add: Any) -> None:
    cohort, labels = metrics["real"]["ventricles"], metrics["settings"]["labels"]
    unit, adjusted = cohort["unit"], listed(cohort["adjusted_for"]) or "nothing"
    add(
        f"Ventricle {sized(unit)}, {labels[1]} minus {labels[0]} ({unit}), adjusted for {adjusted}",
        with_interval(found["effect"]),
        f"{with_interval(cohort['effect'])} in the cohort; unadjusted {with_interval(cohort['unadjusted'])}",
        size_words(found["effect_ratio"], found["effect"], cohort=cohort["effect"]),
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
        add(f"Ventricle {sized(unit)} per year of age ({unit})", with_interval(found["age_slope"]),
            with_interval(cohort["age_slope"]), ("Whether age, too, was learned.", ""))  # fmt: skip


def guidance_columns(metrics: Metrics) -> dict[str, Callable[[Metrics], str]]:
    """Columns of the guidance table: title, and the cell of a row."""

    def of(part: str, name: str) -> Callable[[Metrics], str]:
        return lambda row: with_interval(row[part][name]) if row.get(part) else "—"

    columns = {
        "Images a class": lambda row: str(row["per_class"]),
        "AUC": of("label", f"auc{headline(metrics)}"),
        "Label ratio": of("label", "ratio"),
        "Label ratio at equal age, sex, slice": of("label", "ratio_adjusted"),
    }
    if metrics["real"]["ventricles"]:
        columns |= {"Effect ratio": of("ventricles", "effect_ratio"), "Spread ratio": of("ventricles", "spread_ratio")}
    return columns


def guidance_panels() -> list[plots.Panel]:
    """What is drawn against guidance."""
    return [
        plots.Panel(
            "Label fidelity\n(AUC − 0.5), generated / real",
            FAITHFUL,
            "label",
            (("ratio", plots.INK, "slice by slice"), ("ratio_adjusted", plots.SOFT, "at equal age, sex, slice")),
        ),
        plots.Panel(
            "Ventricle effect and spread\ngenerated / cohort",
            SIZE,
            "ventricles",
            (("effect_ratio", plots.OTHER, "effect"), ("spread_ratio", plots.REFERENCE, "spread")),
        ),
    ]


def sections(evidence: Evidence) -> list[str]:
    """Ventricle areas, and the judge."""
    return [*([_ventricles(evidence)] if evidence.areas else []), _classifier(evidence)]


def reading(metrics: Metrics) -> list[str]:
    """How to read the figures."""
    label = metrics["settings"]["label"]
    return [
        "Label ratio: (AUC of generated images − 0.5) / (AUC of held-out real images − 0.5). 0.8 to 1.2 is faithful; "
        f"above 1.2 the {label} is exaggerated, which a classifier rewards and a clinician should not. Guidance "
        "strengthens age as well as the class, which blurs the plain ratio; at equal age, sex and slice it does not.",
        "Effect ratio and spread ratio: difference between the classes, and standard deviation within them, generated "
        "over cohort. Both must be near 1: a generator that shows every patient as the average one has the effect, but "
        "not the spread.",
        "Equal age and slice: every profile (age, sex, slice position) was drawn from a held-out subject and generated "
        "as either class with the same noise.",
    ]


def _ventricles(evidence: Evidence) -> str:
    metrics = evidence.metrics
    cohort, labels = metrics["real"]["ventricles"], metrics["settings"]["labels"]
    size = sized(cohort["unit"])
    plot = plots.ventricle_plot(evidence.areas, (labels[0], labels[1]), cohort["unit"])
    who = "SIMULATED cohort" if metrics["simulated"] else "cohort"
    caption = (
        f"Generated images beside the {who} ({cohort['subjects']} subjects, {cohort['images']} images), moved to the "
        "mean of every known covariate. White line: median; the outermost 3 % are not drawn."
    )
    parts = [page.figure(plot, caption, 640)]
    if cohort["known"]:
        parts.append(
            page.paragraph(
                f"The {size} is measured without learning. In this cohort, where volumes are known, a subject's mean "
                f"{size} correlates with the true volume at {number(cohort['known']['correlation'])}."
            )
        )
    return page.section(f"Ventricle {size}", *parts)


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
