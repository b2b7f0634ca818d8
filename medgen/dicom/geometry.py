"""From the planes of a series to a volume: their order, the affine, and whether they make one at all.

The standard's mapping of a pixel to the patient is PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medgen.dicom.frames import TRAITS, Frame
from medgen.dicom.problems import Problem

__all__ = ["Stack", "arrange", "mixed_orientations", "plane_name"]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SAME_DIRECTION = 1e-3  # of each direction cosine; headers round them to 4 digits or more
_SAME_SPACING = 1e-3  # relative
_SAME_PLACE_MM = 1e-3
_UNEVEN = 0.05  # of a step, that a step may differ from the middle one
_ROUNDING_MM = 0.011  # some headers round positions to 0.01 mm
_SHEAR_DEGREES = 0.1
_NAMED = 3
_CLOCK = ("ContentTime", "AcquisitionTime")  # their values say when a patient was there


@dataclass(frozen=True)
class Stack:
    """Planes in order, and where they are.

    Args:
        frames: the planes, along their normal.
        affine: (4, 4), from (column, row, plane) to RAS mm.
        guessed_thickness: whether a single plane had no thickness, and 1 mm was taken.
    """

    frames: tuple[Frame, ...]
    affine: NDArray[np.float64]
    guessed_thickness: bool = False


def arrange(frames: Sequence[Frame]) -> tuple[Stack | None, list[Problem]]:
    """Order the planes of one series by their positions, and say what keeps them from being one volume.

    Args:
        frames: planes of equal size, in any order.

    Returns:
        The stack, None when there is a problem, and the problems.
    """
    lacking = [f for f in frames if not _placed(f)]
    if not frames or lacking:
        what = "Image Position (Patient), Image Orientation (Patient) and Pixel Spacing that make sense"
        return None, [Problem("geometry", f"no {what}{_of(lacking, frames)}")]
    if found := _mixed(frames):
        return None, found
    first = frames[0]
    row, column = _directions(first)
    normal = np.cross(row, column)
    positions = np.array([f.position for f in frames], dtype=np.float64)
    order = np.argsort(positions @ normal, kind="stable")
    ordered = [frames[i] for i in order]
    positions = positions[order]
    if found := _repeated(ordered, positions @ normal):
        return None, found
    found = _gaps(ordered, positions @ normal)
    step, guessed = _step(ordered, positions, normal)
    if not found and (tilted := _tilt(positions, normal, step, first)):
        found = [tilted]
    if found:
        return None, found
    affine = np.eye(4)
    between_rows, between_columns = first.spacing or (math.nan, math.nan)
    affine[:3, 0] = row * between_columns
    affine[:3, 1] = column * between_rows
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    return Stack(tuple(ordered), LPS_TO_RAS @ affine, guessed), []


def _placed(frame: Frame) -> bool:
    if frame.orientation is None or frame.position is None or frame.spacing is None or min(frame.spacing) <= 0:
        return False
    row, column = np.array(frame.orientation[:3]), np.array(frame.orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    return bool(max(abs(n - 1) for n in lengths) < 0.01 and abs(row @ column) < 0.01)


def _directions(frame: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the unit vectors along a row and along a column."""
    values = np.array(frame.orientation, dtype=np.float64)
    row, column = values[:3], values[3:]
    return row / np.linalg.norm(row), column / np.linalg.norm(column)


def mixed_orientations(frames: Sequence[Frame]) -> list[Problem]:
    """Find planes that are not parallel."""
    groups: list[tuple[tuple[float, ...], list[Frame]]] = []
    for frame in frames:
        if (orientation := frame.orientation) is None:
            continue
        for known, members in groups:
            if max(abs(a - b) for a, b in zip(known, orientation, strict=True)) <= _SAME_DIRECTION:
                members.append(frame)
                break
        else:
            groups.append((orientation, [frame]))
    if len(groups) > 1:
        sizes = ", ".join(sorted(f"{len(members)} {plane_name(known)}" for known, members in groups)[:6])
        more = " ..." if len(groups) > 6 else ""
        return [Problem("orientations", f"mixed orientations ({sizes}{more}): a localiser, or several series in one")]
    return []


def _mixed(frames: Sequence[Frame]) -> list[Problem]:
    """Find planes that are not parallel, or not of one pixel size."""
    if found := mixed_orientations(frames):
        return found
    spacing = np.array([f.spacing for f in frames])
    odd = [f for f, s in zip(frames, spacing, strict=True) if np.abs(s / spacing[0] - 1).max() > _SAME_SPACING]
    if odd:
        return [Problem("sizes", f"mixed pixel spacings{_of(odd, frames)}")]
    return []


def plane_name(orientation: Sequence[float]) -> str:
    """Return the plane that six direction cosines span: ``axial``, ``oblique coronal`` ...

    Example:
        >>> plane_name((0, 1, 0, 0, 0, -1))
        'sagittal'
    """
    normal = np.abs(np.cross(orientation[:3], orientation[3:]))
    name = ("sagittal", "coronal", "axial")[int(np.argmax(normal))]
    return name if normal.max() > 0.999 else f"oblique {name}"


