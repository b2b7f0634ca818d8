"""What the headers of a series say of the whole, held against where its slices lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medgen.dicom.frames import Image
from medgen.dicom.geometry import Stack
from medgen.dicom.problems import Problem

__all__ = ["frames_of_reference", "stated_spacing"]

_SAME = 0.05  # relative, of two distances
_EQUAL = 0.01  # relative, of a sum that headers give exactly


def frames_of_reference(images: Sequence[Image]) -> list[Problem]:
    """Find slices whose positions are in different coordinates: their Frame of Reference UIDs differ."""
    groups: dict[str, list[str]] = {}
    for image in images:
        if uid := image.facts["frame_of_reference"]:
            groups.setdefault(uid, []).append(Path(image.path).name)
    if len(groups) < 2:
        return []
    names = " and ".join(group[0] for group in list(groups.values())[:2])
    return [
        Problem(
            "references",
            f"{len(groups)} different Frame of Reference UIDs, such as those of {names}: their positions cannot be "
            "compared",
        )
    ]


def stated_spacing(stack: Stack) -> tuple[str, bool]:
    """Hold the distance of the slices against Spacing Between Slices (0018,0088).

    Some scanners write the gap between the slices' faces there, others leave the value of the images that these were
    made of. So only a distance that is a whole multiple of the stated one, and is not thickness plus gap, counts as a
    sign that slices are missing. Slice Thickness alone says nothing of their distance.

    Returns:
        What differs, naming both distances, "" when nothing does or nothing is stated; and whether it looks as if
        slices were missing at regular intervals.
    """
    stated = [frame.between for frame in stack.frames if frame.between > 0]
    if len(stack.frames) < 2 or not stated:
        return "", False
    expected, found = float(np.median(stated)), float(np.linalg.norm(stack.affine[:3, 2]))
    if _same(found, expected):
        return "", False
    times = round(found / expected)
    says = f"slices are {found:.4g} mm apart, but Spacing Between Slices says {expected:.4g} mm"
    thickness = stack.frames[0].stated_thickness
    is_gap = expected < (1 - _SAME) * thickness and abs(found - thickness - expected) <= _EQUAL * found
    if times < 2 or is_gap or not _same(found, times * expected):
        return says, False
    return f"{says}, as if {times - 1} of every {times} were missing", True


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= _SAME * min(one, other)
