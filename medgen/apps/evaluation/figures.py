"""Figures of one evaluation: likeness, beside that of real images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medgen.apps.evaluation.planes import chosen, plane_rows
from medgen.apps.evaluation.real import RealImages, draw_profiles
from medgen.covariates import Covariates
from medgen.metrics import (
    Interval,
    SubjectResampler,
    frechet_distance,
    kernel_distance,
)
from medgen.metrics.frechet import frechet_replicates
from medgen.metrics.resampling import interval_of

if TYPE_CHECKING:
    from medgen.apps.evaluation.generated import GeneratedImages

__all__ = [
    "Columns",
    "Likeness",
    "LikenessByPlane",
    "figure",
    "figure_of",
    "ratio_of",
]

Array = NDArray[np.float64]
Columns = dict[str, Array]
Figure = dict[str, float | None]  # value, low, high
FLOOR_DRAWS = 8  # sets of training images whose distances are averaged
FRECHET_REPLICATES = 100


def figure(interval: Interval) -> Figure:
    """An interval as the JSON of a figure."""
    return {"value": interval.estimate, "low": interval.low, "high": interval.high}


def figure_of(values: Array) -> Figure:
    """The figure of an estimate followed by its replicates; None for what so few subjects do not determine."""
    if np.isfinite(values[1:]).mean() < 0.5:
        return {"value": float(values[0]) if np.isfinite(values[0]) else None, "low": None, "high": None}
    return figure(interval_of(float(values[0]), values[1:]))


def ratio_of(above: Array, below: Array) -> Figure:
    """The figure of a ratio, replicate by replicate."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return figure_of(np.where(np.abs(below) > 1e-12, above / below, np.nan))


class Likeness:
    """Fréchet and kernel distance to held-out real images, beside those of as many training images (the floor).

    Args:
        held_out: features of held-out real images.
        held_out_subjects: theirs.
        training: features of training images.
        training_subjects: theirs.
        resampler: draws of all subjects.
        seed: of the choice of training images.
    """

    def __init__(
        self,
        held_out: Array,
        held_out_subjects: list[str],
        training: Array,
        training_subjects: list[str],
        resampler: SubjectResampler,
        seed: int = 0,
    ) -> None:
        self.held_out, self.held_out_subjects = held_out, held_out_subjects
        self.training, self.training_subjects = training, training_subjects
        self.resampler, self.seed = resampler, seed
        self._floors: dict[int, tuple[Interval, Figure]] = {}

    def figures(self, features: Array, subjects: list[str]) -> dict[str, Any]:
        """Distances of generated images whose covariates are those of held-out subjects.

        Args:
            features: of the generated images.
            subjects: whose covariates.

        Returns:
            "n", "n_real", "frechet", "kernel", "floor_frechet", "floor_kernel", "frechet_over_floor".
        """
        frechet, kernel = self._distances([features], [subjects])
        floor, floor_kernel = self._floor(len(features))
        return {
            "n": len(features),
            "n_real": len(self.held_out),
            "frechet": figure(_not_negative(frechet)),
            "floor_frechet": figure(_not_negative(floor)),
            "frechet_over_floor": frechet.estimate / floor.estimate if floor.estimate > 0 else None,
            "kernel": kernel,
            "floor_kernel": floor_kernel,
        }

    def _floor(self, count: int) -> tuple[Interval, Figure]:
        """Distances of sets of ``count`` training images; averaged over sets, the interval is that of one."""
        if count not in self._floors:
            draws = [draw_profiles(self.training_subjects, count, self.seed + draw) for draw in range(FLOOR_DRAWS)]
            names = [[self.training_subjects[row] for row in rows.tolist()] for rows in draws]
            self._floors[count] = self._distances([self.training[rows] for rows in draws], names)
        return self._floors[count]

    def _distances(self, sets: list[Array], subjects: list[list[str]]) -> tuple[Interval, Figure]:
        weights = [
            self.resampler.weights(names)[:FRECHET_REPLICATES] for names in (subjects[0], self.held_out_subjects)
        ]
        replicates = frechet_replicates(sets[0], self.held_out, *weights)
        frechet = float(np.mean([frechet_distance(one, self.held_out) for one in sets]))
        kernels = [
            kernel_distance(one, self.held_out, names, self.held_out_subjects)
            for one, names in zip(sets, subjects, strict=True)
        ]
        return interval_of(frechet, replicates, centred=True), _kernel(*np.mean(kernels, axis=0).tolist())


class LikenessByPlane:
    """:class:`Likeness` of all images together, and plane by plane where there are several.

    Args:
        covariates: their declaration.
        features: of the images of "train" and "test".
        real: those images.
        resampler: draws of all subjects.
        seed: of the choice of training images.
    """

    def __init__(
        self,
        covariates: Covariates,
        features: Mapping[str, Array],
        real: Mapping[str, RealImages],
        resampler: SubjectResampler,
        seed: int = 0,
    ) -> None:
        self.covariates = covariates
        rows = {split: plane_rows(covariates, real[split].covariates) for split in ("train", "test")}
        everything = {split: {"": np.ones(len(features[split]), bool)} | rows[split] for split in rows}
        self.planes = {
            plane: Likeness(
                *_part(features["test"], real["test"].subjects, held_out),
                *_part(features["train"], real["train"].subjects, everything["train"][plane]),
                resampler,
                seed,
            )
            for plane, held_out in everything["test"].items()
            if plane in everything["train"]
        }

    def figures(self, features: Array, images: GeneratedImages) -> dict[str, Any]:
        """Distances of generated images that ask for the true label of their profile's subject.

        Args:
            features: of all the images.
            images: the images.

        Returns:
            "likeness", and "likeness_by_plane" where there are several planes.
        """
        true = images.factual
        everything = {"": true}
        for plane, rows in plane_rows(self.covariates, images.covariates).items():
            if plane in self.planes and (rows & true).sum() >= 4:
                everything[plane] = rows & true
        found = {
            plane: self.planes[plane].figures(*_part(features, images.subjects, rows))
            for plane, rows in everything.items()
        }
        whole = {"likeness": found.pop("")}
        return whole | ({"likeness_by_plane": found} if found else {})

    def whole(self, features: Array, images: GeneratedImages) -> dict[str, Any]:
        """Distances of all planes together, as "likeness" of :meth:`figures`."""
        return self.planes[""].figures(*_part(features, images.subjects, images.factual))


def _part(features: Array, subjects: list[str], rows: NDArray[np.bool_]) -> tuple[Array, list[str]]:
    return features[rows], chosen(subjects, rows)


def _not_negative(interval: Interval) -> Interval:
    return Interval(*(max(0.0, value) for value in interval))


def _kernel(value: float, error: float) -> Figure:
    return {"value": value, "low": value - 1.96 * error, "high": value + 1.96 * error, "error": error}
