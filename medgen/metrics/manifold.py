"""Precision, recall, density and coverage: fidelity and diversity told apart by neighbourhoods in feature space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgen.metrics.checks import feature_pair, group_indices

__all__ = ["Balls", "Manifold", "manifold_figures", "neighbour_radii"]

Array = NDArray[np.float64]
Groups = Sequence[str | int] | None
BLOCK = 1024  # rows whose distances are held at once


class Manifold(NamedTuple):
    """Fidelity (precision, density) and diversity (recall, coverage) of generated samples.

    Args:
        precision: fraction of generated samples within reach of a real one.
        recall: fraction of real samples within reach of a generated one.
        density: real neighbourhoods a generated sample lies in, over those a real one is expected to; may exceed 1.
        coverage: fraction of real samples in whose own neighbourhood a generated one lies.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifold_figures(
    real: ArrayLike, generated: ArrayLike, k: int = 5, groups_real: Groups = None, groups_generated: Groups = None
) -> Manifold:
    r"""Improved precision and recall, density and coverage of generated samples.

    The neighbourhood of a sample is the ball that reaches its k-th nearest neighbour on its own side. Precision and
    recall: Kynkäänniemi et al. 2019, Eq. 1 and 2 (arXiv:1904.06991, which takes k = 3); density and coverage: Naeem et
    al. 2020, Eq. 4 and 5 (arXiv:2002.09797, which takes k = 5 and shows that one outlier among the real samples raises
    precision, and not density). All fall or rise with the number of samples: read them beside those of real samples in
    the place of the generated ones. Distances are computed in blocks, never all at once.

    Args:
        real: features, shape ``(N, D)``.
        generated: features, shape ``(M, D)``.
        k: the neighbour that a ball reaches.
        groups_real: the subject of each real sample. Slices of one brain are near copies; neighbours of the same
            group are passed over, or balls would reach no further than the next slice.
        groups_generated: the same of the generated side; each its own group when absent.

    Returns:
        The four figures, float64.

    Raises:
        ValueError: when widths differ, a value is not finite, or a sample has fewer than k neighbours outside its
            group.

    Example:
        >>> import numpy as np
        >>> line = np.arange(20.0)[:, None]
        >>> manifold_figures(line, line[:10], k=2)
        Manifold(precision=1.0, recall=0.6, density=1.5, coverage=0.55)
    """
    a, b = feature_pair(real, generated, least=2)
    of_real, of_generated = Balls(a, k, groups_real, "real"), Balls(b, k, groups_generated, "generated")
    balls, reached = of_real.count(b)
    return Manifold(
        precision=float((balls > 0).mean()),
        recall=float((of_generated.count(a)[0] > 0).mean()),
        density=float(balls.sum() / (k * len(b))),
        coverage=float(reached.mean()),
    )


class Balls:
    """The neighbourhoods of a set of samples.

    Args:
        features: ``(N, D)``, float64.
        k: the neighbour that a ball reaches.
        groups: the group of each sample, whose members are not its neighbours; None for each its own.
        name: what to call the samples in messages.

    Attributes:
        radii: ``(N,)``.
    """

    def __init__(self, features: Array, k: int = 5, groups: Groups = None, name: str = "features") -> None:
        self.features, self.k = features, k
        self.radii = neighbour_radii(features, k, groups, name)

    def count(self, points: Array) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """In how many balls each of M points lies, ``(M,)``, and whether any lies in each ball, ``(N,)``.

        Distances are taken in blocks; what is held at once does not grow with M.
        """
        balls, reached = np.zeros(len(points), dtype=np.intp), np.zeros(len(self.features), dtype=bool)
        for start in range(0, len(points), BLOCK):
            inside = _distances(points[start : start + BLOCK], self.features) <= self.radii
            balls[start : start + BLOCK] = inside.sum(1)
            reached |= inside.any(0)
        return balls, reached


def neighbour_radii(features: Array, k: int, groups: Groups = None, name: str = "features") -> Array:
    """Distance of each sample ``(N, D)`` to its k-th nearest neighbour of another group; shape ``(N,)``.

    Raises:
        ValueError: when a sample has fewer than k such neighbours.
    """
    member = group_indices(groups, len(features), f"groups of {name}")
    fewest = len(features) - int(np.bincount(member).max())
    if not 1 <= k <= fewest:
        raise ValueError(f"k: expected 1 to {fewest}, the neighbours at hand among the {name} samples, found {k}")
    radii = np.empty(len(features))
    for start in range(0, len(features), BLOCK):
        part = slice(start, start + BLOCK)
        distances = _distances(features[part], features)
        distances[member[part, None] == member[None, :]] = np.inf
        radii[part] = np.partition(distances, k - 1, axis=1)[:, k - 1]
    return radii


def _distances(a: Array, b: Array) -> Array:
    """Euclidean distances ``(N, M)``."""
    squared = (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)
    result: Array = np.sqrt(squared.clip(min=0))
    return result
