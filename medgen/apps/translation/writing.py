"""What is made of a person's image goes on being that person's: where it is put, and what it says of itself."""

from __future__ import annotations

import csv
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medgen import __version__
from medgen.apps.translation.pictures import flat
from medgen.dicom.slicing import centred_affine
from medgen.engines.run_directory import private_folder
from medgen.files import write_rows
from medgen.io import save_gif, save_nifti, save_png

__all__ = ["DERIVED", "DERIVED_SIMULATED", "DerivedImages", "derived_mark"]

logger = logging.getLogger("medgen.translation")
DERIVED = "DERIVED from an image of a person: to be treated as that person's data"
DERIVED_SIMULATED = "DERIVED from an image of a simulated person, who does not exist"
_OWN = re.compile(r"(images|nifti)/person_\d+_[a-z0-9_]+\.(png|nii\.gz)")


def derived_mark(simulated: bool) -> str:
    """What a file says that was made of a person's image."""
    return DERIVED_SIMULATED if simulated else DERIVED


class DerivedImages:
    """A folder of images that were made of images.

    Files say that they are synthetic and that they are derived. Those of real people go to ``output_dir/private`` (mode
    0700, files 0600); those of simulated people to ``output_dir`` itself. What an earlier ``manifest.csv`` lists there
    is removed first.

    Args:
        output_dir: folder to write to.
        simulated: whether the people do not exist.
        model: SHA-256 of the weights.
        settings: recorded in every file.
        png: write single PNG files.
        nifti: write NIfTI files.
        pixel_mm: side of a pixel in mm.
        affine: (4, 4) of volumes on one grid; None puts the middle at the origin.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        simulated: bool,
        model: str = "unknown",
        settings: Mapping[str, Any] | None = None,
        png: bool = True,
        nifti: bool = True,
        pixel_mm: float | None = None,
        affine: Any = None,
    ) -> None:
        self.affine = affine
        self.simulated, self.model, self.png, self.nifti = simulated, model, png, nifti
        self.folder = Path(output_dir) if simulated else private_folder(output_dir)
        self.permissions = None if simulated else 0o600
        self.pixel_mm = float(pixel_mm or 1.0)
        self.settings = {name: value for name, value in (settings or {}).items() if value is not None}
        self.rows: list[dict[str, Any]] = []
        self._remove_earlier()

    @property
    def said(self) -> dict[str, Any]:
        """What every file records."""
        return {"Derived": derived_mark(self.simulated), "model_sha256": self.model, **self.settings}

    def picture(self, picture: Any, name: str, facts: Mapping[str, Any], shows_source: bool = True) -> Path:
        """Write a strip or grid as ``name``; one that shows the person's own image is no synthetic picture."""
        synthetic = self.simulated or not shows_source
        return save_png(picture, self.folder / name, {**self.said, **facts}, synthetic, self.permissions)

    def film(self, frames: Sequence[Any], name: str, facts: Mapping[str, Any], milliseconds: int = 600) -> Path:
        """Write an animation that begins with the person's own image."""
        said = {**self.said, **facts}
        return save_gif(frames, self.folder / name, said, milliseconds, self.simulated, self.permissions)

    def image(
        self, image: Tensor, person: int, kind: str, facts: Mapping[str, Any], plane: str | None = None
    ) -> dict[str, Any]:
        """Write one made image ``(C, *spatial)`` and its row of the manifest, which is returned."""
        image = torch.as_tensor(image).float().cpu().clamp(-1, 1)
        stem = f"person_{person:03d}_{kind}"
        row: dict[str, Any] = {"person": person, "kind": kind}
        record = {**self.said, **facts}
        if self.png:
            shown = flat(image)
            path = self.folder / "images" / f"{stem}.png"
            save_png(shown if shown.shape[0] == 3 else shown[:1], path, record, permissions=self.permissions)
            row["png"] = path.relative_to(self.folder).as_posix()
        if self.nifti:
            affine = self.affine
            if affine is None:
                affine = centred_affine(image.shape[1:], plane or "axial", self.pixel_mm)
            path = self.folder / "nifti" / f"{stem}.nii.gz"
            save_nifti(image, path, affine, record, permissions=self.permissions)
            row["nifti"] = path.relative_to(self.folder).as_posix()
        self.rows.append({**row, **facts, **self.settings})
        return self.rows[-1]

    def finish(self) -> Path:
        """Write ``manifest.csv``."""
        last = {"model_sha256": self.model, "software": f"medgen {__version__}", "synthetic": "YES", "derived": "YES"}
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        path = self.folder / "manifest.csv"
        write_rows(path, [*columns, *last], [{**row, **last} for row in self.rows], self.permissions)
        logger.info("wrote %d derived images and manifest.csv to %s", len(self.rows), self.folder)
        return path

    def _remove_earlier(self) -> None:
        earlier = self.folder / "manifest.csv"
        if not earlier.is_file():
            return
        with open(earlier, newline="", encoding="utf-8") as file:
            names = [row.get(kind) or "" for row in csv.DictReader(file) for kind in ("png", "nifti")]
        earlier.unlink()
        for name in names:
            if _OWN.fullmatch(name):
                (self.folder / name).unlink(missing_ok=True)
                (self.folder / name.replace(".nii.gz", ".json")).unlink(missing_ok=True)
