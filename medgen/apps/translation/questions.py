"""The questions that translated images are asked, each answered beside what the answer must be compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from medgen.apps.evaluation.figures import figure_of, ratio_of
from medgen.apps.translation.figures import Resampled, identity_rate, left_out_means, overlap, rim
from medgen.apps.translation.visits import Visits
from medgen.metrics import ventricle_area
from medgen.metrics.image_error import mean_absolute_error

__all__ = ["RAW", "Answers", "area_of", "brain_of", "identity", "predicted_age", "second_visits", "ventricles", "where"]

Array = NDArray[np.float64]
Answers = dict[str, Any]
Aged = Mapping[float, Tensor]
BACKGROUND = -0.95  # intensities below are none of the brain's
RAW = "translation, as it is"  # without the no-change control taken off


def area_of(images: Tensor, pixel_mm: float | None) -> Array:
    """Ventricle areas of axial images, in mm² where the size of a pixel is known."""
    found: Array = ventricle_area(images.numpy(), pixel_mm or 1.0)
    return found


def brain_of(image: Tensor) -> NDArray[np.bool_]:
    """The brain in a skull-stripped slice or volume ``(*spatial)``, with all that it encloses.

    Fluid can be as dark as the background, so what is not connected to the outside counts with the brain.
    """
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(image.numpy() > BACKGROUND)
    return filled


def _ages(visits: Visits, column: int) -> Array:
    found: Array = visits.covariates[:, column].double().numpy()
    return found


def _by_years(aged: Aged, count: int) -> Array:
    return np.tile(np.array(list(aged)), (count, 1))


def identity(visits: Visits, same: Tensor, aged: Aged, resampled: Resampled) -> Answers:
    """Whose image is the most like the translated one, among all people's at the same place?"""
    shown = {"no change": same, **{f"{year:+g} years": image for year, image in aged.items()}}
    rates: dict[str, Any] = {}
    chance = 0.0
    for title, images in shown.items():
        hit, chance = identity_rate(images, visits.images, visits.subjects, visits.places)
        rates[title] = resampled.mean(hit)
    if len(rows := visits.paired):
        hit = np.full(len(visits.subjects), np.nan)
        found, _ = identity_rate(
            visits.later[rows],
            visits.images[rows],
            [visits.subjects[r] for r in rows],
            [visits.places[r] for r in rows],
        )
        hit[rows] = found
        rates["second visit, real"] = resampled.mean(hit)
    return {"rates": rates, "chance": chance}


def predicted_age(
    visits: Visits, same: Tensor, aged: Aged, regressor: Any, column: int, resampled: Resampled
) -> Answers:
    """How much older does a model of ages find the images, for each year asked?"""
    scores = {0.0: regressor.scores(same), **{year: regressor.scores(image) for year, image in aged.items()}}
    own = regressor.scores(visits.images)
    truth = _ages(visits, column)
    change = np.stack([scores[year] - scores[0.0] for year in aged], axis=1)
    asked = _by_years(aged, len(truth))
    slopes = resampled.slopes(asked, change, through_zero=True)
    reference = resampled.slopes(truth, own)
    result = {
        "change_per_year": figure_of(slopes),
        "regressor_per_year": figure_of(reference),
        "ratio": ratio_of(slopes, reference),
        "by_years": {f"{year:g}": resampled.mean(change[:, i]) for i, year in enumerate(aged)},
        "correlation": resampled.correlation(truth, own),
        "visits_per_year": None,
    }
    if len(rows := visits.paired):
        seen = np.full(len(truth), np.nan)
        seen[rows] = (regressor.scores(visits.later[rows]) - own[rows]) / visits.years[rows]
        result["visits_per_year"] = resampled.mean(seen)
    return result


def ventricles(visits: Visits, same: Tensor, aged: Aged, column: int, resampled: Resampled) -> Answers:
    """How does the area of the ventricles change a year asked, beside people of different ages and second visits?"""
    zero, own = area_of(same, visits.pixel_mm), area_of(visits.images, visits.pixel_mm)
    change = np.stack([area_of(image, visits.pixel_mm) - zero for image in aged.values()], axis=1)
    asked = _by_years(aged, len(zero))
    slopes = resampled.slopes(asked, change, through_zero=True)
    truth = _ages(visits, column)
    people = resampled.slopes(truth, own - _place_means(own, visits.places))
    result: dict[str, Any] = {
        "unit": "mm2" if visits.pixel_mm else "pixels",
        "change_per_year": figure_of(slopes),
        "people_per_year": figure_of(people),
        "ratio_to_people": ratio_of(slopes, people),
        "by_years": {f"{year:g}": resampled.mean(change[:, i]) for i, year in enumerate(aged)},
        "visits_per_year": None,
        "ratio_to_visits": None,
    }
    if len(rows := visits.paired):
        seen = np.full(len(zero), np.nan)
        seen[rows] = (area_of(visits.later[rows], visits.pixel_mm) - own[rows]) / visits.years[rows]
        result["visits_per_year"] = resampled.mean(seen)
        result["ratio_to_visits"] = ratio_of(slopes, resampled.means(seen))
    return result


