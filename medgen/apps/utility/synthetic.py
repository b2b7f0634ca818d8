"""The synthetic set of one size: made in resumable chunks, and saved as class folders that say what they are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medgen import __version__
from medgen.apps.evaluation.cache import StageCache
from medgen.apps.utility.recipe import Trained
from medgen.covariates import Covariates
from medgen.files import key_of, write_rows
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
) -> None:
    """Write ``<folder>/<label>/SYN00012_000.png`` (volumes as NIfTI) and ``<folder>/manifest.csv``, marked synthetic.

    The folder can be read as a cohort of class folders, and its manifest, with the other covariates, as a cohort in a
    table: every image counts as a subject of its own.

    Args:
        folder: of the set; images of an earlier set in it are removed.
        images: (N, C, *spatial) in [-1, 1].
        rows: (N, K) covariates that were asked for.
        covariates: their declaration.
        label: the covariate whose labels name the folders.
        trained: the generator.
        seed: of the set.
        affine: (4, 4) of volumes, or None.
    """
    for old in [*folder.glob("*/SYN*.png"), *folder.glob("*/SYN*.nii.gz"), *folder.glob("*/SYN*.json")]:
        old.unlink()
    table = []
    for index, (image, row) in enumerate(zip(images, rows, strict=True)):
        values = covariates.decode(row)
        facts = {"seed": image_seed(seed, index), "covariates": values, "model_sha256": trained.sha256}
        facts |= {"sampler": trained.sampler.to_dict()}
        stem = folder / str(values[label]) / f"SYN{index:05d}_000"
        if image.ndim == 3:
            file = save_png(image if image.shape[0] in (1, 3) else image[:1], stem.with_suffix(".png"), facts)
        else:
            file = save_nifti(image, stem.with_name(f"{stem.name}.nii.gz"), affine, facts)
        about = {
            "file": file.relative_to(folder).as_posix(),
            "subject": f"SYN{index:05d}",
            "seed": facts["seed"],
        } | values
        said = {"model_sha256": trained.sha256, "software": f"medgen {__version__}", "synthetic": "YES"}
        table.append({key: "" if value is None else value for key, value in (about | said).items()})
    write_rows(folder / "manifest.csv", list(table[0]), table)
    logger.info("wrote %d synthetic images to %s", len(table), folder)
