"""Correlation of two images at the best of all small shifts, by the fast Fourier transform."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.fft import next_fast_len
from torch import Tensor

__all__ = ["ShiftedImages", "shifted_correlation"]

FLAT = 1e-6  # variance of an image of one colour


class ShiftedImages:
    r"""Images prepared for correlation with others at all shifts within ``reach``.

    The correlation at a shift is Pearson's over the pixels where both images are, so that nothing wraps around. Its
    cross term is one inverse transform; the sums and squares over the overlap are those of each image alone, so that
    they are computed once an image (Padfield 2012, Masked object registration in the Fourier domain, eq. 11-18, for
    masks that are the whole image):

    .. math:: r(s) = \frac{n \sum ab - \sum a \sum b}{\sqrt{n \sum a^2 - (\sum a)^2} \sqrt{n \sum b^2 - (\sum b)^2}}

    Args:
        images: ``(N, C, *spatial)``; channels are compared together.
        reach: pixels along each axis, one number an axis.
        side: "query" or "reference", which of the two is held still.
    """

    def __init__(self, images: Tensor, reach: Sequence[int], side: str) -> None:
        axes = tuple(range(-len(reach), 0))
        values = images.float()
        values = values - values.mean(dim=(1, *axes), keepdim=True)  # Pearson does not see it; float32 does
        self.reach, self.axes, self.spatial = tuple(reach), axes, tuple(images.shape[2:])
        self.size = tuple(next_fast_len(n + r, real=True) for n, r in zip(self.spatial, reach, strict=True))
        self.transform = torch.fft.rfftn(values, s=self.size, dim=axes)
        ones = torch.fft.rfftn(torch.ones(1, 1, *self.spatial, device=images.device), s=self.size, dim=axes)
        squares = torch.fft.rfftn(values**2, s=self.size, dim=axes)
        self.count = images.shape[1] * self._window(ones.conj() * ones)
        if side == "query":
            self.sum, self.square = self._window(self.transform.conj() * ones), self._window(squares.conj() * ones)
        else:
            self.sum, self.square = self._window(ones.conj() * self.transform), self._window(ones.conj() * squares)

    def _window(self, product: Tensor) -> Tensor:
        """Inverse transform, summed over channels: ``(N, *shifts)`` from -reach to reach along each axis."""
        whole = torch.fft.irfftn(product.sum(1), s=self.size, dim=self.axes)
        for axis, reach in zip(self.axes, self.reach, strict=True):
            whole = whole.roll(reach, axis).narrow(axis, 0, 2 * reach + 1)
        return whole

    def correlate(self, references: ShiftedImages) -> Tensor:
        """Correlation of every query with every reference at the best shift.

        Args:
            references: M of them, prepared with the same reach.

        Returns:
            ``(N, M)`` in [-1, 1]; 0 where either is of one colour.
        """
        axes = self.axes
        cross = torch.stack([self._window(one.conj() * references.transform) for one in self.transform])
        n = self.count
        own = (n * self.square - self.sum**2)[:, None]
        other = (n * references.square - references.sum**2)[None]
        shared = n * cross - self.sum[:, None] * references.sum[None]
        usable = (own > FLAT * n**2) & (other > FLAT * n**2)
        r = torch.where(usable, shared / (own.clamp(min=0) * other.clamp(min=0)).sqrt().clamp(min=1e-12), 0.0)
        return r.amax(dim=axes).clamp(-1, 1)


def shifted_correlation(queries: Tensor, references: Tensor, reach: Sequence[int]) -> Tensor:
    """Pearson correlation of images over their overlap, at the best shift.

    Args:
        queries: ``(N, C, *spatial)``.
        references: ``(M, C, *spatial)``.
        reach: pixels that one may be moved along each axis.

    Returns:
        ``(N, M)`` float32 in [-1, 1].

    Raises:
        ValueError: when shapes differ, or a reach is negative or as large as the image.

    Example:
        >>> import torch
        >>> image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> moved = image.roll(2, -1)
        >>> [round(float(shifted_correlation(image, moved, reach)), 1) for reach in ((0, 0), (0, 2))]
        [0.0, 1.0]
    """
    if queries.shape[1:] != references.shape[1:] or queries.ndim != len(reach) + 2:
        raise ValueError(
            f"expected images of one shape and a reach for each axis, found {tuple(queries.shape)}, "
            f"{tuple(references.shape)} and {tuple(reach)}"
        )
    for size, r in zip(queries.shape[2:], reach, strict=True):
        if not 0 <= r < size / 2:
            raise ValueError(f"reach: expected 0 to less than half of {size} pixels, found {r}")
    return ShiftedImages(queries, reach, "query").correlate(ShiftedImages(references, reach, "reference"))
