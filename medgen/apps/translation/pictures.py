"""Pictures of changed images: strips, and maps of the difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medgen.io import image_grid

__all__ = ["DIFFERENCE_LABEL", "SCALE", "difference_map", "strip"]

SCALE = 0.5  # the difference, of intensities in [-1, 1], that has the full colour
DIFFERENCE_LABEL = f"red: brighter, blue: darker (full: {SCALE:g})"
_COLD, _WHITE, _WARM = (
    torch.tensor(rgb)[:, None, None] for rgb in ((0.13, 0.36, 0.66), (0.97, 0.97, 0.97), (0.72, 0.10, 0.16))
)


def difference_map(after: Tensor, before: Tensor, scale: float = SCALE) -> Tensor:
    """Colour what changed: white for nothing, red where it became brighter, blue where darker.

    Args:
        after: ``(C, H, W)`` or ``(C, X, Y, Z)`` (the middle slice along Z), its first channel is taken.
        before: like ``after``.
        scale: difference with the full colour.

    Returns:
        ``(3, H, W)`` in [-1, 1].
    """
    change = ((after - before)[0].float() / scale).clamp(-1, 1)
    change = change[..., change.shape[-1] // 2] if change.ndim == 3 else change
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
    flat = image[..., image.shape[-1] // 2] if image.ndim == 4 else image
    flat = flat if flat.shape[0] == 3 else flat[:1].repeat(3, 1, 1)
    return flat.float().clamp(-1, 1)
