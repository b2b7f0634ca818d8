"""Pictures of changed images: strips, and maps of the difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medgen.data.images import plane_view
from medgen.io import image_grid

__all__ = ["DIFFERENCE_LABEL", "SCALE", "difference_map", "flat", "strip"]

SCALE = 0.5  # the difference, of intensities in [-1, 1], that has the full colour
DIFFERENCE_LABEL = f"red: brighter, blue: darker (full: {SCALE:g})"
_COLD, _WHITE, _WARM = (
    torch.tensor(rgb)[:, None, None] for rgb in ((0.13, 0.36, 0.66), (0.97, 0.97, 0.97), (0.72, 0.10, 0.16))
)


def difference_map(after: Tensor, before: Tensor, scale: float = SCALE) -> Tensor:
    """Colour what changed: white for nothing, red where it became brighter, blue where darker.

    Args:
        after: ``(C, H, W)`` or ``(C, X, Y, Z)`` (its middle axial slice), the first channel is taken.
        before: like ``after``.
        scale: difference with the full colour.

    Returns:
        ``(3, H, W)`` in [-1, 1].
    """
    change = (flat(after - before)[0].float() / scale).clamp(-1, 1)
    share = change.abs()[None]
    colour = torch.where(change[None] > 0, _WARM, _COLD)
    return 2 * ((1 - share) * _WHITE + share * colour) - 1


def strip(rows: Sequence[Sequence[Tensor]], titles: Sequence[str], names: Sequence[str]) -> Any:
    """Return one picture: a row for each person, grey images and coloured maps side by side.

    Args:
        rows: of each person the images ``(C, H, W)`` or ``(C, X, Y, Z)``, and maps ``(3, H, W)``.
        titles: of the columns.
        names: of the rows.
    """
    tiles = [_tile(image) for row in rows for image in row]
    return image_grid(tiles, len(titles), list(names), list(titles), cell=128)


def _tile(image: Tensor) -> Tensor:
    shown = flat(image)
    shown = shown if shown.shape[0] == 3 else shown[:1].repeat(3, 1, 1)
    return shown.float().clamp(-1, 1)


def flat(image: Tensor) -> Tensor:
    """Return ``(C, H, W)``, of a volume its middle axial slice."""
    if image.ndim == 3:
        return image
    slices = plane_view(image, "axial")
    return slices[len(slices) // 2]
