"""The commands that restore and fill in: images with noise or holes of our own making, so that the truth is known."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medgen.apps.translation.pictures import DIFFERENCE_LABEL, difference_map, strip
from medgen.apps.translation.tasks import ImageTask
from medgen.apps.translation.writing import DerivedImages
from medgen.inferers import Denoise, Inpaint
from medgen.metrics.image_error import psnr
from medgen.samplers.noise import seeded_noise

__all__ = ["DenoiseImages", "InpaintImages", "box_mask"]

logger = logging.getLogger("medgen.translation")


class DenoiseImages(ImageTask):
    """Add noise to people's images and restore them; or restore images that are noisy already.

    Writes ``denoising.png`` (image, noisy, sample, mean of all that could have been), the single images and
    ``manifest.csv`` with the PSNR of each against the image without the noise.

    Args:
        sds: standard deviations of the noise, in units of images in [-1, 1]; one row of columns each.
        add_noise: False for images that have the noise already; then nothing is known to compare with.
        seed: of the noise added.
        task: arguments of :class:`medgen.apps.translation.tasks.ImageTask`; ``inferer`` is a mapping of
            :class:`medgen.inferers.Denoise`'s arguments without ``sd``, since there is one for each.
    """

    def __init__(self, sds: Sequence[float] | float = (0.1, 0.3), add_noise: bool = True, seed: int = 0, **task: Any):
        super().__init__(**task)
        self.sds = [float(sd) for sd in ([sds] if isinstance(sds, (int, float)) else sds)]
        self.add_noise, self.seed = add_noise, seed
        self.inferers = [
            {name: Denoise(sd=sd, seed=seed, mean=mean, **self.inferer) for name, mean in _KINDS.items()}
            for sd in self.sds
        ]

    def run(self) -> DerivedImages:
        """Restore and write."""
        people, out = self.people, self.writer()
        clean, count = people.images, len(people.images)
        noise = seeded_noise(clean.shape[1:], [self.seed + i for i in range(count)])
        rows: list[list[Tensor]] = [[image] for image in clean] if self.add_noise else [[] for _ in clean]
        titles = ["source"] if self.add_noise else []
        for sd, inferers in zip(self.sds, self.inferers, strict=True):
            noisy = clean + sd * noise if self.add_noise else clean
            shown = {"noisy": noisy}
            for name, inferer in inferers.items():
                shown[name] = inferer(noisy, self.network, people.covariates).clamp(-1, 1)
            found = {name: psnr(image, clean) for name, image in shown.items()} if self.add_noise else {}
            for name, image in shown.items():
                titles.append(f"{name}, sd {sd:g}")
                for i in range(count):
                    rows[i].append(image[i].clamp(-1, 1))
                    facts = self.facts(people.covariates[i], sd=sd)
                    if found:
                        facts["psnr_db"] = round(float(found[name][i]), 2)
                    out.image(image[i], i, f"{name}_sd_{sd:g}".replace(".", "_"), facts, people.planes[i])
            said = ", ".join(f"{name} {float(value.mean()):.1f} dB" for name, value in found.items())
            logger.info("sd %g (t = %.3f): PSNR %s", sd, inferers["sample"].t, said or "unknown without the truth")
        out.picture(strip(rows, titles, self.names()), "denoising.png", {"sds": self.sds})
        out.finish()
        return out


_KINDS = {"sample": False, "mean": True}


class InpaintImages(ImageTask):
    """Hide a part of people's images and fill it in.

    Writes ``inpainting.png`` (source, what is known, several fillings, map of the first one's difference from the
    source), the single images and ``manifest.csv``.

    Args:
        mask: 1 where the image is to be made: the centre and size of a box as fractions of the image's sides,
            ``{"centre": [0.5, 0.5], "size": [0.3, 0.3]}`` (rows and columns from the top left), or a file (NIfTI or
            picture, brighter than half is 1) on the grid of the image, as one drawn on a file that this writes.
        seeds: one filling each.
        task: arguments of :class:`medgen.apps.translation.tasks.ImageTask`; ``inferer`` is a mapping of
            :class:`medgen.inferers.Inpaint`'s arguments without ``seed``.
    """

    def __init__(self, mask: Any, seeds: Sequence[int] = (0, 1, 2), **task: Any) -> None:
        super().__init__(**task)
        self.seeds = [int(seed) for seed in seeds]
        self.mask = read_mask(mask, tuple(self.people.images.shape[2:]), self.people.affine)
        self.inferers = [Inpaint(seed=seed, **self.inferer) for seed in self.seeds]

    def run(self) -> DerivedImages:
        """Fill in and write."""
        people, out = self.people, self.writer(resamplings=self.inferers[0].resamplings)
        known = torch.where(self.mask, torch.full_like(people.images, -1.0), people.images)
        filled = [inferer(people.images, self.network, self.mask, people.covariates) for inferer in self.inferers]
        hidden = int(self.mask.sum())
        for seed, images in zip(self.seeds, filled, strict=True):
            for i in range(len(images)):
                facts = self.facts(people.covariates[i], seed=seed, hidden_pixels=hidden)
                out.image(images[i], i, f"seed_{seed}", facts, people.planes[i])
        rows = [
            [
                people.images[i],
                known[i],
                *(images[i] for images in filled),
                difference_map(filled[0][i], people.images[i]),
            ]
            for i in range(len(known))
        ]
        titles = ["source", "known", *(f"filled, seed {seed}" for seed in self.seeds), "difference"]
        facts = {"difference": f"first filling minus source, {DIFFERENCE_LABEL}", "hidden_pixels": hidden}
        out.picture(strip(rows, titles, self.names()), "inpainting.png", facts)
        error = (filled[0] - people.images)[..., self.mask].abs().mean()
        logger.info("%d pixels hidden; mean absolute error inside %.3f (first filling against source)", hidden, error)
        out.finish()
        return out


def box_mask(size: Sequence[int], centre: Sequence[float], extent: Sequence[float]) -> Tensor:
    """Return a mask ``(*size)`` that is true in a box.

    Args:
        size: of the image.
        centre: of the box, as fractions of the sides, in [0, 1].
        extent: of the box, as fractions of the sides, in (0, 1].

    Raises:
        ValueError: when the numbers are not as many as the sides, or out of range.

    Example:
        >>> box_mask((4, 4), [0.5, 0.25], [0.5, 0.5]).int().tolist()
        [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    """
    fits = len(centre) == len(extent) == len(size)
    if not fits or not all(0 <= c <= 1 for c in centre) or not all(0 < e <= 1 for e in extent):
        raise ValueError(
            f"mask: found centre {list(centre)} and size {list(extent)}, expected {len(size)} fractions of sides each"
        )
    mask = torch.ones(tuple(size), dtype=torch.bool)
    for axis, (side, c, e) in enumerate(zip(size, centre, extent, strict=True)):
        place = (torch.arange(side) + 0.5) / side
        inside = (place - c).abs() <= e / 2
        mask &= inside.reshape([-1 if other == axis else 1 for other in range(len(size))])
    if not mask.any():
        raise ValueError(
            f"mask: a box of size {list(extent)} at {list(centre)} holds no pixel of an image of {list(size)}"
        )
    return mask


def read_mask(mask: Any, size: tuple[int, ...], affine: Any = None) -> Tensor:
    """Return a bool mask ``(*size)`` from a box or a file, see :class:`InpaintImages`.

    Args:
        mask: the box or the file.
        size: of the images.
        affine: (4, 4) voxel to mm of volumes, which a file must share; None for slices.

    Raises:
        ValueError: when a file lies on another grid, or the mask is neither.
    """
    if hasattr(mask, "keys"):
        if set(mask) != {"centre", "size"}:
            raise ValueError(
                f'mask: found the keys {sorted(mask)}, expected "centre" and "size", or the path of a file'
            )
        return box_mask(size, mask["centre"], mask["size"])
    from medgen.data.images import PLANES, plane_view, read_image

    read = read_image(str(mask))
    image = read.as_tensor()
    if image.ndim == 4 and len(size) == 2:  # a slice that lies in space is shown as slices of volumes are
        thin = [plane for plane, axis in PLANES.items() if image.shape[1 + axis] == 1]
        if len(thin) != 1:
            shape = tuple(image.shape[1:])
            raise ValueError(f"mask: {mask} has the size {shape}, expected one slice, of {size}, the image's own grid")
        image = plane_view(image, thin[0])[0]
    values = image[0]
    if tuple(values.shape) != size:
        raise ValueError(f"mask: {mask} has the size {tuple(values.shape)}, expected {size}, the image's own grid")
    if affine is not None and len(size) == 3:
        found_at, expected = (np.asarray(a, np.float64)[:3].round(3).tolist() for a in (read.affine, affine))
        if not np.allclose(found_at, expected, atol=2e-3):
            raise ValueError(
                f"mask: {mask} has the images' size and lies elsewhere: its affine is {found_at}, expected {expected}; "
                "draw it on a NIfTI file that this command writes, or resample it to that grid"
            )
    found: Tensor = values > 0.5 * float(values.max())
    if not found.any():
        raise ValueError(f"mask: {mask} holds nothing, expected 1 where the image is to be made")
    return found
