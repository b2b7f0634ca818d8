"""Burn a notice into the pixels of slices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from medgen.io import NOTICE

__all__ = ["burn_in"]

_LEFT, _RIGHT = NOTICE.split(" - ")
_LAYOUTS = ((NOTICE,), (_LEFT, _RIGHT), (_LEFT, *_RIGHT.rsplit(" ", 1)), (_LEFT, *_RIGHT.split(" ")))
_SMALLEST = 6  # pixels of letter height that can still be read


def burn_in(slices: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    """Return slices with "SYNTHETIC - NOT FOR DIAGNOSIS" written along their lower edge.

    The letters have the intensity ``high`` on a band of ``low``, a twentieth of the slice high where they fit on one
    line, else smaller or on several.

    Args:
        slices: (S, rows, columns).
        low: intensity of the band.
        high: intensity of the letters.

    Raises:
        ValueError: when the slices are too small for the text.

    Example:
        >>> plain = np.zeros((2, 128, 128), dtype=np.uint16)
        >>> written = burn_in(plain, 0, 4095)
        >>> bool(written.max() > 3000), bool((written[:, :100] == 0).all()), bool((written[0] == written[1]).all())
        (True, True, True)
    """
    rows, columns = slices.shape[1:3]
    label = _label(rows, columns)
    height, width = label.shape
    top, left = rows - height, (columns - width) // 2
    result = slices.copy()
    values = low + label.astype(np.float64) / 255.0 * (high - low)
    result[:, top:, left : left + width] = values.astype(slices.dtype)
    return result


def _label(rows: int, columns: int) -> NDArray[np.uint8]:
    """Return the largest label that fits, letters white on black."""
    wanted = max(9, rows // 20)
    for size in range(wanted, _SMALLEST - 1, -1):
        font = ImageFont.load_default(size=size)
        for lines in _LAYOUTS:
            text = "\n".join(lines)
            left, top, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox(
                (0, 0), text, font=font, spacing=1, align="center"
            )
            width, height = int(np.ceil(right - left)) + 2, int(np.ceil(bottom - top)) + 2
            if width <= columns and height <= rows // 2:
                picture = Image.new("L", (width, height))
                ImageDraw.Draw(picture).multiline_text(
                    (1 - left, 1 - top), text, fill=255, font=font, spacing=1, align="center"
                )
                return np.asarray(picture)
    raise ValueError(
        f"image: slices of {rows} x {columns} pixels are too small for the burned-in notice: pass burned_in=False"
    )
