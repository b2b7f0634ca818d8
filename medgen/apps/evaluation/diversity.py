"""Fidelity and diversity told apart: precision, density, recall, coverage and MS-SSIM, each beside real images'."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen.apps.evaluation.figures import figure, ratio_of, reach_of
from medgen.apps.evaluation.matching import counterparts
from medgen.apps.evaluation.planes import chosen, plane_rows
from medgen.apps.evaluation.real import RealImages, draw_profiles
from medgen.covariates import Covariates
from medgen.files import key_of
from medgen.metrics import Interval, Manifold, SubjectResampler, manifold_figures
from medgen.metrics.inception_score import inception_score_replicates
from medgen.metrics.jackknife import SubjectJackknife
from medgen.metrics.ms_ssim import draw_pairs, ms_ssim
from medgen.metrics.resampling import interval_of

if TYPE_CHECKING:
    from medgen.apps.evaluation.generated import GeneratedImages

__all__ = ["Diversity"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
MOST = {"precision": 1.0, "density": np.inf, "recall": 1.0, "coverage": 1.0}
NEIGHBOUR = 5  # Naeem et al. 2020, section 4
DRAWS = 4  # sets of training images whose figures are averaged
REPLICATES = 200
PAIRS = 300
PAIRS_OF_VOLUMES = 100  # at half their resolution: at full, a pair takes seconds


class Diversity:
    """Figures of generated images, and of training images with their covariates: what real images themselves reach.

    Args:
        covariates: their declaration.
        features: of the images of "train" and "test".
        real: those images.
        resampler: draws of all subjects; generated images follow the subject of their profile.
        seed: of the choice of training images and pairs.
        probabilities: turns images into class probabilities for an Inception Score; None for none.
    """

    def __init__(
        self,
        covariates: Covariates,
        features: Mapping[str, Array],
        real: Mapping[str, RealImages],
        resampler: SubjectResampler,
        seed: int = 0,
        probabilities: Callable[[Tensor], Array | None] | None = None,
    ) -> None:
        self.covariates, self.features, self.real = covariates, features, real
        self.resampler, self.seed, self.probabilities = resampler, seed, probabilities
        self._reference: dict[str, dict[str, Any]] = {}
        self._alike: Array | None = None
        self._classes: Array | None = None

    def figures(self, features: Array, images: GeneratedImages) -> dict[str, Any]:
        """Figures of the generated images that ask for the true label of their profile's subject.

        Args:
            features: of all the images.
            images: the images.

        Returns:
            "n", "n_real", "k"; "precision", "density", "recall", "coverage" and "ms_ssim", each beside "real_...";
            "variety_ratio", the ratio of 1 - MS-SSIM to that of real images; "inception_score" where there are classes.
        """
        true = images.factual
        seen = images if true.all() else images.subset(true)
        n, key = len(seen.subjects), key_of(seen.subjects, str(seen.covariates.tolist()))
        if key not in self._reference:
            self._reference[key] = self._of_real(seen)
        k = int(self._reference[key]["k"])
        found = {m: reach_of(*v, 0.0, MOST[m]) for m, v in self._manifold(features[true], seen.subjects, k).items()}
        alike, real_alike = self._similarity(seen.images, seen.covariates, seen.subjects), self._real_similarity()
        made = {
            "n": n,
            "n_real": len(self.real["test"].subjects),
            **found,
            **self._reference[key],
            "ms_ssim": _figure(alike),
            "real_ms_ssim": _figure(real_alike),
            "variety_ratio": ratio_of(1 - alike, 1 - real_alike),
        }
        return made | self._inception(seen)

    def _of_real(self, seen: GeneratedImages) -> dict[str, Any]:
        """Figures of training images in place of generated ones, averaged over draws, with the interval of one."""
        train, test = self.real["train"], self.real["test"]
        draws = counterparts(self.covariates, seen.covariates, train, DRAWS, self.seed).draws
        own = [[train.subjects[row] for row in rows.tolist()] for rows in draws]
        fewest = min(_others(test.subjects), *(_others(names) for names in own), len(seen.subjects) - 1)
        k = max(1, min(NEIGHBOUR, fewest))
        mean = np.mean([
            manifold_figures(self.features["test"], self.features["train"][rows], k, test.subjects, names)
            for rows, names in zip(draws, own, strict=True)
        ], axis=0)  # fmt: skip
        result: dict[str, Any] = {"k": k}
        first = self._manifold(self.features["train"][draws[0]], own[0], k, own[0])
        for name, value in zip(Manifold._fields, mean.tolist(), strict=True):
            result[f"real_{name}"] = reach_of(value, first[name][1], 0.0, MOST[name])
        return result

    def _manifold(
        self, features: Array, subjects: list[str], k: int, groups: list[str] | None = None
    ) -> dict[str, tuple[float, float]]:
        """Value and standard error of the four figures, by leaving out people together with the images of theirs."""
        held_out, people = self.features["test"], self.real["test"].subjects

        def figures(real: Mask, made: Mask) -> tuple[float, ...]:
            names, own = chosen(people, real), chosen(groups, made) if groups else None
            if min(_others(names), _others(own) if own else int(made.sum()) - 1) < k:
                return (np.nan,) * len(Manifold._fields)
            return manifold_figures(held_out[real], features[made], k, names, own)

        jackknife = SubjectJackknife([people, subjects], seed=self.seed)
        values = figures(np.ones(len(people), bool), np.ones(len(subjects), bool))
        without = np.array([figures(*kept) for kept in jackknife.kept()])
        return {
            name: (value, jackknife.error(column))
            for name, value, column in zip(Manifold._fields, values, without.T, strict=True)
        }

    def _weights(self, subjects: list[str]) -> Array:
        """Ones, and then how often each sample counts in each replicate: ``(1 + R, N)``."""
        return np.concatenate([np.ones((1, len(subjects))), self.resampler.weights(subjects)[:REPLICATES]])

    def _similarity(self, images: Tensor, covariates: Tensor, subjects: list[str]) -> Array:
        """Mean MS-SSIM of pairs of different people of one plane, as estimate and replicates."""
        strata = np.zeros(len(subjects), dtype=int)
        for number, rows in enumerate(plane_rows(self.covariates, covariates).values(), start=1):
            strata[rows] = number
        count = PAIRS_OF_VOLUMES if images.ndim == 5 else PAIRS
        pairs = draw_pairs(subjects, len(subjects), count, self.seed, strata.tolist())
        if not len(pairs):
            return np.full(1 + REPLICATES, np.nan)
        seen = torch.nn.functional.avg_pool3d(images, 2) if images.ndim == 5 else images
        one, other = (seen[torch.from_numpy(side.copy())] for side in pairs.T)
        values = ms_ssim(one, other)
        weights = self._weights(subjects)
        both = weights[:, pairs[:, 0]] * weights[:, pairs[:, 1]]
        with np.errstate(divide="ignore", invalid="ignore"):
            result: Array = both @ values / both.sum(1)
        return result

    def _real_similarity(self) -> Array:
        if self._alike is None:
            test = self.real["test"]
            self._alike = self._similarity(test.images, test.covariates, test.subjects)
        return self._alike

    def _inception(self, seen: GeneratedImages) -> dict[str, Any]:
        """The Inception Score, and that of as many held-out images."""
        if self.probabilities is None or (p := self.probabilities(seen.images)) is None:
            return {}
        test = self.real["test"]
        if self._classes is None:
            self._classes = self.probabilities(test.images)
        rows = draw_profiles(test.subjects, len(p), self.seed)
        names = [test.subjects[row] for row in rows.tolist()]
        classes: Any = self._classes
        return {
            "inception_score": _figure(inception_score_replicates(p, self._weights(seen.subjects))),
            "real_inception_score": _figure(inception_score_replicates(classes[rows], self._weights(names))),
        }


def _others(subjects: list[str]) -> int:
    """The fewest samples of other subjects that a sample has."""
    return len(subjects) - int(np.unique(np.asarray(subjects), return_counts=True)[1].max())


def _figure(values: Array) -> dict[str, float | None]:
    """Figure of an estimate and its replicates, moved to the estimate: to draw subjects anew loses neighbourhoods."""
    if np.isfinite(values[1:]).mean() < 0.5:
        return {"value": float(values[0]) if np.isfinite(values[0]) else None, "low": None, "high": None}
    found = interval_of(float(values[0]), values[1:], centred=True)
    return figure(Interval(found.estimate, max(0.0, found.low), found.high))
