"""Brain size and tissue fractions of generated images beside those of held-out real ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medgen.apps.evaluation.adjustment import shared_columns
from medgen.apps.evaluation.figures import Figure, figure_of, ratio_of
from medgen.apps.evaluation.planes import plane_rows
from medgen.apps.evaluation.real import RealImages, adjustment_columns
from medgen.covariates import Covariates
from medgen.metrics import SubjectResampler
from medgen.metrics.least_squares import centred_columns, residual_spread, weighted_fit
from medgen.metrics.tissues import tissue_measures

__all__ = ["TissueComparison"]

Array = NDArray[np.float64]


class TissueComparison:
    """Mean difference and spread ratio of generated to held-out real images, at equal covariates as far as known.

    Slice position enters with its square, plane by plane; intervals are by drawing subjects.

    Args:
        covariates: their declaration.
        real: held-out images.
        resampler: draws of all subjects; generated images follow the subject of their profile.
        pixel_mm: size of a pixel; None where it is unknown.
    """

    def __init__(
        self, covariates: Covariates, real: RealImages, resampler: SubjectResampler, pixel_mm: float | None
    ) -> None:
        self.covariates, self.real, self.resampler = covariates, real, resampler
        self.pixel = pixel_mm or 1.0
        power = {4: ("mm²", "pixels"), 5: ("mm³", "voxels")}[real.images.ndim]
        self.unit = power[0] if pixel_mm else power[1]
        self.measured = tissue_measures(real.images.numpy(), self.pixel)

    def figures(self, images: Any) -> dict[str, Any]:
        """Compare the generated images that ask for the true label of their profile's subject.

        Args:
            images: :class:`medgen.apps.evaluation.generated.GeneratedImages`.

        Returns:
            "unit", "adjusted_for", and by "measures" ("brain", "fluid", "grey", "white"): "real" and "generated"
            (means), "difference" (at equal covariates), "spread_ratio"; "found", the fraction of images with a brain.
        """
        seen = images if images.factual.all() else images.subset(images.factual)
        measured = tissue_measures(seen.images.numpy(), self.pixel)
        has = measured["brain"] > 0
        design, adjusted_for = self._design(self.real.covariates, seen.covariates)
        group = np.repeat([0.0, 1.0], [len(self.real.subjects), len(seen.subjects)])
        weights = np.concatenate(
            [np.ones((1, len(group))), self.resampler.weights([*self.real.subjects, *seen.subjects])]
        )
        made = {}
        for name, values in measured.items():
            outcome = np.concatenate([self.measured[name], values])
            made[name] = _compared(outcome, group, design, weights)
        return {"unit": self.unit, "found": float(has.mean()), "adjusted_for": adjusted_for, "measures": made}

    def _design(self, real: torch.Tensor, generated: torch.Tensor) -> tuple[Array, list[str]]:
        """Columns of the covariates that are known on both sides, NaN where one is not; and their names."""
        values = torch.cat([real, generated])
        sides = [adjustment_columns(self.covariates, side, "") for side in (real, generated)]
        names = [name for name in shared_columns(*sides) if not name.startswith("plane")]
        columns = [np.ones(len(values))]
        for name in names:
            column = np.concatenate([side[name] for side in sides])
            known = np.isfinite(column)
            for part in centred_columns(column[known], squared=name == "slice")[0]:
                columns.append(np.full(len(column), np.nan))
                columns[-1][known] = part
        for rows in list(plane_rows(self.covariates, values).values())[1:]:
            columns.append(rows.astype(np.float64))
            if "slice" in names:
                place = values[:, self.covariates.index("slice")].double().numpy()
                columns.append(np.where(rows & np.isfinite(place), place - np.nanmean(place[rows]), 0))
        return np.stack(columns, 1), names


def _compared(outcome: Array, group: Array, design: Array, weights: Array) -> dict[str, Any]:
    """Means, difference and spread ratio of one measure; images without a brain have none.

    Images that lack a covariate that is adjusted for count in the means alone. Where hardly any brain is found there
    are no means; where brains are found but covariates are known of too few there is nothing but means.
    """
    nothing: Figure = {"value": None, "low": None, "high": None}
    usable = np.isfinite(outcome)
    means = []
    for side in (0.0, 1.0):
        rows = usable & (group == side)
        with np.errstate(divide="ignore", invalid="ignore"):
            means.append(weights[:, rows] @ outcome[rows] / weights[:, rows].sum(1))
    found = min((usable & (group == side)).sum() for side in (0.0, 1.0))
    usable &= np.isfinite(design).all(1)
    outcome, group, design, weights = outcome[usable], group[usable], design[usable], weights[:, usable]
    if min((group == 0).sum(), (group == 1).sum()) <= design.shape[1]:
        made = dict.fromkeys(("real", "generated", "difference", "percent", "spread_ratio"), nothing)
        if found > design.shape[1]:
            made |= {"real": figure_of(means[0]), "generated": figure_of(means[1])}
        return made
    spreads = []
    for side in (0.0, 1.0):
        rows = group == side
        solution = weighted_fit(design[rows], outcome[rows], weights[:, rows])
        spreads.append(residual_spread(design[rows], outcome[rows], solution, weights[:, rows]))
    varies = float(spreads[0][0]) > 1e-6 * abs(float(means[0][0]))  # drawn phantoms may be all of one size
    difference = weighted_fit(np.column_stack([design, group]), outcome, weights)[:, -1]
    with np.errstate(divide="ignore", invalid="ignore"):  # there may be none of a tissue
        percent = 100 * difference / means[0]
    return {
        "real": figure_of(means[0]),
        "generated": figure_of(means[1]),
        "difference": figure_of(difference),
        "percent": figure_of(percent),
        "spread_ratio": ratio_of(spreads[1], spreads[0]) if varies else nothing,
    }
