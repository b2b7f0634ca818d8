"""Figures in words that a clinician reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from medgen.apps.report.standing import MORE, Figure, Sayings, Standing, Words, below_zero, said, standing

__all__ = [
    "adjusted_slope_words",
    "agreement_words",
    "headline",
    "label_words",
    "likeness_standing",
    "likeness_words",
    "listed",
    "main_row",
    "number",
    "over_floor",
    "ratio_interval",
    "recommended",
    "shown_age",
    "shown_age_band",
    "shown_band",
    "size_words",
    "sized",
    "slope_words",
    "spread_words",
    "surely",
    "times_floor",
    "with_interval",
]

FAITHFUL = (0.8, 1.2)
SIZE = (0.65, 1.35)
SLOPE = (0.8, 1.2)
ALIKE = 0.9
NEAR, DISTANT = 1.5, 4.0  # times the distance of training images from held-out ones
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


def shown_age_band(age: float) -> str:
    """An age of a real person as it may stand below a picture: five years, and "90+" above 89."""
    start = 5 * math.floor(age / 5)
    return "90+" if age > AGE_LIMIT else f"{start} to {min(start + 4, AGE_LIMIT)}"


def shown_band(low: float, high: float | None, name: str) -> str:
    """A band as it may be published: ages above 89 are one band."""
    return "90+" if (name == "age" and low >= AGE_LIMIT) or high is None else f"{low:g} to {high:g}"


def sized(unit: str) -> str:
    """What of the ventricles has this unit: the volume of a volume, the area of a slice."""
    return "volume" if unit == "ml" else "area"


def main_row(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The row of the main guidance."""
    return next(row for row in metrics["generated"] if row["main"])


def headline(metrics: Mapping[str, Any]) -> str:
    """Which AUC is like for like: "" for the plain one, "_adjusted" where age differs between the labels."""
    return "_adjusted" if metrics["real"].get("ages_differ") else ""


def label_words(ratio: Figure, ceiling: Figure, label: str, labels: Sequence[str] | None = None) -> Words:
    """Do the images carry the label as real ones do? ``labels`` are the two that are told apart, reference first."""
    if ceiling["low"] is not None and ceiling["low"] <= 0.5:
        return f"Even real images do not show the {label} beyond chance here, so the ratio says little.", "warn"
    if below_zero(ratio):
        reference, other = labels or ("one label", "the other")
        return f"Reversed: images asked for as {other} look like {reference}, and the other way round.", "bad"
    sayings = Sayings(
        f"Faithful within 20 % as far as the interval tells: the {label} shows about as clearly as in real images",
        f"the {label} showing as clearly as in real images",
        f"Too weak: the {label} shows less than in real images",
        f"Exaggerated: the {label} shows more clearly than in real images",
        " by more than 20 %",
    )
    return said(standing(ratio, FAITHFUL), sayings)


def agreement_words(ratio: Figure, ceiling: Figure, name: str) -> Words:
    """Do the images show the number as real ones do?"""
    if ceiling["low"] is not None and ceiling["low"] <= 0:
        return f"Even real images do not show the {name} beyond chance here, so the ratio says little.", "warn"
    if below_zero(ratio):
        return f"Reversed: images asked for at a higher {name} show a lower one.", "bad"
    sayings = Sayings(
        f"Faithful as far as the interval tells: the {name} shows about as clearly as in real images ({ALIKE:g} or "
        "more counts as such)",
        f"the {name} showing as clearly as in real images",
        f"Too weak: the {name} shows less than in real images",
        f"Clearer than in real images: people of one {name} are too alike",
    )
    return said(standing(ratio, (ALIKE, FAITHFUL[1])), sayings)


def slope_words(ratio: Figure) -> Words:
    """Does the number change the images by the right amount?"""
    if below_zero(ratio):
        return "Reversed: the change is the opposite of that in real images.", "bad"
    sayings = Sayings(
        "Of the right size (within 20 % of real images)",
        "a change of the right size",
        "Too small: the change is smaller than in real images",
        "Exaggerated: the change is larger than in real images",
        " by more than 20 %",
    )
    return said(standing(ratio, SLOPE), sayings)


def adjusted_slope_words(ratio: Figure, real: Figure, name: str) -> Words:
    """Is the number itself heeded, beside the other covariates?"""
    if not surely(real):
        return f"At equal other covariates even real images show no change with the {name} beyond chance.", "warn"
    return slope_words(ratio)


def surely(figure: Figure | None) -> bool:
    """Whether a figure's interval leaves 0 out."""
    if figure is None or figure["low"] is None or figure["high"] is None:
        return False
    return not figure["low"] <= 0 <= figure["high"]


