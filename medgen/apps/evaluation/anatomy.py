"""The ventricle effect: generated against cohort, at equal age and slice, and against the truth where it is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.apps.evaluation.figures import Columns, figure_of
from medgen.metrics import GroupModel, SubjectResampler, subject_means
from medgen.metrics.least_squares import weighted_fit

__all__ = ["KnownEffect", "VentricleModel", "known_volumes"]

Array = NDArray[np.float64]


class VentricleModel:
    """Least squares of ventricle area on label and covariates, as estimate and replicates over subjects.

    Args:
        areas: mm² of each image.
        positive: 0 or 1.
        columns: other covariates; "slice" enters with its square.
        subjects: of each image.
        resampler: draws of subjects.
    """

    def __init__(
        self, areas: Array, positive: Array, columns: Columns, subjects: list[str], resampler: SubjectResampler
    ) -> None:
        self.model = GroupModel(areas, positive, columns, subjects, squared=[n for n in columns if n == "slice"])
        used = self.model.subjects
        weights = np.concatenate([np.ones((1, len(used))), resampler.weights(used)])
        self.values = self.model.fit(weights)

    def figures(self) -> dict[str, Any]:
        """ "effect", "spread", "unadjusted", "age_slope" where age is known, "adjusted_for", counts."""
        result: dict[str, Any] = {name: figure_of(self.values[name]) for name in ("effect", "spread", "unadjusted")}
        result["age_slope"] = figure_of(self.values["slope:age"]) if "slope:age" in self.values else None
        result["adjusted_for"] = list(self.model.adjusted_for)
        result["images"] = len(self.model.subjects)
        result["subjects"] = len(set(self.model.subjects))
        return result


def known_volumes(cohort: Any, subjects: list[str]) -> Array | None:
    """The true ventricle volume (ml) of each of N subjects of a simulated cohort; None elsewhere."""
    if not getattr(cohort, "simulated", False):
        return None
    table: dict[str, float] = {}
    for record, row in zip(cohort.records, getattr(cohort, "columns", ()), strict=False):
        if row.get("ventricle_ml"):
            table[str(record["subject"])] = float(row["ventricle_ml"])
    return np.array([table[s] for s in subjects]) if set(subjects) <= set(table) else None


class KnownEffect:
    """The simulated cohort's direct effect, known in ml, in mm² of the slices at hand.

    The cohort's images give the area that one ml of ventricle adds to a slice: least squares of area on the subject's
    volume and the slice position. Times the direct effect in ml, this is what an AD brain must differ by at equal age.

    Args:
        areas: mm² of each real image.
        volumes: ml of its subject.
        columns: covariates; only "slice" is used.
        subjects: of each image.
        effect_ml: the direct effect, in ml (of a number: in ml per unit of it).
        resampler: draws of subjects.

    Attributes:
        values: the effect in mm², estimate first and then the replicates.
    """

    def __init__(
        self,
        areas: Array,
        volumes: Array,
        columns: Columns,
        subjects: list[str],
        effect_ml: float,
        resampler: SubjectResampler,
    ) -> None:
        parts = [np.ones_like(volumes), volumes - volumes.mean()]
        if "slice" in columns and np.isfinite(columns["slice"]).all():
            position = columns["slice"] - columns["slice"].mean()
            parts += [position, position**2]
        design = np.stack(parts, axis=1)
        weights = np.concatenate([np.ones((1, len(areas))), resampler.weights(subjects)])
        slope = weighted_fit(design, areas, weights)[:, 1]
        mean_area, mean_volume = (subject_means(values, subjects)[1] for values in (areas, volumes))
        self.values = slope * effect_ml
        self.effect_ml, self.mm2_per_ml = effect_ml, float(slope[0])
        self.correlation = float(np.corrcoef(mean_area, mean_volume)[0, 1])

    def figures(self) -> dict[str, Any]:
        """ "effect" in mm² with its interval, "effect_ml", "mm2_per_ml", and "correlation" of a subject's mean area
        with its volume, which says how well the measure works.
        """
        return {
            "effect": figure_of(self.values),
            "effect_ml": self.effect_ml,
            "mm2_per_ml": self.mm2_per_ml,
            "correlation": self.correlation,
        }
