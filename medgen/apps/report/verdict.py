"""What is wrong with a generator, in a box at the top of its report.

Each rule reads ``metrics.json`` and names one fault, or nothing. Thresholds are relative to what real images reach
themselves (floor or ceiling), and a fault is named only where the interval, too, says so: a warning should mean
something. What is merely uncertain stands in the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from medgen.apps.report import page
from medgen.apps.report.of_fidelity import FAR, short_of, tissue_words, variety_words
from medgen.apps.report.originality import membership_words, originality_words
from medgen.apps.report.words import (
    SIZE,
    SLOPE,
    headline,
    label_words,
    main_row,
    number,
    spread_words,
)

__all__ = ["RULES", "box", "refusal", "warnings"]

Metrics = Mapping[str, Any]
Rule = Callable[[Metrics, Mapping[str, Any]], "str | None"]
VISIBLE = 4.0  # times the floor: as in words.likeness_words
DEAF = 0.3  # of the label fidelity of real images: nearer to none than to theirs, whatever the sample
RANGE = 0.4  # of the extent of intensities: as in metrics.check_same_scale


def warnings(metrics: Metrics) -> list[str]:
    """Faults at the main guidance, in the order in which they should be mended; empty where none was found."""
    row = main_row(metrics)
    return [text for rule in RULES if (text := rule(metrics, row)) is not None]


def box(metrics: Metrics) -> list[str]:
    """The box; nothing where nothing is wrong."""
    found = warnings(metrics)
    return [page.warning_box("Warnings", found)] if found else []


def refusal(name: str, message: str) -> str:
    """The page that stands in place of a report when images cannot be compared."""
    parts = [
        f"<header><h1>{page.text(name or 'Generator')}</h1></header>",
        page.warning_box("Warnings", [f"Wrong intensity range. No figure was computed: {message}."]),
        page.paragraph(
            "A distance between images that are scaled by different conventions measures the mistake, not the "
            "generator. Mend the range in which images are generated or read, and evaluate again."
        ),
    ]
    return page.document(f"{name or 'Generator'}: evaluation refused", parts)


def intensity(metrics: Metrics, row: Mapping[str, Any]) -> str | None:
    """Darkest or brightest pixels lie elsewhere by more than 0.4 of the extent."""
    found = row["intensity"]
    extent = min(found["high"] - found["low"], found["real_high"] - found["real_low"])
    shift = max(abs(found["low"] - found["real_low"]), abs(found["high"] - found["real_high"]))
    if shift <= RANGE * max(extent, 1e-6):
        return None
    return (
        f"Wrong intensity range: generated images lie in [{number(found['low'])}, {number(found['high'])}], real ones "
        f"in [{number(found['real_low'])}, {number(found['real_high'])}] (1st to 99th percentile)."
    )


def unlike(metrics: Metrics, row: Mapping[str, Any]) -> str | None:
    """Less than half of the real precision or density; or visibly different by both distances."""
    found, likeness = row["fidelity"], row["likeness"]
    own, real = found["precision"], found["real_precision"]
    if short_of(own, real, FAR):
        return (
            f"Most images resemble no real one: {_percent(own)} lie within reach of a real image; of real images of "
            f"other people {_percent(real)} do."
        )
    if short_of(found["density"], found["real_density"], FAR):
        return "The images lie where real ones are rare: density is less than half of what real images reach."
    times, kernel, floor = likeness["frechet_over_floor"], likeness["kernel"]["low"], likeness["floor_kernel"]["high"]
    if times is not None and times >= VISIBLE and kernel is not None and floor is not None and kernel > floor:
        return f"The images differ visibly from real ones: {number(times, 1)} times the distance of real from real."
    return None


def missing(metrics: Metrics, row: Mapping[str, Any]) -> str | None:
    """Less than half of the real recall or coverage."""
    found = row["fidelity"]
    lacking = [name for name in ("recall", "coverage") if short_of(found[name], found[f"real_{name}"], FAR)]
    if not lacking:
        return None
    told = " and ".join(
        f"{name} {number(found[name]['value'])} against {number(found[f'real_{name}']['value'])}" for name in lacking
    )
    return f"Large parts of the real variety are missing: {told} of real images in their place."


def alike(metrics: Metrics, row: Mapping[str, Any]) -> str | None:
    """People differ by less than 0.65 of what real ones do, in pictures or in ventricles, and surely less."""
    words, mark = variety_words(row["fidelity"]["variety_ratio"])
    if mark == "bad" and words.startswith("Too alike"):
        return f"{words} By MS-SSIM of pairs of people."
    spread = (row.get("ventricles") or {}).get("spread_ratio")
    if spread and spread["value"] is not None and spread["value"] < SIZE[0] and (spread["high"] or 0) < 1:
        return f"{spread_words(spread)[0]} Spread of ventricle area: {number(spread['value'])} times that of real ones."
    return None


def deaf(metrics: Metrics, row: Mapping[str, Any]) -> str | None:
    """Shows less than 0.3 of what real images show of the label or number; silent where those show nothing."""
    name, labels, found = metrics["settings"]["label"], metrics["settings"]["labels"], row["label"]
    suffix = headline(metrics)
    ratio = found[f"ratio{suffix}"] if labels else found["correlation_ratio"]
    ceiling = metrics["real"][f"auc{suffix}"] if labels else metrics["real"]["agreement"]["correlation"]
    chance = 0.5 if labels else 0.0
    shown = ceiling["low"] is not None and ceiling["low"] > chance
    if not shown or ratio["value"] is None or ratio["value"] >= DEAF or (ratio["high"] or 0) >= 1:
        return None
    if labels:
        return f"The {name} is not shown: images of {labels[1]} and {labels[0]} look the same to a classifier."
    return f"The {name} is not shown: images do not change with the {name} that was asked for."


def exaggerated(metrics: Metrics, row: Mapping[str, Any]) -> str | None:
    """Effect more than 35 % or label fidelity or slope more than 20 % above real images', surely above them."""
    name, told = metrics["settings"]["label"], []
    effect = (row.get("ventricles") or {}).get("effect_ratio")
    if effect and _above(effect, SIZE[1]):
        told.append(f"the difference in ventricle area is {number(effect['value'])} times the cohort's")
    if metrics["settings"]["labels"]:
        suffix = headline(metrics)
        ratio = row["label"][f"ratio{suffix}"]
        if label_words(ratio, metrics["real"][f"auc{suffix}"], name)[1] == "bad" and ratio["value"] > 1:
            told.append(f"the {name} shows {number(ratio['value'])} times as clearly as in real images")
    elif _above(row["label"]["slope_ratio"], SLOPE[1]):
        told.append(f"images change {number(row['label']['slope_ratio']['value'])} times as much with the {name}")
    if not told:
        return None
    return f"The {name} is exaggerated: {' and '.join(told)}. Less guidance may mend it."