def where(
    visits: Visits, same: Tensor, then: Tensor | None, years: float | None, resampled: Resampled
) -> Answers | None:
    """How the change asked for lies where the truth changes, beside the change seen and the control's error.

    Args:
        visits: the people.
        same: the no-change control.
        then: translated to each one's age at the second visit; None without second visits.
        years: between two visits, in whole years.
        resampled: draws of people.
    """
    if visits.masks is None or visits.later_masks is None or then is None:
        return None
    maps = {
        "translated": then - same,
        "seen at the second visit": visits.later - visits.images,
        "no change": same - visits.images,
    }
    found: dict[str, dict[str, Array]] = {}
    for title, change in maps.items():
        columns: dict[str, list[float]] = {"auc": [], "share": [], "dice": []}
        for row in range(len(visits.subjects)):
            region = rim(visits.masks[row].numpy(), visits.later_masks[row].numpy())
            inside = brain_of(visits.images[row, 0])
            size = np.nan_to_num(change[row, 0].abs().double().numpy())
            told = overlap(size, region & inside, inside)
            for name, value in told.items():
                columns[name].append(value if np.isfinite(visits.years[row]) else np.nan)
        found[title] = {name: np.array(values) for name, values in columns.items()}
    return {
        "years": years,
        "reach_pixels": 1,
        **{t: {name: resampled.mean(v) for name, v in columns.items()} for t, columns in found.items()},
    }


def second_visits(
    visits: Visits, same: Tensor, then: Tensor | None, years: float | None, replicates: int = 1000, seed: int = 0
) -> Answers | None:
    """Errors of the predicted change, beside no change and the mean change of all others; see :func:`where`.

    "translation" is what was asked minus the no-change control, added to the first visit: the error of the way to the
    noise and back, which both share, is taken out. "translation, as it is" is the translated image itself, with that
    error. The others' change is taken by the year, since not everybody comes again after the same time.
    """
    if then is None:
        return None
    rows, pixel = visits.paired, visits.pixel_mm
    subjects, places = [visits.subjects[r] for r in rows], [visits.places[r] for r in rows]
    resampled = Resampled(subjects, replicates, seed)
    own, seen = visits.images[rows], visits.later[rows]
    change = (then - same)[rows]
    area = area_of(own, pixel)
    grown = area_of(seen, pixel) - area
    between = visits.years[rows]
    told = {
        "translation": area_of(then[rows], pixel) - area_of(same[rows], pixel),
        RAW: area_of(then[rows], pixel) - area,
        "no change": np.zeros(len(rows)),
        "mean of the others": between * left_out_means(grown / between, subjects, places),
    }
    apart = between.reshape(-1, *[1] * (own.ndim - 1))
    others = torch.from_numpy(apart * left_out_means((seen - own).double().numpy() / apart, subjects, places)).float()
    images = {"translation": own + change, RAW: then[rows], "no change": own, "mean of the others": own + others}
    errors = {
        name: {
            "area": np.abs(value - grown),
            "image": mean_absolute_error(images[name].clamp(-1, 1), seen).numpy(),
        }
        for name, value in told.items()
    }
    result: dict[str, Any] = {
        "years": years,
        "people": len(set(subjects)),
        "images": len(rows),
        "area_seen": resampled.mean(grown),
        "area_told": {name: resampled.mean(value) for name, value in told.items()},
        "area_correlation": resampled.correlation(told["translation"], grown),
    }
    for what in ("area", "image"):
        result[f"{what}_error"] = {name: resampled.mean(error[what]) for name, error in errors.items()}
        result[f"{what}_error_less_than"] = {
            name: resampled.mean(errors["translation"][what] - errors[name][what])
            for name in ("no change", "mean of the others")
        }
    return result


def _place_means(values: Array, places: Sequence[int]) -> Array:
    """For each value the mean of all at its place."""
    groups = np.asarray(places)
    result: Array = np.array([values[groups == place].mean() for place in places])
    return result
