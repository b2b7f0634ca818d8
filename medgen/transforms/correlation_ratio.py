"""The correlation ratio: how well classes of one image predict the intensities of another, and its derivative."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medgen.transforms.volumes import Affine

__all__ = ["CorrelationRatio"]

Array = NDArray[np.float32]


class CorrelationRatio:
    """One minus the share of an image's variance that classes explain, when the image is read at moved points.

    With ``v`` the intensities at the points, ``m`` their mean and ``m_k`` the mean in class k::

        1 - eta^2 = sum_k sum_{i in k} (v_i - m_k)^2 / sum_i (v_i - m)^2

    A. Roche et al., "The correlation ratio as a new similarity measure for multimodal image registration", MICCAI 1998,
    eq. 3. It needs no more than that a class looks the same wherever it is.

    Args:
        image: (*spatial), 0 outside.
        affine: of the image, (4, 4), voxel -> mm.
        points: (N, dims), in another world, mm.
        classes: (N,), 0 and above.
    """

    def __init__(self, image: Array, affine: Affine, points: NDArray[np.float64], classes: NDArray[np.int64]) -> None:
        self.image, self.classes, self.dims = image, classes, image.ndim
        self.to_voxel = np.linalg.inv(affine)
        self.points = np.vstack([points.T, np.ones(len(points))])
        self.counts = np.maximum(np.bincount(classes), 1)
        self._slopes: list[Array] | None = None

    def __call__(self, matrix: Affine) -> float:
        """Return the value, in [0, 1], for a (4, 4) from the points' world to the image's; 1 for a constant."""
        return self._ratio(self._read(self.image, matrix))[0]

    def derivative(self, matrix: Affine) -> tuple[float, NDArray[np.float64]]:
        """Return the value and its derivative (dims, dims + 1) by the upper rows of the matrix, last column last."""
        if self._slopes is None:
            self._slopes = [np.ascontiguousarray(slope) for slope in np.gradient(self.image)]
        values = self._read(self.image, matrix)
        ratio, explained, variance = self._ratio(values)
        if variance == 0.0:
            return ratio, np.zeros((self.dims, self.dims + 1))
        by_value = 2.0 / variance * (values - explained - ratio * (values - values.mean()))
        by_voxel = np.stack([self._read(slope, matrix) for slope in self._slopes]) * by_value
        return ratio, self.to_voxel[: self.dims, : self.dims].T @ by_voxel @ self.points.T

    def _read(self, image: Array, matrix: Affine) -> NDArray[np.float64]:
        change = self.to_voxel @ matrix
        dims = self.dims
        where = change[:dims, :dims] @ self.points[:-1] + change[:dims, 3:]
        return ndimage.map_coordinates(image, where, np.float64, order=1, mode="constant", prefilter=False)

    def _ratio(self, values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], float]:
        """Return the ratio, the mean of each point's class, and the sum of squared deviations from the mean."""
        means = np.bincount(self.classes, values, minlength=len(self.counts)) / self.counts
        explained = means[self.classes]
        variance = float(((values - values.mean()) ** 2).sum())
        if variance < 1e-6 * len(values):
            return 1.0, explained, 0.0
        return float(((values - explained) ** 2).sum()) / variance, explained, variance
