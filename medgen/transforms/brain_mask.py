"""Say which voxels are brain: from a mask that there is already, or from the template's."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from medgen.data.images import read_image
from medgen.data.templates import BrainTemplate, open_template
from medgen.spelling import one_of
from medgen.transforms.registration import RegisterToTemplate
from medgen.transforms.resampling import carry
from medgen.transforms.volumes import Affine, affine_of, as_volume, with_array

__all__ = ["BrainMask", "BrainMaskd"]

SPACES = ("native", "template")


class BrainMask(Transform):
    """Return the brain mask of an image, on the image's grid.

    A supplied mask may lie on any grid: FreeSurfer's ``brainmask.mgz`` or ``aseg.mgz``, SynthStrip's, a hand-drawn one;
    what is above 0 is brain. It is taken through the registration when the image was registered since. Without one it
    is the template's mask, carried back through the registration in the image's ``meta`` (an image that has none is
    registered first): that follows head size and pose, not the single brain's surface.

    Args:
        mask: file or image (1, *spatial) that is above 0 in the brain, None for the template's.
        space: world of a supplied mask: ``native``, that of the scan before registration, or ``template``.
        template: as for :class:`~medgen.transforms.RegisterToTemplate`; the one that the image was registered to.

    Raises:
        ValueError: for an unknown space.
    """

    def __init__(
        self,
        mask: str | Path | torch.Tensor | None = None,
        space: str = "native",
        template: str | Path | torch.Tensor | BrainTemplate = "mni152",
    ) -> None:
        self.mask, self.space = mask, one_of("space", space, SPACES)
        self.template = open_template(template) if isinstance(template, torch.Tensor) else template

    def __call__(self, image: Any, mask: Any = None) -> MetaTensor:
        """Make the mask of one image.

        Args:
            image: (C, *spatial), native or registered, with its affine.
            mask: overrides the ``mask`` of the constructor.

        Returns:
            float32 (1, *spatial): 1 in the brain, 0 outside, with the image's affine and metadata.

        Raises:
            CohortError: when a file cannot be read.
            ValueError: for a mask that does not meet the image.
        """
        volume = as_volume(image, "BrainMask")
        given = self.mask if mask is None else mask
        if given is None:
            source, to_source = self._template_mask(volume)
        else:
            source = _opened(given)
            to_source = self._to_mask(volume, source)
        if source.ndim != volume.ndim:
            raise ValueError(
                f"BrainMask: the mask has {source.ndim - 1} spatial dimensions, expected the image's {volume.ndim - 1}"
            )
        inside = (source.as_tensor()[:1] > 0).float()
        grid = affine_of(volume)
        values = carry(inside, affine_of(source), to_source, volume.shape[1:], grid, "linear") >= 0.5
        if not values.any():
            raise ValueError("BrainMask: the mask does not meet the image; are they of one scan and in one space?")
        return with_array(volume, values.float())

    def _template_mask(self, volume: MetaTensor) -> tuple[MetaTensor, Affine]:
        """Return the template's mask, and the change from the image's world to the template's."""
        fit = volume.meta
        if "brain_affine" not in fit:
            fit = RegisterToTemplate(self.template).fit(volume)
        to_template = np.asarray(fit["brain_affine"])
        if fit.get("in_template_space"):
            to_template = to_template @ np.linalg.inv(np.asarray(fit["template_affine"]))
        return open_template(self.template).mask, to_template

    def _to_mask(self, volume: MetaTensor, mask: MetaTensor) -> Affine:
        """Return the change from the image's world to a supplied mask's."""
        registered = bool(volume.meta.get("in_template_space"))
        mask_registered = self.space == "template" or bool(mask.meta.get("in_template_space"))
        if registered == mask_registered:
            return np.eye(4)
        if "template_affine" not in volume.meta:
            raise ValueError("BrainMask: the mask is in template space, but the image has not been registered")
        to_template = np.asarray(volume.meta["template_affine"])
        return np.linalg.inv(to_template) if registered else to_template


def _opened(mask: Any) -> MetaTensor:
    """Return a mask from a file or an array."""
    if isinstance(mask, (str, Path)):
        return read_image(str(mask))
    return as_volume(mask, "BrainMask")


class BrainMaskd(MapTransform):
    """Dictionary form of :class:`BrainMask`: writes the mask of the first key's image beside it.

    Args:
        keys: of the image; one.
        mask_key: where the mask is written.
        source_key: where a supplied mask, or the path of its file, is found; where the dictionary lacks it, or has None
            there, the template's mask serves.
        space: see the array form.
        template: see the array form.
        allow_missing_keys: whether the key may be absent.
    """

    def __init__(
        self,
        keys: Any,
        mask_key: str = "brain_mask",
        source_key: str | None = None,
        space: str = "native",
        template: str | Path | torch.Tensor | BrainTemplate = "mni152",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(self.keys) != 1:
            raise ValueError(f"keys is {list(self.keys)}, expected one image for the mask {mask_key!r}")
        self.mask_key, self.source_key = mask_key, source_key
        self.transform = BrainMask(None, space, template)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the dictionary with the mask added."""
        result = dict(data)
        for key in self.key_iterator(result):
            source = None if self.source_key is None else result.get(self.source_key)
            result[self.mask_key] = self.transform(result[key], source)
        return result
