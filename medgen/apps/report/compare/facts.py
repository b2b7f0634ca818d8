"""What must be equal before figures of two runs may be compared, and which runs are equal in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medgen.apps.report.compare.runs import Run
from medgen.apps.report.words import listed

__all__ = ["FACTS", "Fact", "fact_groups", "notices"]


@dataclass(frozen=True)
class Fact:
    """Something that figures hang on.

    Attributes:
        words: what differs, as in "another cohort".
        of: its value in a run, compared by equality.
        shown: the value in words.
    """

    words: str
    of: Callable[[Run], Any]
    shown: Callable[[Run], str]


def _split(run: Run) -> Any:
    data = run.metrics["data"]
    return data.get("split") or [data["split_unit"], data["splits"]]


def _shown_split(run: Run) -> str:
    data = run.metrics["data"]
    counts = "/".join(str(one["subjects"]) for one in data["splits"].values())
    return f"{counts} {data['split_unit']}s, hash {data.get('split') or 'not recorded'}"


def _images(run: Run) -> Any:
    data = run.metrics["data"]
    return [data["image_size"], data["pixel_mm"], {name: one["images"] for name, one in data["splits"].items()}]


def _shown_images(run: Run) -> str:
    data = run.metrics["data"]
    pixel = f" of {data['pixel_mm']:g} mm" if data["pixel_mm"] else ""
    return f"{' × '.join(map(str, data['image_size']))}{pixel}, {data['splits']['test']['images']} held out"


def _label(run: Run) -> Any:
    return [run.metrics["settings"]["label"], run.metrics["settings"]["labels"]]


def _shown_label(run: Run) -> str:
    label, labels = _label(run)
    return f"{label}: {listed(labels)}" if labels else f"{label}, a number"


def _judge(run: Run) -> Any:
    """A judge is trained anew by each evaluation: the same data and settings give the same one."""
    metrics = run.metrics
    kind = "classifier" if "classifier" in metrics else "regressor"
    trained = [_label(run), metrics["data"]["fingerprint"], _split(run), _images(run)]
    return [kind, metrics[kind], metrics["settings"]["seed"], trained]


def _shown_judge(run: Run) -> str:
    kind, found, seed, _ = _judge(run)
    return f"{kind} of {found['features']} features, {found['epochs']} epochs, seed {seed}"


def _features(run: Run) -> Any:
    extractor = run.metrics["extractor"]
    own = _judge(run) if extractor["name"] == "in_domain" else None
    return [extractor["name"], extractor["sha256"], extractor["width"], own]


def _shown_features(run: Run) -> str:
    extractor = run.metrics["extractor"]
    digest = f", weights {extractor['sha256'][:12]}" if extractor["sha256"] else ""
    own = f", the {_shown_judge(run)}" if extractor["name"] == "in_domain" else ""
    return f"{extractor['name']}{digest}, {extractor['width']} numbers{own}"


def _count(run: Run) -> Any:
    return [run.row["likeness"]["n"], run.row["fidelity"]["n"], run.row["fidelity"]["k"]]


def _shown_count(run: Run) -> str:
    profiles = run.row["per_class"]
    images = run.row["originality"]["images"] if run.row["originality"] else profiles * (2 if _labels(run) else 1)
    return f"{profiles} profiles, {images} images"


def _labels(run: Run) -> Any:
    return run.metrics["settings"]["labels"]


def _measured_with(run: Run) -> str:
    software = run.metrics["software"]
    return f"{software.get('medgen', 'unknown')}, commit {software.get('commit', 'not recorded')}"


FACTS: dict[str, Fact] = {
    "cohort": Fact(
        "another cohort",
        lambda run: run.metrics["data"]["fingerprint"],
        lambda run: run.metrics["data"]["fingerprint"] + (", simulated" if run.metrics["simulated"] else ""),
    ),
    "split": Fact("another split, or a hash of it by another computer", _split, _shown_split),
    "images": Fact("other image size, pixels or slices", _images, _shown_images),
    "label": Fact("another label", _label, _shown_label),
    "judge": Fact("another judge", _judge, _shown_judge),
    "features": Fact("other features", _features, _shown_features),
    "count": Fact("another number of images", _count, _shown_count),
}
GUIDANCE = Fact(
    "another guidance", lambda run: run.metrics["settings"]["guidance"],
    lambda run: f"{run.metrics['settings']['guidance']:g}",
)  # fmt: skip
MEASURED = Fact("another medgen", _measured_with, _measured_with)
# what follows from another fact need not be told by itself
_FOLLOWS = {
    "split": ("cohort",),
    "judge": ("cohort", "split", "images", "label"),
    "features": ("cohort", "split", "images", "label", "judge"),
}


def fact_groups(runs: Sequence[Run], needs: Sequence[str]) -> list[list[Run]]:
    """The runs in groups within which all of the needed facts are equal, in the order given."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps([FACTS[name].of(run) for name in needs], sort_keys=True), []).append(run)
    return list(groups.values())


def differing(one: Run, other: Run, needs: Sequence[str]) -> list[str]:
    """The needed facts in which two runs differ, without those that follow from others."""
    found = [name for name in needs if FACTS[name].of(one) != FACTS[name].of(other)]
    return [name for name in found if not any(cause in found for cause in _FOLLOWS.get(name, ()))]


def notices(runs: Sequence[Run]) -> list[tuple[str, bool]]:
    """What stands in the way of comparing, in words, and whether it is to be said loudly."""
    told: list[tuple[str, bool]] = []
    simulated = [run.name for run in runs if run.metrics["simulated"]]
    if simulated and len(simulated) < len(runs):
        told.append((f"{listed(simulated)}: SIMULATED data; the others are not. Do not compare them.", True))
    differ = [name for name in FACTS if len(fact_groups(runs, (name,))) > 1]
    for name in differ:
        if not any(cause in differ for cause in _FOLLOWS.get(name, ())):
            told.append((f"Not all alike: {FACTS[name].words}. {_by_value(runs, FACTS[name])}", True))
    if len({GUIDANCE.of(run) for run in runs}) > 1:
        text = f"Guidance differs: {_by_value(runs, GUIDANCE)} Differences may come from guidance alone."
        told.append((text, False))
    if len({MEASURED.of(run) for run in runs}) > 1:
        text = f"Evaluated by different versions of medgen: {_by_value(runs, MEASURED)}"
        told.append((f"{text} A figure may have been measured otherwise by an earlier one.", False))
    for same in _same_evaluation(runs):
        told.append((f"{listed(same)} are one and the same evaluation.", True))
    return told


def _by_value(runs: Sequence[Run], fact: Fact) -> str:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps(fact.of(run), sort_keys=True), []).append(run)
    return "; ".join(f"{listed([run.name for run in own])}: {fact.shown(own[0])}" for own in groups.values()) + "."


def _same_evaluation(runs: Sequence[Run]) -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for run in runs:
        parts: Mapping[str, Any] = {name: value for name, value in run.metrics.items() if name != "name"}
        found.setdefault(json.dumps(parts, sort_keys=True), []).append(run.name)
    return [names for names in found.values() if len(names) > 1]
