"""The card of a ratio."""

from __future__ import annotations

from collections.abc import Mapping

from medgen.apps.report import page
from medgen.apps.report.words import number, ratio_interval

__all__ = ["ratio_card"]


def ratio_card(question: str, ratio: Mapping[str, float | None], found: tuple[str, str]) -> str:
    """A headline ratio of generated to real, with its words and its mark."""
    words, mark = found
    return page.card(question, number(ratio["value"]), ratio_interval(ratio), words, mark)
