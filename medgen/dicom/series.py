"""What the files of one DICOM series make together: a volume, or what else, and what is wrong with it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medgen.dicom.consistency import frames_of_reference, stated_spacing
from medgen.dicom.frames import Image
from medgen.dicom.geometry import Stack, arrange, mixed_orientations, plane_name
from medgen.dicom.header import HEADER_KEYS
from medgen.dicom.keys import keyed_name
from medgen.dicom.problems import Problem

__all__ = ["Assessment", "SeriesInfo", "assess", "describe"]

_KINDS = {  # of a series, by the code of a problem; the first that applies
    "no image": "no image",
    "colour": "colour",
    "mosaic": "mosaic",
    "localizer": "localizer",
    "volumes": "several volumes",
    "orientations": "mixed",
    "sizes": "mixed",
    "references": "mixed",
    "geometry": "no geometry",
}
_LOCALIZER = re.compile(r"locali[sz]er|scout|survey|3.?plane|\bloc\b", re.IGNORECASE)


@dataclass(frozen=True)
class SeriesInfo:
    """One series of a folder, as :func:`medgen.dicom.scan_dicom` found it.

    Args:
        uid: Series Instance UID.
        patient_key: stands for the Patient ID, keyed; see :func:`medgen.dicom.keys.keyed_name`.
        study_key: stands for the Study Instance UID, keyed.
        visit: number of the visit among this patient's in the folder, by date, from 1.
        number: Series Number; 0 when not given.
        modality: ``MR``, ``CT`` ...
        description: Series Description, else Protocol Name, as the operator wrote it: never for a batch.
        image_type: Image Type, for example ``ORIGINAL\\PRIMARY\\M``.
        kind: ``volume``, ``image`` (one plane), ``several volumes``, ``mosaic``, ``localizer``, ``mixed`` (sizes,
            orientations or frames of reference), ``no geometry``, ``colour`` or ``no image``.
        derived: whether the image was computed from others (Image Type DERIVED).
        multi_frame: whether a file has several planes.
        rows: number of rows of a plane.
        columns: number of columns.
        slices: number of planes.
        spacing: distance of columns, of rows, and of planes, mm; NaN where unknown.
        orientation: ``axial``, ``oblique sagittal`` ...; "" where unknown.
        files: paths.
        problems: why :func:`medgen.dicom.read_series` refuses it; empty when nothing is known to be wrong.
        notes: what a user may want to know.
        header: the allowlisted fields, :data:`medgen.dicom.header.HEADER_KEYS`; NaN or "" where missing; and
            ``synthetic``.
    """

    uid: str
    patient_key: str
    study_key: str
    visit: int
    number: int
    modality: str
    description: str
    image_type: str
    kind: str
    derived: bool
    multi_frame: bool
    rows: int
    columns: int
    slices: int
    spacing: tuple[float, float, float]
    orientation: str
    files: tuple[str, ...]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    header: dict[str, Any] = field(default_factory=dict)

    @property
    def readable(self) -> bool:
        """Whether :func:`medgen.dicom.read_series` should read it; its pixels have not been decoded."""
        return not self.problems

    @property
    def folder(self) -> str:
        """The folder that its first file is in."""
        return str(Path(self.files[0]).parent)

    def to_row(self) -> dict[str, str | int | float]:
        """Return the series as a row of a table: plain numbers and text."""
        fields = ("patient_key", "visit", "study_key", "number", "modality", "description", "kind", "derived")
        sizes = ("multi_frame", "columns", "rows", "slices")
        return {
            **{name: getattr(self, name) for name in (*fields, *sizes)},
            **{f"spacing_{axis}": round(value, 6) for axis, value in zip("xyz", self.spacing, strict=True)},
            "orientation": self.orientation,
            **{name: self.header.get(name, "") for name in HEADER_KEYS},
            "problems": "; ".join(self.problems),
            "notes": "; ".join(self.notes),
            "files": len(self.files),
            "folder": self.folder,
            "uid": self.uid,
        }


@dataclass(frozen=True)
class Assessment:
    """What a series makes: the kind of :class:`SeriesInfo`, the stack when it can be read, and the problems."""

    kind: str
    stack: Stack | None
    problems: list[Problem]


def assess(images: Sequence[Image]) -> Assessment:
    """Find out what images of one series make together."""
    problems = [*_of_files(images), *_copies(images), *frames_of_reference(images)]
    codes = {p.code for image in images for p in image.problems}
    if any("LOCALIZER" in image.facts["image_type"].split("\\") for image in images):
        problems.append(Problem("localizer", "a localiser (its Image Type says so)"))
    with_pixels = [image for image in images if image.frames]
    shapes = Counter((image.pixels.columns, image.pixels.rows) for image in with_pixels)
    stack = None
    if len(shapes) > 1:
        sizes = ", ".join(f"{n} of {c} x {r}" for (c, r), n in shapes.most_common(4))
        problems.append(Problem("sizes", f"images of different sizes ({sizes})"))
        problems += mixed_orientations([frame for image in with_pixels for frame in image.frames])
    elif with_pixels and not codes & {"mosaic", "colour", "geometry"}:
        unique = {image.instance or image.path: image for image in reversed(with_pixels)}
        stack, found = arrange([frame for image in reversed(unique.values()) for frame in image.frames])
        problems += found
        says, missing = stated_spacing(stack) if stack else ("", False)
        if missing:
            problems.append(Problem("stated", says))
    named = any(_LOCALIZER.search(image.facts["description"]) for image in images)
    if named and any(p.code == "orientations" for p in problems):
        problems.append(Problem("localizer", "a localiser (by its description)"))
    return Assessment(_kind(images, problems), None if problems else stack, problems)


def _kind(images: Sequence[Image], problems: Sequence[Problem]) -> str:
    codes = {p.code for p in problems}
    if all(not image.frames for image in images):
        return "no image"
    for code, kind in _KINDS.items():
        if code in codes and code != "no image":
            return kind
    return "image" if sum(len(image.frames) for image in images) == 1 else "volume"


def _of_files(images: Sequence[Image]) -> Iterator[Problem]:
    """Yield the files' own problems, each once with the files that have it."""
    by_code: dict[str, list[tuple[Image, str]]] = {}
    for image in images:
        for problem in image.problems:
            by_code.setdefault(problem.code, []).append((image, problem.text))
    for code, having in by_code.items():
        image, what = having[0]
        if len(images) > 1:
            what = f"{Path(image.path).name}: {what} ({len(having)} of {len(images)} files)"
        yield Problem(code, what)


