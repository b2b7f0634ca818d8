"""A number: does a brain generated "at 85" look 85 to a model that knows ages?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medgen.apps.evaluation.adjustment import complete_rows, shared_columns
from medgen.apps.evaluation.anatomy import KnownEffect
from medgen.apps.evaluation.figures import figure_of, ratio_of
from medgen.apps.evaluation.planes import chosen, plane_rows
from medgen.apps.evaluation.question import Anatomy, Question, Reference
from medgen.apps.evaluation.real import RealImages
from medgen.apps.evaluation.trend import BAND, band_ends, populated_bands, trend
from medgen.covariates import Covariates, Range
from medgen.metrics import FeatureRegressor, SubjectResampler, agreement
from medgen.metrics.feature_model import FeatureModel

__all__ = ["NumberAgreement"]

Array = NDArray[np.float64]


class NumberAgreement(Question):
    """A continuous covariate, judged by a regressor; targets are its values.

    Every profile is generated once, with all its own covariates, so that the numbers asked for are distributed as
    those of held-out images.

    Args:
        covariates: as declared in training.
        name: of the covariate.
        judge: None makes a regressor.
        settings: of the regressor that is made.
    """

    judged_by = "regressor"

    def __init__(self, covariates: Covariates, name: str, judge: FeatureModel | None = None, **settings: Any) -> None:
        super().__init__(covariates, name, judge or FeatureRegressor(**settings))
        declared = covariates[name]
        self.unit = declared.unit if isinstance(declared, Range) else ""

    def settings(self) -> dict[str, Any]:
        """The covariate and its unit."""
        return {"label": self.name, "labels": None, "unit": self.unit}

    def target(self, codes: Tensor) -> tuple[Tensor, Array]:
        """Images whose number is known."""
        kept = ~codes.isnan()
        return kept, codes[kept].double().numpy()

    def check(self, split: str, target: Array, subjects: list[str]) -> None:
        """Expect three subjects and numbers that differ."""
        count = len(set(subjects))
        if count < 3 or np.ptp(target) < 1e-9:
            raise ValueError(f"{split}: {count} subjects with a known {self.name}; expected three or more that differ")

    def requests(self, profiles: RealImages) -> tuple[Tensor, Array]:
        """The profiles as they are."""
        return profiles.covariates.clone(), profiles.target.copy()

    def stratum(self, target: float) -> str:
        """One for all: numbers are resampled with their subjects."""
        return "all"

    def notices(self, real: dict[str, RealImages]) -> list[str]:
        """Numbers outside the training range, and what was left out."""
        train, test = real["train"], real["test"]
        outside, notices = _outside(test.target, train.target), []
        if outside.any():
            count = len({s for s, out in zip(test.subjects, outside, strict=True) if out})
            notices.append(
                f"{count} held-out subjects lie outside the training range of {self.name}: images asked for there are "
                "extrapolated."
            )
        if test.left_out:
            notices.append(f"{test.left_out} held-out images of unknown {self.name} were left out.")
        return notices

    def reference(self, scores: Array, test: RealImages, train: RealImages, resampler: SubjectResampler) -> Reference:
        """Predicted against true numbers of held-out images."""
        return NumberReference(self, scores, test, train, resampler)

    def anatomy(
        self,
        areas: Array,
        real: RealImages,
        resampler: SubjectResampler,
        unit: str,
        volumes: Array | None,
        truth: dict[str, Any],
        adjusted_for: Sequence[str],
    ) -> Anatomy:
        """Change of area with the number, and spread among those of the same number."""
        slope = truth.get("age_slope_ml_per_year") if self.name == "age" else None
        return NumberAnatomy(self, areas, real, resampler, unit, volumes, slope, adjusted_for)


class NumberReference(Reference):
    """Predicted against true numbers of held-out real images: all, by plane, and subject by subject."""

    def __init__(
        self,
        question: NumberAgreement,
        scores: Array,
        real: RealImages,
        train: RealImages,
        resampler: SubjectResampler,
    ) -> None:
        self.question, self.resampler, self.trained = question, resampler, train.target
        self.bands = populated_bands(real.target, real.subjects)
        self.values = self._agreement(scores, real.target, real.subjects)
        columns = question.columns(real.covariates)
        self.adjusted_for = shared_columns(columns, targets=[real.target])  # profiles have the same
        self.values["slope_adjusted"] = self._adjusted(scores, real)
        self.by_plane = {
            plane: self._agreement(scores[rows], real.target[rows], chosen(real.subjects, rows))
            for plane, rows in plane_rows(question.covariates, real.covariates).items()
        }

    def _agreement(self, scores: Array, target: Array, subjects: list[str]) -> dict[str, Array]:
        weights = np.concatenate([np.ones((1, len(scores))), self.resampler.weights(subjects)])
        return agreement(target, scores, weights, self.bands, BAND)

    def _adjusted(self, scores: Array, images: Any) -> Array:
        """The slope at equal other covariates: what is read from the number itself, not from what goes along with it.

        Profiles have all the covariates of held-out people, so that a generator that heeds the others alone would still
        show a number that they tell of.
        """
        return trend(self.question, scores, images, self.resampler, [], self.adjusted_for)["slope"]

    def figures(self) -> dict[str, Any]:
        """ "correlation", "slope", "bias", "error", "slope_adjusted", "adjusted_for", "bands", and "by_plane"."""
        by_plane = {plane: _figures(values) for plane, values in self.by_plane.items()}
        equal = {"slope_adjusted": figure_of(self.values["slope_adjusted"]), "adjusted_for": self.adjusted_for}
        whole = _figures(self.values) | equal | {"bands": self._bands(self.values)}
        return {"agreement": whole, "by_plane": by_plane}

    def _bands(self, values: dict[str, Array]) -> list[dict[str, Any]]:
        return [
            band_ends(start, self.question.name) | {"bias": figure_of(values[f"bias:{start:g}"])}
            for start in self.bands
        ]

    def compare(self, scores: Array, generated: Any) -> dict[str, Any]:
        """The same of generated images, with "correlation_ratio", "slope_ratio" and "slope_adjusted_ratio", and how
        many were extrapolated."""
        values = self._agreement(scores, generated.target, generated.subjects)
        adjusted = self._adjusted(scores, generated)
        by_plane = {}
        for plane, rows in plane_rows(self.question.covariates, generated.covariates).items():
            if plane in self.by_plane:
                found = self._agreement(scores[rows], generated.target[rows], chosen(generated.subjects, rows))
                by_plane[plane] = _figures(found) | _ratios(found, self.by_plane[plane])
        return (
            _figures(values)
            | {"bands": self._bands(values)}
            | _ratios(values, self.values)
            | {
                "slope_adjusted": figure_of(adjusted),
                "slope_adjusted_ratio": ratio_of(adjusted, self.values["slope_adjusted"]),
            }
            | {"by_plane": by_plane, "extrapolated": int(_outside(generated.target, self.trained).sum())}
        )


class NumberAnatomy(Anatomy):
    """Ventricle area along the number, its spread among people of the same number, and the truth where it is known."""

    def __init__(
        self,
        question: NumberAgreement,
        areas: Array,
        real: RealImages,
        resampler: SubjectResampler,
        unit: str,
        volumes: Array | None,
        slope_ml: float | None,
        adjusted_for: Sequence[str],
    ) -> None:
        self.question, self.resampler, self.unit = question, resampler, unit
        self.bands = populated_bands(real.target, real.subjects)
        self.adjusted_for = list(adjusted_for)
        self.values = trend(question, areas, real, resampler, self.bands, self.adjusted_for)
        self.counts = self._counts(real)
        self.known = None
        if volumes is not None and slope_ml:
            columns = question.columns(real.covariates)
            self.known = KnownEffect(areas, volumes, columns, real.subjects, float(slope_ml), resampler)

    def _counts(self, images: Any) -> dict[str, Any]:
        """What was adjusted for, and the images and subjects of whom that is known."""
        columns = self.question.columns(images.covariates)
        used = chosen(images.subjects, complete_rows(columns, self.adjusted_for, len(images.subjects)))
        return {"adjusted_for": self.adjusted_for, "images": len(used), "subjects": len(set(used))}

    def _figures(self, values: dict[str, Array]) -> dict[str, Any]:
        bands = [
            band_ends(start, self.question.name)
            | {
                "mean": figure_of(values[f"mean:{start:g}"]),
                "spread": figure_of(values[f"spread:{start:g}"]),
            }
            for start in self.bands
        ]
        return {"slope": figure_of(values["slope"]), "spread": figure_of(values["spread"]), "bands": bands}

    def figures(self) -> dict[str, Any]:
        """Slope and spread of the cohort, by band, and the known slope."""
        known = self.known.figures() if self.known else None
        return {"unit": self.unit} | self._figures(self.values) | self.counts | {"known": known}

    def compare(self, areas: Array, generated: Any) -> dict[str, Any]:
        """The same of generated images, with ratios."""
        values = trend(self.question, areas, generated, self.resampler, self.bands, self.adjusted_for)
        return (
            self._figures(values)
            | self._counts(generated)
            | {
                "slope_ratio": ratio_of(values["slope"], self.values["slope"]),
                "spread_ratio": ratio_of(values["spread"], self.values["spread"]),
                "known_ratio": ratio_of(values["slope"], self.known.values) if self.known else None,
            }
        )


def _figures(values: dict[str, Array]) -> dict[str, Any]:
    return {name: figure_of(values[name]) for name in ("correlation", "slope", "bias", "error")}


def _ratios(values: dict[str, Array], real: dict[str, Array]) -> dict[str, Any]:
    return {f"{name}_ratio": ratio_of(values[name], real[name]) for name in ("correlation", "slope")}


def _outside(numbers: Array, trained: Array) -> NDArray[np.bool_]:
    outside: NDArray[np.bool_] = (numbers < trained.min()) | (numbers > trained.max())
    return outside
