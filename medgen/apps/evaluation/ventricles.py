"""The ventricles of cohort and generated images: areas of axial slices, volumes of volumes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen.apps.evaluation.adjustment import shared_columns
from medgen.apps.evaluation.anatomy import known_volumes
from medgen.apps.evaluation.generated import GeneratedImages
from medgen.apps.evaluation.planes import Rows, axial_rows
from medgen.apps.evaluation.question import Question
from medgen.apps.evaluation.real import RealImages
from medgen.covariates import Covariates
from medgen.metrics import SubjectResampler, ventricle_area, ventricle_volume

__all__ = ["ventricle_figures"]

logger = logging.getLogger("medgen.evaluation")


def ventricle_figures(
    question: Question,
    cohort: Any,
    real: Mapping[str, RealImages],
    generated: Mapping[float, GeneratedImages],
    rows: list[dict[str, Any]],
    pixel_mm: float | None,
    resampler: SubjectResampler,
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Ventricle figures of the whole cohort, and of each guidance beside them, put into its row.

    Args:
        question: what was asked.
        cohort: a :class:`medgen.data.Cohort`.
        real: images by split.
        generated: images by guidance.
        rows: of the metrics, one for each guidance.
        pixel_mm: side of a pixel or voxel, None where it is not known.
        resampler: draws of subjects.

    Returns:
        Figures of the cohort and what a plot needs; None and nothing where no image shows what can be measured.
    """
    covariates = question.covariates
    parts = [r.subset(np.flatnonzero(_measurable(covariates, r.images, r.covariates))) for r in real.values()]
    whole = RealImages(
        torch.cat([part.images for part in parts]),
        torch.cat([part.covariates for part in parts]),
        [subject for part in parts for subject in part.subjects],
        np.concatenate([part.target for part in parts]),
        0,
    )
    if not len(whole.subjects):
        logger.info("ventricles: no image is axial, so none is measured")
        return None, {}
    volume = whole.images.ndim == 5
    unit = ("ml" if volume else "mm²") if pixel_mm else "voxels" if volume else "pixels"
    volumes, truth = known_volumes(cohort, whole.subjects), getattr(cohort, "ground_truth", None) or {}
    shown = {scale: _measurable(covariates, made.images, made.covariates) for scale, made in generated.items()}
    seen_at = {s: made if shown[s].all() else made.subset(shown[s]) for s, made in generated.items()}
    sides: list[RealImages | GeneratedImages] = [whole, *seen_at.values()]
    adjusted_for = shared_columns(
        *(question.columns(side.covariates) for side in sides), targets=[side.target for side in sides]
    )
    of_cohort = question.anatomy(_sizes(whole.images, pixel_mm), whole, resampler, unit, volumes, truth, adjusted_for)
    plotted: dict[str, Any] = {}
    for row, seen in zip(rows, seen_at.values(), strict=True):
        measured = _sizes(seen.images, pixel_mm)
        row["ventricles"] = of_cohort.compare(measured, seen)
        if row["main"]:
            plotted = of_cohort.plotted(measured, seen)
    return of_cohort.figures(), plotted


def _measurable(covariates: Covariates, images: Tensor, values: Tensor) -> Rows:
    """All volumes, and axial slices."""
    return np.ones(len(images), dtype=bool) if images.ndim == 5 else axial_rows(covariates, values)


def _sizes(images: Tensor, pixel_mm: float | None) -> NDArray[np.float64]:
    """Areas in mm² of slices, volumes in ml of volumes; pixels and voxels where their size is not known."""
    measure = ventricle_volume if images.ndim == 5 else ventricle_area
    per_voxel = 1000.0 if images.ndim == 5 and not pixel_mm else 1.0  # ml of voxels of 1 mm
    return per_voxel * measure(images.numpy(), pixel_mm or 1.0)