def size_words(ratio: Figure, effect: Figure, reference: str = "the cohort's", cohort: Figure | None = None) -> Words:
    """Is the effect of the right size? ``cohort`` is the effect that real images have, where it is known."""
    if cohort is not None and not surely(cohort):
        return "Even in the cohort no effect can be told from none, so the ratio says little.", "warn"
    if below_zero(ratio):
        return f"Reversed: the effect is the opposite of {reference}.", "bad"
    found = standing(ratio, SIZE)
    if effect["low"] is not None and effect["high"] is not None and effect["low"] <= 0 <= effect["high"]:
        if found.place == "below" and found.certain:
            return f"No effect can be told from none, and it is smaller than {reference}.", "bad"
        return f"No effect can be told from none with so few: {MORE}.", "warn"
    sayings = Sayings(
        f"Of the right size (within 35 % of {reference})",
        "an effect of the right size",
        f"Too small: smaller than {reference}",
        f"Exaggerated: larger than {reference}",
        " by more than 35 %",
    )
    return said(found, sayings)


def spread_words(ratio: Figure) -> Words:
    """Do people differ as much as they should?"""
    sayings = Sayings(
        "Generated people differ as much as those of the cohort (within 35 %)",
        "people who differ as much as those of the cohort",
        "Too alike: generated people differ less than real ones",
        "Too varied: generated people differ more than real ones",
        " by more than 35 %",
    )
    return said(standing(ratio, SIZE), sayings)


def over_floor(likeness: Mapping[str, Any]) -> Figure:
    """The distance of generated images to held-out ones, over that of training images, as a figure."""
    found: Figure = likeness["frechet_over_floor"]
    return found


def times_floor(likeness: Mapping[str, Any]) -> str:
    """That figure as it is shown, ``4.4 (2.1 to 9.0) ×``."""
    found = over_floor(likeness)
    return "—" if found["value"] is None else f"{with_interval(found, 1)} ×"


def likeness_words(likeness: Mapping[str, Any]) -> Words:
    """How far from held-out images, in the features of a network, against the distance of training images from them?"""
    times, found = over_floor(likeness), likeness_standing(likeness)
    if found.place == "unknown":
        return _apart_words(likeness), "warn"
    text = f"{number(times['value'], 1)} times as far from held-out ones as training images are, in these features"
    sayings = Sayings(
        "Not told apart from real images by this measure and sample size",
        "images as near as training images are",
        "",
        f"Far from real images: {text}" if (times["low"] or 0) >= DISTANT else f"Farther than real images: {text}",
    )
    return said(found, sayings, "bad" if (times["value"] or 0) >= DISTANT else "warn")


def _apart_words(likeness: Mapping[str, Any]) -> str:
    """Where the distance of training images may be 0, so that no ratio says anything: the difference of the two."""
    own, real = likeness["frechet"], likeness["floor_frechet"]
    ends = [own["value"], own["low"], real["value"], real["high"]]
    if any(end is None for end in ends):
        return "Not determined."
    more, short, beyond = own["value"] - real["value"], own["value"] - own["low"], real["high"] - real["value"]
    both = f"a distance of {number(own['value'])} against {number(real['value'])} of training images, which may be 0"
    if more > math.hypot(short, beyond) or _kernel_tells(likeness):
        return f"Farther than real images: {both}, so how many times as far cannot be told."
    return f"Not told apart for certain: {both}; {MORE}."


def _kernel_tells(likeness: Mapping[str, Any]) -> bool:
    """Whether the kernel distance is certainly larger than that of training images."""
    low, high = likeness["kernel"]["low"], likeness["floor_kernel"]["high"]
    return low is not None and high is not None and low > high


def likeness_standing(likeness: Mapping[str, Any]) -> Standing:
    """Where the distance stands: up to 1.5 times that of training images is not told apart, from 4 on it is far.

    The kernel distance, too, may tell the images apart for certain, where the ratio is uncertain or has no interval.
    """
    found = standing(over_floor(likeness), (0.0, NEAR), reach=(-math.inf, DISTANT))
    clear = _kernel_tells(likeness) and found.place != "unknown"
    return Standing("above", True, found.beyond, found.determined) if clear else found


def recommended(metrics: Mapping[str, Any]) -> float | None:
    """The guidance whose effect, or without one whose label fidelity or slope, is nearest to that of real images."""
    distances = {}
    for row in metrics["generated"]:
        anatomy, label = row.get("ventricles") or {}, row["label"]
        ratio = anatomy.get("effect_ratio") or label.get(f"ratio{headline(metrics)}") or label.get("slope_ratio")
        if ratio["value"] is not None and ratio["value"] > 0:
            distances[row["guidance"]] = abs(math.log(ratio["value"]))
    return min(distances, key=lambda scale: distances[scale]) if distances else None
