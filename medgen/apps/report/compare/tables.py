"""The page of a comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from medgen.apps.evaluation.provenance import SIMULATED_NOTICE
from medgen.apps.report import page, verdict
from medgen.apps.report.compare.facts import FACTS
from medgen.apps.report.compare.figures import Reading
from medgen.apps.report.compare.plot import comparison_plot
from medgen.apps.report.compare.runs import Run
from medgen.apps.report.cost import cost_rows
from medgen.apps.report.words import listed, number, with_interval

__all__ = ["comparison_page"]

_UNTOLD = {"observed", "unobserved", "resume"}  # of training settings: what follows from the data


def comparison_page(
    runs: Sequence[Run],
    figures: Sequence[Mapping[str, Any]],
    seeds: Sequence[Mapping[str, Any]],
    notices: Sequence[tuple[str, bool]],
    failed: Sequence[tuple[str, str]],
    plotted: bool = True,
) -> str:
    """The page as HTML text; it holds figures alone, no picture and nothing of a person."""
    names = [run.name for run in runs]
    simulated = [run for run in runs if run.metrics["simulated"]]
    mark = page.badge("SIMULATED DATA") if simulated else ""
    title = f"{listed(names)} compared"
    opening = f"{len(runs)} evaluations beside each other: what differs by more than chance, and what may be compared."
    parts = [f"<header><h1>{escape(title)}{mark}</h1><p>{escape(opening)}</p></header>"]
    if len(simulated) == len(runs):
        parts.append(page.notice(SIMULATED_NOTICE, "loud"))
    if failed:
        parts.append(page.warning_box("Left out", [f"{name}: {told}" for name, told in failed]))
    loud = [text for text, aloud in notices if aloud]
    if len(runs) > 1 and not any(found["pairs"] for found in figures):
        loud.append("No figure may be compared: these runs stand beside each other, and no more.")
    if loud:
        head = "These runs are not alike: read the column “Comparable?”"
        parts.append(page.warning_box(head, loud))
    parts += [page.notice(text) for text, aloud in notices if not aloud]
    parts.append(_figures(names, figures))
    if plotted and (drawn := comparison_plot(figures, names)) is not None:
        caption = (
            "Values with 95 % intervals; dashed or green: as real images are (of the distance the floor, real to "
            "real). Hollow: not to be compared with the filled ones."
        )
        parts.append(page.section("Main figures", page.figure(drawn, caption)))
    parts += [_seeds(found) for found in seeds]
    parts += [_faults(runs), _cost(runs), _provenance(runs), *_training(runs), _reading()]
    return page.document(title, parts)


def _figures(names: Sequence[str], figures: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            (found["figure"].question, ""),
            *(_cell(found["readings"].get(name), found["figure"].real) for name in names),
            (found["comparable"], ""),
            (found["words"], ""),
        ]
        for found in figures
    ]
    note = page.paragraph("Values with 95 % intervals; below each, in small, what real images reach in the same place.")
    return page.section("Figures", note, _table(["Question", *names, "Comparable?", "In words"], rows))


def _cell(reading: Reading | None, real: str) -> tuple[str, str]:
    if reading is None:
        return "—", ""
    small = [f"{real} {with_interval(reading.reference)}"] if reading.reference else []
    return with_interval(reading.figure), "; ".join([*small, *([reading.note] if reading.note else [])])


def _table(head: Sequence[str], rows: Sequence[Sequence[tuple[str, str]]], style: str = "") -> str:
    """A table whose cells have a second line in small."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = [
        "<tr>"
        + "".join(
            f"<td>{escape(text)}{f'<br><small>{escape(small)}</small>' if small else ''}</td>" for text, small in row
        )
        + "</tr>"
        for row in rows
    ]
    return (
        f'<div class="scroll"><table{style}><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def _seeds(found: Mapping[str, Any]) -> str:
    rows = [
        [
            name,
            number(one["mean"]),
            number(one["sd"], 3),
            f"{number(one['low'])} to {number(one['high'])}",
            str(one["n"]),
        ]
        for name, one in found["figures"].items()
    ]
    head = ["Figure", "Mean", "Standard deviation over seeds", "Lowest to highest", "Runs"]
    return page.section(f"Over seeds: {listed(found['runs'])}", page.paragraph(found["words"]), page.table(head, rows))


def _faults(runs: Sequence[Run]) -> str:
    rows = [[run.name, _warnings(run)] for run in runs]
    note = page.paragraph("Faults that each report names by itself, at its main guidance.")
    return page.section("Warnings", note, page.table(["Run", "Warnings"], rows))


def _warnings(run: Run) -> str:
    try:
        return " ".join(verdict.warnings(run.metrics)) or "none"
    except KeyError as missing:
        return f"not determined: {missing} was not recorded; see its own report"


def _side_by_side(runs: Sequence[Run], rows: Mapping[str, Sequence[str]]) -> str:
    lines = [
        [(text, "") for text in (name, *values, "same" if len(set(values)) == 1 else "differs")]
        for name, values in rows.items()
    ]
    # hashes are long words: columns of one width, broken anywhere
    style = ' style="table-layout:fixed;overflow-wrap:anywhere"'
    return _table(["", *(run.name for run in runs), ""], lines, style)


def _cost(runs: Sequence[Run]) -> str:
    found = [dict(cost_rows(run.metrics)) for run in runs]
    devices = {one["Generated on"] for one in found}
    text = "Seconds and memory are of one machine."
    if len(devices) > 1 or "not recorded" in devices:
        text = (
            "Seconds and memory were not measured on one and the same machine, or it was not recorded which: do not "
            "compare them. Parameters and network evaluations may be compared."
        )
    return page.section(
        "Cost", page.paragraph(text), _side_by_side(runs, {name: [one[name] for one in found] for name in found[0]})
    )


def _provenance(runs: Sequence[Run]) -> str:
    metrics = [run.metrics for run in runs]
    rows = {
        "Cohort": [FACTS["cohort"].shown(run) for run in runs],
        "Terms of the data": [one["data"]["terms"] for one in metrics],
        "Split (train/validation/test)": [FACTS["split"].shown(run) for run in runs],
        "Images": [FACTS["images"].shown(run) for run in runs],
        "Judged": [FACTS["label"].shown(run) for run in runs],
        "Judge": [FACTS["judge"].shown(run) for run in runs],
        "Features of distances": [FACTS["features"].shown(run) for run in runs],
        "Generated": [FACTS["count"].shown(run) for run in runs],
        "Guidance": [f"{one['settings']['guidance']:g}" for one in metrics],
        "Process": [_component(one["settings"]["process"]) for one in metrics],
        "Sampler": [_component(one["settings"]["sampler"], ("solver", "steps", "eta")) for one in metrics],
        "Weights, SHA-256": [one["model"]["sha256"] for one in metrics],
        "Iteration of the weights": [str(one["model"]["iteration"] or "not recorded") for one in metrics],
        "Seed of training": [str((one["model"]["config"] or {}).get("seed", "not recorded")) for one in metrics],
        "Seed of evaluation": [str(one["settings"]["seed"]) for one in metrics],
        "Software of training": [_versions(one["model"].get("software")) for one in metrics],
        "Software of evaluation": [_versions(one["software"]) for one in metrics],
        "Evaluated": [one["created"] for one in metrics],
    }
    return page.section("Provenance", _side_by_side(runs, rows))


def _training(runs: Sequence[Run]) -> list[str]:
    """Settings of training in which runs differ."""
    configs = [run.metrics["model"]["config"] for run in runs]
    known = [config if isinstance(config, Mapping) else {} for config in configs]
    names = dict.fromkeys(name for config in known for name in config if name not in _UNTOLD)
    rows = {name: values for name in names if len(set(values := [_setting(config, name) for config in known])) > 1}
    if not rows:
        return []
    return [page.section("Settings of training that differ", _side_by_side(runs, rows))]


def _setting(config: Mapping[str, Any], name: str) -> str:
    if name not in config:
        return "—"
    text = json.dumps(config[name], sort_keys=True)
    return text if len(text) <= 400 else f"{text[:397]}..."


def _component(described: Any, keys: Sequence[str] = ()) -> str:
    if not isinstance(described, Mapping):
        return str(described)
    name = str(described.get("_target_", "")).rsplit(".", 1)[-1]
    kept = (
        {k: v for k, v in described.items() if k in keys}
        if keys
        else {k: v for k, v in described.items() if k != "_target_"}
    )
    return f"{name}: " + ", ".join(f"{key} {value}" for key, value in kept.items())


def _versions(software: Mapping[str, str] | None) -> str:
    return ", ".join(f"{name} {version}" for name, version in (software or {}).items()) or "not recorded"


def _reading() -> str:
    items = [
        "Intervals that overlap: no difference seen. That does not show that there is none; more held-out people, or a "
        "paired evaluation, may find one. Runs with the same held-out people share their chance, so that overlap "
        "of intervals finds differences later than it could.",
        "One run is called better only where its whole interval is nearer to the ideal than the whole of the other's. "
        "There is no ranking by the values alone.",
        "Many figures are looked at: one of twenty intervals misses its truth by chance.",
        "Intervals are of one training run each. Training again may move figures by more; several seeds show how much.",
        "Distances, precision, recall, density and coverage hang on the number of images and on the features: "
        "between runs that differ in those, not even the ratio to the floor is like for like.",
        "For research on synthetic data. Nothing here is for diagnosis, and nothing shows that a model holds nothing "
        "of the people it was trained on.",
    ]  # fmt: skip
    return page.section("How to read this", "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>")
