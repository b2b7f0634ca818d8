"""Everything that says whether generated images look like real ones, whatever was asked of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from medgen.apps.evaluation.diversity import Diversity
from medgen.apps.evaluation.figures import LikenessByPlane
from medgen.apps.evaluation.generated import GeneratedImages
from medgen.apps.evaluation.real import RealImages
from medgen.apps.evaluation.tissues import TissueComparison
from medgen.covariates import Covariates
from medgen.metrics import FeatureExtractor, IntensityRange, SubjectResampler, check_same_scale, distance_name
from medgen.metrics.checks import check_finite
from medgen.metrics.feature_model import FeatureModel

__all__ = ["Fidelity", "checked_scale", "clamped"]


def checked_scale(generated: Mapping[float, GeneratedImages], held_out: RealImages) -> list[str]:
    """Notices on intensities; images of another convention than held-out ones are refused.

    Raises:
        ScaleError: as :func:`medgen.metrics.check_same_scale`.
    """
    notices = []
    check_finite(held_out.images.numpy(), "held-out real")
    real = IntensityRange.of(held_out.images.numpy())
    for images in generated.values():
        named = (f"generated at guidance {images.guidance:g}", "held-out real")
        notices += check_same_scale(images.images.numpy(), real, named)
    return notices


class Fidelity:
    """Distances, precision and recall, likeness among samples, anatomy without learning, and intensities.

    Args:
        covariates: their declaration.
        real: images of "train" and "test".
        judge: trained on the training images; its features are those of "in_domain".
        extractor: another extractor; None takes the judge.
        resampler: draws of all subjects.
        pixel_mm: size of a pixel.
        anatomy: measure brain size and tissues.
        seed: of all draws.
        sweep: profiles of the smaller guidances, at which figures that depend on their number are compared.
    """

    def __init__(
        self,
        covariates: Covariates,
        real: Mapping[str, RealImages],
        judge: FeatureModel,
        extractor: FeatureExtractor | None,
        resampler: SubjectResampler,
        pixel_mm: float | None,
        anatomy: bool,
        seed: int,
        sweep: int,
    ) -> None:
        self.extractor, self.sweep = extractor or judge, sweep
        features = {split: self.extractor.features(real[split].images) for split in ("train", "test")}
        probabilities = extractor.probabilities if extractor is not None else None
        self.width = features["test"].shape[1]
        self.likeness = LikenessByPlane(covariates, features, real, seed)
        self.diversity = Diversity(covariates, features, real, resampler, seed, probabilities)
        self.tissues = TissueComparison(covariates, real["test"], resampler, pixel_mm) if anatomy else None
        self.intensity = IntensityRange.of(real["test"].images.numpy())
        described = extractor.described() if extractor is not None else {"name": "in_domain", "sha256": None}
        name = distance_name(str(described["name"]), real["test"].images.ndim - 2)
        self.described = described | {"distance": name, "width": self.width}

    def figures(self, images: GeneratedImages) -> dict[str, Any]:
        """Figures of one guidance: "likeness", "likeness_by_plane" (of several planes), "fidelity", "tissues",
        "intensity"; "likeness_sweep" and "fidelity_sweep" are of as many profiles as the smaller guidances have.
        """
        features = self.extractor.features(images.images)
        found = self.likeness.figures(features, images)
        found["fidelity"] = self.diversity.figures(features, images)
        found["likeness_sweep"], found["fidelity_sweep"] = found["likeness"], found["fidelity"]
        few = np.arange(len(images.subjects)) % images.profiles < self.sweep
        if not few.all():
            part = images.subset(few)
            found["likeness_sweep"] = self.likeness.whole(features[few], part)
            found["fidelity_sweep"] = self.diversity.figures(features[few], part)
        found["tissues"] = self.tissues.figures(images) if self.tissues else None
        own, real = IntensityRange.of(images.images.numpy()), self.intensity
        found["intensity"] = {
            "low": own.low, "high": own.high, "real_low": real.low, "real_high": real.high,
        }  # fmt: skip
        return found


def clamped(generated: Mapping[float, GeneratedImages]) -> dict[float, GeneratedImages]:
    """The same images in [-1, 1]."""
    return {g: dataclasses.replace(i, images=i.images.clamp(-1, 1)) for g, i in generated.items()}
