"""Where images are taken, and which are taken near each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Places", "subject_codes"]


class Places:
    """Places of training images, such as plane and slice position.

    Args:
        values: ``(M, K)``, NaN unknown.
        tolerance: how far each of the K may differ; 0 asks for equality.

    Example:
        >>> import numpy as np
        >>> planes_and_slices = np.array([[0, 0.45], [0, 0.6], [1, 0.45]])
        >>> Places(planes_and_slices, (0, 0.06)).near(np.array([[0, 0.5], [1, np.nan]]))
        array([[ True, False, False],
               [False, False,  True]])
    """

    def __init__(self, values: ArrayLike, tolerance: Sequence[float]) -> None:
        self.values, self.tolerance = np.asarray(values, np.float64), tuple(tolerance)
        if self.values.ndim != 2 or self.values.shape[1] != len(self.tolerance):
            raise ValueError(
                f"values: expected (images, {len(self.tolerance)}), one column a tolerance, found {self.values.shape}"
            )

    def near(self, values: ArrayLike) -> NDArray[np.bool_]:
        """Which training images are at the place of each query; all are where none is, or the place is unknown.

        Args:
            values: ``(N, K)``, NaN unknown.

        Returns:
            ``(N, M)``.
        """
        queries = np.asarray(values, np.float64)
        near = np.ones((len(queries), len(self.values)), bool)
        for column, allowed in enumerate(self.tolerance):
            difference = np.abs(queries[:, column, None] - self.values[None, :, column])
            closer = near & ~(difference > allowed + 1e-9)  # unknown places are near all
            near = np.where(closer.any(1, keepdims=True), closer, near)
        return near


def subject_codes(subjects: Sequence[str]) -> NDArray[np.intp]:
    """Number each subject from 0, in sorted order."""
    return np.unique(np.asarray(subjects), return_inverse=True)[1].ravel()
