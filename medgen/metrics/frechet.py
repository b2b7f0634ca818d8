"""Fréchet distance between two sets of features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgen.metrics.checks import feature_pair

__all__ = ["Gaussian", "frechet_distance", "frechet_of_moments"]

Array = NDArray[np.float64]


def frechet_distance(a: ArrayLike, b: ArrayLike) -> float:
    r"""Squared 2-Wasserstein distance between Gaussians fitted to two sets of features.

    .. math:: |\mu_a - \mu_b|^2 + \mathrm{tr}\,(C_a + C_b) - 2\,\mathrm{tr}\,(C_a^{1/2} C_b C_a^{1/2})^{1/2}

    (Heusel et al. 2017, Eq. 6, arXiv:1706.08500.) With centred samples, :math:`C_a = X_a^T X_a`, the trace of the root
    is the sum of the singular values of :math:`X_a X_b^T`: no root is taken of a covariance, so that directions of
    little variance keep their digits and covariances of deficient rank do no harm. It is only to be called FID when the
    features are those of the Inception network. Its expectation falls with the number of samples: show it beside the
    distance of real to real at the same sizes.

    Args:
        a: features, shape ``(N, D)``, N at least 2.
        b: features, shape ``(M, D)``, M at least 2.

    Returns:
        The distance, at least 0, in squared units of the features; computed in float64 with unbiased covariances.

    Raises:
        ValueError: when widths differ, a side has fewer than two rows, or a value is not finite.

    Example:
        >>> import numpy as np
        >>> a = np.array([[0.0], [2.0]])
        >>> frechet_distance(a, a + 3)
        9.0
    """
    features_a, features_b = feature_pair(a, b, least=2)
    return Gaussian.of(features_a).distance(Gaussian.of(features_b))


def frechet_of_moments(mean_a: ArrayLike, covariance_a: ArrayLike, mean_b: ArrayLike, covariance_b: ArrayLike) -> float:
    """Return :func:`frechet_distance` of Gaussians with these means ``(D,)`` and covariances ``(D, D)``."""
    sides = ((mean_a, covariance_a), (mean_b, covariance_b))
    first, second = (Gaussian(np.asarray(m, np.float64), _root(np.asarray(c, np.float64))) for m, c in sides)
    return first.distance(second)


class Gaussian(NamedTuple):
    """A Gaussian fitted to features, kept for distances to several others.

    Args:
        mean: ``(D,)``.
        factor: ``(K, D)``, K at most D; its product with itself, ``factor.T @ factor``, is the covariance.
    """

    mean: Array
    factor: Array

    @classmethod
    def of(cls, features: Array) -> Gaussian:
        """Fit to features ``(N, D)``, N at least 2, with the unbiased covariance."""
        mean = features.mean(0)
        factor = (features - mean) / np.sqrt(len(features) - 1)
        if len(factor) > factor.shape[1]:  # as many rows as columns are enough, and cheaper from here on
            factor = np.asarray(np.linalg.qr(factor, mode="r"))
        return cls(mean, factor)

    def distance(self, other: Gaussian) -> float:
        """The Fréchet distance, at least 0."""
        cross = np.linalg.svd(self.factor @ other.factor.T, compute_uv=False).sum()
        traces = (self.factor**2).sum() + (other.factor**2).sum()
        return max(0.0, float(((self.mean - other.mean) ** 2).sum() + traces - 2 * cross))


def _root(covariance: Array) -> Array:
    """A factor ``(D, D)`` of a covariance; eigenvalues that rounding made negative count as 0."""
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    result: Array = np.sqrt(values.clip(min=0))[:, None] * vectors.T
    return result