def anatomy(metrics: Metrics, row: Mapping[str, Any]) -> str | None:
    """Brain size more than 10 %, a tissue more than 25 % from real images, surely so; or no brain in a tenth."""
    found = row.get("tissues")
    if not found:
        return None
    if found["found"] < 0.9:
        return f"No brain is found in {100 * (1 - found['found']):.0f} % of the images."
    told = [tissue_words(name, one) for name, one in found["measures"].items()]
    wrong = [words.rstrip(".") for words, mark in told if mark == "bad"]
    return f"Anatomy is off: {'; '.join(wrong)}." if wrong else None


def copies(metrics: Metrics, row: Mapping[str, Any]) -> str | None:
    """Whatever the words on originality call bad."""
    words, mark = originality_words(row["originality"], metrics["memorisation"])
    return words if mark == "bad" else None


def knows(metrics: Metrics, row: Mapping[str, Any]) -> str | None:
    """Whatever the words on membership call bad."""
    if not (metrics["memorisation"] or {}).get("membership"):
        return None
    words, mark = membership_words(metrics["memorisation"]["membership"])
    return words if mark == "bad" else None


RULES: tuple[Rule, ...] = (intensity, copies, knows, unlike, deaf, missing, alike, exaggerated, anatomy)


def _above(ratio: Mapping[str, Any], limit: float) -> bool:
    return ratio["value"] is not None and ratio["value"] > limit and (ratio["low"] or 0) > 1


def _percent(figure: Mapping[str, Any]) -> str:
    return f"{100 * figure['value']:.0f} %"
