"""Does what lies just outside the brain tell the diagnosis?

It should not. Where it does, something other than the brain differs between the groups (the scanner, the sequence, the
fit of the mask), and a generator or a classifier may learn that instead of the disease.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medgen.metrics.resampling import bootstrap
from medgen.metrics.roc import roc_auc_replicates
from medgen.randomness import numpy_generator

__all__ = ["OCTANTS", "rim_features", "rim_test"]

WIDTH_MM = 5.0
OCTANTS = 8
LEAST_SUBJECTS = 10  # of each label
FOLDS = 5


def rim_features(head: NDArray[Any], brain: NDArray[np.bool_], spacing: Sequence[float]) -> list[float]:
    """Return how bright the rim around the brain is in each of the eight octants, over the brain's median.

    Args:
        head: (X, Y, Z), the image before it was masked.
        brain: the mask, (X, Y, Z).
        spacing: voxel size in mm.

    Returns:
        Eight numbers; 0 where the image has no rim, as when the skull was stripped before.
    """
    steps = max(1, round(WIDTH_MM / float(np.mean(spacing))))
    box = tuple(
        slice(max(0, part.start - steps), part.stop + steps) for part in ndimage.find_objects(brain.astype(np.uint8))[0]
    )
    inside, values = brain[box], head[box]
    rim = ndimage.binary_dilation(inside, iterations=steps) & ~inside
    scale = float(np.median(values[inside]))
    where = np.nonzero(rim)
    middle = [0.5 * (n - 1) for n in rim.shape]
    octant = sum(
        (places > centre).astype(np.intp) << bit for bit, (places, centre) in enumerate(zip(where, middle, strict=True))
    )
    total = np.bincount(octant, weights=values[where], minlength=OCTANTS)
    means = total / np.maximum(np.bincount(octant, minlength=OCTANTS), 1)
    return [round(float(mean), 5) for mean in means / (scale if scale > 0 else 1.0)]


def rim_test(
    features: NDArray[np.float64],
    positive: NDArray[np.bool_],
    subjects: Sequence[str],
    seed: int = 0,
    replicates: int = 1000,
) -> dict[str, Any]:
    """Ask whether a linear classifier of the rim's brightness tells the labels of subjects that it never saw.

    Ridge regression on standardised features, in five folds of subjects.

    Args:
        features: (N, K), of :func:`rim_features`, one row per scan.
        positive: (N,), the label.
        subjects: N names; all scans of one are in one fold.
        seed: of the folds and the bootstrap.
        replicates: of the bootstrap over subjects.

    Returns:
        "auc", "low" and "high" (95 %), or "reason", why there is none; "subjects" counts those without and with the
        label.
    """
    first = {subject: bool(label) for subject, label in reversed(list(zip(subjects, positive, strict=True)))}
    counts = [sum(not label for label in first.values()), sum(first.values())]
    if min(counts) < LEAST_SUBJECTS:
        return {"subjects": counts, "reason": f"not enough subjects, needs {LEAST_SUBJECTS} of each label"}
    if float(np.ptp(features)) < 1e-6:
        return {"subjects": counts, "reason": "nothing lies outside the brain: the skull was stripped before"}
    scores = _held_out_scores(features, positive, subjects, first, seed)
    try:
        found = bootstrap(lambda w: roc_auc_replicates(positive, scores, w), subjects, replicates, seed=seed)
    except ValueError as error:
        return {"subjects": counts, "reason": str(error)}
    return {"subjects": counts, "auc": found.estimate, "low": found.low, "high": found.high}


def _held_out_scores(
    features: NDArray[np.float64],
    positive: NDArray[np.bool_],
    subjects: Sequence[str],
    label: dict[str, bool],
    seed: int,
) -> NDArray[np.float64]:
    """Score every scan by a model of the other folds; each fold has its share of both labels."""
    random = numpy_generator("rim", seed)
    fold: dict[str, int] = {}
    for value in (False, True):
        members = sorted(subject for subject in label if label[subject] == value)
        fold |= {members[k]: place % FOLDS for place, k in enumerate(random.permutation(len(members)))}
    own, scores = np.array([fold[subject] for subject in subjects]), np.zeros(len(subjects))
    for k in range(FOLDS):
        seen = own != k
        mean, spread = features[seen].mean(0), features[seen].std(0) + 1e-9
        x, y = (features - mean) / spread, positive.astype(float)
        penalty = 0.1 * seen.sum() * np.eye(x.shape[1])
        weights = np.linalg.solve(x[seen].T @ x[seen] + penalty, x[seen].T @ (y[seen] - y[seen].mean()))
        scores[~seen] = x[~seen] @ weights
    return scores
