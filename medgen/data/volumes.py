"""Whole volumes of a cohort, all of them on one grid in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medgen.covariates import Covariates
from medgen.data.in_memory import ImagesInMemory, Record, first_file
from medgen.data.tables import CohortError
from medgen.data.volume_grid import ObjectBox, VolumeGrid, common_grid

__all__ = ["VolumeDataset"]

logger = logging.getLogger(__name__)


class VolumeDataset(ImagesInMemory):
    """Whole volumes, resampled to one grid and cached as one float16 tensor.

    Volumes are read in RAS, their intensity is normalised over the whole volume, and each is resampled to a grid of
    isotropic voxels that holds the object of every training scan. What lies outside a volume is background, -1.

    Millimetres stay what they are where the cohort is registered to a template, so that a landmark is at the same
    coordinates in every volume and in those generated from them; the objects of an unregistered cohort are centred on
    the middle of their foreground instead, and the origin lies there. Which of both is decided by how far the
    foregrounds' centres lie apart (:func:`medgen.data.volume_grid.common_grid`), or by ``space``.

    Covariates "plane" and "slice" are unknown: a volume has neither.

    Args:
        data: records of a :class:`medgen.data.Cohort`.
        transform: MONAI dictionary transform, called with each record whose "image" is loaded, before normalisation.
        covariates: the declared covariates.
        spacing_mm: side of a voxel.
        multiple: what every side is padded to a multiple of, in voxels.
        space: "world" or "object"; None decides.
        field_of_view: sides in mm, one or three; None takes those of the objects in ``data``.
        like: a data set, that of the training split, whose grid is taken, or the grid itself; in place of the four
            arguments before.
        channels: expected number, None for what the files give.
        intensity: "percentile" (see :func:`medgen.data.images.normalise`) or "none" when ``transform`` sees to it.
        workers: threads that read, None for one per processor, at most 8.
        progress: show a progress bar.

    Attributes:
        images: (N, C, X, Y, Z) float16 in [-1, 1].
        covariates: (N, K) float32, NaN unknown.
        subjects: N names.
        records: the N records the volumes come from.
        grid: the :class:`medgen.data.volume_grid.VolumeGrid`.
        pixel_mm: side of a voxel in mm.

    Raises:
        CohortError: when images cannot be read (all are named), or are pictures.
        ValueError: when an argument is out of range.
    """

    def __init__(
        self,
        data: Sequence[Record],
        transform: Callable[[Any], Any] | None = None,
        covariates: Covariates | Mapping[str, Any] | None = None,
        spacing_mm: float = 2.0,
        multiple: int = 8,
        space: str | None = None,
        field_of_view: float | Sequence[float] | None = None,
        like: VolumeDataset | VolumeGrid | None = None,
        channels: int | None = None,
        intensity: str = "percentile",
        workers: int | None = None,
        progress: bool = True,
    ) -> None:
        super().__init__(data, transform, covariates, channels, intensity, workers, progress)
        if self.pictures:
            raise CohortError(
                f"{first_file(data[0])}: is a picture; whole volumes need a cohort of NIfTI files or DICOM series"
            )
        taken = getattr(like, "grid", like)
        if like is not None and not isinstance(taken, VolumeGrid):
            raise ValueError(f"like: expected a VolumeDataset, found {type(like).__name__}")
        # the grid must be known before volumes are kept, so training scans are read twice: at full size all of them
        # together may not fit into memory
        self.grid: VolumeGrid = (
            taken
            if isinstance(taken, VolumeGrid)
            else common_grid(
                self.load_all(data, self._box, "measuring volumes"), spacing_mm, multiple, space, field_of_view
            )
        )
        self.pixel_mm: float = self.grid.spacing_mm
        placed = self.load_all(data, self._placed, "reading volumes")
        if cut := sum(reaches for _, reaches in placed):
            logger.warning("%d of %d volumes reach beyond the grid of %s voxels", cut, len(data), self.grid.shape)
        unknown = [None] * len(data)
        self.fill([volume for volume, _ in placed], data, {"slice": unknown, "plane": unknown})

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4), voxel to RAS mm, of every volume."""
        return self.grid.affine

    @property
    def settings(self) -> dict[str, Any]:
        """Beside those of images: ``image_size`` and ``affine`` of the grid, and its ``space``."""
        more = {"image_size": list(self.grid.shape), "affine": self.affine.tolist(), "space": self.grid.space}
        return super().settings | more

    def _read(self, record: Record) -> tuple[torch.Tensor, NDArray[np.float64]]:
        """Return one volume (C, X, Y, Z), normalised, and its affine."""
        volume, image = self.prepare(record)
        if volume.ndim != 4:
            raise CohortError(f"{first_file(record)}: found {volume.ndim - 1} dimensions, expected a volume")
        if image is None:
            raise CohortError(f"{first_file(record)}: transform gave an image without affine, so its place is unknown")
        return self.normalised(volume), np.asarray(image.affine, dtype=np.float64)

    def _box(self, record: Record) -> ObjectBox:
        return ObjectBox.of(*self._read(record))

    def _placed(self, record: Record) -> tuple[torch.Tensor, bool]:
        """Return one volume (1, C, *shape) on the grid, and whether the grid cuts it."""
        volume, affine = self._read(record)
        placed = self.grid.place(volume, affine).clamp(-1.0, 1.0).half()
        return placed[None], self.grid.cuts(ObjectBox.of(volume, affine))
