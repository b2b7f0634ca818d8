"""What is wrong with a generator, in a box at the top of its report.

Each rule reads ``metrics.json`` and names one fault, or nothing. Thresholds are relative to what real images reach
themselves (floor or ceiling), and a fault is named only where the interval, too, says so: a warning should mean
something. What is merely uncertain stands in the tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from medgen.apps.report import page
from medgen.apps.report.of_fidelity import FAR, short_of, tissue_words, variety_words
from medgen.apps.report.originality import membership_words, originality_words
from medgen.apps.report.standing import below_zero, standing
from medgen.apps.report.words import (
    DISTANT,
    SIZE,
    SLOPE,
    headline,
    label_words,
    likeness_standing,
    listed,
    main_row,
    number,
    over_floor,
    spread_words,
    surely,
    times_floor,
    with_interval,
)
from medgen.metrics import ScaleError

__all__ = ["RULES", "box", "refusal", "warnings"]

Metrics = Mapping[str, Any]
Rule = Callable[[Metrics, Mapping[str, Any]], "str | None"]
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


def refusal(name: str, error: ScaleError) -> str:
    """The page that stands in place of a report when images cannot be compared."""
    parts = [
        f"<header><h1>{page.text(name or 'Generator')}</h1></header>",
        page.warning_box("Warnings", [f"{error.fault}. No figure was computed: {error}."]),
        page.paragraph(error.advice),
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
    """Less than half of the real precision or density, or four times as far as training images, and surely worse."""
    found, likeness = row["fidelity"], row["likeness"]
    own, real = found["precision"], found["real_precision"]
    if _short(own, real):
        few = "Most images resemble no real one" if own["high"] < 0.5 else "Too few images resemble a real one"
        return (
            f"{few}: {_percent(own)} lie within reach of a real image; of real images of other people "
            f"{_percent(real)} do."
        )
    if _short(found["density"], found["real_density"]):
        own, real = (number(found[name]["value"]) for name in ("density", "real_density"))
        return f"The images lie where real ones are rarer: density {own} against {real} of real images in their place."
    if likeness_standing(likeness).certain and (over_floor(likeness)["value"] or 0) >= DISTANT:
        return (
            "The images are farther than real ones: in the features named below they lie "
            f"{times_floor(likeness)} as far from held-out images as training images do."
        )
    return None


def missing(metrics: Metrics, row: Mapping[str, Any]) -> str | None:
    """Less than half of the real recall or coverage, and surely short of them."""
    found = row["fidelity"]
    lacking = [name for name in ("recall", "coverage") if _short(found[name], found[f"real_{name}"])]
    if not lacking:
        return None
    told = " and ".join(
        f"{name} {number(found[name]['value'])} against {number(found[f'real_{name}']['value'])}" for name in lacking
    )
    sure = any(short_of(found[name], found[f"real_{name}"], FAR).beyond for name in lacking)
    missed = "Large parts of the real variety are" if sure else "A part of the real variety is"
    return f"{missed} missing: {told} of real images in their place."


def alike(metrics: Metrics, row: Mapping[str, Any]) -> str | None:
    """People differ by less than 0.65 of what real ones do, in pictures, ventricles or brain size, and surely less."""
    told = []
    words, mark = variety_words(row["fidelity"]["variety_ratio"])
    if mark == "bad" and words.startswith("Too alike"):
        told.append(f"{words} By MS-SSIM of pairs of people.")
    spread = (row.get("ventricles") or {}).get("spread_ratio")
    if spread and spread_words(spread)[1] == "bad" and spread["value"] < 1:
        told.append(
            f"{spread_words(spread)[0]} Spread of ventricle area: {with_interval(spread)} times that of real ones."
        )
    size = (row.get("tissues") or {}).get("measures", {}).get("brain", {}).get("spread_ratio")
    found = standing(size, SIZE) if size else None
    if found and found.place == "below" and found.certain:
        told.append(
            f"Too alike: brains differ less in size than real ones. Spread of brain size: {with_interval(size)} times "
            "that of real ones."
        )
    return " ".join(told) or None


def opposite(metrics: Metrics, row: Mapping[str, Any]) -> str | None:
    """Shows the opposite of the label, the number or its effect on the ventricles, the whole interval below none."""
    name, labels = metrics["settings"]["label"], metrics["settings"]["labels"]
    told, area, cohort = [], row.get("ventricles") or {}, metrics["real"]["ventricles"] or {}
    if _shown(metrics) and below_zero(_fidelity(metrics, row)):
        auc = row["label"].get(f"auc{headline(metrics)}")
        told.append(
            f"images asked for as {labels[1]} look like {labels[0]} to a classifier (AUC {with_interval(auc)})"
            if labels
            else f"images asked for at a higher {name} show a lower one"
        )
    effect, real = ("effect_ratio", "effect") if labels else ("slope_ratio", "slope")
    if below_zero(area.get(effect)) and surely(cohort[real]):
        told.append("the difference in the ventricles is the opposite of the cohort's")
    return f"The {name} is reversed: {' and '.join(told)}." if told else None


def deaf(metrics: Metrics, row: Mapping[str, Any]) -> str | None:
    """Shows less than 0.3 of what real images show of the label or number; silent where those show nothing."""
    name, labels, found = metrics["settings"]["label"], metrics["settings"]["labels"], row["label"]
    ratio = _fidelity(metrics, row)
    place = standing(ratio, (DEAF, math.inf))
    if not _shown(metrics) or place.place != "below" or not place.certain or below_zero(ratio):
        return None if labels else _deaf_by_itself(metrics, found)
    suffix = headline(metrics)
    seen = found[f"auc{suffix}"] if labels else found["correlation"]
    if seen["low"] is None or not seen["low"] <= (0.5 if labels else 0) <= seen["high"]:
        return f"The {name} shows too weakly: {with_interval(ratio)} of what real images show."
    if labels:
        told = f"images of {labels[1]} and {labels[0]} look the same to a classifier (AUC {with_interval(seen)})"
    else:
        told = f"images do not change with the {name} that was asked for (correlation {with_interval(seen)})"
    return f"The {name} is not shown: {told}."


def exaggerated(metrics: Metrics, row: Mapping[str, Any]) -> str | None:
    """Effect more than 35 % or label fidelity or slope more than 20 % above real images', surely above them."""
    name, told = metrics["settings"]["label"], []
    effect = (row.get("ventricles") or {}).get("effect_ratio")
    if effect and _above(effect, SIZE[1]) and surely(metrics["real"]["ventricles"]["effect"]):
        told.append(f"the difference in ventricle area is {with_interval(effect)} times the cohort's")
    if metrics["settings"]["labels"]:
        suffix = headline(metrics)
        ratio = row["label"][f"ratio{suffix}"]
        if label_words(ratio, metrics["real"][f"auc{suffix}"], name)[1] == "bad" and ratio["value"] > 1:
            told.append(f"the {name} shows {with_interval(ratio)} times as clearly as in real images")
    elif _above(row["label"]["slope_ratio"], SLOPE[1]):
        told.append(f"images change {with_interval(row['label']['slope_ratio'])} times as much with the {name}")
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
    """Whatever the words on originality call bad; and images that may be copies, as a doubt."""
    found = row["originality"]
    words, mark = originality_words(found, metrics["memorisation"])
    return words if mark == "bad" or (found and found["near_copies"]) else None


