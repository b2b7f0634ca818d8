"""Figures of one evaluation: likeness, beside that of real images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen.apps.evaluation.matching import counterparts
from medgen.apps.evaluation.planes import chosen, plane_rows
from medgen.apps.evaluation.real import RealImages
from medgen.covariates import Covariates
from medgen.files import key_of
from medgen.metrics import Interval, kernel_distance
from medgen.metrics.frechet import Gaussian
from medgen.metrics.jackknife import SubjectJackknife
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
    "reach_of",
]

Array = NDArray[np.float64]
Columns = dict[str, Array]
Figure = dict[str, float | None]  # value, low, high
FLOOR_DRAWS = 8  # sets of training images whose distances are averaged
FLOOR_VARIED = 4  # of them, those whose distances are taken again without each part of the people


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
    """Fréchet and kernel distance to held-out real images, beside those of training images in their place (the floor).

    Args:
        covariates: their declaration.
        features: of the images of "train" and "test".
        real: those images.
        seed: of the choice of training images.
    """

    def __init__(
        self, covariates: Covariates, features: Mapping[str, Array], real: Mapping[str, RealImages], seed: int = 0
    ) -> None:
        self.covariates, self.training, self.seed = covariates, real["train"], seed
        self.held_out, self.held_out_subjects = features["test"], real["test"].subjects
        self.train_features = features["train"]
        self._floors: dict[str, _Floor] = {}

    def figures(self, features: Array, subjects: list[str], asked: Tensor) -> dict[str, Any]:
        """Distances of generated images whose covariates are those of held-out subjects.

        Args:
            features: of the generated images.
            subjects: whose covariates.
            asked: those covariates, ``(n, K)``.

        Returns:
            "n", "n_real", "frechet", "kernel", "floor_frechet", "floor_kernel", "frechet_over_floor", "floor_matched".
        """
        floor = self._floor(subjects, asked)
        frechet, without = floor.held_out.distances(features)
        error = floor.jackknife.error
        of_floor = reach_of(floor.frechet, error(floor.without), least=0)
        return {
            "n": len(features),
            "n_real": len(self.held_out),
            "frechet": reach_of(frechet, error(without), least=0),
            "floor_frechet": of_floor,
            "frechet_over_floor": _times(frechet, without, floor, of_floor),
            "kernel": _kernel(*kernel_distance(features, self.held_out, subjects, self.held_out_subjects)),
            "floor_kernel": floor.kernel,
            "floor_matched": floor.described,
        }

    def _floor(self, subjects: list[str], asked: Tensor) -> _Floor:
        """Distances of training images with these covariates: values averaged over sets."""
        key = key_of(subjects, [[None if v != v else v for v in row] for row in asked.tolist()])
        if key not in self._floors:
            found = counterparts(self.covariates, asked, self.training, FLOOR_DRAWS, self.seed)
            names = [[self.training.subjects[row] for row in rows.tolist()] for rows in found.draws]
            varied = range(FLOOR_VARIED)
            together = [name for draw in varied for name in names[draw]]
            jackknife = SubjectJackknife([self.held_out_subjects, subjects, together], seed=self.seed)
            held_out = _HeldOut(self.held_out, jackknife)
            sets = [self.train_features[rows] for rows in found.draws]
            parts = np.array_split(np.arange(len(together)), FLOOR_VARIED)  # where each set stands among them all
            without = [held_out.distances(sets[draw], 2, parts[draw])[1] for draw in varied]
            self._floors[key] = _Floor(
                float(np.mean([Gaussian.of(one).distance(held_out.whole) for one in sets])),
                np.mean(without, axis=0),
                _kernel(*np.mean([
                    kernel_distance(one, self.held_out, of, self.held_out_subjects)
                    for one, of in zip(sets, names, strict=True)
                ], axis=0).tolist()),
                jackknife, held_out, found.described,
            )  # fmt: skip
        return self._floors[key]


class _HeldOut:
    """The held-out images without each part of the jackknife, for the distances of several other sets.

    Args:
        features: of the held-out images.
        jackknife: whose first side they are.
    """

    def __init__(self, features: Array, jackknife: SubjectJackknife) -> None:
        self.kept = jackknife.kept()
        self.whole = Gaussian.of(features)
        self._without = [
            self.whole if kept[0].all() else Gaussian.of(features[kept[0]]) if kept[0].sum() > 1 else None
            for kept in self.kept
        ]

    def distances(self, features: Array, side: int = 1, place: NDArray[np.intp] | None = None) -> tuple[float, Array]:
        """Fréchet distance of a set that is (part of) another side, and that without each part."""
        one = Gaussian.of(features)
        without = []
        for kept, held_out in zip(self.kept, self._without, strict=True):
            rows = kept[side] if place is None else kept[side][place]
            if held_out is None or rows.sum() < 2:
                without.append(np.nan)
                continue
            without.append((one if rows.all() else Gaussian.of(features[rows])).distance(held_out))
        return one.distance(self.whole), np.array(without)


class _Floor(NamedTuple):
    """What training images in place of generated ones reach, and without each part of the jackknife."""

    frechet: float
    without: Array
    kernel: Figure
    jackknife: SubjectJackknife
    held_out: _HeldOut
    described: dict[str, Any]


def reach_of(value: float, error: float, least: float = -np.inf, most: float = np.inf) -> Figure:
    """The figure of a value and its standard error, within what it can be; no interval where the error is NaN."""
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None}
    if not np.isfinite(error):
        return {"value": float(value), "low": None, "high": None}
    low, high = max(least, value - 1.96 * error), min(most, value + 1.96 * error)
    return {"value": float(value), "low": float(low), "high": float(high)}


def _times(frechet: float, without: Array, floor: _Floor, of_floor: Figure) -> Figure:
    """A distance over the floor, its interval on the logarithmic scale; nothing where the floor may be 0."""
    if of_floor["low"] is None or of_floor["low"] <= 0:
        return {"value": None, "low": None, "high": None}
    with np.errstate(divide="ignore", invalid="ignore"):
        error = floor.jackknife.error(np.log(without / floor.without))
    times, spread = frechet / floor.frechet, np.exp(1.96 * error)
    if not np.isfinite(spread):
        return {"value": times, "low": None, "high": None}
    return {"value": times, "low": float(times / spread), "high": float(times * spread)}


class LikenessByPlane:
    """:class:`Likeness` of all images together, and plane by plane where there are several.

    Args:
        covariates: their declaration.
        features: of the images of "train" and "test".
        real: those images.
        seed: of the choice of training images.
    """

    def __init__(
        self,
        covariates: Covariates,
        features: Mapping[str, Array],
        real: Mapping[str, RealImages],
        seed: int = 0,
    ) -> None:
        self.covariates = covariates
        rows = {split: plane_rows(covariates, real[split].covariates) for split in ("train", "test")}
        everything = {split: {"": np.ones(len(features[split]), bool)} | rows[split] for split in rows}
        self.planes = {}
        for plane in (plane for plane in everything["test"] if plane in everything["train"]):
            inside = {split: np.flatnonzero(everything[split][plane]) for split in everything}
            shown = {split: real[split].subset(rows) for split, rows in inside.items()}
            self.planes[plane] = Likeness(
                covariates, {split: features[split][rows] for split, rows in inside.items()}, shown, seed
            )

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
            plane: self.planes[plane].figures(*_part(features, images, rows)) for plane, rows in everything.items()
        }
        whole = {"likeness": found.pop("")}
        return whole | ({"likeness_by_plane": found} if found else {})

    def whole(self, features: Array, images: GeneratedImages) -> dict[str, Any]:
        """Distances of all planes together, as "likeness" of :meth:`figures`."""
        return self.planes[""].figures(*_part(features, images, images.factual))


def _part(features: Array, images: GeneratedImages, rows: NDArray[np.bool_]) -> tuple[Array, list[str], Tensor]:
    return features[rows], chosen(images.subjects, rows), images.covariates[torch.from_numpy(rows)]


def _kernel(value: float, error: float) -> Figure:
    return {"value": value, "low": value - 1.96 * error, "high": value + 1.96 * error, "error": error}
