"""Pictures of what the model generates while it learns."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import torch

from medgen.covariates import Covariates
from medgen.data.images import PLANES, middle_planes
from medgen.handlers.periodic import Periodic
from medgen.io import image_grid, save_png
from medgen.randomness import seed_from
from medgen.samplers import Sampler

__all__ = ["SampleGrid", "grid_conditions"]

logger = logging.getLogger("medgen.handlers")


def grid_conditions(
    covariates: Covariates | None, columns: int, by: str | None = None, values: Mapping[str, Any] | None = None
) -> tuple[list[str], torch.Tensor | None]:
    """Return the titles of a grid's rows and the covariates of its images.

    One row per label of a categorical covariate, then one row in which the labels take turns.

    Args:
        covariates: the declaration; None or without a categorical one = one row without a label.
        columns: images per row.
        by: the categorical covariate; by default, and where it is not declared, the first one declared: an overlay may
            declare others than the bundle.
        values: what the other covariates are; those not given are unknown.

    Returns:
        Row titles, and ``(rows * columns, K)`` or None.

    Raises:
        ValueError: when ``by`` is not categorical, or a value does not fit the declaration.
    """
    if covariates is None or not len(covariates):
        return ["unconditional"], None
    fixed = dict(values or {})
    if by is not None and by not in covariates:
        logger.warning("sample grid: %r is no covariate of %s; rows show the first one", by, list(covariates.names))
        by = None
    by = by if by is not None else next(iter(covariates.categorical), None)
    if by is None:
        return ["given" if fixed else "unconditional"], covariates.encode([fixed] * columns)
    labels = covariates[by]
    if not isinstance(labels, tuple):
        raise ValueError(f"by: expected a categorical covariate, one of {covariates.categorical}, found {by!r}")
    rows = [[label] * columns for label in labels]
    rows.append([labels[column % len(labels)] for column in range(columns)])
    encoded = covariates.encode([fixed | {by: label} for row in rows for label in row], where="sample grid")
    return [*labels, "mixed"], encoded


class SampleGrid(Periodic):
    """Write ``samples/grid_<iteration>.png``: the averaged network's images, always from the same seeds.

    Columns of the labels' rows share a seed, so that a column shows what the label changes; the mixed row has seeds of
    its own.

    Args:
        sampler: solver, steps and guidance.
        interval: iterations between grids.
        columns: images per row.
        by: categorical covariate of the rows; by default the first one declared. Volumes have no plane: by "plane", the
            rows are the middle axial, coronal and sagittal slices of one volume each column.
        values: the other covariates, for example ``{"age": 75}``; those not given are unknown.
        shape: ``(C, *spatial)`` of an image; by default that of the training images.
        seed: of the images.
        run_dir: where to write; by default the trainer's ``run_dir``.
    """

    def __init__(
        self,
        sampler: Sampler,
        interval: int | None = 1000,
        columns: int = 8,
        by: str | None = None,
        values: Mapping[str, Any] | None = None,
        shape: tuple[int, ...] | None = None,
        seed: int = 0,
        run_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(interval, run_dir)
        if columns < 1:
            raise ValueError(f"columns: expected 1 or more, found {columns!r}")
        self.sampler = sampler
        self.columns = columns
        self.by = by
        self.values = values
        self.shape = shape
        self.seed = seed

    def write(self, engine: Any) -> None:
        """Generate and write one grid."""
        shape = self.shape or engine.image_shape
        if shape is None:
            return
        planes = self.by == "plane" and len(shape) == 4
        if planes:
            titles, encoded = list(PLANES)[::-1], engine.covariates.encode([dict(self.values or {})] * self.columns)
        else:
            titles, encoded = grid_conditions(engine.covariates, self.columns, self.by, self.values)
        shared = [seed_from("grid", self.seed, column) for column in range(self.columns)]
        own = [seed_from("mixed grid", self.seed, column) for column in range(self.columns)]
        seeds = shared if planes or len(titles) == 1 else shared * (len(titles) - 1) + own
        samples = self.sampler(
            engine.inference_network,
            engine.process,
            tuple(shape),
            seeds,
            covariates=encoded,
            codec=engine.codec,
            device=engine.state.device,
        )
        images = samples.images
        if planes:
            shown = [middle_planes(image) for image in images]
            images = torch.stack([tiles[row] for row in range(len(titles)) for tiles in shown])
        picture = image_grid(images, columns=self.columns, row_labels=titles)
        iteration = engine.state.iteration
        facts = {"iteration": iteration, "seed": self.seed, "sampler": self.sampler.to_dict(), "rows": titles}
        save_png(picture, self.folder / "samples" / f"grid_{iteration:08d}.png", facts)
