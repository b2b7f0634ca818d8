"""Give one tissue the same brightness in every scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform
from monai.utils.enums import TraceKeys
from numpy.typing import NDArray
from scipy import ndimage

from medgen.data.images import foreground
from medgen.spelling import one_of
from medgen.transforms.volumes import InvertibleKeyedTransform, as_volume, with_array

__all__ = ["NormalizeIntensityByTissue", "NormalizeIntensityByTissued", "white_stripe"]

METHODS = ("zscore", "white_stripe", "percentile")
STRIPE = 0.05  # half the width of the white stripe, as a share of the brain


class NormalizeIntensityByTissue(InvertibleTransform):
    """Map intensities linearly, ``(image - centre) / scale``, by what is found in the brain; each channel on its own.

    - ``zscore``: mean and standard deviation in the mask;
    - ``white_stripe``: those of normal-appearing white matter, the tissue around the brightest peak of the T1 histogram
      (R. Shinohara et al., NeuroImage: Clinical 6 (2014), section 2.2): 0 is white matter;
    - ``percentile``: the two percentiles in the mask become -1 and 1.

    Grid and affine stay. The inverse is exact, but for what was cut or set outside.

    Args:
        method: ``zscore``, ``white_stripe`` or ``percentile``.
        percentiles: lower and upper, in [0, 100], for ``percentile``.
        clip: lowest and highest value of the result, None to cut nothing.
        outside: value of the result outside the mask, None to leave what the map gives.

    Raises:
        ValueError: for an unknown method, or limits that are not in ascending order.

    Example:
        >>> import torch
        >>> image = torch.arange(1.0, 101.0).reshape(1, 10, 10)
        >>> normal = NormalizeIntensityByTissue("percentile", percentiles=(0, 100))(image, mask=image > 50)
        >>> float(normal[0, 5, 0]), float(normal[0, 9, 9])  # 51 and 100
        (-1.0, 1.0)
    """

    def __init__(
        self,
        method: str = "zscore",
        percentiles: Sequence[float] = (1.0, 99.0),
        clip: Sequence[float] | None = None,
        outside: float | None = None,
    ) -> None:
        self.method = one_of("method", method, METHODS)
        self.percentiles = _ascending("percentiles", percentiles)
        if not 0.0 <= self.percentiles[0] < self.percentiles[1] <= 100.0:
            raise ValueError(f"percentiles is {list(percentiles)}, expected two numbers in [0, 100]")
        self.clip = None if clip is None else _ascending("clip", clip)
        self.outside = None if outside is None else float(outside)

    def __call__(self, image: Any, mask: Any = None) -> MetaTensor:
        """Normalise an image.

        Args:
            image: (C, *spatial), 2D or 3D.
            mask: (1, *spatial), above 0 in the brain; by default what stands out of the background, which is the brain
                only where the skull has been removed.

        Returns:
            float32 (C, *spatial).

        Raises:
            ValueError: for a mask of another shape or of nothing, or a constant tissue.
        """
        volume = as_volume(image, "NormalizeIntensityByTissue")
        values = volume.as_tensor()
        inside = _inside(values, mask)
        pairs = [self._centre_and_scale(channel.numpy()[inside]) for channel in values]
        centre, scale = (torch.tensor(x, dtype=torch.float64) for x in zip(*pairs, strict=True))
        shape = (-1,) + (1,) * (values.ndim - 1)
        result = (values - centre.float().reshape(shape)) / scale.float().reshape(shape)
        if self.clip is not None:
            result = result.clamp(*self.clip)
        if self.outside is not None:
            result = torch.where(torch.from_numpy(inside), result, self.outside)
        return self.push_transform(with_array(volume, result), extra_info={"centre": centre, "scale": scale})

    def inverse(self, image: MetaTensor) -> MetaTensor:
        """Return the intensities that were, where nothing was cut."""
        image = with_array(image, image.as_tensor())  # the caller's keeps its trace
        extra = self.pop_transform(image)[TraceKeys.EXTRA_INFO]
        shape = (-1,) + (1,) * (image.ndim - 1)
        centre, scale = (torch.as_tensor(extra[key]).float().reshape(shape) for key in ("centre", "scale"))
        return with_array(image, image.as_tensor() * scale + centre)

    def _centre_and_scale(self, tissue: NDArray[np.float32]) -> tuple[float, float]:
        if self.method == "percentile":
            low, high = np.percentile(tissue, self.percentiles)
            centre, scale = 0.5 * (low + high), 0.5 * (high - low)
        else:
            chosen = white_stripe(tissue) if self.method == "white_stripe" else tissue
            centre, scale = chosen.mean(dtype=np.float64), chosen.std(dtype=np.float64)
        if not scale > 0.0:
            raise ValueError("NormalizeIntensityByTissue: the image is constant in the mask, expected tissue")
        return float(centre), float(scale)


def white_stripe(tissue: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the intensities of normal-appearing white matter among those of a brain on T1.

    The smoothed histogram's brightest peak of note is white matter; the stripe is the tenth of the brain around it.

    Args:
        tissue: (N,), intensities in the brain.

    Raises:
        ValueError: for fewer than 100 voxels.
    """
    if tissue.size < 100:
        raise ValueError(f"NormalizeIntensityByTissue: found {tissue.size} voxels in the mask, expected 100 or more")
    low, high = np.quantile(tissue, (0.0, 0.998))
    counts, edges = np.histogram(tissue, bins=256, range=(float(low), float(max(high, low + 1e-6))))
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), 4.0, mode="constant")
    inner = smooth[1:-1]
    peaks = 1 + np.flatnonzero((inner > smooth[:-2]) & (inner >= smooth[2:]) & (inner > 0.3 * smooth.max()))
    peak = edges[int(peaks[-1]) if len(peaks) else int(smooth.argmax())] + 0.5 * (edges[1] - edges[0])
    rank = float((tissue < peak).mean())
    bounds = np.quantile(tissue, (max(rank - STRIPE, 0.0), min(rank + STRIPE, 1.0)))
    return tissue[(tissue >= bounds[0]) & (tissue <= bounds[1])]


