"""What the runs of all arms of one size come to: the part of ``utility.json`` that is figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.apps.utility.figures import ArmFigures
from medgen.apps.utility.provenance import ARMS

__all__ = ["compared"]

PAIRS = (
    *((arm, "real") for arm in ARMS[1:]),
    ("real_synthetic", "real_repeated"),
    ("real_synthetic", "real_augmented"),  # generators are trained with augmentation, which their images carry along
)


def compared(
    runs: Mapping[str, Sequence[Mapping[str, NDArray[Any]]]],
    cases: Sequence[tuple[str, int]],
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """Figures of the arms and of their differences.

    Args:
        runs: arm to what :func:`medgen.apps.utility.classifier.fit_and_score` found, seed by seed.
        cases: subject and label of each case of the test set.
        replicates: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        "arms": by arm its figures, those of each seed, steps made, and the check that was chosen with its loss;
        "differences": for each pair of arms that are there.
    """
    said = {arm: np.stack([run["probabilities"] for run in found]) for arm, found in runs.items()}
    figures = ArmFigures(said, cases, replicates, seed)
    arms = {
        arm: figures.arm(arm)
        | {
            "by_seed": figures.by_seed[arm],
            "steps": sorted({int(run["steps"]) for run in found}),
            "chosen": [int(run["chosen"]) for run in found],
            "validation": [round(float(run["validation"].min()), 6) for run in found],
        }
        for arm, found in runs.items()
    }
    pairs = [(arm, against) for arm, against in PAIRS if {arm, against} <= set(runs)]
    return {
        "arms": arms,
        "differences": [{"arm": arm, "against": against, **figures.difference(arm, against)} for arm, against in pairs],
    }
