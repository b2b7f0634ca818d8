"""What stands at the end of a report: how to read it, what it does not show, and where its figures come from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from medgen.apps.report import page
from medgen.apps.report.words import number

__all__ = ["INTERVALS", "limit_items", "limits", "provenance", "reading"]

INTERVALS = (
    "95 % intervals, by drawing subjects (not slices) with replacement; of distances, precision, recall, density and "
    "coverage by leaving out groups of subjects, since these rise when people are drawn twice"
)


def reading(items: Sequence[str]) -> str:
    """What the figures mean; ``items`` are of the label or the number."""
    items = [
        *items,
        "Fréchet distance: 0 for equal distributions; it shrinks with the number of images, so that it is only read "
        "beside the floor, the distance of as many training images, of other people with the covariates that were "
        "asked for, from the held-out ones. Only in features of the Inception network is it called FID.",
        f"Figures have {INTERVALS}. The generated images of a profile follow its subject. Intervals do not cover the "
        "chance of training the generator again.",
    ]
    return page.section("How to read this", "<ul>" + "".join(f"<li>{escape(i)}</li>" for i in items) + "</ul>")


def limits(metrics: Mapping[str, Any]) -> str:
    """What the figures do not show."""
    return page.section("Limits", "<ul>" + "".join(f"<li>{escape(i)}</li>" for i in limit_items(metrics)) + "</ul>")


def limit_items(metrics: Mapping[str, Any]) -> list[str]:
    """The same, an item each, for a page or a model card."""
    items = [
        f"For research on synthetic data; no image is for diagnosis. {_of_images(metrics)}",
        "One training run, one seed. Training again may give other figures.",
        _of_copies(metrics["memorisation"]),
        "The judge and the measure of the ventricles see what they were made to see. Faults of another kind go "
        "unnoticed: look at the pictures.",
    ]
    if metrics["data"]["split_unit"] == "scan":
        items.append(
            "Split by scan, not by subject: the same person may be on both sides, which flatters every figure."
        )
    return items


def _of_images(metrics: Mapping[str, Any]) -> str:
    if metrics["simulated"]:
        return "The people of the cohort do not exist, so no image here is of a person."
    if metrics["memorisation"] is None:
        return "No image is shown here, since nobody looked for copies."
    return "No image here was found to be a copy of a person's; a copy that the search misses could be shown."


def _of_copies(memory: Mapping[str, Any] | None) -> str:
    if memory is None:
        return "Nobody looked for copies of training images; these may be some."
    faults = "" if memory["redrawn"] else ", such as ones with the generator's own faults,"
    return (
        f"Copies of another kind than those that were planted{faults} may go unnoticed, and more images may hold more "
        "of them."
    )


def provenance(metrics: Mapping[str, Any]) -> str:
    """Model, data, settings and software."""
    data, model, settings = metrics["data"], metrics["model"], metrics["settings"]
    splits = "; ".join(
        f"{n}: {c['subjects']} {data['split_unit']}s, {c['images']} images" for n, c in data["splits"].items()
    )
    pixel = f", {number(data['pixel_mm'])} mm pixels" if data["pixel_mm"] else ""
    config = model["config"] or {}
    keyed = "" if metrics["simulated"] else ", keyed by a secret of the computer that evaluated"
    rows = [
        ["Model", f"SHA-256 {model['sha256']}, iteration {model['iteration'] or '—'}"],
        ["Trained", f"seed {config.get('seed', 'not recorded')}; with {_versions(model.get('software'))}"],
        ["Data", f"fingerprint {data['fingerprint']}; terms: {data['terms']}"],
        ["Splits", f"{splits}; hash of who is in which {data.get('split', 'not recorded')}{keyed}"],
        ["Images", f"{' × '.join(map(str, data['image_size']))} pixels{pixel}"],
        [
            "Profiles",
            f"{settings['n_per_class']}{' a class' if settings['labels'] else ''} at guidance "
            f"{settings['guidance']:g}, {settings['n_sweep']} at others",
        ],
        ["Features", _features(metrics["extractor"])],
        ["Seed", f"{settings['seed']}; {settings['replicates']} bootstrap replicates"],
        ["Software", _versions(metrics["software"])],
        ["Made", metrics["created"]],
    ]
    detail = json.dumps(
        {"process": settings["process"], "sampler": settings["sampler"], "training": model["config"]}, indent=2
    )
    more = f"<details><summary>Configuration</summary><pre>{escape(detail)}</pre></details>"
    return page.section("Provenance", page.table(["", ""], rows), more)


def _versions(software: Mapping[str, str] | None) -> str:
    return ", ".join(f"{name} {version}" for name, version in (software or {}).items()) or "not recorded"


def _features(extractor: Mapping[str, Any]) -> str:
    weights = f", weights SHA-256 {extractor['sha256']}" if extractor["sha256"] else ""
    return f"{extractor['name']}, {extractor['width']} numbers an image{weights}"