def _inside(values: torch.Tensor, mask: Any) -> NDArray[np.bool_]:
    """Return where the tissue is, (*spatial)."""
    if mask is None:
        inside = foreground(values)
    else:
        inside = as_volume(mask, "NormalizeIntensityByTissue").numpy()[0] > 0
        if inside.shape != tuple(values.shape[1:]):
            raise ValueError(
                f"NormalizeIntensityByTissue: found a mask of the shape {inside.shape}, "
                f"expected the image's {tuple(values.shape[1:])}"
            )
    if not inside.any():
        raise ValueError("NormalizeIntensityByTissue: the mask is empty, expected tissue")
    return inside


def _ascending(name: str, pair: Sequence[float]) -> tuple[float, float]:
    if len(pair) != 2 or not float(pair[0]) < float(pair[1]):
        raise ValueError(f"{name} is {list(pair)}, expected two numbers in ascending order")
    return float(pair[0]), float(pair[1])


class NormalizeIntensityByTissued(InvertibleKeyedTransform):
    """Dictionary form of :class:`NormalizeIntensityByTissue`.

    Args:
        keys: of the images.
        mask_key: of the brain mask; None for what stands out of each image's background.
        method: see the array form.
        percentiles: see the array form.
        clip: see the array form.
        outside: see the array form.
        allow_missing_keys: whether a key may be absent.
    """

    def __init__(
        self,
        keys: Any,
        mask_key: str | None = None,
        method: str = "zscore",
        percentiles: Sequence[float] = (1.0, 99.0),
        clip: Sequence[float] | None = None,
        outside: float | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(
            keys, NormalizeIntensityByTissue(method, percentiles, clip, outside), allow_missing_keys, mask_key
        )
