"""The stage of an evaluation that asks whether the images are new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from medgen.apps.evaluation.generated import GeneratedImages
from medgen.apps.evaluation.membership import membership
from medgen.apps.evaluation.memorisation import Memorisation
from medgen.apps.evaluation.redrawn import Redrawn
from medgen.metrics import SubjectResampler
from medgen.metrics.feature_model import FeatureModel

if TYPE_CHECKING:
    from medgen.apps.evaluation.run import Evaluation

__all__ = ["originality"]


def originality(
    evaluation: Evaluation,
    judge: FeatureModel,
    generated: dict[float, GeneratedImages],
    rows: list[dict[str, Any]],
    resampler: SubjectResampler,
) -> tuple[dict[str, Any] | None, dict[float, Any], dict[str, Any]]:
    """Look for copies of training images at every guidance, plant some, and test membership.

    Args:
        evaluation: whose settings and real images are used.
        judge: trained; its features are compared.
        generated: images by guidance.
        rows: of ``metrics.json``, one a guidance in the same order; each gets its part "originality".
        resampler: draws of subjects.

    Returns:
        The part "memorisation" of ``metrics.json``; by guidance which images are copies; and for plots and pictures of
        the main guidance, the nearest training images ("rows", "scores"), which images are copies ("copies"), and by
        source and detector how near images are ("z"). Where nobody is to look, the part is None, so is that of each
        row, nothing is near, and every image counts as a copy, so that nobody takes one for new.
    """
    e = evaluation
    if not e.memorisation:
        for row in rows:
            row["originality"] = None
        return None, {scale: np.ones(len(images.subjects), bool) for scale, images in generated.items()}, {}
    drawn = None
    if e.redraw:
        drawn = Redrawn(e.network, e.process, e.sampler, e.cache, e.model["sha256"], e.guidance, e.codec, e.seed)
    memory = Memorisation(e.covariates, e.real, judge.features, resampler, e.cache, e.n_planted, e.seed, e.codec, drawn)
    flagged: dict[float, Any] = {}
    near: dict[str, Any] = {}
    controls, planted = memory.controls()
    for row, (scale, images) in zip(rows, generated.items(), strict=True):
        found = memory.nearness(images.images, images.covariates)
        flagged[scale] = memory.copies(found)["either"]
        row["originality"] = memory.figures(found, images.subjects)
        if scale == e.guidance:
            held_out = {name: known.held_out for name, known in memory.scales.items()}
            z = {"held-out real": held_out, "generated": found.z, **planted}
            near = {"rows": found.rows, "scores": found.correlation, "copies": flagged[scale], "z": z}
    return controls | {"membership": _membership(e, memory, resampler)}, flagged, near


def _membership(e: Evaluation, memory: Memorisation, resampler: SubjectResampler) -> dict[str, Any] | None:
    if not e.membership:
        return None
    train, test = e.real["train"], e.real["test"]
    planes = [memory.plane_codes(real.covariates) for real in (train, test)]
    amp = getattr(e.sampler, "amp", False)
    found = membership(
        e.network, e.process, train, test, planes, resampler, e.cache, e.model["sha256"], e.n_membership, e.codec,
        e.seed, amp,
    )  # fmt: skip
    return found | {"same_sites": not e.other_sites}
