"""Fidelity and diversity: every figure beside what real images reach themselves, and the guidance sweep as one plot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from medgen.apps.report import page, plots
from medgen.apps.report.standing import (
    MORE,
    Figure,
    Sayings,
    Standing,
    Words,
    relative_to,
    said,
    standing,
)
from medgen.apps.report.words import SIZE, likeness_words, listed, main_row, number, with_interval

__all__ = ["anatomy_section", "matched_words", "section", "short_of", "tissue_words", "variety_words"]

Metrics = Mapping[str, Any]
SHORT = 0.8  # of what real images reach; between draws of real images these figures differ by about a tenth
FAR = 0.5
SPREAD = (0.5, 2.0)  # of a tissue among people
QUESTIONS = {
    "precision": "Precision: generated images that lie within reach of a real one",
    "density": "Density: real neighbourhoods a generated image lies in, against those expected of a real one",
    "recall": "Recall: real images that lie within reach of a generated one",
    "coverage": "Coverage: real images with a generated one in their own neighbourhood",
}
HALF = ", less than half of what real images reach"
SAID = {
    "precision": Sayings(
        "About as many look real as of other people's real images",
        "as many looking real as of other people's real images",
        "Fewer look real than of other people's real images", by=HALF, ideal="what real images reach",
    ),
    "density": Sayings(
        "They lie where real images are common", "lying where real images are common",
        "They lie where real images are rarer", by=HALF, ideal="what real images reach",
    ),
    "recall": Sayings(
        "They reach about as far as real images do", "reaching as far as real images do",
        "Part of the real variety is out of their reach", by=HALF, ideal="what real images reach",
    ),
    "coverage": Sayings(
        "They cover about as much of the real variety", "covering as much of the real variety",
        "Part of the real variety is missing", by=HALF, ideal="what real images reach",
    ),
}  # fmt: skip
MEASURES = {
    "brain": "Brain size",
    "fluid": "Fluid, fraction of the brain",
    "grey": "Grey matter, fraction of the brain",
    "white": "White matter, fraction of the brain",
}


def section(metrics: Metrics) -> str:
    """The table of the main guidance, and the sweep."""
    row = main_row(metrics)
    rows: list[list[str]] = []
    marks: list[str] = []

    def add(question: str, generated: str, real: str, words: Words) -> None:
        rows.append([question, generated, real, words[0]])
        marks.append(words[1])

    likeness, found = row["likeness"], row["fidelity"]
    name = metrics["extractor"]["distance"]
    add(f"{name} (0 means alike)", with_interval(likeness["frechet"]),
        f"{with_interval(likeness['floor_frechet'])}: the floor", likeness_words(likeness))  # fmt: skip
    add("Kernel distance, same features (unbiased; 0 means alike)", with_interval(likeness["kernel"], 3),
        f"{with_interval(likeness['floor_kernel'], 3)}: the floor",
        ("Value and error by jackknife over subjects.", ""))  # fmt: skip
    for key, question in QUESTIONS.items():
        real = found[f"real_{key}"]
        add(question, with_interval(found[key]), with_interval(real), _words(key, found[key], real))
    add("MS-SSIM of pairs of different people (1 means equal)", with_interval(found["ms_ssim"]),
        with_interval(found["real_ms_ssim"]), variety_words(found["variety_ratio"]))  # fmt: skip
    if "inception_score" in found:
        add("Inception Score", with_interval(found["inception_score"]), with_interval(found["real_inception_score"]),
            ("Of everyday objects' classes; says little of medical images.", ""))  # fmt: skip
    note = (
        f"{found['n']} generated images against {found['n_real']} held-out ones, whose profiles were asked for. All of "
        "these figures depend on the number of images; so the column of real images puts as many training images, of "
        f"other people, in the place of the generated ones, {matched_words(likeness['floor_matched'])}. That is a "
        "yardstick, not a limit: images that were asked for with just the held-out people's covariates may come nearer "
        "than other people do. Fidelity: distances, precision, density. Diversity: recall, coverage, MS-SSIM. A "
        f"neighbourhood reaches the {found['k']}th nearest image of another person. 95 % intervals by leaving people "
        "and their profiles out, of MS-SSIM by drawing them; of figures that depend on the number of images, for just "
        "this number. They are rather too wide than too narrow."
    )
    head = ["Figure", f"Generated, guidance {row['guidance']:g}", "Real images in their place", "In words"]
    parts = [page.paragraph(note), page.table(head, rows, marks)]
    if len(metrics["generated"]) > 1:
        n = min(r["fidelity_sweep"]["n"] for r in metrics["generated"])
        text = (
            "Guidance trades diversity for fidelity: a point for each guidance, up is more faithful, to the right more "
            f"diverse. The diamond is real images in place of generated ones. {n} images at every guidance, since "
            "these figures depend on their number."
        )
        parts.append(page.figure(plots.tradeoff_plot(metrics["generated"]), text))
    return page.section("Fidelity and diversity", *parts)


def anatomy_section(metrics: Metrics) -> list[str]:
    """Brain size and tissues of the main guidance, where they were measured."""
    found = main_row(metrics).get("tissues")
    if not found:
        return []
    rows, marks = [], []
    for key, question in MEASURES.items():
        one, unit = found["measures"][key], f" ({found['unit']})" if key == "brain" else ""
        words = tissue_words(key, one)
        rows.append([
            f"{question}{unit}", with_interval(one["generated"], 3), with_interval(one["real"], 3),
            f"{with_interval(one['difference'], 3)}: {number(one['percent']['value'], 1)} %",
            with_interval(one["spread_ratio"]), words[0],
        ])  # fmt: skip
        marks.append(words[1])
    equal = listed(list(dict.fromkeys(column.split("=")[0] for column in found["adjusted_for"])))
    text = (
        "Measured by intensity, without learning: the brain is the largest bright part; fluid is darker than half of "
        "white matter, white matter brighter than 0.85 of it, grey matter between. Bands of intensity, not a "
        "segmentation. Difference and spread ratio (generated / real) are "
        + (f"adjusted for {equal}; images of which that is not known are left out." if equal else "not adjusted.")
    )
    head = ["Measure", "Generated", "Held-out real", "Difference", "Spread ratio", "In words"]
    return [page.section("Brain size and tissues", page.paragraph(text), page.table(head, rows, marks))]


def matched_words(matched: Mapping[str, Any]) -> str:
    """How the training images were chosen that stand in place of generated ones."""
    if not matched["labels"] and not matched["numbers"]:
        return "drawn at random, since nothing is known of both"
    parts = []
    if matched["labels"]:
        share = 100 * matched["same_labels"]
        exact = "" if share > 99.9 else f" (all of them in {share:.0f} % of the images, where there are such people)"
        parts.append(f"the same {listed(matched['labels'])}{exact}")
    for name in matched["numbers"]:
        apart = matched["apart"][name]
        parts.append(name if apart is None else f"{name} (apart by {number(apart, 1)} in the mean)")
    return f"chosen for {listed(parts)}, as near as there are to what was asked for"


def short_of(figure: Figure, real: Figure, fraction: float) -> Standing:
    """Where a figure stands to a fraction of the real one; "below" and certain where it surely falls short of it."""
    return standing(relative_to(figure, real), (fraction, math.inf), reach=(FAR, math.inf))


def variety_words(ratio: Figure) -> Words:
    """Do generated people differ from each other as real ones do?"""
    times = f"people differ {number(ratio['value'])} times as much as real ones do"
    sayings = Sayings(
        f"People differ as much as real ones do, within 35 % ({number(ratio['value'])} times)",
        "people who differ as much as real ones do",
        f"Too alike: {times}",
        f"Too varied: {times}",
    )
    return said(standing(ratio, SIZE), sayings)


def tissue_words(name: str, found: Mapping[str, Figure]) -> Words:
    """Is the anatomy of the right size, and does it vary?"""
    percent, what, limit = found["percent"], MEASURES[name].split(",")[0], 10 if name == "brain" else 25
    if percent["value"] is None:
        if "difference" in found and found["difference"]["value"] is None and found["generated"]["value"] is not None:
            return "Not determined: too few images of which the covariates that are adjusted for are known.", "warn"
        return "Not determined: hardly any brain was found.", "bad"
    differs = f"{what} differs by {number(percent['value'], 0)} %"
    within = f"Within {limit} % of real images"
    sayings = Sayings(within, f"{what.lower()} as in real images", differs, differs, f", more than {limit} %", "0")
    words = said(standing(percent, (-limit, limit), 0.0), sayings)
    band, by = (SIZE, ", by more than 35 %") if name == "brain" else (SPREAD, ", by half or more")
    varied = standing(found["spread_ratio"], band)
    if words[1] != "good" or varied.place == "unknown" or (varied.place == "inside" and varied.certain):
        return words
    if varied.place == "inside":
        return f"{within}. How much it varies among people is uncertain, the interval is wide: {MORE}.", "warn"
    varies = Sayings(
        "", "", f"{within}, but it varies less among people", f"{within}, but it varies more among people", by
    )
    return said(varied, varies, "warn")


def _words(name: str, figure: Figure, real: Figure) -> Words:
    half = short_of(figure, real, FAR)
    if half.place == "below":
        return said(half, SAID[name])
    return said(short_of(figure, real, SHORT), replace(SAID[name], by=""), "warn")