def _copies(images: Sequence[Image]) -> Iterator[Problem]:
    """Yield that the same instance is there more than once."""
    by_instance: dict[str, list[str]] = {}
    for image in images:
        if image.instance:
            by_instance.setdefault(image.instance, []).append(image.path)
    copies = [paths for paths in by_instance.values() if len(paths) > 1]
    if copies:
        extra = sum(len(paths) - 1 for paths in copies)
        names = " and ".join(copies[0][:2])
        yield Problem("duplicate", f"duplicates: {extra} copies of instances that are there already, such as {names}")


def describe(images: Sequence[Image], visit: int, key: bytes | None = None) -> SeriesInfo:
    """Describe a series.

    Args:
        images: its files' headers.
        visit: number of the visit.
        key: secret for keyed names, None for the user's own.
    """
    found = assess(images)
    first = next((image for image in images if image.frames), images[0])
    frames = [frame for image in images for frame in image.frames]
    between = math.nan
    if found.stack and not found.stack.guessed_thickness:
        between = float(np.linalg.norm(found.stack.affine[:3, 2]))
    elif frames:
        between = frames[0].thickness
    rows, columns = (frames[0].spacing if frames else None) or (math.nan, math.nan)
    orientation = frames[0].orientation if frames else None
    number = first.facts["number"]
    return SeriesInfo(
        uid=first.series,
        patient_key=keyed_name("patient", patient_of(first), key),
        study_key=keyed_name("study", first.study, key),
        visit=visit,
        number=int(number) if number.lstrip("-").isdecimal() else 0,
        modality=first.facts["modality"],
        description=first.facts["description"],
        image_type=first.facts["image_type"],
        kind=found.kind,
        derived=first.facts["image_type"].startswith("DERIVED"),
        multi_frame=any(len(image.frames) > 1 for image in images),
        rows=first.pixels.rows,
        columns=first.pixels.columns,
        slices=len(frames),
        spacing=(float(columns), float(rows), between),
        orientation=plane_name(orientation) if orientation else "",
        files=tuple(image.path for image in images),
        problems=[p.text for p in found.problems],
        notes=list(_notes(images, first, found)),
        header=dict(first.header),
    )


def patient_of(image: Image) -> str:
    """Return what tells patients apart: the Patient ID, else the study, so that nobody is taken for another."""
    return image.patient or f"study {image.study or image.path}"


def _notes(images: Sequence[Image], first: Image, found: Assessment) -> Iterator[str]:
    if not first.patient:
        yield "no Patient ID: each study counts as a person"
    if first.facts["image_type"].startswith("DERIVED"):
        yield "derived from other images"
    if found.stack and 1 < len(images) == len(found.stack.frames) and (missing := _missing_at_ends(images)):
        yield missing
    if found.stack and (says := stated_spacing(found.stack)[0]):
        yield says
    if found.stack and found.stack.guessed_thickness:
        yield "one plane without thickness: 1 mm is taken"
    if any(image.facts["burned_in"] == "YES" for image in images):
        yield "text is burned into the pixels"
    if any(image.facts["lossy"] == "01" for image in images):
        yield "was compressed with loss"
    if any(image.pixels.photometric == "MONOCHROME1" for image in images):
        yield "MONOCHROME1: turned over when read, so that bright is high"


def _missing_at_ends(images: Sequence[Image]) -> str:
    """Return that slices beyond the first or last may be missing, which positions cannot show; "" without a sign."""
    numbers = [int(n) for image in images if (n := image.facts["instance_number"]).isdecimal()]
    stated = {image.facts["of_images"] for image in images}
    wanted = int(next(iter(stated))) if len(stated) == 1 and next(iter(stated)).isdecimal() else 0
    if len(numbers) < len(images):
        numbers = []
    if wanted > len(images):
        return f"{len(images)} of {wanted} images of the acquisition: slices may be missing at an end"
    if numbers and (min(numbers) > 1 or max(numbers) > len(images)):
        span = f"{min(numbers)} to {max(numbers)}"
        return f"instance numbers run from {span} in {len(images)} images: slices may be missing at an end"
    return ""
