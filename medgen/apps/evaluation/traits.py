"""Traits that the generator was never told of: do they change with the number asked for as they do in real people?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medgen.apps.evaluation.adjustment import shared_columns
from medgen.apps.evaluation.figures import figure_of, ratio_of
from medgen.apps.evaluation.question import Question
from medgen.apps.evaluation.real import RealImages
from medgen.apps.evaluation.trend import BAND, band_ends, populated_bands, trend
from medgen.data.records import record_paths
from medgen.data.tables import normal_name
from medgen.metrics import SubjectResampler, agreement
from medgen.metrics.feature_model import FeatureModel
from medgen.metrics.least_squares import weighted_fit
from medgen.spelling import nearest

__all__ = ["KNOWN_TRAITS", "Trait", "TraitTrend", "find_traits", "trait_figures"]

Array = NDArray[np.float64]
KNOWN_TRAITS = ("nWBV",)  # whole-brain volume over head volume, in OASIS's tables
UNKNOWN = ("", "n/a", "na", "nan", "none", "null", ".")


@dataclass(frozen=True)
class Trait:
    """A numeric column of the cohort's table that is not a covariate.

    Attributes:
        name: of the column.
        images: by split, those whose trait is known; their target is the number that is judged.
        values: by split, the trait of each of these images.
    """

    name: str
    images: dict[str, RealImages]
    values: dict[str, Array]

    def learned(self, split: str) -> RealImages:
        """The images of a split with the trait as their target."""
        images = self.images[split]
        return RealImages(images.images, images.covariates, images.subjects, self.values[split], 0)


def find_traits(
    names: Sequence[str] | None, cohort: Any, datasets: Mapping[str, Any], question: Question
) -> list[Trait]:
    """Find numeric columns of the cohort's table, and their value for each image that the question takes.

    Args:
        names: of columns; None takes those of :data:`KNOWN_TRAITS` that the table has.
        cohort: a :class:`medgen.data.Cohort`; its ``columns`` hold the rows of the table.
        datasets: "train", "validation" and "test".
        question: of a number, along which the traits are followed.

    Raises:
        ValueError: when a named trait is no column, is a covariate, is not numeric, or is known of too few.
    """
    rows = list(getattr(cohort, "columns", None) or [])
    found = {normal_name(column): column for row in rows for column in row}
    if isinstance(names, str):
        raise ValueError(f"traits: expected a list of columns, found {names!r}; write ['{names}']")
    if names and question.judged_by != "regressor":
        raise ValueError(f"traits: they are followed along a number, such as age, but {question.name} is a label")
    if question.judged_by != "regressor":
        return []
    traits = []
    for name in KNOWN_TRAITS if names is None else names:
        column = found.get(normal_name(name))
        if names is None and (column is None or column in question.covariates):
            continue
        if column is None:
            raise ValueError(f"traits: the cohort's table has no column {name!r}{nearest(name, list(found.values()))}")
        if column in question.covariates:
            raise ValueError(f"traits: {name!r} is a covariate, which the generator is told; name another column")
        traits.append(_trait(name, column, rows, cohort, datasets, question))
    return traits


def _trait(
    name: str, column: str, rows: Sequence[Mapping[str, str]], cohort: Any, datasets: Mapping[str, Any], question: Any
) -> Trait:
    table = {
        _image(record): _number(row.get(column, ""), name) for record, row in zip(cohort.records, rows, strict=True)
    }
    images, values = {}, {}
    for split, dataset in datasets.items():
        whole = question.take(dataset, split)
        kept = torch.nonzero(question.target(dataset.covariates[:, question.column])[0]).flatten().tolist()
        trait = np.array([table[_image(dataset.records[row])] for row in kept])
        finite = np.flatnonzero(np.isfinite(trait))
        images[split], values[split] = whole.subset(finite), trait[finite]
        count = len(set(images[split].subjects))
        if count < 3 or np.ptp(values[split]) <= 0:
            raise ValueError(f"{split}: {count} subjects with a known {name}; expected three or more that differ")
    return Trait(name, images, values)


def _image(record: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(record_paths(dict(record)))


def _number(text: str, name: str) -> float:
    if str(text).strip().lower() in UNKNOWN:
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"traits: column {name!r} holds {text!r}, expected numbers") from None


class TraitTrend:
    """A trait along the number: its true values and a model's predictions in held-out people, then in generated images.

    The model learns the trait from real training images. A trait that changes with age could be predicted by the age
    that shows in an image alone, so the agreement at equal number is given too.

    Args:
        question: of the number.
        trait: with its held-out images.
        predicted: what the model says of them.
        resampler: draws of subjects.
        adjusted_for: covariates that real and generated images alike are adjusted for.
    """

    def __init__(
        self,
        question: Question,
        trait: Trait,
        predicted: Array,
        resampler: SubjectResampler,
        adjusted_for: Sequence[str] = (),
    ) -> None:
        self.question, self.resampler, self.adjusted_for = question, resampler, list(adjusted_for)
        test, true = trait.images["test"], trait.values["test"]
        self.bands = populated_bands(test.target, test.subjects)
        weights = np.concatenate([np.ones((1, len(true))), resampler.weights(test.subjects)])
        self.agreement = agreement(true, predicted, weights)
        residual = [_without(values, test.target) for values in (true, predicted)]
        self.at_equal_number = agreement(residual[0], residual[1], weights)["correlation"]
        self.true, self.predicted = (self._trend(values, test) for values in (true, predicted))
        self.counts = {"images": len(true), "subjects": len(set(test.subjects))}

    def _trend(self, values: Array, images: Any) -> dict[str, Array]:
        return trend(self.question, values, images, self.resampler, self.bands, self.adjusted_for)

    def figures(self) -> dict[str, Any]:
        """Of held-out people: "true", "predicted", and how far the predictions agree."""
        names = ("correlation", "slope", "error")
        agreed = {name: figure_of(self.agreement[name]) for name in names}
        return {
            "agreement": agreed | {"correlation_at_equal_number": figure_of(self.at_equal_number)},
            "per": BAND,
            "true": self._figures(self.true),
            "predicted": self._figures(self.predicted),
            "adjusted_for": self.adjusted_for,
        } | self.counts

    def compare(self, predicted: Array, generated: Any) -> dict[str, Any]:
        """Of generated images, with ratios to the predictions of held-out real ones."""
        values = self._trend(predicted, generated)
        return self._figures(values) | {
            "slope_ratio": ratio_of(values["slope"], self.predicted["slope"]),
            "spread_ratio": ratio_of(values["spread"], self.predicted["spread"]),
        }

    def _figures(self, values: dict[str, Array]) -> dict[str, Any]:
        bands = [
            band_ends(start, self.question.name) | {"mean": figure_of(values[f"mean:{start:g}"])}
            for start in self.bands
        ]
        return {"slope": figure_of(BAND * values["slope"]), "spread": figure_of(values["spread"]), "bands": bands}


def _without(values: Array, number: Array) -> Array:
    """What a straight line in the number leaves."""
    design = np.stack([np.ones_like(number), (number - number.mean()) / max(float(number.std()), 1e-12)], axis=1)
    residual: Array = values - design @ weighted_fit(design, values, np.ones((1, len(values))))[0]
    return residual


def trait_figures(
    traits: Sequence[Trait],
    question: Question,
    trained: Callable[[Trait], FeatureModel],
    generated: Mapping[float, Any],
    resampler: SubjectResampler,
    main: float,
) -> tuple[dict[str, Any], dict[float, dict[str, Any]], dict[str, Any]]:
    """Follow every trait.

    Args:
        traits: as found.
        question: of the number.
        trained: gives the model of a trait.
        generated: images by guidance.
        resampler: draws of subjects.
        main: the guidance whose values are kept for plots.

    Returns:
        Figures of held-out people by trait, of generated images by guidance and trait, and the single values for the
        private report.
    """
    real: dict[str, Any] = {}
    made: dict[float, dict[str, Any]] = {scale: {} for scale in generated}
    plotted = {}
    for trait in traits:
        model, test = trained(trait), trait.images["test"]
        predicted = model.scores(test.images)
        sides = (test, *generated.values())
        adjusted_for = shared_columns(
            *(question.columns(images.covariates) for images in sides), targets=[images.target for images in sides]
        )
        found = TraitTrend(question, trait, predicted, resampler, adjusted_for)
        real[trait.name] = found.figures()
        scores = {scale: model.scores(images.images) for scale, images in generated.items()}
        for scale, images in generated.items():
            made[scale][trait.name] = found.compare(scores[scale], images)
        plotted[trait.name] = {
            "true": (test.target, trait.values["test"]),
            "real": (test.target, predicted),
            "generated": (generated[main].target, scores[main]),
        }
    return real, made, plotted
