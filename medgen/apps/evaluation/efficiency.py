"""How many network evaluations an image needs: distance to held-out images, solver by solver, at the same noise."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.apps.evaluation.cache import StageCache
from medgen.apps.evaluation.figures import Figure
from medgen.apps.evaluation.generated import Generator
from medgen.apps.evaluation.planes import plane_rows
from medgen.apps.evaluation.question import Question
from medgen.apps.evaluation.real import RealImages
from medgen.metrics import frechet_distance
from medgen.metrics.feature_model import FeatureModel

__all__ = ["Measured", "ProfileDistance", "solver_rows", "solver_settings"]

logger = logging.getLogger("medgen.evaluation")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """What one set of generated images gives.

    Attributes:
        frechet: distance of all images, and by plane where there are several (all under "").
        evaluations: of the network, per image.
        seconds: per image, on the wall.
        images: their number.
    """

    frechet: dict[str, float]
    evaluations: int
    seconds: float
    images: int


class ProfileDistance:
    """Fréchet distance of images generated for held-out profiles, to compare samplers or weights like for like.

    Profiles, judge and held-out images stay the same; image i of a seed starts from the same noise whatever the weights
    and the sampler, so that differences are paired.

    Args:
        question: says with which covariates a profile is generated.
        judge: trained; its features are compared.
        profiles: real images whose covariates are asked for.
        test: held-out real images.
        cache: where generated chunks are kept.
        codec: decodes latents; None for pixel models.
    """

    def __init__(
        self,
        question: Question,
        judge: FeatureModel,
        profiles: RealImages,
        test: RealImages,
        cache: StageCache,
        codec: Any = None,
    ) -> None:
        self.question, self.judge, self.profiles, self.cache, self.codec = question, judge, profiles, cache, codec
        self._held_out = self._parts(judge.features(test.images), test.covariates)

    def __call__(self, network: Any, process: Any, sampler: Any, model_hash: str, seed: int = 0) -> Measured:
        """Generate every profile and measure.

        Args:
            network: in evaluation mode.
            process: it was trained with.
            sampler: with its guidance.
            model_hash: identifies the weights.
            seed: of the noise.
        """
        generator = Generator(network, process, sampler, self.cache, model_hash, self.codec, seed)
        made = generator(self.profiles, self.question, sampler.guidance)
        features = self.judge.features(made.images.clamp(-1, 1))[made.factual]
        frechet = self.of_features(features, made.covariates[made.factual])
        return Measured(frechet, made.evaluations, made.seconds, len(features))

    def of_features(self, features: Array, covariates: Any) -> dict[str, float]:
        """The distance of other images' features, all and by plane, such as those of training images (the floor).

        Raises:
            ValueError: when some are of a plane that no held-out image is of.
        """
        parts = self._parts(features, covariates)
        if unknown := sorted(set(parts) - set(self._held_out)):
            expected = ", ".join(sorted(set(self._held_out) - {""})) or "a single plane"
            raise ValueError(
                f"covariates: found {', '.join(unknown)} images, expected those of the held-out images: {expected}"
            )
        return {plane: frechet_distance(part, self._held_out[plane]) for plane, part in parts.items()}

    def _parts(self, features: Array, covariates: Any) -> dict[str, Array]:
        rows = plane_rows(self.question.covariates, covariates)
        return {"": features} | {plane: features[mask] for plane, mask in rows.items()}


def solver_settings(solvers: Sequence[Sequence[Any]] | None, seeds: int) -> list[tuple[str, int]]:
    """Check what is compared: pairs of a solver and its steps, by as many seeds.

    Raises:
        ValueError: when it is not a list of such pairs, or there is no seed.
    """
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise ValueError(f"solver_seeds: expected a number of at least 1, found {seeds!r}")
    found = []
    for pair in solvers or []:
        if isinstance(pair, str) or len(pair) != 2 or not isinstance(pair[1], int):
            raise ValueError(f"solvers: expected pairs such as ['euler', 20], found {pair!r}")
        found.append((str(pair[0]), int(pair[1])))
    return found


def solver_rows(
    measure: ProfileDistance,
    network: Any,
    process: Any,
    sampler: Any,
    model_hash: str,
    solvers: Sequence[tuple[str, int]],
    seeds: int,
) -> list[dict[str, Any]]:
    """Measure one model with several solvers.

    Args:
        measure: the distance.
        network: in evaluation mode.
        process: it was trained with.
        sampler: whose guidance and precision are kept.
        model_hash: identifies the weights.
        solvers: pairs of a solver and its steps.
        seeds: sets of noise, of which the mean is taken.

    Returns:
        For each pair "solver", "steps", "evaluations", "images", "seeds", "frechet" (mean; low and high are the
        extremes of the seeds), "frechet_by_plane" (means), "over_most" (the ratio, seed by seed, to the row of most
        evaluations of the same solver) and "seconds_per_image".
    """
    results: list[list[Measured]] = []
    for solver, steps in solvers:
        logger.info("%s with %d steps", solver, steps)
        other = copy.copy(sampler)
        other.solver, other.steps = solver, steps
        results.append([measure(network, process, other, model_hash, seed) for seed in range(seeds)])
    rows = []
    for (solver, steps), found in zip(solvers, results, strict=True):
        same = [of for (name, _), of in zip(solvers, results, strict=True) if name == solver]
        most = max(same, key=lambda of: of[0].evaluations)
        ratios = [one.frechet[""] / other.frechet[""] for one, other in zip(found, most, strict=True)]
        planes = [plane for plane in found[0].frechet if plane]
        rows.append(
            {
                "solver": solver,
                "steps": steps,
                "evaluations": found[0].evaluations,
                "images": found[0].images,
                "seeds": seeds,
                "frechet": _extremes([one.frechet[""] for one in found]),
                "frechet_by_plane": {p: float(np.mean([one.frechet[p] for one in found])) for p in planes},
                "over_most": _extremes(ratios),
                "seconds_per_image": float(np.mean([one.seconds for one in found])),
            }
        )
    return rows


def _extremes(values: Sequence[float]) -> Figure:
    return {"value": float(np.mean(values)), "low": float(min(values)), "high": float(max(values))}