def _repeated(frames: Sequence[Frame], depths: NDArray[np.float64]) -> list[Problem]:
    """Find places with more than one plane: copies, or several volumes (echoes, time points)."""
    places: list[list[Frame]] = [[frames[0]]]
    for frame, step in zip(frames[1:], np.diff(depths), strict=True):
        if step <= _SAME_PLACE_MM:
            places[-1].append(frame)
        else:
            places.append([frame])
    counts = Counter(map(len, places))
    if set(counts) == {1}:
        return []
    crowded = [p for p in places if len(p) > 1]
    differing = [k for k in TRAITS if all(len({f.traits.get(k) for f in p}) > 1 for p in crowded)]
    most = max(counts)
    if differing and 2 * len(crowded) >= len(places):
        names = "; ".join(f"{k} {_values(crowded[0], k)}".strip() for k in differing[:_NAMED])
        some = "" if len(counts) == 1 else " at some positions"
        return [
            Problem(
                "volumes",
                f"several volumes in one series: {most} images at each of {len(places)} positions{some}, that differ "
                f"in {names}. Split it, or convert it with dcm2niix",
            )
        ]
    here = " and ".join(dict.fromkeys(_name(f) for f in crowded[0][:_NAMED]))
    return [
        Problem("duplicate", f"duplicates: {most} images in one place at {len(crowded)} position(s), such as {here}")
    ]


def _values(frames: Sequence[Frame], trait: str) -> str:
    if trait in _CLOCK:
        return ""
    values = list(dict.fromkeys(f.traits.get(trait, "none") for f in frames))
    return ", ".join(values[:_NAMED]) + (", ..." if len(values) > _NAMED else "")


def _gaps(frames: Sequence[Frame], depths: NDArray[np.float64]) -> list[Problem]:
    """Find steps that differ from the others."""
    if len(frames) < 3:
        return []
    steps = np.diff(depths)
    middle = float(np.median(steps))
    tolerance = _UNEVEN * middle + _ROUNDING_MM
    uneven = [int(i) for i in np.flatnonzero(np.abs(steps - middle) > tolerance)]
    if uneven:
        i = max(uneven, key=lambda k: abs(steps[k] - middle))
        missing = round(steps[i] / middle) - 1
        likely = f", as if {missing} were missing" if missing > 0 else ""
        return [
            Problem(
                "gap",
                f"{len(uneven)} uneven step(s): slices are {middle:.4g} mm apart, but {steps[i]:.4g} mm between "
                f"{_name(frames[i])} and {_name(frames[i + 1])}{likely}",
            )
        ]
    regular = np.linspace(depths[0], depths[-1], len(depths))
    worst = int(np.argmax(np.abs(depths - regular)))
    if abs(depths[worst] - regular[worst]) > 2 * tolerance:
        off = abs(depths[worst] - regular[worst])
        return [Problem("gap", f"uneven steps: {_name(frames[worst])} is {off:.3g} mm from where even ones put it")]
    return []


def _step(
    frames: Sequence[Frame], positions: NDArray[np.float64], normal: NDArray[np.float64]
) -> tuple[NDArray[np.float64], bool]:
    """Return the vector from one plane to the next, and whether it had to be guessed."""
    if len(frames) > 1:
        return (positions[-1] - positions[0]) / (len(frames) - 1), False
    thickness = frames[0].thickness
    guessed = not (math.isfinite(thickness) and thickness > 0)
    return normal * (1.0 if guessed else thickness), guessed


def _tilt(
    positions: NDArray[np.float64], normal: NDArray[np.float64], step: NDArray[np.float64], frame: Frame
) -> Problem | None:
    """Find planes that are shifted against each other, as with a tilted gantry, or not along one line."""
    count = len(positions)
    off_line = np.linalg.norm(positions - positions[0] - np.arange(count)[:, None] * step, axis=1)
    pixel = min(frame.spacing or (1.0,))
    if off_line.max() > 0.1 * pixel + 2 * _ROUNDING_MM + 2 * _UNEVEN * float(np.linalg.norm(step)):
        return Problem("gap", f"slices are not along one line: one is {off_line.max():.3g} mm off")
    along = float(step @ normal)
    lateral = float(np.linalg.norm(step - along * normal))
    degrees = math.degrees(math.atan2(lateral, along))
    if degrees > _SHEAR_DEGREES and lateral * (count - 1) > 0.1 * pixel:
        return Problem(
            "tilt",
            f"a sheared stack: slices are shifted by {degrees:.3g} degrees against their normal (a tilted gantry?). "
            "Convert it with dcm2niix, which straightens it",
        )
    return None


def _name(frame: Frame) -> str:
    name = Path(frame.path).name
    return f"{name} (frame {frame.index})" if frame.index else name


def _of(some: Sequence[Frame], frames: Sequence[Frame]) -> str:
    """Return which planes a problem is of: nothing when it is of all."""
    if not some or len(some) == len(frames):
        return ""
    return f" in {len(some)} of {len(frames)} images, such as {_name(some[0])}"
