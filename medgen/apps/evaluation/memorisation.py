"""Are training images repeated? Nearness of generated, held-out and planted images to the training images."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen import __version__
from medgen.apps.evaluation.cache import StageCache
from medgen.apps.evaluation.figures import figure, figure_of
from medgen.apps.evaluation.real import RealImages, draw_profiles
from medgen.apps.evaluation.redrawn import NOISE, Redrawn
from medgen.covariates import Covariates, Range
from medgen.files import key_of
from medgen.metrics import (
    ALTERATIONS,
    AlignedSearch,
    NearnessScale,
    Places,
    SubjectResampler,
    alarms_among_others,
    altered,
    chance_of_as_many,
    excess_of_near,
    lead,
    nearest_neighbours,
    proportion,
)
from medgen.networks import IdentityCodec
from medgen.randomness import numpy_generator

__all__ = ["BEYOND", "DETECTORS", "NEIGHBOURS", "Memorisation", "Nearness", "place_columns"]

logger = logging.getLogger("medgen.evaluation")
Array = NDArray[np.float64]
DETECTORS = ("pixels", "features", "lead")
# spreads above the median held-out image where a copy begins. A lead's upper tail is longer: of 1,600 images of new
# people of OASIS-1, 3 lie above 4 spreads of the lead and above all held-out ones, 1 above 5; none by correlation.
BEYOND = {"pixels": 4.0, "features": 4.0, "lead": 5.0}
SLICE_TOLERANCE = 0.06  # of the range of slice positions: within it two slices are at one place
NEIGHBOURS = 3  # subjects whose nearest images are kept: the nearest, and those that it leads


@dataclass(frozen=True)
class Nearness:
    """How near images are to the training images.

    Attributes:
        correlation: with the nearest image of each of several subjects, ``(N, k)``, after shifts, flips and rotations.
        rows: those images' rows ``(N, k)``.
        distance: in features, to the nearest image ``(N,)``.
        row: that image's row ``(N,)``.
        group: the plane's code, 0 where there is none ``(N,)``.
        z: by detector, nearness in units of held-out images ``(N,)``.
    """

    correlation: Array
    rows: NDArray[np.intp]
    distance: Array
    row: NDArray[np.intp]
    group: Array
    z: dict[str, Array] = field(default_factory=dict)

    def raw(self) -> dict[str, Array]:
        """By detector, larger for nearer: minus the logarithm of what is not shared."""
        return {
            "pixels": -np.log(1 - self.correlation[:, 0].clip(max=1 - 1e-6)),
            "features": -np.log(self.distance.clip(min=1e-6)),
            "lead": lead(self.correlation),
        }


class Memorisation:
    """Compares images with the training images, by the rule that held-out images set and planted copies test.

    Args:
        covariates: their declaration; "plane" and "slice" say where an image is taken.
        real: images of "train" and "test".
        features: of images ``(N, C, *spatial)``, by the judge.
        resampler: draws of all subjects.
        cache: where results are kept.
        planted: copies planted of each kind; each of another training subject, as far as there are enough.
        seed: of their choice and of their alterations.
        codec: of a latent model, whose copies carry its traces.
        redrawn: draws images again by the model, whose copies carry its faults; None for none.
    """

    def __init__(
        self,
        covariates: Covariates,
        real: dict[str, RealImages],
        features: Callable[[Tensor], Array],
        resampler: SubjectResampler,
        cache: StageCache,
        planted: int = 48,
        seed: int = 0,
        codec: Any = None,
        redrawn: Redrawn | None = None,
    ) -> None:
        self.train, self.test, self.covariates = real["train"], real["test"], covariates
        self.features, self.resampler, self.cache = features, resampler, cache
        self.planted, self.seed = planted, seed
        self.codec = None if codec is None or isinstance(codec, IdentityCodec) else codec
        self.redrawn = redrawn
        self.known = features(self.train.images)
        self.columns, tolerance = place_columns(covariates)
        places = Places(self._places(self.train.covariates), tolerance) if self.columns else None
        self.search = AlignedSearch(self.train.images.numpy(), self.train.subjects, places)
        self.key = [__version__, self.train.digest(), self.search.settings(), tolerance, _digest(self.known)]
        logger.info("memorisation: nearest training images of %d held-out ones", len(self.test.subjects))
        self.held_out = self._search(self.test.images, self.test.covariates)
        raw = self.held_out.raw()
        self.scales = {name: NearnessScale(raw[name], self.held_out.group, BEYOND[name]) for name in DETECTORS}
        self.alarms = self._false_alarms(raw)

    def _false_alarms(self, raw: dict[str, Array]) -> dict[str, int]:
        """Held-out images and people that any detector accuses when others set its scale, and of how many."""
        names, people = np.unique(np.asarray(self.test.subjects), return_inverse=True)
        half = numpy_generator("false alarms", self.seed).permutation(len(names))[people.ravel()]
        found = [alarms_among_others(raw[name], self.held_out.group, half, BEYOND[name]) for name in DETECTORS]
        known = [flagged for flagged in found if flagged is not None]
        if not known:
            return {"alarms": 0, "images": 0, "accused": 0, "people": 0}
        flagged = np.any(known, axis=0)
        accused = len(np.unique(people.ravel()[flagged]))
        return {"alarms": int(flagged.sum()), "images": len(half), "accused": accused, "people": len(names)}

    def nearness(self, images: Tensor, covariates: Tensor) -> Nearness:
        """Nearness of images ``(N, C, *spatial)`` with covariates ``(N, K)``, in units of held-out images."""
        found = self._search(images, covariates)
        raw = found.raw()
        found.z.update({name: scale(raw[name], found.group) for name, scale in self.scales.items()})
        return found

    def copies(self, found: Nearness) -> dict[str, NDArray[np.bool_]]:
        """Which images are copies, by each detector, and by any: "either"."""
        flagged = {name: found.z[name] > scale.copy for name, scale in self.scales.items()}
        return flagged | {"either": np.any(list(flagged.values()), axis=0)}

    def figures(self, found: Nearness, subjects: list[str]) -> dict[str, Any]:
        """Figures of generated images.

        Args:
            found: their nearness.
            subjects: whose covariates were asked for.

        Returns:
            The part "originality" of ``metrics.json``: how many are near copies, by any detector, beyond doubt and by
            each; how likely as many profiles of new people are; of how many training subjects; the excess over
            held-out images; and median correlations.
        """
        flagged = self.copies(found)
        # not by the lead: two people near alike and a third far off lead by 14 spreads at a correlation of 0.94
        sure = np.any([found.z[name] > self.scales[name].sure for name in ("pixels", "features")], axis=0)
        accused = {subject for subject, hit in zip(subjects, flagged["either"].tolist(), strict=True) if hit}
        by_chance = chance_of_as_many(len(accused), len(set(subjects)), self.alarms["accused"], self.alarms["people"])
        weights = (self._weights(subjects), self._weights(self.test.subjects))
        copied = {self.train.subjects[row] for row in found.rows[flagged["pixels"], 0].tolist()}
        copied |= {self.train.subjects[row] for row in found.rows[flagged["lead"], 0].tolist()}
        copied |= {self.train.subjects[row] for row in found.row[flagged["features"]].tolist()}
        excess: dict[str, Any] = {}
        for name, scale in self.scales.items():
            rate, more = excess_of_near(found.z[name], scale.held_out, weights)
            excess[name] = {"rate": figure_of(rate), "excess": figure_of(more)}
        return {
            "images": len(subjects),
            "near_copies": int(flagged["either"].sum()),
            "beyond_doubt": int(sure.sum()),
            "by_chance": by_chance,
            "by_detector": {name: int(flagged[name].sum()) for name in DETECTORS},
            "fraction": self._fraction(flagged["either"], subjects, weights[0]),
            "training_subjects": len(set(self.train.subjects)),
            "copied_subjects": len(copied),
            # without an interval: who was not seen copied in so few images may be copied in others
            "copied_fraction": {"value": len(copied) / len(set(self.train.subjects)), "low": None, "high": None},
            "near": excess,
            "generated": float(np.median(found.correlation[:, 0])),
            "held_out": float(np.median(self.held_out.correlation[:, 0])),
        }

    def _fraction(self, flagged: NDArray[Any], subjects: list[str], weights: Array) -> dict[str, Any]:
        """The fraction that is flagged; by drawing subjects, and exactly, one image each, where draws cannot vary."""
        if 0 < flagged.sum() < len(flagged):
            return figure_of((weights * flagged).sum(1) / weights.sum(1))
        independent = len(set(subjects))
        return figure(proportion(independent if flagged.any() else 0, independent))

    def controls(self) -> tuple[dict[str, Any], dict[str, dict[str, Array]]]:
        """Plant copies of training images, and altered held-out images, and count which are called copies.

        Copies are exact, altered (:data:`medgen.metrics.ALTERATIONS`), decoded by the codec of a latent model, and
        drawn again by the model itself, in whose hand a learned image comes back.

        Returns:
            "recall", the mean over all kinds; "kinds": for each its name, the number planted, the recall by any
            detector and by each, the fraction of held-out images so altered that are called copies (None for "exact",
            which alters nothing), and how often the nearest image found is of the copied subject; "thresholds" of z;
            "false_alarms", see :func:`medgen.metrics.alarms_among_others`;
            "redrawn": of copies that the model drew again the mean "recall", and "noise" and "times" that they were
            drawn from, None where there are none. And z by detector, of "planted copies" and of "redrawn copies".
        """
        drawn = {f"redrawn {sd:g}": sd for sd in NOISE} if self.redrawn is not None else {}
        kinds = [*ALTERATIONS, *(["decoded"] if self.codec is not None else []), *drawn]
        rows = {name: draw_profiles(real.subjects, min(self.planted, len(real.subjects)), self.seed)
                for name, real in (("train", self.train), ("test", self.test))}  # fmt: skip
        people = [self.train.subjects[row] for row in rows["train"].tolist()]
        found, results, hits = {}, [], {}
        for kind in kinds:
            copied = self.nearness(self._altered("train", rows, kind), self.train.covariates[rows["train"]])
            flagged, count = self.copies(copied), len(rows["train"])
            near = [self.train.subjects[row] for row in copied.rows[:, 0].tolist()]
            alarms = None
            if kind != "exact":
                other = self.nearness(self._altered("test", rows, kind), self.test.covariates[rows["test"]])
                alarms = figure(proportion(int(self.copies(other)["either"].sum()), len(rows["test"])))
            results.append(
                {
                    "kind": kind,
                    "planted": count,
                    "recall": figure(proportion(int(flagged["either"].sum()), count)),
                    "by_detector": {name: float(flagged[name].mean()) for name in DETECTORS},
                    "false_alarms": alarms,
                    "right_subject": float(np.mean([a == b for a, b in zip(near, people, strict=True)])),
                }
            )
            found[kind], hits[kind] = copied, flagged["either"]

        def recall(among: Iterable[str]) -> dict[str, Any]:
            return self._fraction(np.mean([hits[kind] for kind in among], axis=0), people, self._weights(people))

        def z(among: list[str]) -> dict[str, Array]:
            return {name: np.concatenate([found[kind].z[name] for kind in among]) for name in DETECTORS}

        thresholds = {name: scale.copy for name, scale in self.scales.items()}
        redrawn, plots = None, {"planted copies": z([kind for kind in kinds if kind not in drawn])}
        if self.redrawn is not None:
            times = [self.redrawn.time(sd) for sd in NOISE]
            redrawn = {"recall": recall(drawn), "noise": list(NOISE), "times": times}
            plots["redrawn copies"] = z(list(drawn))
        return {
            "recall": recall(kinds),
            "kinds": results,
            "thresholds": thresholds,
            "false_alarms": self.alarms,
            "redrawn": redrawn,
        }, plots

    def _altered(self, split: str, rows: dict[str, NDArray[np.intp]], kind: str) -> Tensor:
        chosen = {"train": self.train, "test": self.test}[split].subset(rows[split])
        if kind.startswith("redrawn") and self.redrawn is not None:
            return self.redrawn(chosen, float(kind.split()[1]), split)
        if kind != "decoded" or self.codec is None:
            return altered(chosen.images, kind, self.seed)
        codec, device = self.codec, next(self.codec.parameters()).device
        parts = [codec.decode(codec.encode(part.to(device))).cpu() for part in chosen.images.split(16)]
        return torch.cat(parts).clamp(-1, 1)

    def _search(self, images: Tensor, covariates: Tensor) -> Nearness:
        places = self._places(covariates)
        group = self.plane_codes(covariates)
        features = self.features(images)
        k = min(NEIGHBOURS, len(set(self.train.subjects)))
        key = key_of(self.key, k, _digest(images.numpy()), _digest(places), _digest(features))

        def make() -> dict[str, NDArray[Any]]:
            aligned = self.search.nearest(images.numpy(), places if self.columns else None, k)
            near = nearest_neighbours(features, self.known, kind="euclidean")
            return {"correlation": aligned.scores, "rows": aligned.rows, "distance": near.scores[:, 0],
                    "row": near.rows[:, 0]}  # fmt: skip

        found: dict[str, Any] = self.cache.arrays("neighbours", key, make)
        return Nearness(**found, group=group)

    def plane_codes(self, covariates: Tensor) -> Array:
        """The plane of each image ``(N,)``, -1 unknown; 0 for all where planes are not declared."""
        if "plane" not in self.columns:
            return np.zeros(len(covariates))
        return np.nan_to_num(covariates[:, self.covariates.index("plane")].double().numpy(), nan=-1)

    def _places(self, values: Tensor) -> Array:
        return values[:, [self.covariates.index(name) for name in self.columns]].double().numpy()

    def _weights(self, subjects: list[str]) -> Array:
        return np.concatenate([np.ones((1, len(subjects))), self.resampler.weights(subjects)])


def place_columns(covariates: Covariates) -> tuple[list[str], list[float]]:
    """The covariates that say where an image is taken, and how far they may differ at one place."""
    columns, tolerance = [], []
    if "plane" in covariates and covariates.is_categorical("plane"):
        columns.append("plane")
        tolerance.append(0.0)
    if "slice" in covariates and isinstance(declared := covariates["slice"], Range):
        columns.append("slice")
        tolerance.append(SLICE_TOLERANCE * (declared.high - declared.low))
    return columns, tolerance


def _digest(values: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
