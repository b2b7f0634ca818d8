"""Nearest training images of generated ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgen.metrics.checks import feature_pair
from medgen.metrics.places import subject_codes

__all__ = ["Neighbours", "nearest_neighbours"]


class Neighbours(NamedTuple):
    """The nearest references of each query, nearest first.

    Args:
        rows: which references, shape ``(N, k)``.
        scores: similarity (correlation) or distance (Euclidean), shape ``(N, k)``.
    """

    rows: NDArray[np.intp]
    scores: NDArray[np.float64]


def nearest_neighbours(
    queries: ArrayLike,
    references: ArrayLike,
    k: int = 1,
    kind: str = "correlation",
    subjects: Sequence[str] | None = None,
    block: int = 256,
) -> Neighbours:
    """Find the references most like each query.

    Args:
        queries: images ``(N, ...)`` or features ``(N, D)``; flattened.
        references: images or features of the same shape, M of them.
        k: how many to return.
        kind: "correlation" (Pearson, over pixels) or "euclidean" (over features).
        subjects: the subject of each reference. When given, each of the k neighbours is another subject's nearest
            image, so that the slices of one brain do not fill the list.
        block: queries compared at once.

    Returns:
        Indices and scores, nearest first; in float64.

    Raises:
        ValueError: when shapes differ, ``kind`` is neither, or there are fewer than k references (or subjects).
    """
    if kind not in ("correlation", "euclidean"):
        raise ValueError(f"kind: expected 'correlation' or 'euclidean', found {kind!r}")
    flat = [np.asarray(side, np.float64).reshape(len(np.asarray(side)), -1) for side in (queries, references)]
    a, b = feature_pair(flat[0], flat[1], least=1)
    member, available = None, len(b)
    if subjects is not None:
        if len(subjects) != len(b):
            raise ValueError(f"subjects: expected one for each of {len(b)} references, found {len(subjects)}")
        member = subject_codes(subjects)
        available = int(member.max()) + 1
    if not 1 <= k <= available:
        raise ValueError(f"k: expected 1 to {available} (references or subjects at hand), found {k}")
    if kind == "correlation":
        a, b = _standardised(a), _standardised(b)
    indices, scores = [], []
    for start in range(0, len(a), block):
        part = a[start : start + block]
        if kind == "correlation":
            cost = -(part @ b.T)
        else:
            squared = (part**2).sum(1)[:, None] - 2 * part @ b.T + (b**2).sum(1)
            cost = np.sqrt(squared.clip(min=0))
        index = _best_per_subject(cost, member) if member is not None else np.tile(np.arange(len(b)), (len(part), 1))
        found = np.take_along_axis(cost, index, 1)
        order = np.argsort(found, axis=1, kind="stable")[:, :k]
        indices.append(np.take_along_axis(index, order, 1))
        scores.append(np.take_along_axis(found, order, 1))
    score = np.concatenate(scores)
    return Neighbours(np.concatenate(indices), -score if kind == "correlation" else score)


def _best_per_subject(cost: NDArray[np.float64], member: NDArray[np.intp]) -> NDArray[np.intp]:
    """Index of each subject's cheapest reference, shape ``(N, subjects)``."""
    order = np.argsort(member, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(member[order]) > 0])
    groups = np.split(order, starts[1:])
    return np.stack([group[cost[:, group].argmin(1)] for group in groups], axis=1)


def _standardised(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows with mean 0 and length 1, so that a product of two is their correlation; constant rows become 0."""
    centred = rows - rows.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    result: NDArray[np.float64] = centred / np.where(length > 1e-12, length, 1)
    return result
