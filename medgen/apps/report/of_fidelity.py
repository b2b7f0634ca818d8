"""Fidelity and diversity: every figure beside what real images reach themselves, and the guidance sweep as one plot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medgen.apps.report import page, plots
from medgen.apps.report.words import SIZE, likeness_words, main_row, number, with_interval

__all__ = ["anatomy_section", "section", "short_of"]

Metrics = Mapping[str, Any]
Words = tuple[str, str]
SHORT = 0.8  # of what real images reach; between draws of real images these figures differ by about a tenth
FAR = 0.5
QUESTIONS = {
    "precision": "Precision: generated images that lie within reach of a real one",
    "density": "Density: real neighbourhoods a generated image lies in, against those expected of a real one",
    "recall": "Recall: real images that lie within reach of a generated one",
    "coverage": "Coverage: real images with a generated one in their own neighbourhood",
}
SAID = {
    "precision": ("As many look real as of other people's real images.", "Fewer look real than should."),
    "density": ("They lie where real images are common.", "They lie where real images are rare."),
    "recall": ("They reach as far as real images do.", "Part of the real variety is out of their reach."),
    "coverage": ("They cover the real variety.", "Part of the real variety is missing."),
}
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
        "other people, in the place of the generated ones: that is what a perfect generator would get. Fidelity: "
        "distances, precision, density. Diversity: recall, coverage, MS-SSIM. A neighbourhood reaches the "
        f"{found['k']}th nearest image of another person. 95 % intervals by drawing people and profiles."
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
    text = (
        "Measured by intensity, without learning: the brain is the largest bright part; fluid is darker than half of "
        "white matter, white matter brighter than 0.85 of it, grey matter between. Bands of intensity, not a "
        "segmentation. Difference and spread ratio (generated / real) are at equal covariates as far as known."
    )
    head = ["Measure", "Generated", "Held-out real", "Difference", "Spread ratio", "In words"]
    return [page.section("Brain size and tissues", page.paragraph(text), page.table(head, rows, marks))]


def short_of(figure: Mapping[str, float | None], real: Mapping[str, float | None], fraction: float) -> bool:
    """Whether a figure is below a fraction of the real one, and its interval below the real value."""
    value, high, target = figure["value"], figure["high"], real["value"]
    if value is None or target is None or target <= 0:
        return False
    return value < fraction * target and (high is None or high < target)


def variety_words(ratio: Mapping[str, float | None]) -> Words:
    """Do generated people differ from each other as real ones do?"""
    value, high, low = ratio["value"], ratio["high"], ratio["low"]
    if value is None:
        return "Not determined.", "warn"
    if value < SIZE[0] and (high is None or high < 1):
        return f"Too alike: people differ {number(value)} times as much as real ones do.", "bad"
    if value > SIZE[1] and (low is None or low > 1):
        return f"Too varied: people differ {number(value)} times as much as real ones do.", "bad"
    return f"People differ as much as real ones do, within 35 % ({number(value)} times).", "good"


def tissue_words(name: str, found: Mapping[str, Mapping[str, float | None]]) -> Words:
    """Is the anatomy of the right size, and does it vary?"""
    percent, spread, what = found["percent"]["value"], found["spread_ratio"]["value"], MEASURES[name].split(",")[0]
    if percent is None:
        return "Not determined: hardly any brain was found.", "bad"
    low, high = found["percent"]["low"], found["percent"]["high"]
    sure = low is None or high is None or not low <= 0 <= high
    limit = 10 if name == "brain" else 25
    if abs(percent) > limit and sure:
        return f"{what} differs by {number(percent, 0)} %, more than {limit} %.", "bad"
    if spread is not None and not 0.5 <= spread <= 2:
        return "It varies far less among people." if spread < 1 else "It varies far more among people.", "warn"
    return f"Within {limit} % of real images.", "good"


def _words(name: str, figure: Mapping[str, float | None], real: Mapping[str, float | None]) -> Words:
    good, bad = SAID[name]
    if figure["value"] is None or real["value"] is None:
        return "Not determined.", "warn"
    if short_of(figure, real, FAR):
        return f"{bad} Less than half of what real images reach.", "bad"
    if short_of(figure, real, SHORT):
        return bad, "warn"
    return good, "good"
