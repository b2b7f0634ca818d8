"""Area under the receiver operating characteristic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgen.metrics.checks import finite_array

__all__ = ["roc_auc", "roc_auc_replicates", "subject_means"]


def roc_auc(positive: ArrayLike, scores: ArrayLike) -> float:
    r"""Probability that a positive sample scores above a negative one, ties counting one half.

    The Mann-Whitney form :math:`P(s_+ > s_-) + P(s_+ = s_-) / 2` (Hanley and McNeil 1982).

    Args:
        positive: truth, shape ``(N,)``, boolean or 0 / 1.
        scores: scores, shape ``(N,)``, larger for positive.

    Returns:
        The area, 0 to 1; 0.5 is chance.

    Raises:
        ValueError: when lengths differ, a class is absent, or a score is not finite.

    Example:
        >>> roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])
        0.875
    """
    truth, values = np.asarray(positive), finite_array(scores, "scores")
    if truth.shape != values.shape or truth.ndim != 1:
        raise ValueError(f"roc_auc: expected two lists of one length, found {truth.shape} and {values.shape}")
    found = set(np.unique(truth).tolist())
    if found != {0, 1}:
        raise ValueError(f"positive: expected both 0 and 1, found {sorted(found)}")
    return float(roc_auc_replicates(truth.astype(bool), values, np.ones((1, len(values))))[0])


def roc_auc_replicates(
    positive: NDArray[np.bool_], scores: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return :func:`roc_auc` for many weightings ``(R, N)`` of the samples; NaN where a class is absent."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])  # first of each run of equal scores
    ordered, truth = weights[:, order], positive[order]
    plus = np.add.reduceat(ordered * truth, starts, axis=1)
    minus = np.add.reduceat(ordered * ~truth, starts, axis=1)
    below = np.cumsum(minus, axis=1) - minus / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        result: NDArray[np.float64] = (plus * below).sum(1) / (plus.sum(1) * minus.sum(1))
    return result


def subject_means(values: ArrayLike, subjects: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
    """Average slices to subjects: the subjects in sorted order and the mean of each one's values."""
    names, member = np.unique(np.asarray(subjects), return_inverse=True)
    member = member.ravel()
    means = np.bincount(member, weights=finite_array(values, "values")) / np.bincount(member)
    return names.tolist(), means
