"""Lay a head onto a brain template, so that one voxel is the same place in everyone."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils.enums import TraceKeys
from numpy.typing import NDArray
from scipy import ndimage

from medgen.data.templates import BrainTemplate, open_template
from medgen.spelling import one_of
from medgen.transforms.alignment import align, nearest_rigid
from medgen.transforms.resampling import INTERPOLATIONS, carry
from medgen.transforms.volumes import Affine, affine_of, as_volume, spacing_of, with_array

__all__ = ["RegisterToTemplate", "RegisterToTemplated"]

MODES = ("rigid", "affine")
FAILURES = ("flag", "error")
SIMILARITY_MM = 2.0  # voxels on which the similarity is measured
DETERMINANTS = (0.9, 2.2)  # template volume / native volume of an adult's brain; beyond, the fit went wrong


class RegisterToTemplate(InvertibleTransform):
    """Lay a T1-weighted head, with its skull or without, onto a skull-stripped template.

    The fit always has the affine's 12 parameters (6 in 2D); ``rigid`` applies the rigid motion nearest to it, so that
    sizes stay the person's own. :mod:`medgen.transforms.alignment` has the method. The result has these in ``meta``:

    - ``template_affine``: float64 (4, 4), native world (mm) -> template world (mm), as applied;
    - ``brain_affine``: the same of the affine fit, in rigid mode too;
    - ``determinant``: of ``brain_affine``: template volume / native volume. A volume measured on the template's grid
      after ``affine`` is divided by it to get native ml; after ``rigid`` volumes are native already;
    - ``similarity``: Pearson's correlation of image and template in the template's brain, in [-1, 1], both smoothed
      by 3 mm and divided by the mean of 20 mm around. Heads that lie right have 0.7 or more (measured on 7 T1 of young
      and old), heads a centimetre off 0.6 or less;
    - ``registration_problem``: "" or what is implausible about the fit;
    - ``in_template_space``: whether the voxels are on the template's grid (False with ``resample=False``).

    The MNI152 average used here is symmetric: a scan whose left and right are swapped fits as well and is not noticed.

    ``inverse`` resamples to the native grid and affine, and leaves the fit in ``meta``.

    Args:
        template: ``mni152``, the file of a skull-stripped brain (background 0), or such an image (1, *spatial).
        mode: ``rigid`` or ``affine``.
        spacing: voxel size of the result in mm, isotropic; None for the template's own.
        resample: False leaves the image on its own grid and only adds the fit to ``meta``.
        interpolation: ``cubic`` (B-spline, cut to the image's range), ``linear`` or ``nearest``.
        min_similarity: below it the fit is implausible.
        on_failure: of an implausible fit: ``flag`` it in ``meta``, or raise an ``error``.

    Raises:
        ValueError: for an unknown mode, interpolation or action, or a spacing that is not above 0.
        OptionalImportError: for ``mni152`` when nilearn is not installed.
    """

    def __init__(
        self,
        template: str | Path | torch.Tensor | BrainTemplate = "mni152",
        mode: str = "affine",
        spacing: float | None = 1.0,
        resample: bool = True,
        interpolation: str = "cubic",
        min_similarity: float = 0.55,
        on_failure: str = "flag",
    ) -> None:
        if spacing is not None and not spacing > 0.0:
            raise ValueError(f"spacing is {spacing}, expected a number of mm above 0, or None for the template's")
        self.template = open_template(template) if isinstance(template, torch.Tensor) else template
        self.spacing, self.resample = spacing, bool(resample)
        self.mode = one_of("mode", mode, MODES)
        self.interpolation = one_of("interpolation", interpolation, INTERPOLATIONS)
        self.min_similarity, self.on_failure = float(min_similarity), one_of("on_failure", on_failure, FAILURES)

    def __call__(self, image: Any) -> MetaTensor:
        """Register an image.

        Args:
            image: (C, *spatial), its first channel T1-weighted, with its affine.

        Returns:
            float32 (C, *template's spatial), or the image itself with ``resample=False``.

        Raises:
            ValueError: for a shape that does not fit the template, an empty image or, with ``on_failure="error"``, an
                implausible fit.
        """
        return self.apply(image, self.fit(image))

    def fit(self, image: Any) -> dict[str, Any]:
        """Find the registration of an image, without changing it; returns the entries of ``meta`` named above."""
        template = open_template(self.template)
        volume = as_volume(image, "RegisterToTemplate", dims=(template.spatial_dims,))
        _check_plane(volume)
        brain_affine = align(volume, template)
        similarity = _similarity(volume, brain_affine, template)
        determinant = float(np.linalg.det(brain_affine))
        problem = self._problem(similarity, determinant, template.spatial_dims)
        if problem and self.on_failure == "error":
            raise ValueError(f"RegisterToTemplate: {problem}")
        applied = brain_affine
        if self.mode == "rigid":
            mask = np.argwhere(template.mask.numpy()[0] > 0)
            grid = affine_of(template.mask)
            dims = template.spatial_dims
            centre = grid[:3, :dims] @ mask.mean(axis=0) + grid[:3, 3]
            applied = nearest_rigid(brain_affine, centre)
        return {
            "template_affine": torch.from_numpy(applied),
            "brain_affine": torch.from_numpy(brain_affine),
            "determinant": determinant,
            "similarity": similarity,
            "registration_problem": problem,
        }

    def apply(self, image: Any, fit: Mapping[str, Any], interpolation: str | None = None) -> MetaTensor:
        """Bring an image, or a mask in the same world, to the template's grid by a fit from :meth:`fit`."""
        volume = as_volume(image, "RegisterToTemplate")
        native, size = affine_of(volume), list(volume.shape[1:])
        how = self.interpolation if interpolation is None else one_of("interpolation", interpolation, INTERPOLATIONS)
        if self.resample:
            grid = open_template(self.template, self.spacing).mask
            to_native = np.linalg.inv(np.asarray(fit["template_affine"]))
            values = carry(volume.as_tensor(), native, to_native, grid.shape[1:], affine_of(grid), how)
            result = with_array(volume, values, affine_of(grid))
        else:
            result = with_array(volume, volume.as_tensor())
        result.meta.update(fit, in_template_space=self.resample)
        extra = {"native_affine": torch.from_numpy(native), "interpolation": how, "resampled": self.resample}
        return self.push_transform(result, orig_size=size, extra_info=extra)

    def inverse(self, image: MetaTensor) -> MetaTensor:
        """Bring an image from the template's grid back to its native one, with the interpolation of the way there."""
        image = with_array(image, image.as_tensor())  # the caller's keeps its trace
        trace = self.pop_transform(image)
        extra = trace[TraceKeys.EXTRA_INFO]
        result = image
        if extra["resampled"]:
            to_template = np.asarray(image.meta["template_affine"])
            native, size = np.asarray(extra["native_affine"]), trace[TraceKeys.ORIG_SIZE]
            values = carry(image.as_tensor(), affine_of(image), to_template, size, native, extra["interpolation"])
            result = with_array(image, values, native)
        result.meta["in_template_space"] = False
        return result

    def _problem(self, similarity: float, determinant: float, dims: int) -> str:
        """Say what is implausible about a fit, or ""."""
        low, high = (x ** (dims / 3.0) for x in DETERMINANTS)
        problems = []
        if not similarity >= self.min_similarity:
            problems.append(f"similarity {similarity:.2f} to the template, expected {self.min_similarity:g} or more")
        if not low <= determinant <= high:
            problems.append(f"determinant {determinant:.2f}, expected {low:.1f} to {high:.1f}")
        return "; ".join(problems)


def _check_plane(volume: MetaTensor) -> None:
    """Refuse a plane that does not lie in the world's x and y: there is no telling where its template is."""
    if volume.ndim == 3:
        seen = abs(float(np.linalg.det(affine_of(volume)[:2, :2])))
        if not seen > 0.5 * float(np.prod(spacing_of(volume))):
            raise ValueError(
                "RegisterToTemplate: the plane's affine does not lie in x and y; register the volume, then cut slices"
            )


def _similarity(volume: MetaTensor, brain_affine: Affine, template: BrainTemplate) -> float:
    """Return the correlation with the template in the template's brain; 0 for a constant image."""
    coarse = template.regrid(SIMILARITY_MM)
    to_native = np.asarray(np.linalg.inv(brain_affine), dtype=np.float64)
    size, grid = coarse.image.shape[1:], affine_of(coarse.image)
    values = carry(volume.as_tensor()[:1], affine_of(volume), to_native, size, grid, "linear")[0].numpy()
    mask = coarse.mask.numpy()[0] > 0
    found, expected = _even(values, mask), _reference(coarse)
    return float(np.corrcoef(found, expected)[0, 1]) if np.ptp(found) > 0 else 0.0


@functools.lru_cache(maxsize=2)
def _reference(coarse: BrainTemplate) -> NDArray[np.float32]:
    """Return the template's side of the correlation, (N,)."""
    return _even(coarse.image.numpy()[0], coarse.mask.numpy()[0] > 0)


def _even(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the intensities in the mask, (N,), smoothed by 3 mm and relative to the mean of 20 mm around."""
    for width, divide in ((3.0, False), (20.0, True)):
        sigma = width / SIMILARITY_MM
        weight = np.maximum(ndimage.gaussian_filter(mask.astype(np.float32), sigma), 1e-3)
        smooth = ndimage.gaussian_filter(np.where(mask, values, 0.0), sigma) / weight
        values = values / np.maximum(smooth, 1e-3 * max(float(smooth.max()), 1e-6)) if divide else smooth
    return np.asarray(values[mask], dtype=np.float32)


class RegisterToTemplated(MapTransform, InvertibleTransform):
    """Dictionary form of :class:`RegisterToTemplate`: the first key is registered, the others move along with it.

    Args:
        keys: the T1-weighted image, then masks and images in the same world.
        template: see the array form.
        mode: see the array form.
        spacing: see the array form.
        resample: see the array form.
        interpolation: see the array form; one for all keys, or one for each (``nearest`` for labels).
        min_similarity: see the array form.
        on_failure: see the array form.
        allow_missing_keys: whether a key other than the first may be absent.
    """

    def __init__(
        self,
        keys: Any,
        template: str | Path | torch.Tensor | BrainTemplate = "mni152",
        mode: str = "affine",
        spacing: float | None = 1.0,
        resample: bool = True,
        interpolation: str | Sequence[str] = "cubic",
        min_similarity: float = 0.55,
        on_failure: str = "flag",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        each = [interpolation] * len(self.keys) if isinstance(interpolation, str) else list(interpolation)
        if len(each) != len(self.keys):
            raise ValueError(f"interpolation has {len(each)} entries, expected one or one for each of {self.keys}")
        self.interpolation = [one_of("interpolation", how, INTERPOLATIONS) for how in each]
        self.transform = RegisterToTemplate(template, mode, spacing, resample, each[0], min_similarity, on_failure)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary with every key on the template's grid."""
        result = dict(data)
        fit = self.transform.fit(result[self.keys[0]])
        for key, how in self.key_iterator(result, self.interpolation):
            result[key] = self.transform.apply(result[key], fit, how)
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary with every key on its native grid."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform.inverse(result[key])
        return result
