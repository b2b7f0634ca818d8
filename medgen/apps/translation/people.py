"""Whose images are changed: held-out people of the model's cohort, or one image of one's own."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from medgen.apps.evaluation.real import training_splits
from medgen.covariates import Covariates
from medgen.data.volume_grid import VolumeGrid
from medgen.data.volumes import VolumeDataset
from medgen.handlers.manifest import read_manifest

__all__ = ["SourceImages", "held_out_images", "own_image", "source_images", "trained_field_of_view"]

logger = logging.getLogger("medgen.translation")


@dataclass(frozen=True)
class SourceImages:
    """Images to change.

    Attributes:
        images: (N, C, *spatial) float32 in [-1, 1].
        covariates: (N, K) float32, NaN unknown.
        subjects: N names.
        planes: N planes, None for a picture that does not know its own.
        pixel_mm: side of a pixel in mm, None where it is not known.
        simulated: whether these people do not exist.
        affine: (4, 4) voxel to mm of volumes, which lie on one grid; None for slices.
    """

    images: Tensor
    covariates: Tensor
    subjects: list[str]
    planes: list[str | None]
    pixel_mm: float | None
    simulated: bool
    affine: Any = None


def trained_field_of_view(trained: Mapping[str, Any]) -> float | None:
    """Return the field of view in mm that a model was trained with, from the settings in its manifest.

    Args:
        trained: the manifest's ``config``.

    Returns:
        None where the manifest does not say it, as for pictures.
    """
    pixel, size = trained.get("pixel_mm"), trained.get("image_size")
    if trained.get("field_of_view") is not None:
        return float(trained["field_of_view"])
    if pixel is None or size is None:
        return None
    return float(pixel) * (size if isinstance(size, int) else max(size))


def source_images(
    dataset: Callable[..., Any],
    covariates: Covariates,
    n: int = 4,
    wanted: Callable[[Tensor], bool] | None = None,
    image: str | os.PathLike[str] | None = None,
    source: Mapping[str, Any] | None = None,
    cohort: Any = None,
    fractions: Mapping[str, float] | None = None,
    weights: str | os.PathLike[str] = "",
    runs: str | os.PathLike[str] = "",
    splits_file: str | os.PathLike[str] | None = None,
) -> SourceImages:
    """Return an image of one's own where one is given, else one slice of each of some held-out people.

    Args:
        dataset: ``dataset(data=records)`` reads images as the model was trained on them.
        covariates: the model's declaration.
        n: people of the cohort.
        wanted: says of covariates ``(K,)`` whether a person is eligible.
        image: file or DICOM folder of one's own image, prepared as the cohort was (skull-stripped, registered).
        source: what is known of it, covariate to value.
        cohort: the :class:`medgen.data.Cohort` that the model was trained on; not looked at where an image is given.
        fractions: of its splits.
        weights: of the model, whose manifest names its run.
        runs: the folder of runs, with the split file.
        splits_file: the split file itself, where the folder of runs is elsewhere.

    Raises:
        FileNotFoundError: when there is no such image or split file.
        ValueError: when nobody is eligible.
    """
    volumes = getattr(dataset, "func", None) is VolumeDataset
    if image is not None:
        if volumes:  # which must lie on the training grid
            grid = VolumeGrid.from_settings(read_manifest(weights, check=False).get("config") or {})
            dataset = functools.partial(dataset, like=grid)
        return own_image(dataset, covariates, image, source)
    if source:
        raise ValueError(f"source: found {dict(source)}, but no image; a cohort says what is known of its people")
    splits = cohort.split(dict(fractions or {}) or None, file=training_splits(weights, runs, splits_file))
    if volumes:  # whose grid is that of all training volumes
        dataset = functools.partial(dataset, like=dataset(data=splits["train"]))
    return held_out_images(dataset, covariates, splits["test"], cohort.simulated, n, wanted)


def own_image(
    dataset: Callable[..., Any],
    covariates: Covariates,
    image: str | os.PathLike[str],
    source: Mapping[str, Any] | None = None,
) -> SourceImages:
    """Read one image; see :func:`source_images`."""
    path = Path(image).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"image: no such file or folder: {path}")
    known = covariates.decode(covariates.encode(dict(source or {}), where="source"))
    record = {"image": str(path), "subject": "own", **{k: v for k, v in known.items() if v is not None}}
    return _taken(dataset(data=[record]), covariates, simulated=False)


def held_out_images(
    dataset: Callable[..., Any],
    covariates: Covariates,
    records: list[dict[str, Any]],
    simulated: bool,
    n: int,
    wanted: Callable[[Tensor], bool] | None = None,
) -> SourceImages:
    """Choose people evenly by age among the eligible and read one slice of each; see :func:`source_images`."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n: expected a positive number of people, found {n!r}")
    first: dict[str, tuple[dict[str, Any], Tensor]] = {}
    for record in records:
        row = covariates.encode(record, unknown_keys="ignore")
        if record["subject"] not in first and (wanted is None or wanted(row)):
            first[record["subject"]] = (record, row)
    if not first:
        raise ValueError(
            f"found nobody among {len({r['subject'] for r in records})} held-out people of whom this can be asked: "
            "their covariates must be known, be changed by it, and stay inside the declared ranges"
        )
    people = list(first.values())
    if "age" in covariates:
        people.sort(key=lambda person: float(person[1][covariates.index("age")].nan_to_num(-1.0)))
    chosen = np.unique(np.linspace(0, len(people) - 1, min(n, len(people))).round().astype(int))
    if len(chosen) < n:
        logger.warning("%d people were wanted, %d are eligible", n, len(chosen))
    return _taken(dataset(data=[people[i][0] for i in chosen]), covariates, simulated)


def _taken(data: Any, covariates: Covariates, simulated: bool) -> SourceImages:
    planes: list[str | None] = [None] * len(data.subjects)
    if "plane" in covariates:
        planes = [covariates.decode(row)["plane"] for row in data.covariates]  # type: ignore[misc]
    return SourceImages(
        data.images.float(),
        data.covariates,
        list(data.subjects),
        planes,
        data.pixel_mm,
        bool(simulated),
        getattr(data, "affine", None),
    )
