"""Difference between two groups at equal covariates, by linear adjustment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgen.metrics.checks import finite_array
from medgen.metrics.least_squares import residual_spread, weighted_fit
from medgen.metrics.resampling import Interval, interval_of, subject_weights

__all__ = ["AdjustedEffect", "GroupModel", "adjusted_effect"]


@dataclass(frozen=True)
class AdjustedEffect:
    """What :func:`adjusted_effect` finds, in the unit of the outcome.

    Args:
        effect: group 1 minus group 0 at equal covariates.
        spread: standard deviation within a group at equal covariates (of the residuals).
        slopes: change of the outcome per unit of each covariate that enters as it is.
        unadjusted: plain difference of the two means.
        adjusted_for: covariates that were adjusted for; those that are unknown throughout or do not vary are not.
        samples: samples used; those that lack a covariate are left out.
        subjects: subjects used.
    """

    effect: Interval
    spread: Interval
    slopes: dict[str, Interval]
    unadjusted: Interval
    adjusted_for: tuple[str, ...]
    samples: int
    subjects: int


def adjusted_effect(
    outcome: ArrayLike,
    group: ArrayLike,
    covariates: Mapping[str, ArrayLike],
    subjects: Sequence[str],
    squared: Sequence[str] = (),
    replicates: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> AdjustedEffect:
    """Least squares of an outcome on group and covariates, with intervals by resampling subjects.

    ``outcome = intercept + effect * group + sum slope * covariate (+ curvature * covariate ** 2) + residual``. When
    one group is older, the plain difference of the means mixes age with disease; the effect here does not, as far as
    the covariate acts linearly and alike in both groups.

    Args:
        outcome: measured values, shape ``(N,)``, for example areas in mm².
        group: 0 or 1, shape ``(N,)``.
        covariates: name to values of shape ``(N,)``; NaN is unknown.
        subjects: the subject of each sample, length N.
        squared: names whose square enters as well.
        replicates: bootstrap replicates.
        level: coverage of the intervals.
        seed: the replicates are a function of it.

    Returns:
        Effect, spread, slopes and the unadjusted difference, each with its interval.

    Raises:
        ValueError: when lengths differ, a group is absent, or there are fewer samples than unknowns.
    """
    model = GroupModel(outcome, group, covariates, subjects, squared)
    weights = subject_weights(model.subjects, replicates, seed)
    whole, parts = model.fit(np.ones((1, len(model.subjects)))), model.fit(weights)
    intervals = {name: interval_of(float(whole[name][0]), values, level) for name, values in parts.items()}
    return AdjustedEffect(
        effect=intervals["effect"],
        spread=intervals["spread"],
        slopes={name: intervals[f"slope:{name}"] for name in model.linear},
        unadjusted=intervals["unadjusted"],
        adjusted_for=model.adjusted_for,
        samples=len(model.subjects),
        subjects=len(set(model.subjects)),
    )


class GroupModel:
    """The linear model behind :func:`adjusted_effect`, fitted under any weighting of its samples.

    Arguments and errors are those of :func:`adjusted_effect`.

    Attributes:
        used: indices of the samples that enter, shape ``(n,)``.
        subjects: their subjects.
        adjusted_for: covariates that enter.
        linear: covariates that enter without a square, whose slope is reported.
    """

    def __init__(
        self,
        outcome: ArrayLike,
        group: ArrayLike,
        covariates: Mapping[str, ArrayLike],
        subjects: Sequence[str],
        squared: Sequence[str] = (),
    ) -> None:
        values, groups = finite_array(outcome, "outcome"), np.asarray(group, np.float64)
        known = {name: np.asarray(column, np.float64) for name, column in covariates.items()}
        for name, column in {"group": groups, "subjects": np.asarray(subjects), **known}.items():
            if column.shape != values.shape:
                raise ValueError(f"{name}: expected one value for each outcome {values.shape}, found {column.shape}")
        known = {n: c for n, c in known.items() if np.isfinite(c).any() and np.nanstd(c) > 1e-6 * _scale(c)}
        complete = np.isfinite(groups)
        for column in known.values():
            complete &= np.isfinite(column)
        self.used = np.flatnonzero(complete)
        self.outcome, self.group = values[complete], groups[complete]
        if set(np.unique(self.group).tolist()) != {0.0, 1.0}:
            raise ValueError(f"group: expected both 0 and 1, found {np.unique(self.group).tolist()}")
        self.subjects = [subjects[i] for i in self.used.tolist()]
        self.adjusted_for = tuple(known)
        self.linear = tuple(name for name in known if name not in squared)
        columns = [np.ones(len(self.used)), self.group]
        self._unit = []
        for name in self.linear:
            centred = known[name][complete] - known[name][complete].mean()
            self._unit.append(_scale(centred))
            columns.append(centred / self._unit[-1])
        for name in known:
            if name in squared:
                centred = known[name][complete] - known[name][complete].mean()
                columns += [centred / _scale(centred), (centred / _scale(centred)) ** 2]
        self.design = np.stack(columns, axis=1)
        if len(self.used) <= self.design.shape[1]:
            raise ValueError(f"outcome: expected more than {self.design.shape[1]} samples, found {len(self.used)}")

    def fit(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Fit under weights ``(R, n)`` over the samples used.

        Returns:
            "effect", "spread", "unadjusted" and "slope:<name>", each ``(R,)``; NaN where a group is absent.
        """
        x, y = self.design, self.outcome
        solution = weighted_fit(x, y, weights)
        in_one, in_zero = weights @ self.group, weights @ (1 - self.group)
        with np.errstate(divide="ignore", invalid="ignore"):
            unadjusted = weights @ (self.group * y) / in_one - weights @ ((1 - self.group) * y) / in_zero
        spread = residual_spread(x, y, solution, weights)
        result = {"effect": solution[:, 1], "spread": spread, "unadjusted": unadjusted}
        for position, name in enumerate(self.linear):
            result[f"slope:{name}"] = solution[:, 2 + position] / self._unit[position]
        degenerate = (in_one == 0) | (in_zero == 0)
        return {name: np.where(degenerate, np.nan, values) for name, values in result.items()}

    def adjusted(self) -> NDArray[np.float64]:
        """Outcome of each sample used, moved to the mean of every covariate; shape ``(n,)``.

        Group differences and residuals remain, so that plots and rank statistics can be made at equal covariates.
        """
        solution = np.linalg.lstsq(self.design, self.outcome, rcond=None)[0]
        nuisance = self.design[:, 2:]
        result: NDArray[np.float64] = self.outcome - (nuisance - nuisance.mean(0)) @ solution[2:]
        return result


def _scale(column: NDArray[np.float64]) -> float:
    """Largest magnitude among known values, for conditioning; 1 where all are 0."""
    largest = float(np.nanmax(np.abs(column)))
    return largest if largest > 0 else 1.0
