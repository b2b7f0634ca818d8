"""How a measurement changes with the number that is asked for, at equal other covariates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.apps.evaluation.question import Question
from medgen.metrics import SubjectResampler, band_starts, number_trend

__all__ = ["BAND", "band_ends", "populated_bands", "trend"]

Array = NDArray[np.float64]
BAND = 10.0  # width of the bands that figures are given by, in the number's unit
OLDEST = 90.0  # ages above 89 are not told apart
SMALLEST_BAND = 5  # subjects: figures of a band of fewer would be those of single people


def populated_bands(numbers: Array, subjects: list[str]) -> list[float]:
    """Where the bands begin that hold five subjects or more."""
    starts = np.floor(numbers / BAND) * BAND
    people = {band: {s for s, start in zip(subjects, starts, strict=True) if start == band}
              for band in band_starts(numbers, BAND)}  # fmt: skip
    return [band for band, inside in people.items() if len(inside) >= SMALLEST_BAND]


def band_ends(start: float, name: str) -> dict[str, float | None]:
    """Both ends of a band as they may be published: ages from 90 on are one band without an upper end."""
    return {"low": start, "high": None if name == "age" and start >= OLDEST else start + BAND}


def trend(
    question: Question, measured: Array, images: Any, resampler: SubjectResampler, bands: list[float]
) -> tuple[dict[str, Array], list[str]]:
    """Slope, spread, and means by band, of a measurement of images; estimate first and then the replicates.

    Args:
        question: of a number.
        measured: of each image ``(N,)``.
        images: real or generated ones, with their "target" (the number), "covariates" and "subjects".
        resampler: draws of subjects.
        bands: where bands of the number begin.

    Returns:
        What :func:`medgen.metrics.number_trend` gives, and the names of the covariates that were adjusted for: those
        that are known of every image and vary.
    """
    columns = question.columns(images.covariates)
    known = {name: column for name, column in columns.items() if np.isfinite(column).all() and np.ptp(column) > 0}
    place = known.pop("slice", None)
    weights = np.concatenate([np.ones((1, len(measured))), resampler.weights(images.subjects)])
    found = number_trend(measured, images.target, place, list(known.values()), weights, bands, BAND)
    return found, [*known, *(["slice"] if place is not None else [])]
