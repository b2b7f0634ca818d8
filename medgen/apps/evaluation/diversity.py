"""Fidelity and diversity told apart: precision, density, recall, coverage and MS-SSIM, each beside real images'."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen.apps.evaluation.figures import figure, ratio_of
from medgen.apps.evaluation.planes import plane_rows
from medgen.apps.evaluation.real import RealImages, draw_profiles
from medgen.covariates import Covariates
from medgen.metrics import Interval, SubjectResampler
from medgen.metrics.inception_score import inception_score_replicates
from medgen.metrics.manifold import Balls
from medgen.metrics.ms_ssim import draw_pairs, ms_ssim
from medgen.metrics.resampling import interval_of

if TYPE_CHECKING:
    from medgen.apps.evaluation.generated import GeneratedImages

__all__ = ["MANIFOLD", "Diversity"]

Array = NDArray[np.float64]
MANIFOLD = ("precision", "density", "recall", "coverage")
MOST = {"precision": 1.0, "density": np.inf, "recall": 1.0, "coverage": 1.0}
NEIGHBOUR = 5  # Naeem et al. 2020, section 4
DRAWS = 4  # sets of training images whose figures are averaged
REPLICATES = 200
PAIRS = 300
PAIRS_OF_VOLUMES = 100  # at half their resolution: at full, a pair takes seconds


class Diversity:
    """Figures of generated images, and of as many training images in their place: what real images themselves reach.

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
        self._reference: dict[int, dict[str, Any]] = {}
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
        n = len(seen.subjects)
        if n not in self._reference:
            self._reference[n] = self._of_real(n)
        k = int(self._reference[n]["k"])
        found = {m: _figure(v, MOST[m]) for m, v in self._manifold(features[true], seen.subjects, k).items()}
        alike, real_alike = self._similarity(seen.images, seen.covariates, seen.subjects), self._real_similarity()
        made = {
            "n": n,
            "n_real": len(self.real["test"].subjects),
            **found,
            **self._reference[n],
            "ms_ssim": _figure(alike),
            "real_ms_ssim": _figure(real_alike),
            "variety_ratio": ratio_of(1 - alike, 1 - real_alike),
        }
        return made | self._inception(seen)

    def _of_real(self, n: int) -> dict[str, Any]:
        """Figures of n training images in place of generated ones, averaged over draws, with the interval of one."""
        train, test = self.real["train"], self.real["test"]
        draws = [draw_profiles(train.subjects, n, self.seed + draw) for draw in range(DRAWS)]
        own = [[train.subjects[row] for row in rows.tolist()] for rows in draws]
        fewest = min(_others(test.subjects), *(_others(names) for names in own), n - 1)
        k = max(1, min(NEIGHBOUR, fewest))
        sets = [self._manifold(self.features["train"][r], s, k, s) for r, s in zip(draws, own, strict=True)]
        result: dict[str, Any] = {"k": k}
        for name in MANIFOLD:
            mean = float(np.mean([one[name][0] for one in sets]))
            result[f"real_{name}"] = _figure(sets[0][name] - sets[0][name][0] + mean, MOST[name])
        return result

    def _manifold(
        self, features: Array, subjects: list[str], k: int, groups: list[str] | None = None
    ) -> dict[str, Array]:
        """Estimate and replicates of the four figures; a neighbourhood stands and falls with its subject's draw."""
        held_out, people = self.features["test"], self.real["test"].subjects
        of_real, of_made = Balls(held_out, k, people, "held-out"), Balls(features, k, groups, "generated")
        within, reached = of_real.hold(features), of_made.hold(held_out)  # (n, N) and (N, n)
        real, made = (self._weights(names) for names in (people, subjects))
        with np.errstate(divide="ignore", invalid="ignore"):
            hits = np.einsum("rN,rN->r", made @ within.astype(np.float64), real)
            return {
                "precision": _covered(made, within, real, people),
                "density": hits / (k * made.sum(1) * real.sum(1) / len(people)),
                "recall": _covered(real, reached, made, subjects),
                "coverage": _covered(real, within.T, made, subjects),
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


def _covered(weights: Array, inside: NDArray[np.bool_], holders: Array, owners: list[str]) -> Array:
    """Weighted fraction of points that lie in the ball of a holder that was drawn.

    Args:
        weights: of the points, ``(R, M)``.
        inside: point by ball, ``(M, N)``.
        holders: how often each ball's sample counts, ``(R, N)``.
        owners: the subject of each ball, N.
    """
    names, first, member = np.unique(np.asarray(owners), return_index=True, return_inverse=True)
    of_subject = np.zeros((len(inside), len(names)))
    np.add.at(of_subject.T, member.ravel(), inside.T)
    held = (holders[:, first] > 0).astype(np.float64) @ (of_subject > 0).T > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Array = (weights * held).sum(1) / weights.sum(1)
    return result


def _others(subjects: list[str]) -> int:
    """The fewest samples of other subjects that a sample has."""
    return len(subjects) - int(np.unique(np.asarray(subjects), return_counts=True)[1].max())


def _figure(values: Array, most: float = np.inf) -> dict[str, float | None]:
    """Figure of an estimate and its replicates, moved to the estimate: to draw subjects anew loses neighbourhoods."""
    if np.isfinite(values[1:]).mean() < 0.5:
        return {"value": float(values[0]) if np.isfinite(values[0]) else None, "low": None, "high": None}
    found = interval_of(float(values[0]), values[1:], centred=True)
    return figure(Interval(found.estimate, max(0.0, found.low), min(most, found.high)))
