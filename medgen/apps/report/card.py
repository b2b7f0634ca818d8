"""A model card: what the weights are, what they are for, and what was measured; and the same as numbers for MONAI."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from medgen.apps.evaluation.provenance import SIMULATED_NOTICE
from medgen.apps.report import verdict
from medgen.apps.report.background import INTERVALS, limit_items
from medgen.apps.report.compare.facts import FACTS
from medgen.apps.report.compare.figures import FIGURES
from medgen.apps.report.compare.runs import Run
from medgen.apps.report.cost import cost_rows
from medgen.apps.report.originality import membership_words, originality_words
from medgen.apps.report.words import listed, main_row, shown_age, with_interval

__all__ = ["card_stamp", "eval_metrics", "metrics_origin", "model_card"]

Metrics = Mapping[str, Any]
_STAMP = "<!-- medgen.card/1 weights {weights} metrics {metrics} -->"
_STAMPED = re.compile(r"<!-- medgen\.card/1 weights ([0-9a-f]{64}) metrics ([0-9a-f]{64}) -->")
# in metadata.json, where no table explains them
_NAMES = {
    "distance": "frechet_distance",
    "membership": "membership_auc",
    "copies": "copies_fraction",
    "brain size": "brain_size_percent",
    "fluid": "fluid_percent",
    "grey matter": "grey_matter_percent",
    "white matter": "white_matter_percent",
}
MARKING = (
    "Every file that medgen writes says that it is synthetic: PNG and NIfTI in their headers and in a JSON sidecar, "
    "DICOM in its attributes and, unless that is turned off, burned into the picture. What is made from a person's own "
    "image says that it is derived from it, and stays private."
)


def model_card(
    metrics: Metrics, metadata: Mapping[str, Any], manifest: Mapping[str, Any] | None = None, metrics_sha256: str = ""
) -> str:
    """The card as Markdown; it holds no image, name, path or age above 89, and may be passed on with the weights.

    Args:
        metrics: content of ``metrics.json``.
        metadata: content of the bundle's ``metadata.json``.
        manifest: of the weights.
        metrics_sha256: of the file the figures are from, for the stamp by which a stale card is told.
    """
    manifest, run = manifest or {}, Run("this", metrics)
    name = metadata.get("name") or metrics["name"] or "Generator"
    parts = [
        _STAMP.format(weights=metrics["model"]["sha256"], metrics=metrics_sha256 or "0" * 64),
        f"# {name}: model card",
        *([f"> **{SIMULATED_NOTICE}**"] if metrics["simulated"] else []),
        "> For research on synthetic data; nothing that it makes is for diagnosis.",
        "## What it is",
        *_text(metadata.get("task")),
        *_text(metadata.get("description")),
        _list(_about(metrics, metadata, manifest)),
        "## What it is for, and what not",
        *_text(metadata.get("intended_use")),
        _list(limit_items(metrics)[1:]),  # the first is said above
        "## What it was trained on",
        _list(_data(metrics, manifest)),
        "## Figures",
        _figures(run),
        *_warnings(metrics),
        "## Are the images new?",
        *_memorisation(metrics),
        "## Cost",
        _table(["", ""], cost_rows(metrics)),
        "## Marking",
        MARKING,
        "## Where the figures come from",
        _list(_provenance(run)),
    ]
    return "\n\n".join(parts) + "\n"


def card_stamp(text: str) -> tuple[str, str] | None:
    """The SHA-256 of the weights and of the figures that a card was written from; None where it is no such card."""
    found = _STAMPED.search(text)
    return (found[1], found[2]) if found else None


def eval_metrics(metrics: Metrics) -> dict[str, float | int]:
    """Figures of the main guidance as flat numbers, as the MONAI model zoo keeps them in ``metadata.json``.

    ``spread_ratio`` is the value, ``spread_ratio_low`` and ``_high`` its 95 % interval, ``_real`` what real images
    reach (ceiling or floor). What is not determined is left out.
    """
    run, found = Run("this", metrics), dict[str, float | int]()
    for compared in FIGURES:
        if (reading := compared.of(run)) is not None:
            alike = reading.reference if "features" in compared.needs else None  # in the unit of the figure itself
            found |= _flat(_NAMES.get(compared.name, re.sub(r"\W+", "_", compared.name)), reading.figure, alike)
    row, real = run.row, metrics["real"]
    judged, of_real = ("auc", real) if "auc" in real else ("correlation", real["agreement"])
    found |= _flat(judged, row["label"][judged], of_real[judged])
    if row["originality"] and metrics["memorisation"]:
        found |= {"copies_found": row["originality"]["near_copies"], "images": row["originality"]["images"]}
        found |= _flat("copies_recall", metrics["memorisation"]["recall"], None)
    return found | {"network_evaluations_per_image": row["evaluations_per_image"]}


def _flat(name: str, figure: Metrics, real: Metrics | None) -> dict[str, float | int]:
    parts = {name: figure["value"], f"{name}_low": figure["low"], f"{name}_high": figure["high"]}
    parts[f"{name}_real"] = real["value"] if real else None
    return {key: float(f"{value:.4g}") for key, value in parts.items() if value is not None}


def metrics_origin(metrics: Metrics) -> dict[str, Any]:
    """Which weights, data and settings the figures are of, as far as they are known."""
    settings, model = metrics["settings"], metrics["model"]
    found = {
        "model_sha256": model["sha256"],
        "iteration": model["iteration"],
        "simulated": metrics["simulated"],
        "data_fingerprint": metrics["data"]["fingerprint"],
        "held_out": metrics["data"]["splits"]["test"],
        "label": settings["label"],
        "guidance": settings["guidance"],
        "features": metrics["extractor"]["name"],
        "training_seed": (model["config"] or {}).get("seed"),
        "seed": settings["seed"],
        "created": metrics["created"],
        "medgen": metrics["software"].get("medgen"),
        "commit": metrics["software"].get("commit"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _about(metrics: Metrics, metadata: Metrics, manifest: Metrics) -> list[str]:
    model, settings, config = metrics["model"], metrics["settings"], metrics["model"]["config"] or {}
    items = [
        f"Weights: SHA-256 `{model['sha256']}`, {model['parameters']:,} parameters, iteration "
        f"{model['iteration'] or 'not recorded'}",
        f"Bundle version {metadata.get('version', 'not stated')}",
        f"Images: {FACTS['images'].shown(Run('this', metrics)).split(', ')[0]}",
        f"Process and sampler: {_component(settings['process'])}; "
        f"{_component(settings['sampler'], ('solver', 'steps'))}; guidance {settings['guidance']:g}",
    ]
    if manifest.get("codec_sha256"):
        items.append(f"Works on latents of the codec with SHA-256 `{manifest['codec_sha256']}`")
    asked = [name for name in config.get("covariates") or () if not name.startswith("_")]
    if asked:
        items.append(f"Conditions, each of which may be left unknown: {listed(asked)}")
    return items


def _data(metrics: Metrics, manifest: Metrics) -> list[str]:
    data, model = metrics["data"], metrics["model"]
    config = model["config"] or {}
    counts = data["splits"]
    items = [
        "Simulated people, who do not exist" if metrics["simulated"] else "People: the weights are derived from them",
        f"Terms of the data: {data['terms']}",
        *([f"The weights may be passed on: {manifest['share']}"] if manifest.get("share") else []),
        f"Fingerprint of the cohort `{data['fingerprint']}`",
        f"{counts['train']['subjects']} {data['split_unit']}s ({counts['train']['images']} images) to train, "
        f"{counts['validation']['subjects']} to choose the weights, {counts['test']['subjects']} held out, whom "
        f"neither the model nor its judge saw; hash of the split `{data.get('split', 'not recorded')}`",
    ]
    items += [f"{name}: {_seen(name, values)}" for name, values in (config.get("observed") or {}).items()]
    if config.get("unobserved"):
        items.append(f"Unknown for every training image: {listed(config['unobserved'])}")
    return items + [text for text in metrics["notices"] if text != SIMULATED_NOTICE]


def _seen(name: str, values: Sequence[Any]) -> str:
    if not all(isinstance(value, (int, float)) for value in values):
        return ", ".join(map(str, values))
    return " to ".join(shown_age(float(value)) if name == "age" else f"{value:.3g}" for value in values)


def _figures(run: Run) -> str:
    rows = []
    for compared in FIGURES:
        if (reading := compared.of(run)) is not None:
            real = f"{compared.real}: {with_interval(reading.reference)}" if reading.reference else ""
            told = "; ".join(text for text in (real, reading.note) if text)
            rows.append((compared.question, with_interval(reading.figure), told))
    note = (
        f"At guidance {run.metrics['settings']['guidance']:g}, with {INTERVALS}. They do not cover "
        "training again. Each figure is read beside what real images reach in its place."
    )
    return f"{note}\n\n{_table(['Question', 'Generated', 'Real images'], rows)}"


def _warnings(metrics: Metrics) -> list[str]:
    found = verdict.warnings(metrics)
    return ["### Warnings of the report", _list(found)] if found else ["The report names no fault at this guidance."]


def _memorisation(metrics: Metrics) -> list[str]:
    memory, found = metrics["memorisation"], main_row(metrics)["originality"]
    said = [originality_words(found, memory)[0]]
    if memory and memory["membership"]:
        said.append(membership_words(memory["membership"])[0])
    if found and not found["near_copies"]:
        said.append(
            "That none was found means: no copies found by this detector at this recall, among this many images. It "
            "does not mean that the model holds nothing of the people it was trained on."
        )
    return said


def _provenance(run: Run) -> list[str]:
    metrics = run.metrics
    config = metrics["model"]["config"] or {}
    return [
        f"Judge: {FACTS['judge'].shown(run)}",
        f"Features of distances: {FACTS['features'].shown(run)}",
        f"Seeds: training {config.get('seed', 'not recorded')}, evaluation {metrics['settings']['seed']}",
        f"Trained with {_versions(metrics['model'].get('software'))}",
        f"Evaluated with {_versions(metrics['software'])}, {metrics['created']}",
    ]


def _component(described: Any, keys: Sequence[str] = ()) -> str:
    if not isinstance(described, Mapping):
        return str(described)
    name = str(described.get("_target_", "")).rsplit(".", 1)[-1]
    kept = [f"{key} {described[key]}" for key in keys if key in described]
    return " ".join([name, *kept])


def _versions(software: Mapping[str, str] | None) -> str:
    return ", ".join(f"{name} {version}" for name, version in (software or {}).items()) or "software not recorded"


def _text(value: Any) -> list[str]:
    return [str(value)] if value else []


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)
