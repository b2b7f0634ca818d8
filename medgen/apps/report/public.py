"""``report.html``: what may be passed on. Figures, plots, generated or simulated pictures; no real image, no name."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from medgen.apps.evaluation.provenance import SIMULATED_NOTICE
from medgen.apps.evaluation.run import Evidence
from medgen.apps.report import of_fidelity, of_label, of_number, page, pictures, plots, verdict
from medgen.apps.report.background import INTERVALS, limits, provenance, reading
from medgen.apps.report.cost import cost_section
from medgen.apps.report.originality import NOBODY, originality_card, originality_row, originality_section
from medgen.apps.report.words import (
    likeness_words,
    main_row,
    number,
    over_floor,
    recommended,
    times_floor,
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
    parts += verdict.box(metrics)
    parts += [page.notice(text) for text in metrics["notices"] if text != SIMULATED_NOTICE]
    parts += [_cards(metrics), _pictures(evidence), _summary(metrics), of_fidelity.section(metrics)]
    parts.append(_guidance(evidence))
    about = _about(metrics)
    parts += [
        *about.sections(evidence),
        *of_fidelity.anatomy_section(metrics),
        originality_section(evidence),
        *_solvers(metrics),
        cost_section(metrics),
        reading(about.reading(metrics)),
        limits(metrics),
        provenance(metrics),
    ]
    return page.document(f"{metrics['name'] or 'Generator'}: evaluation", parts)


def _about(metrics: Mapping[str, Any]) -> Any:
    """The module that speaks of what was asked: a label or a number."""
    return of_number if metrics["settings"]["labels"] is None else of_label


def _header(metrics: Mapping[str, Any]) -> str:
    mark = page.badge("SIMULATED DATA") if metrics["simulated"] else ""
    name = metrics["name"] or "Generator"
    text = _about(metrics).opening(metrics)
    return f"<header><h1>{escape(name)}{mark}</h1><p>{escape(text)}</p></header>"


def _cards(metrics: Mapping[str, Any]) -> str:
    row, cards = main_row(metrics), _about(metrics).cards(metrics)
    words, mark = likeness_words(row["likeness"])
    times = over_floor(row["likeness"])
    value = "—" if times["value"] is None else f"{number(times['value'], 1)} ×"
    detail = "distance to held-out images, over that of training images"
    if times["low"] is not None:
        detail += f", 95 % interval {number(times['low'], 1)} to {number(times['high'], 1)}"
    cards.append(page.card("Do they look like real images?", value, detail, words, mark))
    cards.append(originality_card(metrics))
    return f'<div class="cards">{"".join(cards)}</div>'


def _pictures(evidence: Evidence) -> str:
    parts = _about(evidence.metrics).shown(evidence)
    why = "all are near copies of training images" if evidence.metrics["memorisation"] else NOBODY.lower()
    none = page.paragraph(f"None is shown: {why}.")
    return page.section("Generated images", *(parts or [none]))


def _summary(metrics: Mapping[str, Any]) -> str:
    row = main_row(metrics)
    likeness = row["likeness"]
    rows: list[list[str]] = []
    marks: list[str] = []

    def add(question: str, generated: str, reference: str, words: tuple[str, str]) -> None:
        rows.append([question, generated, reference, words[0]])
        marks.append(words[1])

    _about(metrics).summary(metrics, add)
    add("Distance to held-out images, over that of as many training images (1 means as near; less is possible)",
        times_floor(likeness), "1: the floor", likeness_words(likeness))  # fmt: skip
    add(*originality_row(metrics))
    head = ["Question", f"Generated, guidance {row['guidance']:g}", "Real", "In words"]
    note = page.paragraph(f"Values with {INTERVALS}.")
    return page.section("Summary", note, page.table(head, rows, marks))


def _guidance(evidence: Evidence) -> str:
    metrics, about = evidence.metrics, _about(evidence.metrics)
    columns = about.guidance_columns(metrics)
    rows = []
    for row in metrics["generated"]:
        cells = [f"{row['guidance']:g}{' (main)' if row['main'] else ''}", *(cell(row) for cell in columns.values())]
        cells += [times_floor(row["likeness_sweep"]), str(row["evaluations_per_image"])]
        rows.append([*cells, number(row["seconds_per_image"])])
    head = ["Guidance", *columns, "Fréchet / floor", "Network evaluations", "Seconds an image"]
    plot = plots.guidance_plot(metrics, about.guidance_panels())
    count = main_row(metrics)["likeness_sweep"]["n"]
    caption = (
        "Generated over real against guidance, with 95 % intervals; 1 is real. Fréchet distances shrink with the "
        f"number of images, so here they are of {count} images at every guidance."
    )
    label = metrics["settings"]["label"]
    parts = [
        page.paragraph(
            f"Guidance makes the {label} clearer than it is in people, and may make people more alike, or less like "
            "real ones. The setting to use is the one whose effect is that of real images, not the one that classifies "
            "best."
        ),
        page.figure(plot, caption),
        page.table(head, rows),
    ]
    if (best := recommended(metrics)) is not None:
        parts.append(page.paragraph(f"Nearest to real images by this measure: guidance {best:g}."))
    scales = metrics["settings"]["guidances"]
    strip = pictures.guidance_strip(evidence, scales, pictures.publishable(evidence, scales, 4))
    if strip is not None:
        parts.append(page.figure(strip, "SYNTHETIC. The same four profiles and noise at every guidance."))
    return page.section("Guidance", *parts)


def _solvers(metrics: Mapping[str, Any]) -> list[str]:
    """How the distance falls with the work that an image takes; nothing where it was not asked for."""
    if not (rows := metrics["solvers"]):
        return []
    text = (
        f"Fréchet distance to held-out images, all and by plane, of the same profiles and noise. Means over "
        f"{rows[0]['seeds']} sets of noise, and their extremes. The ratio is to the same solver's largest number of "
        "evaluations: it says what fewer of them cost, not which solver is better."
    )
    planes = list(rows[0]["frechet_by_plane"])
    head = ["Solver", "Steps", "Network evaluations", "Fréchet distance", "Over the most", *planes, "Seconds an image"]
    cells = [
        [row["solver"], str(row["steps"]), str(row["evaluations"]), with_interval(row["frechet"]),
         with_interval(row["over_most"]), *(number(row["frechet_by_plane"][p]) for p in planes),
         number(row["seconds_per_image"])]
        for row in rows
    ]  # fmt: skip
    plot = page.figure(plots.solver_plot(rows), "Mean over the sets of noise, with the extremes.", 640)
    return [page.section("Solver and steps", page.paragraph(text), plot, page.table(head, cells))]
