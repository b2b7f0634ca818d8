"""Figures in words that a clinician reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "agreement_words",
    "headline",
    "label_words",
    "likeness_words",
    "listed",
    "main_row",
    "number",
    "ratio_interval",
    "recommended",
    "shown_age",
    "shown_band",
    "size_words",
    "sized",
    "slope_words",
    "spread_words",
    "with_interval",
]

Figure = Mapping[str, float | None]
Words = tuple[str, str]  # a sentence and a mark: "good", "warn" or "bad"
FAITHFUL = (0.8, 1.2)
SIZE = (0.65, 1.35)
SLOPE = (0.8, 1.2)
ALIKE = 0.9
AGE_LIMIT = 89


def number(value: float | None, digits: int = 2) -> str:
    """A number with about two decimals, fewer where it is large; an em dash for none."""
    if value is None or not math.isfinite(value):
        return "—"
    if value != 0 and abs(value) < 10**-digits:
        return f"{value:.1g}"
    return f"{value:.{max(0, digits - max(0, math.floor(math.log10(abs(value) or 1))))}f}"


def with_interval(figure: Figure | None, digits: int = 2) -> str:
    """A value and its interval, ``0.81 (0.74 to 0.88)``."""
    if figure is None:
        return "—"
    if figure["low"] is None:
        return number(figure["value"], digits)
    return f"{number(figure['value'], digits)} ({number(figure['low'], digits)} to {number(figure['high'], digits)})"


def ratio_interval(figure: Figure) -> str:
    """What stands below a ratio."""
    if figure["low"] is None:
        return "generated / real"
    return f"generated / real, 95 % interval {number(figure['low'])} to {number(figure['high'])}"


def listed(names: Sequence[str]) -> str:
    """Names as in a sentence: "age, sex and slice"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def shown_age(age: float) -> str:
    """An age as it may be published: in whole years, and "90+" above 89."""
    return "90+" if age > AGE_LIMIT else f"{math.floor(age)}"


def shown_band(low: float, high: float, name: str) -> str:
    """A band as it may be published: ages above 89 are one band."""
    return "90+" if name == "age" and low >= AGE_LIMIT else f"{low:g} to {high:g}"


def sized(unit: str) -> str:
    """What of the ventricles has this unit: the volume of a volume, the area of a slice."""
    return "volume" if unit == "ml" else "area"


def main_row(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The row of the main guidance."""
    return next(row for row in metrics["generated"] if row["main"])


def headline(metrics: Mapping[str, Any]) -> str:
    """Which AUC is like for like: "" for the plain one, "_adjusted" where age differs between the labels."""
    return "_adjusted" if any("differ in age" in notice for notice in metrics["notices"]) else ""


def label_words(ratio: Figure, ceiling: Figure, label: str) -> Words:
    """Do the images carry the label as real ones do?"""
    value = ratio["value"]
    if ceiling["low"] is not None and ceiling["low"] <= 0.5:
        return f"Even real images do not show the {label} beyond chance here, so the ratio says little.", "warn"
    if value is None:
        return "Not determined.", "warn"
    if value > FAITHFUL[1]:
        return _unless_uncertain(ratio, f"Exaggerated: the {label} shows more clearly than in real images.")
    if value < FAITHFUL[0]:
        return _unless_uncertain(ratio, f"Too weak: the {label} shows less than in real images.")
    return f"Faithful: the {label} shows as clearly as in real images (0.8 to 1.2 counts as such).", "good"


def agreement_words(ratio: Figure, ceiling: Figure, name: str) -> Words:
    """Do the images show the number as real ones do?"""
    value = ratio["value"]
    if ceiling["low"] is not None and ceiling["low"] <= 0:
        return f"Even real images do not show the {name} beyond chance here, so the ratio says little.", "warn"
    if value is None:
        return "Not determined.", "warn"
    if value < ALIKE:
        return _unless_uncertain(ratio, f"Too weak: the {name} shows less than in real images.")
    if value > 2 - ALIKE + 0.1:
        return _unless_uncertain(ratio, f"Clearer than in real images: people of one {name} are too alike.")
    return f"Faithful: the {name} shows as clearly as in real images ({ALIKE:g} or more counts as such).", "good"


def slope_words(ratio: Figure) -> Words:
    """Does the number change the images by the right amount?"""
    value = ratio["value"]
    if value is None:
        return "Not determined.", "warn"
    if value > SLOPE[1]:
        return _unless_uncertain(ratio, "Exaggerated: the change is larger than in real images by more than 20 %.")
    if value < SLOPE[0]:
        return _unless_uncertain(ratio, "Too small: the change is smaller than in real images by more than 20 %.")
    return "Of the right size (within 20 % of real images).", "good"


def size_words(ratio: Figure, effect: Figure, reference: str = "the cohort's") -> Words:
    """Is the effect of the right size?"""
    value = ratio["value"]
    if value is None:
        return "Not determined.", "warn"
    if effect["low"] is not None and effect["high"] is not None and effect["low"] <= 0 <= effect["high"]:
        return "No effect can be told from none.", "bad"
    if value > SIZE[1]:
        return _unless_uncertain(ratio, f"Exaggerated: larger than {reference} by more than 35 %.")
    if value < SIZE[0]:
        return _unless_uncertain(ratio, f"Too small: smaller than {reference} by more than 35 %.")
    return f"Of the right size (within 35 % of {reference}).", "good"


def spread_words(ratio: Figure) -> Words:
    """Do people differ as much as they should?"""
    value = ratio["value"]
    if value is None:
        return "Not determined.", "warn"
    if value < SIZE[0]:
        return "Too alike: generated people differ less than real ones.", "bad"
    if value > SIZE[1]:
        return "Too varied: generated people differ more than real ones.", "bad"
    return "Generated people differ as much as those of the cohort (within 35 %).", "good"


def likeness_words(likeness: Mapping[str, Any]) -> Words:
    """How far from real images, against the distance of real from real?"""
    times, kernel, floor = likeness["frechet_over_floor"], likeness["kernel"], likeness["floor_kernel"]
    clear = kernel["low"] is not None and floor["high"] is not None and kernel["low"] > floor["high"]
    if times is None:
        return "Not determined.", "warn"
    if times < 1.5 and not clear:
        return "Not told apart from real images by this measure and sample size.", "good"
    text = f"{number(times, 1)} times the distance of real images from other real images"
    return (f"Close: {text}.", "warn") if times < 4 else (f"Visibly different: {text}.", "bad")


def _unless_uncertain(ratio: Figure, text: str) -> Words:
    """A finding, tempered where the interval includes 1."""
    low, high = ratio["low"], ratio["high"]
    if low is not None and high is not None and low <= 1 <= high:
        return f"{text} The interval includes 1, so this may be chance: hold out more subjects.", "warn"
    return text, "bad"


def recommended(metrics: Mapping[str, Any]) -> float | None:
    """The guidance whose effect, or without one whose label fidelity or slope, is nearest to that of real images."""
    distances = {}
    for row in metrics["generated"]:
        anatomy, label = row.get("ventricles") or {}, row["label"]
        ratio = anatomy.get("effect_ratio") or label.get(f"ratio{headline(metrics)}") or label.get("slope_ratio")
        if ratio["value"] is not None and ratio["value"] > 0:
            distances[row["guidance"]] = abs(math.log(ratio["value"]))
    return min(distances, key=lambda scale: distances[scale]) if distances else None
