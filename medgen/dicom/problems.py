"""Reasons why a DICOM series is not read, each with a code that programs can look at."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Problem"]


class Problem(NamedTuple):
    """One reason.

    Args:
        code: ``no image``, ``colour``, ``pixels``, ``truncated``, ``plugin``, ``rescale``, ``geometry``, ``mosaic``,
            ``localizer``, ``sizes``, ``orientations``, ``references``, ``volumes``, ``duplicate``, ``gap``, ``stated``
            or ``tilt``.
        text: what was found, and what to do about it.
    """

    code: str
    text: str
