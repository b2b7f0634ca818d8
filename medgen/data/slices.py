"""Slices of a cohort, all of them in memory as one tensor."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from medgen.covariates import Covariates
from medgen.data.images import PLANES, foreground_extent, plane_view, resample
from medgen.data.in_memory import ImagesInMemory, Record, first_file
from medgen.data.slice_choice import SliceChoice
from medgen.data.tables import CohortError

__all__ = ["SliceDataset"]

_ROWS_COLUMNS = {"axial": (1, 0), "coronal": (2, 0), "sagittal": (2, 1)}  # the axes of a volume in a picture


class _Stack(NamedTuple):
    """The chosen slices of one scan and plane, in the order of their records."""

    records: list[Record]
    images: torch.Tensor  # (S, C, H, W) in [-1, 1]
    planes: list[str | None]
    places: list[float]
    centre: list[float]  # of the object: row, column
    spacing: list[float]  # of the pixels: row, column
    size: float  # of the object, as the field of view is given


class SliceDataset(ImagesInMemory):
    """2D slices of volumes, or slice pictures, cached as one float16 tensor.

    Volumes are read in RAS (see :func:`medgen.data.images.plane_view` for how a slice lies), their intensity is
    normalised over the whole volume (pictures: over the chosen slices of a scan), and every slice is fitted, with its
    aspect kept, into a square of one field of view, so that a pixel has the same size in every subject. Pixels outside
    the image are background, -1. float16 keeps 8-bit pictures exactly and any intensity to 0.0005.

    The position of a slice is its place between the first (0) and the last (1) slice of the imaged object: from
    inferior to superior (axial), posterior to anterior (coronal), left to right (sagittal). Pictures bring theirs, and
    their plane where they have one; those of other planes than the wanted ones are passed over.

    Args:
        data: records of a :class:`medgen.data.Cohort`.
        transform: MONAI dictionary transform, called with each record whose "image" is loaded, before normalisation.
        covariates: the declared covariates; "slice" and "plane" are filled in here.
        image_size: pixels of a side, or (rows, columns).
        plane: "axial", "coronal" or "sagittal", or several; without meaning for pictures that do not know theirs.
        slice_range: lowest and highest position, in [0, 1]; or plane to these.
        slices: number per scan and plane, one drawn from each of as many equal parts of the range; None takes every one
            in range.
        channels: expected number, None for what the files give; 3 keeps pictures in colour.
        field_of_view: side of the square in mm (in pixels for pictures); None takes the largest imaged object in
            ``data`` in any plane, rounded up to 16 mm, for pictures the largest picture. Give the same to every split.
        like: a data set, that of the training split, whose field of view is taken; in place of ``field_of_view``.
        intensity: "percentile" (see :func:`medgen.data.images.normalise`) or "none" when ``transform`` sees to it.
        seed: of the choice of slices; None takes the middle of each part.
        workers: threads that read, None for one per processor, at most 8.
        progress: show a progress bar.

    Attributes:
        images: (N, C, H, W) float16 in [-1, 1].
        covariates: (N, K) float32, NaN unknown.
        subjects: N names.
        positions: (N,) float32, NaN for a picture without one.
        records: the N records the slices come from.
        pixel_mm: size of a pixel in mm, None for pictures.
        field_of_view: what was used, in mm (pixels for pictures).

    Raises:
        CohortError: when images cannot be read (all are named), or no slice is left.
        ValueError: when an argument is out of range.
    """

    def __init__(
        self,
        data: Sequence[Record],
        transform: Callable[[Any], Any] | None = None,
        covariates: Covariates | Mapping[str, Any] | None = None,
        image_size: int | Sequence[int] = 64,
        plane: str | Sequence[str] = "axial",
        slice_range: Sequence[float] | Mapping[str, Sequence[float]] = (0.0, 1.0),
        slices: int | None = None,
        channels: int | None = None,
        field_of_view: float | None = None,
        like: SliceDataset | None = None,
        intensity: str = "percentile",
        seed: int | None = 0,
        workers: int | None = None,
        progress: bool = True,
    ) -> None:
        self.choice = SliceChoice(plane, slice_range, slices, seed)
        super().__init__(data, transform, covariates, channels, intensity, workers, progress)
        self.size = (image_size, image_size) if isinstance(image_size, int) else tuple(int(s) for s in image_size)
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"image_size: expected one or two positive numbers, found {image_size!r}")
        field_of_view = field_of_view if like is None else like.field_of_view
        if field_of_view is not None and not field_of_view > 0:
            raise ValueError(f"field_of_view: expected a positive size, found {field_of_view!r}")
        scans = self._choose_pictures(data) if self.pictures else [[record] for record in data]
        loaded = self._load(scans)
        self.field_of_view: float = (
            float(field_of_view) if field_of_view is not None else _common_field(loaded, self.pictures)
        )
        pixel = self.field_of_view / max(self.size)
        self.pixel_mm = None if self.pictures else pixel

        images: list[torch.Tensor] = []
        for stack in loaded:
            step = [pixel / s for s in stack.spacing]
            fitted = resample(stack.images.float() + 1.0, stack.centre, step, self.size) - 1.0
            images.append(fitted.clamp(-1.0, 1.0).half())
        positions = [place for stack in loaded for place in stack.places]
        if not positions:
            raise CohortError(f"no slice lies in slice_range {self._ranges()} of {len(data)} image(s)")
        self.positions = torch.tensor(positions, dtype=torch.float32)
        found: dict[str, list[Any]] = {
            "slice": positions,
            "plane": [plane for stack in loaded for plane in stack.planes],
        }
        self.fill(images, [record for stack in loaded for record in stack.records], found)

    @property
    def settings(self) -> dict[str, Any]:
        """Beside those of images, the ``field_of_view`` that was used."""
        return {**super().settings, "field_of_view": self.field_of_view}

    def _ranges(self) -> Any:
        """The range of positions, or plane to range where there are several, for messages."""
        ranges = self.choice.ranges
        return next(iter(ranges.values())) if len(set(ranges.values())) == 1 else ranges

    def _choose_pictures(self, data: Sequence[Record]) -> list[list[Record]]:
        """Return the chosen pictures, those of one scan and plane together."""
        scans: dict[tuple[str, str | None], list[Record]] = defaultdict(list)
        for record in data:
            if record.get("plane") in (None, *self.choice.planes):
                scans[_scan(record), record.get("plane")].append(record)
        kept: list[list[Record]] = []
        for (name, plane), members in scans.items():
            if any("slice" not in record for record in members):
                kept += [[record] for record in members]
            else:
                members.sort(key=lambda record: float(record["slice"]))
                chosen = self.choice.choose(name, [float(record["slice"]) for record in members], plane)
                kept.append([members[i] for i in chosen])
        kept = [scan for scan in kept if scan]
        if not kept:
            raise CohortError(f"no slice lies in slice_range {self._ranges()} of {len(data)} picture(s)")
        return kept

    def _load(self, data: Sequence[list[Record]]) -> list[_Stack]:
        """Load every scan."""

        def load(scan: list[Record]) -> list[_Stack]:
            return [self._pictures(scan)] if self.pictures else self._slices_of(scan[0])

        return [stack for stacks in self.load_all(data, load) for stack in stacks]

    def _pictures(self, scan: list[Record]) -> _Stack:
        """Return the pictures of one scan, normalised together."""
        images = [self.prepare(record)[0] for record in scan]
        if len({image.shape for image in images}) > 1:
            shapes = sorted({tuple(image.shape) for image in images})
            raise CohortError(f"{first_file(scan[0])}: the slices of its scan have the shapes {shapes}, expected one")
        stack = self.normalised(torch.stack(images, dim=1)).transpose(0, 1)
        height, width = stack.shape[-2:]
        places = [float(record["slice"]) if "slice" in record else math.nan for record in scan]
        planes = [record.get("plane") for record in scan]
        middle = [0.5 * (height - 1), 0.5 * (width - 1)]
        return _Stack(scan, stack.half(), planes, places, middle, [1.0, 1.0], float(max(height, width)))

    def _slices_of(self, record: Record) -> list[_Stack]:
        """Return the chosen slices of one volume, plane by plane."""
        volume, image = self.prepare(record)
        if volume.ndim != 4:
            raise CohortError(f"{first_file(record)}: found {volume.ndim - 1} dimensions, expected a volume")
        volume = self.normalised(volume)
        extents = foreground_extent(volume)
        spacing = [float(s) for s in image.pixdim] if image is not None else [1.0] * 3
        stacks = []
        for plane in self.choice.planes:
            through, (rows, columns) = PLANES[plane], _ROWS_COLUMNS[plane]
            across = extents[through]
            places = [(i - across.low) / max(1, across.high - across.low) for i in range(volume.shape[1 + through])]
            chosen = self.choice.choose(_scan(record), places, plane)
            taken = volume.index_select(1 + through, torch.tensor(chosen, dtype=torch.int64))
            stack = plane_view(taken, plane).half()
            count = len(chosen)
            stacks.append(
                _Stack(
                    records=[record] * count,
                    images=stack,
                    planes=[plane] * count,
                    places=[places[i] for i in chosen],
                    centre=[stack.shape[2] - 1 - extents[rows].centre, extents[columns].centre],
                    spacing=[spacing[rows], spacing[columns]],
                    size=max(extents[rows].size * spacing[rows], extents[columns].size * spacing[columns]),
                )
            )
        return stacks


def _scan(record: Record) -> str:
    return f"{record['subject']}/{record.get('scan', '')}"


def _common_field(loaded: Sequence[_Stack], pictures: bool) -> float:
    """Return the side of the square that holds every object: rounded up to 16 mm, exact for pictures."""
    largest = max(stack.size for stack in loaded)
    return largest if pictures else 16.0 * math.ceil(largest / 16.0)
