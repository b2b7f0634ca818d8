"""The shape of what a bundle generates."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["image_shape"]


def image_shape(channels: int, image_size: int | Sequence[int] | None, spatial_dims: int = 2) -> list[int]:
    """Return ``[C, *spatial]`` of an image of a model.

    Args:
        channels: C.
        image_size: pixels of a side of a square picture, or of every side; of a volume always every side, since the
            training volumes' is no cube. None, which the manifest beside the weights replaces, is refused.
        spatial_dims: 2 or 3.

    Raises:
        ValueError: when the size is not known, or has another number of sides.

    Example:
        >>> image_shape(1, 128), image_shape(1, [72, 96, 80], 3)
        ([1, 128, 128], [1, 72, 96, 80])
    """
    if image_size is None:
        raise ValueError("image_size: found null; the manifest beside the weights gives it, and found none that does")
    sides = [image_size] * 2 if isinstance(image_size, int) and spatial_dims == 2 else image_size
    if isinstance(sides, int) or len(sides) != spatial_dims or any(not isinstance(n, int) or n < 1 for n in sides):
        raise ValueError(f"image_size: found {image_size!r}, expected {spatial_dims} positive numbers of pixels")
    return [channels, *sides]
