"""The brain templates that heads are registered to: the MNI152 average that nilearn carries, or one's own."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing, to_affine_nd
from monai.utils import optional_import
from scipy import ndimage

from medgen.data.images import read_image, resample
from medgen.spelling import one_of

__all__ = ["BrainTemplate", "mni152", "nilearn_map", "open_template"]


@dataclass(frozen=True, eq=False)
class BrainTemplate:
    """A template image on its grid, and where the brain is in it.

    Attributes:
        name: ``mni152``, or the template's file name.
        image: float32 (1, *spatial) with its affine to template mm; background 0.
        mask: float32 (1, *spatial) on the same grid, 1 in the brain and 0 outside.
    """

    name: str
    image: MetaTensor
    mask: MetaTensor

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return self.image.ndim - 1

    def regrid(self, spacing: float) -> BrainTemplate:
        """Return the template on a grid of this isotropic spacing (mm) and the same field of view.

        The outer corner of the first voxel stays where it is. Intensities are smoothed where voxels grow.
        """
        if not spacing > 0.0:
            raise ValueError(f"spacing is {spacing}, expected a number of mm above 0")
        return _regrid(self, float(spacing))


@functools.lru_cache(maxsize=6)
def _regrid(template: BrainTemplate, spacing: float) -> BrainTemplate:
    dims = template.spatial_dims
    old = to_affine_nd(dims, template.image.affine.numpy())
    step = spacing / affine_to_spacing(old, r=dims)
    if np.allclose(step, 1.0, atol=1e-6):
        return template
    size = [max(1, round(n / s)) for n, s in zip(template.image.shape[1:], step, strict=True)]
    first = 0.5 * step - 0.5  # the first new voxel's centre, in old voxels
    centre = [f + 0.5 * (n - 1) * s for f, n, s in zip(first, size, step, strict=True)]
    to_old = np.diag([*step, 1.0])
    to_old[:dims, dims] = first
    affine = torch.from_numpy(old @ to_old if dims == 3 else _lift(template.image.affine.numpy(), to_old))
    image = resample(template.image.as_tensor(), centre, step.tolist(), size)
    mask = (resample(template.mask.as_tensor(), centre, step.tolist(), size) >= 0.5).float()
    image = image.clamp(min=0.0) * mask
    return BrainTemplate(template.name, MetaTensor(image, affine=affine), MetaTensor(mask, affine=affine))


def _lift(affine: Any, to_old: Any) -> Any:
    """Apply a change (3, 3) of 2D voxel coordinates to an affine that may be (3, 3) or (4, 4)."""
    change = np.eye(len(affine))
    change[:2, :2], change[:2, -1] = to_old[:2, :2], to_old[:2, 2]
    return affine @ change


def nilearn_map(name: str, needed_for: str = "MNI152 template", extra: str = "preprocess") -> nibabel.Nifti1Image:
    """Return one of the MNI152 maps (ICBM 2009a symmetric, 1 mm) that nilearn carries, in [0, 1].

    V. Fonov et al., "Unbiased average age-appropriate atlases for pediatric studies", NeuroImage 54 (2011).

    Args:
        name: ``t1`` (brain only), ``grey`` or ``white``.
        needed_for: what asks for it, for the message.
        extra: of medgen, which installs nilearn, for the message.

    Raises:
        OptionalImportError: when nilearn is not installed.
        ValueError: for another name.
    """
    install = f'the {needed_for} needs nilearn: pip install "medgen[{extra}]" ({{}})'
    datasets, _ = optional_import("nilearn.datasets", descriptor=install)
    loaders = {"t1": "load_mni152_template", "grey": "load_mni152_gm_template", "white": "load_mni152_wm_template"}
    return getattr(datasets, loaders[one_of("name", name, list(loaders))])(resolution=1)


@functools.lru_cache(maxsize=4)
def mni152(spacing_mm: float = 1.0) -> BrainTemplate:
    """Return the skull-stripped MNI152 T1 template and its brain mask.

    Args:
        spacing_mm: isotropic voxel size in mm; the field of view is 197 x 233 x 189 mm, RAS.

    Raises:
        OptionalImportError: when nilearn is not installed.
        ValueError: for a spacing that is not above 0.
    """
    if spacing_mm != 1.0:
        return mni152().regrid(spacing_mm)
    volume = nilearn_map("t1")
    return _template("mni152", MetaTensor(np.asarray(volume.dataobj, dtype=np.float32)[None], affine=volume.affine))


def open_template(template: str | Path | torch.Tensor | BrainTemplate, spacing: float | None = None) -> BrainTemplate:
    """Open a template by name, file or image.

    Args:
        template: ``mni152``; a file of a brain without skull, background 0; or such an image (1, *spatial).
        spacing: isotropic voxel size in mm; None for the template's own.

    Raises:
        OptionalImportError: for ``mni152`` when nilearn is not installed.
        CohortError: when a file cannot be read.
        ValueError: for an image without background or with several channels.
    """
    if isinstance(template, str) and template.lower() == "mni152":
        return mni152(1.0 if spacing is None else float(spacing))
    if isinstance(template, BrainTemplate):
        opened = template
    elif isinstance(template, torch.Tensor):
        opened = _template("template", template if isinstance(template, MetaTensor) else MetaTensor(template))
    else:
        opened = _read(
            str(Path(template).resolve()), Path(template).stat().st_mtime_ns if Path(template).exists() else 0
        )
    return opened if spacing is None else opened.regrid(float(spacing))


@functools.lru_cache(maxsize=2)
def _read(path: str, changed: int) -> BrainTemplate:
    """Read a template's file, once for as long as it stays as it is."""
    return _template(Path(path).name, read_image(path))


def _template(name: str, image: MetaTensor) -> BrainTemplate:
    """Find the brain in a skull-stripped image: all that is above the background, and the holes in it."""
    if image.shape[0] != 1 or image.ndim not in (3, 4):
        raise ValueError(f"template {name!r} has the shape {tuple(image.shape)}, expected (1, X, Y) or (1, X, Y, Z)")
    values = image.as_tensor().float().numpy()[0]
    mask = ndimage.binary_fill_holes(values > 0)
    if mask is None or not 0.02 < mask.mean() < 0.9:
        raise ValueError(
            f"template {name!r}: {0.0 if mask is None else mask.mean():.0%} of it is above 0, "
            "expected a brain without skull on a background of 0"
        )
    affine = image.affine
    return BrainTemplate(
        name,
        MetaTensor(torch.from_numpy(np.where(mask, values, 0.0)[None]), affine=affine),
        MetaTensor(torch.from_numpy(mask[None].astype(np.float32)), affine=affine),
    )
