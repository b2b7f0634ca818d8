"""Write generated images, each marked synthetic in the file itself.

PNG text chunks, a GIF comment, a NIfTI description with header extension and JSON sidecar: a picture that leaves its
folder still says what it is. The atomic writers of :mod:`medgen.files` are available from here too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgen import __version__
from medgen.files import atomic_write, file_sha256, plain, write_json, write_text

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "NOTICE",
    "atomic_write",
    "check_nifti",
    "file_sha256",
    "image_grid",
    "markings",
    "save_gif",
    "save_nifti",
    "save_png",
    "to_uint8",
    "write_json",
    "write_text",
]

NOTICE = "SYNTHETIC - NOT FOR DIAGNOSIS"
REAL_NOTICE = "CONTAINS IMAGES OF PARTICIPANTS - DO NOT PUBLISH"


def markings(metadata: Mapping[str, Any] | None = None, synthetic: bool = True) -> dict[str, Any]:
    """Return what every written image says about itself, followed by ``metadata`` (which cannot overrule it)."""
    said: dict[str, Any] = {
        "Synthetic": "YES" if synthetic else "NO",
        "Description": NOTICE if synthetic else REAL_NOTICE,
        "Software": f"medgen {__version__}",
    }
    return said | {key: value for key, value in (metadata or {}).items() if key not in said}


def to_uint8(image: Any) -> np.ndarray:
    """Map float intensities from [-1, 1] to 0..255 (clipped, NaN becomes 0); ``uint8`` input passes unchanged."""
    import numpy as np

    array = _array(image)
    if array.dtype == np.uint8:
        return array
    return np.clip(np.rint((np.nan_to_num(array.astype(np.float32), nan=-1.0) + 1.0) * 127.5), 0, 255).astype(np.uint8)


def save_png(
    image: Any,
    path: str | os.PathLike[str],
    metadata: Mapping[str, Any] | None = None,
    synthetic: bool = True,
    permissions: int | None = None,
) -> Path:
    """Write one 8-bit PNG whose text chunks say that it is synthetic.

    Args:
        image: float in [-1, 1] as ``(H, W)``, ``(1, H, W)`` or ``(3, H, W)``, or ``uint8`` as ``(H, W)`` or
            ``(H, W, 3)``.
        path: file to write.
        metadata: further text chunks, for example the model's SHA-256, the covariates and the seed; values that are not
            strings are written as JSON.
        synthetic: False for a picture that shows participants' images; it is then marked as such.
        permissions: file mode, see :func:`medgen.files.atomic_write`; ``0o600`` for what must stay with its owner.

    Raises:
        ValueError: when the shape is not one of those above.
    """
    from PIL import Image, PngImagePlugin

    chunks = PngImagePlugin.PngInfo()
    for key, value in markings(metadata, synthetic).items():
        chunks.add_text(key, value if isinstance(value, str) else json.dumps(value, default=plain))
    with atomic_write(path, permissions) as temporary:
        Image.fromarray(_picture(image)).save(temporary, format="PNG", pnginfo=chunks, optimize=True)
    return Path(path)


def save_gif(
    frames: Sequence[Any],
    path: str | os.PathLike[str],
    metadata: Mapping[str, Any] | None = None,
    milliseconds: int = 100,
    synthetic: bool = True,
    permissions: int | None = None,
) -> Path:
    """Write an endless animation, its last frame held for a second; the file's comment says that it is synthetic.

    Args:
        frames: images as :func:`save_png` takes them, all of one shape.
        path: file to write.
        metadata: added to the comment, which is one JSON object.
        milliseconds: how long each frame stays.
        synthetic: see :func:`save_png`.
        permissions: see :func:`save_png`.

    Raises:
        ValueError: when there is no frame.
    """
    from PIL import Image

    if len(frames) == 0:
        raise ValueError("frames: found none, expected at least one image")
    pictures = [Image.fromarray(_picture(frame)) for frame in frames]
    with atomic_write(path, permissions) as temporary:
        pictures[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=[milliseconds] * (len(pictures) - 1) + [1000],
            loop=0,
            comment=json.dumps(markings(metadata, synthetic), default=plain).encode("ascii"),
        )
    return Path(path)


def save_nifti(
    image: Any,
    path: str | os.PathLike[str],
    affine: Any = None,
    metadata: Mapping[str, Any] | None = None,
    synthetic: bool = True,
    permissions: int | None = None,
) -> Path:
    """Write a float32 NIfTI that says it is synthetic in its description, in a header extension and in a JSON sidecar.

    Args:
        image: ``(C, *spatial)`` with two or three spatial dimensions. A 2D image becomes one slice (X, Y, 1); several
            channels become the fourth dimension.
        path: file ending with ``.nii`` or ``.nii.gz``; the sidecar ends with ``.json`` instead.
        affine: ``(4, 4)`` voxel to world in mm; by default the identity.
        metadata: further entries of the sidecar and the extension.
        synthetic: see :func:`save_png`.
        permissions: of both files, see :func:`save_png`.

    Raises:
        ValueError: when the name or the shape is not as above.
    """
    import nibabel as nib
    import numpy as np

    path = Path(path)
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    if path.name not in (f"{stem}.nii", f"{stem}.nii.gz"):
        raise ValueError(f"path: found {path.name!r}, expected a name ending with .nii or .nii.gz")
    array = _array(image).astype(np.float32)
    if array.ndim not in (3, 4):
        raise ValueError(f"image: found shape {array.shape}, expected (C, X, Y) or (C, X, Y, Z)")
    if array.ndim == 3:
        array = array[..., None]
    array = array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)

    said = markings(metadata, synthetic) | {"Synthetic": synthetic}
    nifti = nib.Nifti1Image(array, np.eye(4) if affine is None else np.asarray(affine, dtype=float))
    nifti.header["descrip"] = said["Description"].encode("ascii")[:79]
    nifti.header.set_xyzt_units("mm")
    extension = nib.nifti1.Nifti1Extension("comment", json.dumps(said, default=plain).encode())
    nifti.header.extensions.append(extension)
    with atomic_write(path, permissions) as temporary:
        nib.save(nifti, temporary)
    write_json(path.with_name(f"{stem}.json"), said, permissions)
    return path


def check_nifti(path: str | os.PathLike[str]) -> None:
    """Read a NIfTI of :func:`save_nifti` back and check that description, extension and sidecar say it is synthetic.

    Raises:
        ValueError: naming the file and what does not say so.
    """
    import nibabel as nib

    path = Path(path)
    header: Any = nib.load(path).header  # type: ignore[attr-defined]
    sidecar = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    said = {
        "description": header["descrip"].item().decode("ascii") == NOTICE,
        "extension": any(b'"Synthetic": true' in bytes(extension.content) for extension in header.extensions),
        f"sidecar {sidecar.name}": json.loads(sidecar.read_text(encoding="utf-8")).get("Synthetic") is True,
    }
    if silent := [place for place, found in said.items() if not found]:
        raise ValueError(f"{path}: does not say that it is synthetic in its {', '.join(silent)}")


def image_grid(
    images: Any,
    columns: int | None = None,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    cell: int = 96,
    gap: int = 2,
) -> np.ndarray:
    """Tile images into one picture, with labels to the left of the rows and above the columns.

    Args:
        images: ``(N, C, H, W)`` or ``(N, C, X, Y, Z)`` in [-1, 1], or a sequence of ``(C, ...)`` images of one shape.
            Of a volume in RAS the middle axial slice is shown, front at the top, the person's left on the left. One or
            three channels; of any other number the first is shown.
        columns: images per row; by default the whole number nearest to the square root of N from above.
        row_labels: one text per row, or none.
        column_labels: one text per column, or none.
        cell: images smaller than this many pixels are enlarged by the smallest whole factor that reaches it.
        gap: pixels between images.

    Returns:
        ``uint8`` array ``(height, width, 3)`` for :func:`save_png`.

    Raises:
        ValueError: when there is no image, or the number of labels does not fit.
    """
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    tiles = [_tile(image) for image in images]
    if not tiles:
        raise ValueError("images: found none, expected at least one")
    columns = min(columns or int(np.ceil(np.sqrt(len(tiles)))), len(tiles))
    rows = -(-len(tiles) // columns)
    for name, labels, count in (("row_labels", row_labels, rows), ("column_labels", column_labels, columns)):
        if labels is not None and len(labels) != count:
            raise ValueError(f"{name}: found {len(labels)} texts, expected {count}, for {len(tiles)} images")

    factor = max(1, -(-cell // max(tiles[0].shape[:2])))
    height, width = (side * factor for side in tiles[0].shape[:2])
    letters = max(10, min(20, height // 8))
    font = ImageFont.load_default(size=letters)
    left = 0 if row_labels is None else int(max(font.getlength(text) for text in row_labels)) + 12
    top = 0 if column_labels is None else letters + 10
    canvas = Image.new("RGB", (left + columns * (width + gap) + gap, top + rows * (height + gap) + gap), "black")
    draw = ImageDraw.Draw(canvas)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        picture = Image.fromarray(tile).resize((width, height), Image.Resampling.NEAREST)
        canvas.paste(picture, (left + gap + column * (width + gap), top + gap + row * (height + gap)))
    for row, text in enumerate(row_labels or ()):
        draw.text((6, top + gap + row * (height + gap) + height // 2), text, fill="white", font=font, anchor="lm")
    for column, text in enumerate(column_labels or ()):
        draw.text((left + gap + column * (width + gap) + width // 2, 4), text, fill="white", font=font, anchor="ma")
    return np.asarray(canvas)


def _array(image: Any) -> np.ndarray:
    """Return a numpy array from a tensor on any device, or from anything numpy understands."""
    import numpy as np

    if hasattr(image, "detach"):
        image = image.detach().cpu()
        image = image.float() if image.is_floating_point() else image
    return np.asarray(image)


def _picture(image: Any) -> np.ndarray:
    """Return ``uint8`` (H, W) or (H, W, 3) from what :func:`save_png` takes."""
    import numpy as np

    array = _array(image)
    channels_first = array.ndim == 3 and array.dtype != np.uint8
    if channels_first and array.shape[0] in (1, 3):
        array = array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)
    elif array.ndim != 2 and not (array.ndim == 3 and not channels_first and array.shape[-1] == 3):
        raise ValueError(
            f"image: found {array.dtype} of shape {array.shape}, expected float (H, W), (1, H, W) or (3, H, W), "
            "or uint8 (H, W) or (H, W, 3)"
        )
    return np.ascontiguousarray(to_uint8(array))


def _tile(image: Any) -> np.ndarray:
    """Return ``uint8`` (H, W, 3) from one ``(C, H, W)`` or ``(C, X, Y, Z)`` image."""
    import numpy as np

    array = _array(image)
    if array.ndim not in (3, 4):
        raise ValueError(f"images: found one of shape {array.shape}, expected (C, H, W) or (C, X, Y, Z)")
    if array.ndim == 4:  # as medgen.data.images.plane_view turns it
        array = array[..., array.shape[-1] // 2].swapaxes(1, 2)[:, ::-1]
    array = array if array.shape[0] == 3 else np.repeat(array[:1], 3, axis=0)
    return to_uint8(np.moveaxis(array, 0, -1))
