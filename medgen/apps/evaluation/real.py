"""The real side of an evaluation: images by split, and the profiles that generated images are made to match."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from medgen.covariates import Covariates
from medgen.data.splits import check_disjoint
from medgen.handlers.manifest import manifest_path, read_manifest
from medgen.randomness import numpy_generator

__all__ = ["RealImages", "adjustment_columns", "check_splits", "draw_profiles", "training_splits"]


@dataclass(frozen=True)
class RealImages:
    """Images of one split that a question is about.

    Attributes:
        images: (N, C, H, W) or (N, C, X, Y, Z) float32 in [-1, 1].
        covariates: (N, K) float32, NaN unknown.
        subjects: N names.
        target: (N,) 1 for the second label and 0 for the first, or the number.
        left_out: images of the split with another label, or of unknown number.
    """

    images: Tensor
    covariates: Tensor
    subjects: list[str]
    target: NDArray[np.float64]
    left_out: int

    def subset(self, rows: NDArray[np.intp]) -> RealImages:
        """Take some rows."""
        names = [self.subjects[row] for row in rows.tolist()]
        return RealImages(self.images[rows], self.covariates[rows], names, self.target[rows], 0)

    def counts(self) -> dict[str, int]:
        """Subjects and images."""
        return {"subjects": len(set(self.subjects)), "images": len(self.subjects)}

    def digest(self) -> str:
        """Hash of everything a classifier learns from."""
        digest = hashlib.sha256(self.images.numpy().tobytes())
        digest.update(self.covariates.numpy().tobytes())
        digest.update(json.dumps([self.subjects, self.target.tolist()]).encode())
        return digest.hexdigest()


def check_splits(real: Mapping[str, RealImages], datasets: Mapping[str, Any], network: Any = None) -> float | None:
    """Refuse splits that share a subject, differ in geometry, or are no images of the network's.

    Returns:
        The pixel size in mm, None where unknown.
    """
    found, works_on = real["test"].images.ndim - 2, getattr(network, "spatial_dims", None)
    if works_on is not None and works_on != found:
        names = {2: "pictures", 3: "volumes"}
        advice = "lay configs/volume.json over evaluate.json for a model of volumes, and only then"
        raise ValueError(f"images: found {names[found]}, but the network works on {names[works_on]}; {advice}")
    check_disjoint({split: sorted(set(images.subjects)) for split, images in real.items()}, "evaluation")
    sizes: dict[str, Any] = {split: getattr(data, "pixel_mm", None) for split, data in datasets.items()}
    shapes: dict[str, Any] = {split: tuple(images.images.shape[1:]) for split, images in real.items()}
    for what, values in (("pixel size (mm)", sizes), ("image shape", shapes)):
        if len(set(values.values())) > 1:
            raise ValueError(f"the splits differ in {what}: {values}; give all the same geometry")
    return getattr(datasets["test"], "pixel_mm", None)


def draw_profiles(subjects: Sequence[str], count: int, seed: int = 0) -> NDArray[np.intp]:
    """Draw rows so that subjects are represented evenly: every subject once before any comes twice.

    Args:
        subjects: the subject of each of N rows.
        count: rows to draw; rows repeat only when all have been taken.
        seed: of the draw; a shorter draw with the same seed is the start of a longer one.

    Returns:
        ``count`` rows.
    """
    random = numpy_generator("profiles", seed)
    shuffled = random.permutation(len(subjects))
    turn: dict[str, int] = {}
    keys = np.empty(len(subjects))
    for row in shuffled.tolist():
        keys[row] = turn.get(subjects[row], 0)
        turn[subjects[row]] = turn.get(subjects[row], 0) + 1
    order = shuffled[np.argsort(keys[shuffled], kind="stable")]
    rows: NDArray[np.intp] = np.resize(order, count).astype(np.intp)
    return rows


def adjustment_columns(covariates: Covariates, values: Tensor, label: str) -> dict[str, NDArray[np.float64]]:
    """Covariates other than the label as numeric columns; three labels or more become one column each but the first."""
    columns: dict[str, NDArray[np.float64]] = {}
    for name in covariates.names:
        if name == label:
            continue
        column = values[:, covariates.index(name)].double().numpy()
        declared = covariates[name]
        if isinstance(declared, tuple) and len(declared) > 2:
            for code, value in enumerate(declared[1:], start=1):
                columns[f"{name}={value}"] = np.where(np.isnan(column), np.nan, (column == code).astype(np.float64))
        else:
            columns[name] = column
    return columns


def training_splits(
    weights: str | os.PathLike[str], output_dir: str | os.PathLike[str], file: str | os.PathLike[str] | None = None
) -> Path:
    """Find the split file of the run that made some weights, so that nobody it learned from is held out.

    Args:
        weights: published ``model.pt`` with its manifest.
        output_dir: the folder of runs that training wrote to.
        file: the split file itself, where the run's folder is elsewhere.

    Returns:
        Path of an existing split file.

    Raises:
        FileNotFoundError: when there are no weights, or there is no such file.
        ValueError: when the weights do not say which run they are from.
    """
    if file is not None:
        if not Path(file).is_file():
            raise FileNotFoundError(f"splits_file: found no file {file}")
        return Path(file)
    if not Path(weights).is_file():
        raise FileNotFoundError(f"{weights}: found no trained weights; train them first, or name others by --ckpt_dir")
    run = read_manifest(weights, check=False).get("run") if manifest_path(weights).is_file() else None
    if not run:
        raise ValueError(f"{weights}: its manifest names no run; give the split file of its training by --splits_file")
    found = Path(output_dir) / Path(str(run)).name / "splits.json"
    if not found.is_file():
        raise FileNotFoundError(
            f"{found}: the split file of the run that made {weights} is not there; without it people the model was "
            "trained on could count as held out. Give it by --splits_file, or the folder of runs by --output_dir"
        )
    return found
