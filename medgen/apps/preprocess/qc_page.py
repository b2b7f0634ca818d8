"""``qc_private.html``: every scan at a glance, what stands out, and what failed. It shows participants."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from medgen.apps.preprocess.places import ScanPlace
from medgen.apps.preprocess.rim import LEAST_SUBJECTS, WIDTH_MM
from medgen.apps.preprocess.tables import Finished
from medgen.apps.report import page
from medgen.apps.report.words import number
from medgen.files import write_text

__all__ = ["write_qc_page"]

BANNER = (
    "PRIVATE. This page shows images of participants and names files. Do not publish it, send it or put it on a web "
    "server."
)
SHOWN = 240  # pictures; flagged scans are all shown


def write_qc_page(
    path: Path,
    cohort: Any,
    scans: Sequence[Finished],
    failures: Sequence[tuple[ScanPlace, Mapping[str, Any], str]],
    rim: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> Path:
    """Write the page with mode 0600.

    Args:
        path: the file, in the output folder.
        cohort: the cohort.
        scans: the finished scans with their flags.
        failures: place, record and error of each scan that failed.
        rim: of :func:`medgen.apps.preprocess.rim.rim_test`, with "labels".
        settings: configuration of the pipeline.
    """
    flagged = [scan for scan in scans if scan.flags]
    parts = [
        f"<header><h1>Preprocessing: quality control{page.badge('PRIVATE')}</h1></header>",
        page.notice(BANNER, "private"),
    ]
    if cohort.simulated:
        parts.append(page.notice("This cohort is SIMULATED: its participants do not exist.", "loud"))
    parts.append(_cards(scans, failures, flagged, rim))
    if failures:
        rows = [[place.name, " ".join(error.split())] for place, _, error in failures]
        parts.append(page.section("Failed", page.table(["scan", "error"], rows)))
    if flagged:
        parts.append(
            page.section(
                "To look at",
                page.table(["scan", "why"], [[scan.place.name, "; ".join(scan.flags)] for scan in flagged]),
                _gallery(path.parent, flagged),
            )
        )
    others = [scan for scan in scans if not scan.flags]
    shown = others[:: max(1, -(-len(others) // SHOWN))]
    title = "Scans" if len(shown) == len(others) else f"Scans: {len(shown)} of {len(others)}, evenly chosen"
    text = "Axial, coronal and sagittal, before masking; in orange the outline of the template's brain."
    if others:
        parts.append(page.section(title, page.paragraph(text), _gallery(path.parent, shown)))
    parts += [_rim_section(rim), _numbers(scans), _cohort_section(cohort)]
    detail = f"<details><summary>Configuration</summary><pre>{escape(json.dumps(settings, indent=2))}</pre></details>"
    parts.append(page.section("Pipeline", detail))
    return write_text(path, page.document("PRIVATE: quality control", parts), permissions=0o600)


def _values(scans: Sequence[Finished], name: str) -> list[float]:
    return [float(scan.measured[name]) for scan in scans if scan.measured.get(name) is not None]


def _range(values: Sequence[float]) -> str:
    return f"{number(min(values))} to {number(max(values))}" if values else ""


def _cards(
    scans: Sequence[Finished], failures: Sequence[Any], flagged: Sequence[Finished], rim: Mapping[str, Any]
) -> str:
    total = len(scans) + len(failures)
    seconds, peak = _values(scans, "seconds"), _values(scans, "peak_mib")
    cards = [
        page.card(
            "Scans finished",
            f"{len(scans)} of {total}",
            f"{number(float(np.median(seconds)))} s a scan, at most {max(peak, default=0):.0f} MiB" if seconds else "",
            "All went through." if not failures else f"{len(failures)} failed; failures.csv says why.",
            "bad" if failures else "good",
        ),
        page.card(
            "Flagged",
            str(len(flagged)),
            "",
            "Nothing stands out." if not flagged else "Look at them before training.",
            "warn" if flagged else "good",
        ),
    ]
    for name, title, words in (
        ("similarity", "Similarity to the template", "Median correlation within the template's brain."),
        ("brain_ml", "Brain mask, ml", "Median, in the scans' own space. The template's mask follows the head's size."),
    ):
        values = _values(scans, name)
        if values:
            cards.append(page.card(title, number(float(np.median(values))), _range(values), words, ""))
    value = number(rim["auc"]) if "auc" in rim else "—"
    interval = f"{number(rim['low'])} to {number(rim['high'])}" if "auc" in rim else ""
    cards.append(page.card("Diagnosis from the rim, AUC", value, interval, *_rim_words(rim)))
    return f'<div class="cards">{"".join(cards)}</div>'


def _rim_words(rim: Mapping[str, Any]) -> tuple[str, str]:
    if "auc" not in rim:
        return f"{str(rim['reason'])[:1].upper()}{str(rim['reason'])[1:]}.", ""
    if rim["low"] > 0.5:
        return "What lies outside the brain tells the diagnosis: find out why before training.", "bad"
    return "What lies outside the brain does not tell the diagnosis, as far as this many subjects show.", "good"


def _rim_section(rim: Mapping[str, Any]) -> str:
    first, second = rim["labels"]
    text = (
        f"How bright the {WIDTH_MM:g} mm around the brain mask are, in eight octants, relative to the brain; before "
        f"masking. A linear classifier is asked to tell {second} from {first} in subjects that it never saw: 0.5 is "
        f"chance. {first}: {rim['subjects'][0]} subjects, {second}: {rim['subjects'][1]}; at least {LEAST_SUBJECTS} of "
        "each are needed. Above chance, the groups differ in something around the brain (scanner, sequence, head "
        "position, fit of the mask, or atrophy that the mask does not follow), which training could learn instead of "
        "the disease."
    )
    return page.section(
        "Does the rim outside the brain tell the diagnosis?", page.paragraph(_rim_words(rim)[0]), page.paragraph(text)
    )


def _gallery(folder: Path, scans: Sequence[Finished]) -> str:
    figures = []
    for scan in scans:
        facts = [scan.place.name]
        facts += (
            [f"r = {number(scan.measured['similarity'], 3)}"] if scan.measured.get("similarity") is not None else []
        )
        facts += [f"{scan.measured['brain_ml']:.0f} ml"] if scan.measured.get("brain_ml") is not None else []
        figures.append(page.figure((folder / scan.place.picture).read_bytes(), ", ".join(facts)))
    return page.gallery(figures)


def _numbers(scans: Sequence[Finished]) -> str:
    names = ("similarity", "determinant", "brain_ml", "seconds", "cpu_seconds", "peak_mib")
    rows = [
        [scan.place.name, *(number(scan.measured.get(name), 3) for name in names), "; ".join(scan.flags)]
        for scan in scans
    ]
    marks = ["warn" if scan.flags else "" for scan in scans]
    head = ["scan", "similarity", "determinant", "brain, ml", "seconds", "CPU seconds", "peak, MiB", "flags"]
    table = page.table(head, rows, marks)
    return page.section("Every scan", f"<details><summary>{len(scans)} rows</summary>{table}</details>")


def _cohort_section(cohort: Any) -> str:
    discards = list(getattr(cohort, "discards", None) or ())
    notices = [*cohort.notices, f"terms: {cohort.data_terms}"]
    notices += (
        [f"{len(discards)} image(s) of the download were not used; discards.csv says which and why"] if discards else []
    )
    return page.section("Cohort", page.table(["notices"], [[text] for text in notices]))
