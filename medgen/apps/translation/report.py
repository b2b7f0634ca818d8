"""The pages of the evidence: one to pass on, one with people's images, and the figures as JSON."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin
from torch import Tensor

from medgen.apps.report import page
from medgen.apps.report.words import number, with_interval
from medgen.apps.translation.evidence import Translated
from medgen.apps.translation.pictures import DIFFERENCE_LABEL, difference_map, strip
from medgen.apps.translation.questions import RAW
from medgen.apps.translation.writing import derived_mark
from medgen.files import write_json, write_text
from medgen.io import markings

__all__ = ["write_translation_report"]

SHOWN = 4
_NOT_PROGNOSIS = (
    "This is covariate translation: an image shown with another age, as the model learned age over many people. It is "
    "no prognosis, and says nothing about how this person's brain will be."
)
_BANNER = "PRIVATE. This page shows images of participants, and images made of them. Do not publish or send it."


def write_translation_report(found: Translated, output_dir: str | os.PathLike[str]) -> dict[str, Path]:
    """Write ``translation.json``, ``translation.html`` and ``translation_private.html`` (mode 0600).

    The page to pass on shows images only where the people are simulated.

    Args:
        found: the evidence.
        output_dir: folder to write to.

    Returns:
        "metrics", "report" and "private" with their paths.
    """
    folder = Path(output_dir)
    paths = {
        "metrics": folder / "translation.json",
        "report": folder / "translation.html",
        "private": folder / "translation_private.html",
    }
    write_json(paths["metrics"], found.metrics)
    figures = _sections(found.metrics)
    pictures = _pictures(found)
    public = [*_head(found, ""), *(pictures if found.metrics["simulated"] else []), *figures]
    write_text(paths["report"], page.document("Covariate translation", public))
    private = [*_head(found, "PRIVATE"), page.notice(_BANNER, "private"), *pictures, *figures]
    write_text(paths["private"], page.document("PRIVATE: covariate translation", private), permissions=0o600)
    return paths


def _head(found: Translated, mark: str) -> list[str]:
    metrics = found.metrics
    data, settings = metrics["data"], metrics["settings"]
    sampler = settings["sampler"]
    text = (
        f"{data['people']} held-out people, {data['images']} images, {data['with_two_visits']} people with two visits; "
        f"{sampler['solver']}, {sampler['steps']} steps, {settings['refinements']} refinement(s), strength "
        f"{settings['strength']:g}, guidance {sampler['guidance']}. Intervals: 95 %, people drawn with replacement."
    )
    title = f"<header><h1>The same brain at another age{page.badge(mark) if mark else ''}</h1><p>{text}</p></header>"
    notices = [page.notice(notice, "loud" if "SIMULATED" in notice else "") for notice in metrics["notices"]]
    return [title, *notices, page.notice(_NOT_PROGNOSIS)]


def _sections(metrics: Mapping[str, Any]) -> list[str]:
    made = [_control(metrics), _identity(metrics), _reached(metrics), _where(metrics), _visits(metrics)]
    return [section for section in made if section]


def _control(metrics: Mapping[str, Any]) -> str:
    rows = [
        [
            row["solver"],
            str(row["steps"]),
            str(row["refinements"]),
            f"{row['strength']:g}",
            str(row["evaluations"]),
            with_interval(row["mean_absolute_error"], 4),
            with_interval(row["psnr_db"], 1),
        ]
        for row in metrics["control"]
    ]
    head = ["Solver", "Steps", "Refinements", "Strength", "Evaluations", "Mean absolute error", "PSNR, dB"]
    same, back = metrics["no_change"], metrics["cycle"]
    text = (
        f"To the noise and back with the same covariates, an image of all people differs by "
        f"{with_interval(same['mean_absolute_error'], 4)} on average (intensities in [-1, 1]; PSNR "
        f"{with_interval(same['psnr_db'], 1)} dB); {back['years']:+g} years and back again, by "
        f"{with_interval(back['mean_absolute_error'], 4)} (PSNR {with_interval(back['psnr_db'], 1)} dB). The table is "
        f"of {metrics['control'][0]['images']} images."
    )
    return page.section(
        "Does the image come back? (no-change control, cycle)", page.paragraph(text), page.table(head, rows)
    )


def _identity(metrics: Mapping[str, Any]) -> str:
    found = metrics["identity"]
    rows = [[title, with_interval(rate)] for title, rate in found["rates"].items()]
    text = (
        "Of all held-out people's images at the same place, the one most like the translated image (by correlation of "
        f"the pixels) is the person's own in this share of the images. Chance: {number(found['chance'], 3)}."
    )
    return page.section(
        "Is it still the same brain?", page.paragraph(text), page.table(["Image", "Own is nearest"], rows)
    )


def _reached(metrics: Mapping[str, Any]) -> str:
    age, area = metrics["age"], metrics["area"]
    unit = "mm²" if area["unit"] == "mm2" else area["unit"]
    rows = [
        ["predicted years per year asked", with_interval(age["change_per_year"])],
        ["the regressor's own, over held-out people", with_interval(age["regressor_per_year"])],
        ["the same, from first to second visit", with_interval(age["visits_per_year"])],
        ["asked over the regressor's own", with_interval(age["ratio"])],
        [f"ventricle area, {unit} per year asked", with_interval(area["change_per_year"])],
        ["the same, over held-out people of different ages", with_interval(area["people_per_year"])],
        ["the same, from first to second visit", with_interval(area["visits_per_year"])],
        ["asked over people", with_interval(area["ratio_to_people"])],
        ["asked over visits", with_interval(area["ratio_to_visits"])],
    ]
    text = (
        "A network that learned ages from real training images, and the area of the ventricles without any learning, "
        "say how much older the translated images are than the no-change control. A regressor shrinks to the mean, so "
        "its own slope over people is the measure, not 1."
    )
    strengths = [[f"{row['strength']:g}", with_interval(row["change_per_year"])] for row in area["by_strength"]]
    return page.section(
        "Does the age change by what was asked?",
        page.paragraph(text),
        page.table(["Figure", "Value"], rows),
        page.table(["Strength", f"ventricle area, {unit} per year asked"], strengths),
    )


def _where(metrics: Mapping[str, Any]) -> str:
    found = metrics["where"]
    if found is None:
        return ""
    titles = ["translated", "seen at the second visit", "no change"]
    rows = [[title, *(with_interval(found[title][name]) for name in ("auc", "share", "dice"))] for title in titles]
    text = (
        f"The true ventricles of the simulated people are known at both visits, {found['years']:g} years apart. Where "
        "they differ (and one pixel around) is where the image should change. AUC: whether larger changes lie there "
        "(0.5 is chance); share: how many times more of the change lies there than of the brain; Dice: with as many of "
        "the largest changes."
    )
    head = ["Change", "AUC", "Share over chance", "Dice"]
    return page.section("Does it change where it should?", page.paragraph(text), page.table(head, rows))


def _visits(metrics: Mapping[str, Any]) -> str:
    found = metrics["two_visits"]
    if found is None:
        return ""
    rows = [
        [
            name,
            with_interval(found["area_told"][name], 1),
            with_interval(found["area_error"][name], 1),
            with_interval(found["image_error"][name], 4),
        ]
        for name in found["area_told"]
    ]
    text = (
        f"{found['people']} people were seen again after {found['years']:g} years (the median; each is compared at "
        "the person's own time); the ventricle area had changed by "
        f"{with_interval(found['area_seen'], 1)}. Told beforehand from the first visit: by translation, by taking no "
        "change, and by the mean change of all other people. Of translation, only the difference from the no-change "
        "control counts, added to the first visit: the error of the way to the noise and back, which is in both, is "
        f'taken out. "{RAW}" is the translated image itself, with that error. {_verdict(found, "area", "area")} '
        f"{_verdict(found, 'image', 'image')}"
    )
    head = ["Told by", "Change of area", "Error of the area", "Error of the image"]
    return page.section("Against second visits", page.paragraph(text), page.table(head, rows))


def _verdict(found: Mapping[str, Any], what: str, name: str) -> str:
    parts = []
    for other, figure in found[f"{what}_error_less_than"].items():
        if figure["low"] is None or figure["low"] <= 0 <= figure["high"]:
            word = "not told apart from"
        else:
            word = "smaller than" if figure["value"] < 0 else "LARGER than"
        parts.append(f"{word} that of {other}")
    return f"The error of the {name} by translation is {' and '.join(parts)}."


def _pictures(found: Translated) -> list[str]:
    visits = found.visits
    first = [row for row, place in enumerate(visits.places) if place == 0]
    ages = visits.covariates[first][:, found.age_column]
    order = np.array(first)[np.argsort(ages.numpy(), kind="stable")]
    rows = order[np.unique(np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int))].tolist()
    years = sorted(found.aged)
    names = [f"{float(visits.covariates[row, found.age_column]):.0f} y" for row in rows]
    last = found.aged[years[-1]]
    tiles = [
        [visits.images[r], found.same[r], *(found.aged[y][r] for y in years), difference_map(last[r], found.same[r])]
        for r in rows
    ]
    titles = ["source", "no change", *(f"{y:+g} years" for y in years), "difference"]
    parts = [
        page.figure(_png(tiles, titles, names, found), f"Difference: the last minus no change; {DIFFERENCE_LABEL}.")
    ]
    if found.interval is not None and visits.masks is not None and visits.later_masks is not None:
        year = found.interval
        tiles = [
            [
                visits.images[r], visits.later[r], found.aged[year][r],
                difference_map(visits.later[r], visits.images[r]),
                difference_map(found.aged[year][r], found.same[r]),
                2.0 * (visits.masks[r] ^ visits.later_masks[r]).float()[None] - 1.0,
            ]
            for r in rows
        ]  # fmt: skip
        titles = ["first visit", "second visit", f"{year:+g} years", "visits", "translation", "truth"]
        caption = (
            f"What changed between two visits, and what translation changes; {DIFFERENCE_LABEL}. Truth: ventricles."
        )
        parts.append(page.figure(_png(tiles, titles, names, found), caption))
    return [page.section("In pictures", *parts)]


def _png(rows: Sequence[Sequence[Tensor]], titles: Sequence[str], names: Sequence[str], found: Translated) -> bytes:
    chunks = PngImagePlugin.PngInfo()
    simulated = bool(found.metrics["simulated"])
    said = {"Derived": derived_mark(simulated), "model_sha256": found.metrics["model"]["sha256"]}
    for key, value in markings(said, synthetic=simulated).items():
        chunks.add_text(key, str(value))
    buffer = io.BytesIO()
    Image.fromarray(strip(rows, titles, names)).save(buffer, "PNG", pnginfo=chunks, optimize=True)
    return buffer.getvalue()