def knows(metrics: Metrics, row: Mapping[str, Any]) -> str | None:
    """Whatever the words on membership call bad."""
    if not (metrics["memorisation"] or {}).get("membership"):
        return None
    words, mark = membership_words(metrics["memorisation"]["membership"])
    return words if mark == "bad" else None


RULES: tuple[Rule, ...] = (intensity, copies, knows, unlike, opposite, deaf, missing, alike, exaggerated, anatomy)


def _short(figure: Mapping[str, Any], real: Mapping[str, Any]) -> bool:
    """Whether a figure is less than half of the real one, and surely short of it."""
    found = short_of(figure, real, FAR)
    return found.place == "below" and found.certain


def _fidelity(metrics: Metrics, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ratio that says how clearly the label or number shows."""
    labels = metrics["settings"]["labels"]
    ratio: Mapping[str, Any] = row["label"][f"ratio{headline(metrics)}" if labels else "correlation_ratio"]
    return ratio


def _shown(metrics: Metrics) -> bool:
    """Whether real images show the label or number beyond chance."""
    real, labels = metrics["real"], metrics["settings"]["labels"]
    ceiling = real[f"auc{headline(metrics)}"] if labels else real["agreement"]["correlation"]
    return ceiling["low"] is not None and ceiling["low"] > (0.5 if labels else 0.0)


def _deaf_by_itself(metrics: Metrics, found: Mapping[str, Any]) -> str | None:
    """Shows a number as far as other covariates tell it, and no more."""
    name, real, ratio = metrics["settings"]["label"], metrics["real"]["agreement"], found.get("slope_adjusted_ratio")
    if ratio is None or not surely(real["slope_adjusted"]):
        return None
    place = standing(ratio, (DEAF, math.inf))
    if place.place != "below" or not place.certain:
        return None
    others, share = listed(real["adjusted_for"]), with_interval(ratio)
    return f"The {name} is not shown by itself: at equal {others}, images change {share} times as much as real ones."


def _above(ratio: Mapping[str, Any], limit: float) -> bool:
    found = standing(ratio, (-math.inf, limit))
    return found.place == "above" and found.certain


def _percent(figure: Mapping[str, Any]) -> str:
    return f"{100 * figure['value']:.0f} %"
