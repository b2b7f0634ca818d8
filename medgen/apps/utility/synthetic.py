"""The synthetic set of one size: made in resumable chunks, and saved as class folders that say what they are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen import __version__
from medgen.apps.evaluation.cache import StageCache
from medgen.apps.utility.recipe import Trained
from medgen.covariates import Covariates
from medgen.files import key_of, private_directory, write_rows
from medgen.io import save_nifti, save_png
from medgen.progress import progress_bar
from medgen.randomness import seed_from

__all__ = ["generate", "save_set"]

logger = logging.getLogger("medgen.utility")


def image_seed(seed: int, index: int) -> int:
    """The seed of image ``index`` of a set."""
    return seed_from("utility image", seed, index)


def generate(
    trained: Trained, covariates: Tensor, shape: Sequence[int], cache: StageCache, seed: int, chunk: int = 64
) -> Tensor:
    """Generate an image for every row of covariates.

    Args:
        trained: the generator.
        covariates: (N, K).
        shape: ``(C, *spatial)``.
        cache: keeps finished chunks.
        seed: of the set.
        chunk: images in one file.

    Returns:
        float32 (N, C, *spatial) in [-1, 1].
    """
    parts = []
    starts = range(0, len(covariates), chunk)
    for start in progress_bar(starts, desc="synthetic images", unit=f" x {chunk}"):
        rows = covariates[start : start + chunk]
        seeds = [image_seed(seed, start + i) for i in range(len(rows))]
        asked = [[None if v != v else v for v in row] for row in rows.tolist()]
        key = key_of(trained.sha256, trained.process.to_dict(), trained.sampler.to_dict(), list(shape), seeds, asked)

        def make(rows: Tensor = rows, seeds: list[int] = seeds) -> dict[str, Any]:
            samples = trained.sampler(
                trained.network, trained.process, tuple(shape), seeds, covariates=rows, codec=trained.codec
            )
            return {"images": samples.images.numpy().astype("float16")}

        parts.append(torch.from_numpy(cache.arrays("synthetic", key, make)["images"]).float())
    return torch.cat(parts)


def save_set(
    folder: Path,
    images: Tensor,
    rows: Tensor,
    covariates: Covariates,
    label: str,
    trained: Trained,
    seed: int,
    affine: Any,
    cohort: Any,
    copies: NDArray[np.bool_],
) -> None:
    """Write ``<folder>/<label>/SYN00012_000.png`` (volumes as NIfTI) and ``<folder>/manifest.csv``, marked synthetic.

    The folder can be read as a cohort of class folders, and its manifest, with the other covariates, as a cohort in a
    table: every image counts as a subject of its own. Files and manifest state the terms of the training data. Unless
    these are simulated, folders and files are the owner's alone (mode 0700, 0600) and say ``share: no``.

    Args:
        folder: of the set; images of an earlier set in it are removed.
        images: (N, C, *spatial) in [-1, 1].
        rows: (N, K) covariates that were asked for.
        covariates: their declaration.
        label: the covariate whose labels name the folders.
        trained: the generator.
        seed: of the set.
        affine: (4, 4) of volumes, or None.
        cohort: that the generator was trained on a part of.
        copies: (N,) images that are left out, since they repeat a training image.
    """
    simulated = bool(getattr(cohort, "simulated", False))
    stated = {"data_terms": getattr(cohort, "data_terms", "not stated"), "share": "yes" if simulated else "no"}
    permissions = None if simulated else 0o600
    names = list(dict.fromkeys(str(covariates.decode(row)[label]) for row in rows))
    for place in () if simulated else (folder.parent, folder, *(folder / name for name in names)):
        private_directory(place)
    for old in [*folder.glob("*/SYN*.png"), *folder.glob("*/SYN*.nii.gz"), *folder.glob("*/SYN*.json")]:
        old.unlink()
    table = []
    for index in np.flatnonzero(~copies).tolist():
        image, values = images[index], covariates.decode(rows[index])
        facts = {"seed": image_seed(seed, index), "covariates": values, "model_sha256": trained.sha256}
        facts |= {"sampler": trained.sampler.to_dict()} | stated
        stem = folder / str(values[label]) / f"SYN{index:05d}_000"
        if image.ndim == 3:
            picture = image if image.shape[0] in (1, 3) else image[:1]
            file = save_png(picture, stem.with_suffix(".png"), facts, permissions=permissions)
        else:
            name = stem.with_name(f"{stem.name}.nii.gz")
            file = save_nifti(image, name, affine, facts, permissions=permissions)
        about = {
            "file": file.relative_to(folder).as_posix(),
            "subject": f"SYN{index:05d}",
            "seed": facts["seed"],
        } | values
        said = {"model_sha256": trained.sha256, "software": f"medgen {__version__}", "synthetic": "YES"} | stated
        table.append({key: "" if value is None else value for key, value in (about | said).items()})
    columns = ["file", "subject", "seed", *covariates.names, "model_sha256", "software", "synthetic", *stated]
    write_rows(folder / "manifest.csv", columns, table, permissions)
    logger.info("wrote %d synthetic images to %s", len(table), folder)
