"""Which covariates two sides are adjusted for: the same ones, or their ratio would mix what it compares."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["complete_rows", "shared_columns"]

logger = logging.getLogger("medgen.evaluation")
Columns = Mapping[str, NDArray[np.float64]]
KNOWN = 0.5  # of the images of a side: samples that lack a covariate drop out, and most should stay
FIRST = ("age", "sex", "slice")  # what goes with nearly every measure of a brain is not given up for another covariate


def shared_columns(*sides: Columns, targets: Sequence[NDArray[np.float64]] = ()) -> list[str]:
    """Names of the columns that every side can be adjusted for at once.

    Columns are taken one by one, age, sex and slice first and then the one that keeps most images, as long as half of
    the images of every side or more have all of them, among which each still varies. Cohorts of several sites may hold
    columns that no person has together.

    Args:
        sides: real images and generated ones, by name a value for each image, NaN unknown.
        targets: what is judged, for each image of each side; it must vary among the images that stay, too.

    Returns:
        The names, in the order of the first side. What is left out only because of the others is logged.

    Example:
        >>> real = {"age": np.array([60.0, 70.0, np.nan]), "weight": np.array([70.0, np.nan, np.nan])}
        >>> shared_columns(real, {"age": np.array([65.0, 75.0]), "weight": np.array([60.0, 80.0])})
        ['age']
        >>> shared_columns({"mmse": np.array([20.0, 30.0, np.nan, np.nan]), "kg": np.array([np.nan, np.nan, 60, 80])})
        ['mmse']
    """
    shared = [name for name in sides[0] if all(name in side for side in sides)]
    alone = [name for name in shared if _kept(sides, [name], targets) is not None]
    taken: list[str] = []
    waiting = list(alone)
    while waiting:
        kept = {name: _kept(sides, [*taken, name], targets) for name in waiting}
        waiting = [name for name in waiting if kept[name] is not None]
        if waiting:
            best = max(waiting, key=lambda name: (name in FIRST, kept[name] or 0.0))
            taken.append(best)
            waiting.remove(best)
    left_out = [name for name in alone if name not in taken]
    if left_out:
        logger.info(
            "not adjusted for %s: too few images have it together with %s", ", ".join(left_out), ", ".join(taken)
        )
    return [name for name in alone if name in taken]


def complete_rows(columns: Columns, names: list[str], count: int) -> NDArray[np.bool_]:
    """Which of ``count`` images have all the named columns."""
    complete = np.ones(count, dtype=bool)
    for name in names:
        complete &= np.isfinite(columns[name])
    return complete


def _kept(sides: Sequence[Columns], names: list[str], targets: Sequence[NDArray[np.float64]]) -> float | None:
    """The smallest fraction of a side's images that have all the columns; None where that is too little to adjust."""
    least = 1.0
    for place, side in enumerate(sides):
        count = len(side[names[0]])
        rows = complete_rows(side, names, count)
        if rows.sum() < max(2, KNOWN * count):
            return None
        values = [side[name][rows] for name in names]
        if targets and np.ptp(targets[place]) > 1e-9:
            values.append(targets[place][rows])
        if any(float(np.ptp(column)) <= 1e-9 for column in values):
            return None
        least = min(least, float(rows.mean()))
    return least
