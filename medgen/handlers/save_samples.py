"""The handler that writes generated images, a grid and a manifest."""

from __future__ import annotations

import csv
import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.utils import CommonKeys

from medgen import __version__
from medgen.data.images import PLANES, middle_planes
from medgen.data.requests import GenerationRequests
from medgen.dicom.slicing import centred_affine
from medgen.dicom.synthetic import write_synthetic
from medgen.engines.distributed import is_first_rank
from medgen.files import atomic_write
from medgen.io import image_grid, save_nifti, save_png
from medgen.spelling import one_of

__all__ = ["SaveSamples", "batch_column"]

logger = logging.getLogger("medgen.handlers")
_OWN = re.compile(r"(images/image_\d+\.png|nifti/image_\d+\.nii\.gz|dicom/image_\d+)")


class SaveSamples:
    """Write every generated image as it comes, and at the end a grid and ``manifest.csv``.

    ``images/image_00000.png``, ``nifti/image_00000.nii.gz`` (with a JSON sidecar) and the series ``dicom/image_00000/``
    are numbered in the order of the requests; ``grid.png`` has one block of rows per condition. Of a volume the
    pictures show the middle axial, coronal and sagittal slices. Each file says that it is synthetic, and with which
    model, seed, covariates and settings it was made. Images that an earlier ``manifest.csv`` in the folder lists are
    removed first, so that the folder holds one request.

    Args:
        requests: what is generated.
        output_dir: folder to write to; made when absent.
        settings: sampling settings for the record, for example ``{"guidance": 1.5, "steps": 50}``.
        manifest: the model's manifest; its ``sha256`` is recorded, and what lies outside what training saw is flagged.
        png: write single PNG files.
        nifti: write NIfTI files.
        dicom: write DICOM, a folder with one series for each image; for images of one channel.
        burned_in: write "SYNTHETIC - NOT FOR DIAGNOSIS" into the pixels of the DICOM files.
        pixel_mm: side of a pixel (voxel) in the NIfTI and DICOM files, in mm; 1 when it is not known.
        affine: (4, 4), voxel to RAS mm, of volumes: that of the training grid; None puts their middle at the origin.
        plane: plane of the training slices, which says how a 2D image lies in space; an image of which a plane was
            asked for lies in that one.
        columns: images per row of the grid.
        rows: rows per condition of the grid, at most; what is left over is in the single files.

    Raises:
        ValueError: when ``plane`` is none of the three.
    """

    def __init__(
        self,
        requests: GenerationRequests,
        output_dir: str | Path,
        settings: Mapping[str, Any] | None = None,
        manifest: Mapping[str, Any] | None = None,
        png: bool = True,
        nifti: bool = True,
        dicom: bool = False,
        burned_in: bool = True,
        pixel_mm: float | None = None,
        affine: Sequence[Sequence[float]] | None = None,
        plane: str = "axial",
        columns: int = 8,
        rows: int = 8,
    ) -> None:
        one_of("plane", plane, tuple(PLANES))
        self.requests = requests
        self.output_dir = Path(output_dir)
        self.settings = {key: value for key, value in (settings or {}).items() if value is not None}
        self.model = str((manifest or {}).get("sha256", "unknown"))
        self.observed: Mapping[str, Any] = ((manifest or {}).get("config") or {}).get("observed") or {}
        self.png = png
        self.nifti = nifti
        self.dicom = dicom
        self.burned_in = burned_in
        self.pixel_mm = float(pixel_mm or 1.0)
        self.affine = None if affine is None else np.asarray(affine, dtype=np.float64)
        self.plane = plane
        self.columns = min(columns, requests.n)
        self.shown = min(requests.n, self.columns * rows)
        self._thumbnails: dict[int, list[torch.Tensor]] = {}
        self._rows: dict[int, dict[str, Any]] = {}
        self._wanted = requests.rows()

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator whose batches carry ``index`` and whose output carries the images.

        Of several processes, which all have every image, the first one writes.
        """
        if not is_first_rank():
            return
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._write)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, engine: Engine) -> None:
        self._thumbnails.clear()
        self._rows.clear()
        for condition, title in zip(self.requests.conditions, self.requests.titles(), strict=True):
            for name in extrapolated(condition, self.observed):
                seen = self.observed[name]
                said = f"{seen[0]:g} to {seen[1]:g}" if isinstance(seen[0], (int, float)) else ", ".join(seen)
                logger.warning("%s: %s lies outside what training saw (%s): extrapolated", title, name, said)
        earlier = self.output_dir / "manifest.csv"
        if earlier.is_file():
            with open(earlier, newline="") as file:
                names = [row.get(kind) or "" for row in csv.DictReader(file) for kind in ("png", "nifti", "dicom")]
            earlier.unlink()
            for name in names:
                if _OWN.fullmatch(name):
                    _remove(self.output_dir / name)
                    _remove(self.output_dir / name.replace(".nii.gz", ".json"))

    def _write(self, engine: Engine) -> None:
        indices = [int(item) for item in batch_column(engine.state.batch, "index")]
        for index, image in zip(indices, batch_column(engine.state.output, CommonKeys.PRED), strict=True):
            self._write_one(index, torch.as_tensor(image).detach().float().cpu().clamp(-1, 1))

    def _write_one(self, index: int, image: torch.Tensor) -> None:
        row = self._wanted[index]
        covariates = {name: row[name] for name in self.requests.covariates}
        record = {"seed": row["seed"], "covariates": covariates, "model_sha256": self.model} | self.settings
        flagged = {"extrapolated": " ".join(extrapolated(covariates, self.observed))} if self.observed else {}
        record |= flagged
        files = {}
        if self.png:
            picture = torch.cat(middle_planes(image), dim=-1)
            picture = picture if picture.shape[0] in (1, 3) else picture[:1]
            files["png"] = save_png(picture, self.output_dir / "images" / f"image_{index:05d}.png", record)
        name = f"image_{index:05d}"
        plane = covariates.get("plane") or self.plane
        affine = centred_affine(image.shape[1:], plane, self.pixel_mm)
        affine = affine if self.affine is None or image.ndim == 3 else self.affine
        if self.nifti:
            files["nifti"] = save_nifti(image, self.output_dir / "nifti" / f"{name}.nii.gz", affine, record)
        if self.dicom:
            files["dicom"] = self.output_dir / "dicom" / name
            write_synthetic(
                image.numpy() if image.ndim == 4 else image.numpy()[..., None],
                affine,
                files["dicom"],
                covariates=covariates,
                generation={"seed": row["seed"]} | self.settings,
                model_sha256=self.model,
                slice_axis=plane,
                burned_in=self.burned_in,
            )
        if index % self.requests.n < self.shown:
            self._thumbnails[index] = middle_planes(image)
        relative = {kind: path.relative_to(self.output_dir).as_posix() for kind, path in files.items()}
        self._rows[index] = relative | row | flagged | self.settings

    def _finish(self, engine: Engine) -> None:
        self._save_grid()
        columns = list(dict.fromkeys(key for row in self._rows.values() for key in row))
        columns += ["model_sha256", "software", "synthetic"]
        with atomic_write(self.output_dir / "manifest.csv") as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            for index in sorted(self._rows):
                last = {"model_sha256": self.model, "software": f"medgen {__version__}", "synthetic": "YES"}
                writer.writerow(
                    {key: "" if value is None else value for key, value in self._rows[index].items()} | last
                )
        logger.info("wrote %d synthetic images and manifest.csv to %s", len(self._rows), self.output_dir)

    def _save_grid(self) -> None:
        if not self._thumbnails:
            return
        first_image = next(iter(self._thumbnails.values()))
        empty = [torch.full_like(part, -1.0) for part in first_image]
        tiles: list[torch.Tensor] = []
        labels: list[str] = []
        for condition, title in enumerate(self.requests.titles()):
            first = condition * self.requests.n
            block = [self._thumbnails.get(first + image, empty) for image in range(self.shown)]
            block += [empty] * (-len(block) % self.columns)
            for start in range(0, len(block), self.columns):  # of volumes one row for each plane
                row = block[start : start + self.columns]
                tiles += [image[part] for part in range(len(empty)) for image in row]
            labels += [title] + [""] * (len(empty) * len(block) // self.columns - 1)
        grid = image_grid(tiles, columns=self.columns, row_labels=labels)
        record = {"seed": self._wanted[0]["seed"], "conditions": self.requests.titles(), "model_sha256": self.model}
        save_png(grid, self.output_dir / "grid.png", record | self.settings)


def _remove(path: Path) -> None:
    """Remove a file, or the slices in a series' folder and the folder when nothing else is in it."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for file in path.glob("image_*.dcm"):
        file.unlink()
    if not any(path.iterdir()):
        path.rmdir()


def extrapolated(wanted: Mapping[str, Any], observed: Mapping[str, Any]) -> list[str]:
    """Name the wanted covariates that lie outside what training saw.

    Args:
        wanted: covariate to label, number or None.
        observed: covariate to labels, or to the lowest and highest number; see
            :attr:`medgen.data.SliceDataset.observed`. An age of 90 there stands for any above.
    """
    outside = []
    for name, value in wanted.items():
        seen = observed.get(name)
        if value is None or not seen:
            continue
        if isinstance(value, str):
            unseen = value not in seen
        else:
            high = math.inf if name == "age" and seen[1] >= 90 else seen[1]
            unseen = not seen[0] <= value <= high
        outside += [name] if unseen else []
    return outside


def batch_column(items: Any, key: str) -> Sequence[Any] | np.ndarray | torch.Tensor:
    """Return ``key`` of every sample, from a batch or from the list of dictionaries it was taken apart into."""
    return [item[key] for item in items] if isinstance(items, (list, tuple)) else items[key]
