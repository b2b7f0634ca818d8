"""Fréchet distance between two sets of features."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgen.metrics.checks import feature_pair

__all__ = ["frechet_distance", "frechet_of_moments", "frechet_replicates"]


def frechet_distance(a: ArrayLike, b: ArrayLike) -> float:
    r"""Squared 2-Wasserstein distance between Gaussians fitted to two sets of features.

    .. math:: |\mu_a - \mu_b|^2 + \mathrm{tr}\,(C_a + C_b) - 2\,\mathrm{tr}\,(C_a^{1/2} C_b C_a^{1/2})^{1/2}

    (Heusel et al. 2017, Eq. 6, arXiv:1706.08500; the trace of the root is taken in the symmetric form, so that only
    ``eigh`` is needed and covariances of deficient rank do no harm.) It is only to be called FID when the features are
    those of the Inception network. Its expectation falls with the number of samples: show it beside the distance of
    real to real at the same sizes.

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
    ones_a, ones_b = np.ones((1, len(features_a))), np.ones((1, len(features_b)))
    return float(frechet_replicates(features_a, features_b, ones_a, ones_b)[0])


def frechet_of_moments(mean_a: ArrayLike, covariance_a: ArrayLike, mean_b: ArrayLike, covariance_b: ArrayLike) -> float:
    """Return :func:`frechet_distance` of Gaussians with these means ``(D,)`` and covariances ``(D, D)``."""
    parts = [np.asarray(part, np.float64)[None] for part in (mean_a, covariance_a, mean_b, covariance_b)]
    return float(_of_moments(*parts)[0])


def frechet_replicates(
    a: NDArray[np.float64], b: NDArray[np.float64], weights_a: ArrayLike, weights_b: ArrayLike
) -> NDArray[np.float64]:
    """Return :func:`frechet_distance` for many weightings of the rows, for the bootstrap.

    Features of more dimensions than there are samples (pixels, Inception's) are rotated into the space that the samples
    span, which changes nothing but the cost.

    Args:
        a: features, shape ``(N, D)``.
        b: features, shape ``(M, D)``.
        weights_a: how often each row of ``a`` counts, shape ``(R, N)``; one replicate a row.
        weights_b: how often each row of ``b`` counts, shape ``(R, M)``.

    Returns:
        Shape ``(R,)``; NaN where a side is left with fewer than two samples.
    """
    if a.shape[1] > len(a) + len(b):
        a, b = _spanned(a, b)
    mean_a, covariance_a = _moments(a, np.asarray(weights_a, np.float64))
    mean_b, covariance_b = _moments(b, np.asarray(weights_b, np.float64))
    usable = np.isfinite(covariance_a).all((1, 2)) & np.isfinite(covariance_b).all((1, 2))
    result = np.full(len(mean_a), np.nan)
    result[usable] = _of_moments(mean_a[usable], covariance_a[usable], mean_b[usable], covariance_b[usable])
    return result


def _of_moments(
    mean_a: NDArray[np.float64], ca: NDArray[np.float64], mean_b: NDArray[np.float64], cb: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distances ``(R,)`` of R pairs of Gaussians."""
    values, vectors = np.linalg.eigh(ca)
    root_a = (vectors * _roots(values)[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    product = root_a @ cb @ root_a
    cross = _roots(np.linalg.eigvalsh((product + np.swapaxes(product, 1, 2)) / 2)).sum(1)
    traces = np.trace(ca, axis1=1, axis2=2) + np.trace(cb, axis1=1, axis2=2)
    result: NDArray[np.float64] = (((mean_a - mean_b) ** 2).sum(1) + traces - 2 * cross).clip(min=0)
    return result


def _spanned(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates ``(N, N + M)`` and ``(M, N + M)`` of rows in an orthonormal basis of the space they span."""
    origin = a.mean(0)
    basis = np.linalg.qr(np.concatenate([a - origin, b - origin]).T)[0]
    return (a - origin) @ basis, (b - origin) @ basis


def _roots(eigenvalues: NDArray[np.float64]) -> NDArray[np.float64]:
    """Square roots ``(R, D)``; eigenvalues that are 0 but for rounding would give roots of 1e-8 and so become 0."""
    smallest = eigenvalues.shape[1] * np.finfo(np.float64).eps * eigenvalues.max(1, keepdims=True)
    result: NDArray[np.float64] = np.sqrt(np.where(eigenvalues > smallest, eigenvalues, 0))
    return result


def _moments(x: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted means ``(R, D)`` and unbiased covariances ``(R, D, D)``; NaN below two samples."""
    total = weights.sum(1)
    origin = x.mean(0)  # centring first keeps the subtraction below from cancelling
    centred = x - origin
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = weights @ centred / total[:, None]
        second = np.stack([(centred * row[:, None]).T @ centred for row in weights])
        covariance = (second - total[:, None, None] * mean[:, :, None] * mean[:, None, :]) / (total - 1)[:, None, None]
    covariance[total < 2] = np.nan
    return mean + origin, covariance
