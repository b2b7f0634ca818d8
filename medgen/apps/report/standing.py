"""Where a figure stands to what would be good, and the sentence that its interval supports: one rule for all words.

"good" is said only of a value inside its band whose interval is no wider than the band. "bad" is said only where the
interval excludes what real images reach, and an amount ("by more than 35 %") only where it clears the band. What lies
between is told as what it is: consistent with both, hold out more subjects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["Figure", "Sayings", "Standing", "Words", "below_zero", "relative_to", "said", "standing"]

Figure = Mapping[str, float | None]  # value, low, high
Words = tuple[str, str]  # a sentence and a mark: "good", "warn" or "bad"
MORE = "hold out more subjects"


@dataclass(frozen=True)
class Standing:
    """Where a figure stands to a band.

    Attributes:
        place: of the value; "unknown" where there is none.
        certain: of a value inside: the interval is no wider than the band. Of one outside: the interval excludes the
            ideal.
        beyond: of a value outside: the whole interval lies outside, on that side.
        determined: whether there is an interval.
    """

    place: Literal["unknown", "inside", "below", "above"]
    certain: bool = False
    beyond: bool = False
    determined: bool = True


@dataclass(frozen=True)
class Sayings:
    """The sentences of one figure, without their full stops.

    Attributes:
        inside: of a value inside the band.
        consistent: the same after "Consistent with".
        below: of a value below.
        above: of a value above.
        by: what is added to these where the whole interval is outside the band.
        ideal: what the interval includes where the value outside may be chance.
    """

    inside: str
    consistent: str
    below: str
    above: str = ""
    by: str = ""
    ideal: str = "1"


def standing(
    figure: Figure, band: tuple[float, float], ideal: float = 1.0, reach: tuple[float, float] | None = None
) -> Standing:
    """Place a figure.

    Args:
        figure: "value", "low", "high"; None where so few subjects do not determine it.
        band: what counts as good; an end may be infinite.
        ideal: what real images have.
        reach: an interval that goes beyond either of these is wide; None: one that is wider than the band.

    Example:
        >>> standing({"value": 1.4, "low": 1.01, "high": 1.9}, (0.65, 1.35))
        Standing(place='above', certain=True, beyond=False, determined=True)
    """
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None or not math.isfinite(value):
        return Standing("unknown")
    known = low is not None and high is not None
    low, high = (low, high) if low is not None and high is not None else (-math.inf, math.inf)
    if value > band[1]:
        return Standing("above", low > ideal, low > band[1], known)
    if value < band[0]:
        return Standing("below", high < ideal, high < band[0], known)
    narrow = high - low <= band[1] - band[0] if reach is None else reach[0] <= low and high <= reach[1]
    return Standing("inside", known and narrow, False, known)


def said(found: Standing, sayings: Sayings, bad: Literal["warn", "bad"] = "bad") -> Words:
    """The sentence that a standing supports, and its mark.

    Args:
        found: of the figure.
        sayings: its sentences.
        bad: the mark of a value that is certainly outside.

    Example:
        >>> ages = Sayings("As asked", "the ages asked for", "Too young", "Too old", " by more than 20 %")
        >>> said(Standing("above", certain=True), ages)
        ('Too old.', 'bad')
        >>> said(Standing("inside"), ages)
        ('Consistent with the ages asked for, but the interval is wide: hold out more subjects.', 'warn')
    """
    if found.place == "unknown":
        return "Not determined.", "warn"
    if found.place == "inside":
        if found.certain:
            return f"{sayings.inside}.", "good"
        why = "the interval is wide" if found.determined else "so few subjects determine no interval"
        return f"Consistent with {sayings.consistent}, but {why}: {MORE}.", "warn"
    text = sayings.above if found.place == "above" else sayings.below
    if found.certain:
        return f"{text}{sayings.by if found.beyond else ''}.", bad
    why = f"The interval includes {sayings.ideal}" if found.determined else "So few subjects determine no interval"
    return f"{text}. {why}, so this may be chance: {MORE}.", "warn"


def below_zero(figure: Figure | None) -> bool:
    """Whether the whole interval of a ratio lies below 0: the opposite of what was asked for."""
    return figure is not None and figure["high"] is not None and figure["high"] < 0


def relative_to(figure: Figure, real: Figure) -> Figure:
    """A figure over that of real images, as a figure; the two intervals are taken as independent.

    With half-widths :math:`a` of the figure :math:`v` and :math:`b` of the real one :math:`r`, those of the ratio are
    :math:`\\sqrt{(a / r)^2 + (v b / r^2)^2}` (Donner and Zou 2012, doi:10.1177/0962280210383082, to first order).

    Args:
        figure: of generated images.
        real: of real ones in their place; no ratio where it is not above 0.
    """
    value, reached = figure["value"], real["value"]
    if value is None or reached is None or reached <= 0:
        return {"value": None, "low": None, "high": None}
    ratio = value / reached
    ends = (figure["low"], figure["high"], real["low"], real["high"])
    low, high, real_low, real_high = (math.nan if end is None else end for end in ends)
    below = math.hypot((value - low) / reached, ratio * (real_high - reached) / reached)
    above = math.hypot((high - value) / reached, ratio * (reached - real_low) / reached)
    if math.isnan(below) or math.isnan(above):
        return {"value": ratio, "low": None, "high": None}
    return {"value": ratio, "low": ratio - below, "high": ratio + above}
