"""Inception Score: do class probabilities say of each image one class, and of all images many?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgen.metrics.checks import finite_array
from medgen.randomness import numpy_generator

__all__ = ["InceptionScore", "inception_score", "inception_score_replicates"]


class InceptionScore(NamedTuple):
    """An Inception Score over splits.

    Args:
        value: mean over the splits.
        spread: standard deviation over the splits.
    """

    value: float
    spread: float


def inception_score(probabilities: ArrayLike, splits: int = 10, seed: int | None = 0) -> InceptionScore:
    r"""Return :math:`\exp E_x KL(p(y | x) \| p(y))` (Salimans et al. 2016, section 4, arXiv:1606.03498).

    It is 1 where all images get the same probabilities, and the number of classes at best. It knows nothing of real
    images, and a generator of one clear image a class scores highest: never read it alone. Its name belongs to the
    Inception network's 1,008 classes; of another classifier's it is a score of that classifier.

    Args:
        probabilities: of the classes, shape ``(N, K)``, rows adding up to 1.
        splits: parts that the score is computed in; fewer images a part give lower scores.
        seed: of the order before splitting; None keeps the order.

    Returns:
        Mean and standard deviation over the splits.

    Raises:
        ValueError: when rows are no probabilities, or there are fewer images than splits.

    Example:
        >>> inception_score([[1, 0], [0, 1]] * 4, splits=1)
        InceptionScore(value=2.0, spread=0.0)
    """
    p = finite_array(probabilities, "probabilities")
    if p.ndim != 2 or (p < 0).any() or not np.allclose(p.sum(1), 1, atol=1e-4):
        raise ValueError(f"probabilities: expected rows (images, classes) that add up to 1, found {p.shape}")
    if not 1 <= splits <= len(p):
        raise ValueError(f"splits: expected 1 to {len(p)} (the images at hand), found {splits}")
    if seed is not None:
        p = p[numpy_generator("inception score", seed).permutation(len(p))]
    scores = [
        float(np.exp(_divergence(p[i * len(p) // splits : (i + 1) * len(p) // splits]).mean())) for i in range(splits)
    ]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def inception_score_replicates(p: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the score, in one part, of probabilities ``(N, K)`` under weights ``(R, N)`` of the images; ``(R,)``."""
    logarithm = np.log(p, out=np.zeros_like(p), where=p > 0)
    total = weights.sum(1)
    mean = weights @ p / total[:, None]
    marginal = (mean * np.log(mean, out=np.zeros_like(mean), where=mean > 0)).sum(1)
    result: NDArray[np.float64] = np.exp(weights @ (p * logarithm).sum(1) / total - marginal)
    return result


def _divergence(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """KL divergence of each row from the mean row; 0 log 0 is 0."""
    ratio = np.divide(p, p.mean(0), out=np.ones_like(p), where=p > 0)
    result: NDArray[np.float64] = (p * np.log(ratio)).sum(1)
    return result
