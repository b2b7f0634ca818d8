"""Training images in the place of generated ones: of other people, with the covariates that were asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medgen.apps.evaluation.real import RealImages
from medgen.covariates import Covariates
from medgen.randomness import numpy_generator

__all__ = ["Counterparts", "counterparts"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
LABEL = 1000.0  # of the cost: more than numbers can add up to, so that labels come first
# standard deviations that an image may be further away: one not in the set, one of a person not in it, and one that
# is in fewer of the sets before
AGAIN, SAME_PERSON, BEFORE = 1.0, 0.5, 0.1
UNKNOWN = 1.0  # standard deviations between a known number and an unknown one


@dataclass(frozen=True)
class Counterparts:
    """Sets of training images that match what was asked of generated ones.

    Attributes:
        draws: rows of the training images, several sets of n each.
        described: for ``metrics.json``: "labels" and "numbers" that were matched, "same_labels", the fraction of images
            all of whose labels agree, and "apart", by number the mean distance of an image from what was asked.
    """

    draws: list[Rows]
    described: dict[str, Any]


def counterparts(
    covariates: Covariates, wanted: Tensor, training: RealImages, draws: int, seed: int = 0
) -> Counterparts:
    """Draw sets of training images whose covariates are those that generated images were asked for.

    Generated images carry the covariates of held-out people; training images at random do not, and so are further from
    the held-out ones than a perfect generator would be. Image by image, in random order, that training image is taken
    which agrees in most labels (sex, plane, diagnosis) and then is nearest in the numbers (age, slice position), in
    standard deviations; to take an image, or a person, again costs so that sets are not made of a few.

    Args:
        covariates: their declaration.
        wanted: ``(n, K)`` what was asked for, NaN unknown.
        training: N training images, all of other people than those whose covariates are asked for.
        draws: sets, each in another order.
        seed: of the orders.
    """
    asked, held = wanted.double().numpy(), training.covariates.double().numpy()
    at_hand = [name for name in covariates.names if np.isfinite(held[:, covariates.index(name)]).any()]
    labels = [name for name in at_hand if covariates.is_categorical(name)]
    numbers = [name for name in at_hand if not covariates.is_categorical(name)]
    of_labels, of_numbers = ([covariates.index(name) for name in names] for names in (labels, numbers))
    scale = np.array([_spread(held[:, column]) for column in of_numbers])
    codes = (np.nan_to_num(asked[:, of_labels], nan=-1), np.nan_to_num(held[:, of_labels], nan=-1))
    values = (asked[:, of_numbers] / scale, held[:, of_numbers] / scale)
    person = np.unique(np.asarray(training.subjects), return_inverse=True)[1].ravel()

    before = np.zeros(len(held))

    def draw(number: int) -> Rows:
        random = numpy_generator("counterparts", seed, number)
        again, same_person = np.zeros(len(held)), np.zeros(person.max() + 1)
        ties = 1e-6 * random.random(len(held))
        rows = np.empty(len(asked), dtype=np.intp)
        for place in random.permutation(len(asked)).tolist():
            cost = LABEL * (codes[0][place] != codes[1]).sum(1) + _apart(values[0][place], values[1]) + ties
            rows[place] = row = int(
                np.argmin(cost + BEFORE * before + AGAIN * again + SAME_PERSON * same_person[person])
            )
            again[row] += 1
            same_person[person[row]] += 1
        before[:] += again
        return rows

    found = [draw(number) for number in range(draws)]
    taken, repeated = np.concatenate(found), np.tile(np.arange(len(asked)), draws)
    difference = np.abs(asked[repeated][:, of_numbers] - held[taken][:, of_numbers])
    described = {
        "labels": labels,
        "numbers": numbers,
        "same_labels": float((codes[0][repeated] == codes[1][taken]).all(1).mean()),
        "apart": {name: _mean(column) for name, column in zip(numbers, difference.T, strict=True)},
    }
    return Counterparts(found, described)


def _apart(asked: Array, held: Array) -> Array:
    """Distances ``(N,)`` between numbers ``(P,)`` and ``(N, P)`` in standard deviations."""
    difference = np.where(np.isnan(asked) & np.isnan(held), 0.0, asked - held)
    result: Array = np.sqrt((np.nan_to_num(difference, nan=UNKNOWN) ** 2).sum(1))
    return result


def _spread(column: Array) -> float:
    return float(np.nanstd(column)) or 1.0


def _mean(column: Array) -> float | None:
    known = column[np.isfinite(column)]
    return float(known.mean()) if len(known) else None
