"""How a measurement changes with the number that is asked for, at equal other covariates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.apps.evaluation.adjustment import complete_rows
from medgen.apps.evaluation.planes import chosen
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
    question: Question,
    measured: Array,
    images: Any,
    resampler: SubjectResampler,
    bands: list[float],
    adjusted_for: Sequence[str],
) -> dict[str, Array]:
    """Slope, spread, and means by band, of a measurement of images; estimate first and then the replicates.

    Args:
        question: of a number.
        measured: of each image ``(N,)``.
        images: real or generated ones, with their "target" (the number), "covariates" and "subjects".
        resampler: draws of subjects.
        bands: where bands of the number begin.
        adjusted_for: the covariates that enter, the same on all sides that are compared (see
            :func:`medgen.apps.evaluation.adjustment.shared_columns`); images that lack one are left out.

    Returns:
        What :func:`medgen.metrics.number_trend` gives.
    """
    columns, names = question.columns(images.covariates), list(adjusted_for)
    rows = complete_rows(columns, names, len(measured))
    known = {name: columns[name][rows] for name in names}
    place = known.pop("slice", None)
    weights = np.concatenate([np.ones((1, int(rows.sum()))), resampler.weights(chosen(images.subjects, rows))])
    return number_trend(measured[rows], images.target[rows], place, list(known.values()), weights, bands, BAND)
