"""Take the slow brightness changes of the receive coil out of an image: N4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from numpy.typing import NDArray

from medgen.data.images import foreground, resample
from medgen.transforms.resampling import resample_with_edges
from medgen.transforms.volumes import KeyedTransform, as_volume, from_itk, spacing_of, to_itk, with_array

__all__ = ["N4BiasFieldCorrection", "N4BiasFieldCorrectiond"]


class N4BiasFieldCorrection(Transform):
    """Divide an image by the smooth field that N4 finds in it.

    N. Tustison et al., "N4ITK: improved N3 bias correction", IEEE TMI 29 (2010), by SimpleITK. The field is estimated
    on an image of coarse voxels, inside the mask, and applied to every voxel of the image; it is scaled to leave the
    mean intensity in the mask as it was. Grid and affine stay. Not invertible: the field is not kept.

    Args:
        spacing: voxel size in mm of the image that the field is estimated on; coarser is faster.
        iterations: at most, on each level; every level halves the distance of the field's control points.
        convergence: the change of the field, relative, at which a level ends.

    Raises:
        ValueError: for a spacing or a convergence that is not above 0, or no level.

    Example:
        >>> import torch
        >>> x = torch.linspace(-1, 1, 32)
        >>> square = torch.zeros(1, 32, 32)
        >>> square[:, 4:28, 4:28] = 100.0
        >>> shaded = square * torch.exp(0.4 * x)  # brighter to the right
        >>> corrected = N4BiasFieldCorrection(spacing=1.0)(shaded)
        >>> inside = (..., slice(6, 26), slice(6, 26))
        >>> bool(corrected[inside].std() < 0.3 * shaded[inside].std())
        True
    """

    def __init__(
        self, spacing: float = 6.0, iterations: Sequence[int] = (50, 50, 50), convergence: float = 1e-3
    ) -> None:
        if not spacing > 0.0:
            raise ValueError(f"spacing is {spacing}, expected a number of mm above 0")
        if not convergence > 0.0:
            raise ValueError(f"convergence is {convergence}, expected a number above 0")
        if not iterations or min(iterations) < 1:
            raise ValueError(f"iterations is {list(iterations)}, expected at least one number above 0")
        self.spacing, self.convergence = float(spacing), float(convergence)
        self.iterations = [int(n) for n in iterations]

    def __call__(self, image: Any, mask: Any = None) -> MetaTensor:
        """Correct each channel.

        Args:
            image: (C, *spatial), 2D or 3D, intensities of 0 and more.
            mask: (1, *spatial), above 0 where the field is estimated; by default what stands out of the background.

        Returns:
            float32 (C, *spatial).

        Raises:
            ValueError: for a shape or values that are not as described.
        """
        volume = as_volume(image, "N4BiasFieldCorrection")
        values = volume.as_tensor()
        if mask is None:
            inside = torch.from_numpy(foreground(values))[None]
        else:
            inside = as_volume(mask, "N4BiasFieldCorrection").as_tensor()[:1] > 0
            if inside.shape[1:] != values.shape[1:]:
                raise ValueError(
                    f"N4BiasFieldCorrection: found a mask of the shape {tuple(inside.shape[1:])}, "
                    f"expected the image's {tuple(values.shape[1:])}"
                )
        corrected = [channel / torch.exp(self._log_field(channel, inside[0], volume)) for channel in values]
        return with_array(volume, torch.stack(corrected))

    def _log_field(self, channel: torch.Tensor, inside: torch.Tensor, volume: MetaTensor) -> torch.Tensor:
        """Return the logarithm of one channel's field (*spatial)."""
        spacing, shape = spacing_of(volume), channel.shape
        step = np.minimum(np.maximum(self.spacing / spacing, 1.0), np.maximum(np.asarray(shape) / 8.0, 1.0))
        size = [int(np.ceil(n / s)) for n, s in zip(shape, step, strict=True)]
        centre = [0.5 * (n - 1) for n in shape]
        small = resample(channel.clamp(min=0.0)[None], centre, step.tolist(), size)[0].clamp(min=0.0).numpy()
        small_inside = resample(inside.float()[None], centre, step.tolist(), size)[0].numpy() > 0.5
        # what is 0 has no logarithm, and a mask of nothing or one value has no field
        usable = small_inside & (small > 1e-3 * small.max(initial=0.0))
        if usable.sum() < 64 or np.ptp(small[usable]) == 0.0:
            return torch.zeros_like(channel)
        log_field = self._fit(small, usable, step * spacing)
        back = [0.5 * (n - 1) for n in size]
        return resample_with_edges(torch.from_numpy(log_field)[None], back, (1.0 / step).tolist(), shape)[0]

    def _fit(self, small: NDArray[np.float32], usable: NDArray[np.bool_], spacing: NDArray[np.float64]) -> Any:
        """Run N4 on a coarse image (*spatial) and return the logarithm of its field, mean 0 in the mask."""
        grid = np.eye(4)
        grid[range(small.ndim), range(small.ndim)] = spacing
        scaled = small * np.float32(100.0 / small[usable].mean())
        corrector = sitk.N4BiasFieldCorrectionImageFilter()
        corrector.SetNumberOfThreads(1)
        corrector.SetMaximumNumberOfIterations(self.iterations)
        corrector.SetConvergenceThreshold(self.convergence)
        coarse = to_itk(scaled, grid)
        corrected = from_itk(corrector.Execute(coarse, to_itk(usable.astype(np.uint8), grid)))
        log_field = from_itk(corrector.GetLogBiasFieldAsImage(coarse))
        # far from the mask the splines only extrapolate
        log_field = np.clip(log_field, log_field[usable].min(), log_field[usable].max())
        kept = scaled[usable].mean() / corrected[usable].mean()
        return log_field - np.float32(np.log(kept))


class N4BiasFieldCorrectiond(KeyedTransform):
    """Dictionary form of :class:`N4BiasFieldCorrection`.

    Args:
        keys: of the images.
        mask_key: of the mask; None for what stands out of each image's background.
        spacing: see the array form.
        iterations: see the array form.
        convergence: see the array form.
        allow_missing_keys: whether a key may be absent.
    """

    def __init__(
        self,
        keys: Any,
        mask_key: str | None = None,
        spacing: float = 6.0,
        iterations: Sequence[int] = (50, 50, 50),
        convergence: float = 1e-3,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, N4BiasFieldCorrection(spacing, iterations, convergence), allow_missing_keys, mask_key)
