"""Training images most like generated ones after small shifts, flips and rotations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from medgen.metrics.aligned import ShiftedImages
from medgen.metrics.checks import check_finite
from medgen.metrics.neighbours import Neighbours
from medgen.metrics.places import Places, subject_codes
from medgen.metrics.poses import poses
from medgen.metrics.spectrum import SpectrumSignature, reduced

__all__ = ["AlignedSearch"]

FINE = {2: 64, 3: 40}  # voxels a side at which correlation is measured


class AlignedSearch:
    """Finds, for each image, the training image that correlates best with it in any of several poses.

    A generator that learned a scan by heart may give it back shifted, mirrored or slightly turned. Every query is
    turned by each angle and mirrored (:func:`medgen.metrics.poses.poses`), and each of these is compared with training
    images at every shift within reach (:func:`medgen.metrics.aligned.shifted_correlation`). To keep that quick,
    candidates are chosen first, in all poses, by a signature that shifts do not change
    (:class:`medgen.metrics.spectrum.SpectrumSignature`): of each subject the nearest image, and of these the nearest
    subjects', at the query's place; and beside these the nearest anywhere, since a generator may give back a scan of
    another place than it was asked for. What the choice loses, the recall of planted copies shows.

    Args:
        images: training images ``(M, C, *spatial)`` in [-1, 1], 2D or 3D.
        subjects: theirs.
        places: where each image is taken, such as plane and slice position; None compares with all.
        degrees: angles other than 0 by which queries are turned, about each axis.
        reach: shifts, as a fraction of the side.
        candidates: subjects at the query's place whose nearest image by the signature is compared.
        anywhere: subjects whose nearest image by the signature is compared wherever it is taken.
        block: queries at once.

    Raises:
        ValueError: when images are neither 2D nor 3D, not finite, or subjects are not as many.
    """

    def __init__(
        self,
        images: ArrayLike,
        subjects: Sequence[str],
        places: Places | None = None,
        degrees: Sequence[float] = (-6.0, -3.0, 3.0, 6.0),
        reach: float = 0.0625,
        candidates: int = 5,
        anywhere: int = 2,
        block: int = 16,
    ) -> None:
        if not 0 <= reach < 0.5:
            raise ValueError(f"reach: expected a fraction of the side in [0, 0.5), found {reach}")
        if candidates < 1 or anywhere < 0:
            raise ValueError(f"candidates, anywhere: expected 1 or more and 0 or more, found {candidates}, {anywhere}")
        self.subjects = subject_codes(subjects)
        self.fine = reduced(_checked(images, "images"), FINE)
        if len(self.subjects) != len(self.fine):
            raise ValueError(f"subjects: expected one for each of {len(self.fine)} images, found {len(self.subjects)}")
        self.places, self.degrees, self.block = places, tuple(degrees), block
        self.candidates, self.anywhere = candidates, anywhere if places is not None else 0
        self.reach = tuple(max(1, round(reach * n)) if reach else 0 for n in self.fine.shape[2:])
        self.signature = SpectrumSignature(self.fine)
        self.signatures = self.signature(self.fine)

    def settings(self) -> dict[str, object]:
        """What the result depends on beside the images."""
        return {"degrees": self.degrees, "reach": self.reach, "candidates": [self.candidates, self.anywhere]}

    def nearest(self, queries: ArrayLike, places: NDArray[np.float64] | None = None, k: int = 1) -> Neighbours:
        """Find each query's nearest training images, of k different subjects.

        Args:
            queries: ``(N, C, *spatial)`` of the training images' shape.
            places: ``(N, ...)`` where they are taken, as ``places`` of the training images.
            k: how many; at most ``candidates`` and the number of subjects.

        Returns:
            Rows of training images and correlations ``(N, k)``, nearest first. Where a place holds fewer than k
            subjects, the last ones are repeated.
        """
        images = reduced(_checked(queries, "queries"), FINE)
        if images.shape[1:] != self.fine.shape[1:]:
            raise ValueError(f"queries: expected {tuple(self.fine.shape[1:])}, found {tuple(images.shape[1:])}")
        if not 1 <= k <= min(self.candidates, int(self.subjects.max()) + 1):
            raise ValueError(f"k: expected 1 to {min(self.candidates, int(self.subjects.max()) + 1)}, found {k}")
        rows, scores = [], []
        for start in range(0, len(images), self.block):
            part = slice(start, start + self.block)
            turned = poses(images[part], self.degrees)
            near = np.ones((len(turned), len(self.fine)), bool)
            if self.places is not None:
                if places is None:
                    raise ValueError("places: expected those of the queries, found none")
                near = self.places.near(places[part])
            unlike = self._unlike(turned)
            for one, distance, allowed in zip(turned, unlike, near, strict=True):
                chosen = self._candidates(distance, allowed)
                fine = self._fine(one, chosen)
                order = np.argsort(-fine, kind="stable")
                order = order[np.sort(np.unique(self.subjects[chosen[order]], return_index=True)[1])][:k]
                order = np.concatenate([order, np.repeat(order[-1:], k - len(order))])
                rows.append(chosen[order])
                scores.append(fine[order])
        return Neighbours(np.stack(rows), np.stack(scores))

    def _unlike(self, turned: Tensor) -> NDArray[np.float32]:
        """Least distance ``(B, M)`` of the signatures of each query's poses from each training image's."""
        signatures = self.signature(turned.flatten(0, 1))
        distances = torch.cdist(signatures, self.signatures).reshape(*turned.shape[:2], -1).amin(1)
        return distances.numpy()

    def _candidates(self, distance: NDArray[np.float32], allowed: NDArray[np.bool_]) -> NDArray[np.intp]:
        """The nearest image of each of the nearest subjects, at the place and then anywhere, each row once."""
        rows = []
        for among, count in ((np.flatnonzero(allowed), self.candidates), (np.arange(len(allowed)), self.anywhere)):
            order = among[np.argsort(distance[among], kind="stable")]
            first = np.sort(np.unique(self.subjects[order], return_index=True)[1])
            rows.append(order[first[:count]])
        found: NDArray[np.intp] = np.unique(np.concatenate(rows))
        return found

    def _fine(self, turned: Tensor, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
        """Correlation with each chosen training image at the best pose and shift."""
        references = ShiftedImages(self.fine[torch.from_numpy(chosen)], self.reach, "reference")
        found = ShiftedImages(turned, self.reach, "query").correlate(references)
        return found.amax(0).double().numpy()


def _checked(images: ArrayLike, name: str) -> Tensor:
    check_finite(images, name)
    tensor = torch.as_tensor(images, dtype=torch.float32)
    if tensor.ndim not in (4, 5):
        raise ValueError(f"{name}: expected 2D or 3D images (N, C, *spatial), found {tuple(tensor.shape)}")
    return tensor
