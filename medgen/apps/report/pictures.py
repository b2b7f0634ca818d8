"""Pictures of a report: generated ones for everybody, real ones for their owner alone."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from torch import Tensor
from torch.nn import functional

from medgen.apps.evaluation.planes import plane_rows
from medgen.apps.evaluation.run import Evidence
from medgen.apps.report.words import shown_age, shown_age_band
from medgen.covariates import Covariates
from medgen.data.images import middle_planes
from medgen.io import image_grid, markings

__all__ = [
    "by_plane",
    "class_grids",
    "grid",
    "guidance_strip",
    "neighbour_grid",
    "profile_titles",
    "publishable",
    "real_grid",
    "real_pairs",
    "spaced",
]


def publishable(evidence: Evidence, guidances: Sequence[float], count: int) -> list[int]:
    """The first profiles none of whose images, at any of the guidances, is a near copy of a training image."""
    profiles = min(evidence.generated[scale].profiles for scale in guidances)
    kept = []
    for profile in range(profiles):
        rows = [(scale, row) for scale in guidances for row in evidence.generated[scale].of_profile(profile)]
        if evidence.metrics["simulated"] or not any(evidence.flagged[scale][row] for scale, row in rows):
            kept.append(profile)
    return kept[:count]


def profile_titles(covariates: Covariates, values: Tensor, label: str, exact: bool) -> list[str]:
    """Short titles of profiles without their label and plane: "74 y, F"; ages above 89 as "90+".

    A profile is that of a held-out person. Where that person exists, ``exact`` is false: "70 to 74 y, F".
    """
    titles = []
    for row in values:
        known = covariates.decode(row)
        parts = []
        if isinstance(age := known.get("age"), float):
            parts.append(f"{shown_age(age) if exact else shown_age_band(age)} y")
        parts += [str(known[n]) for n in covariates.categorical if n not in (label, "plane") and known[n] is not None]
        titles.append(", ".join(parts) or " ")
    return titles


def class_grids(evidence: Evidence, covariates: Covariates, scale: float, chosen: Sequence[int]) -> bytes | None:
    """Generated images: a column for each profile, a row for each label; noise, age, sex and slice are the same."""
    if not chosen:
        return None
    settings, images = evidence.metrics["settings"], evidence.generated[scale]
    rows = [p + half * images.profiles for half in (0, 1) for p in chosen]
    titles = profile_titles(
        covariates, images.covariates[list(chosen)], settings["label"], evidence.metrics["simulated"]
    )
    return grid(images.images[rows], len(chosen), settings["labels"], titles)


def guidance_strip(evidence: Evidence, scales: Sequence[float], chosen: Sequence[int]) -> bytes | None:
    """Generated images: a row for each guidance, for each profile a column (a pair for both labels)."""
    if not chosen:
        return None
    tiles = []
    for scale in scales:
        images = evidence.generated[scale]
        tiles += [images.images[row] for p in chosen for row in images.of_profile(p)]
    labels = evidence.metrics["settings"]["labels"]
    names = (
        list(labels) * len(chosen)
        if labels
        else profile_titles(
            evidence.covariates, evidence.generated[scales[0]].covariates[list(chosen)], "",
            evidence.metrics["simulated"],
        )
    )  # fmt: skip
    return grid(torch.stack(tiles), len(names), [f"guidance {scale:g}" for scale in scales], names)


def real_grid(evidence: Evidence, count: int) -> bytes:
    """Held-out images of each label, one a subject. Only for simulated cohorts, or the private report."""
    test, tiles, width = evidence.test, [], []
    for which in (0.0, 1.0):
        rows = _one_each(test.subjects, test.target == which)[:count]
        width.append(len(rows))
        tiles.append(rows)
    shown = min(width)
    rows = [row for group in tiles for row in group[:shown]]
    simulated = evidence.metrics["simulated"]
    return grid(test.images[rows], shown, evidence.metrics["settings"]["labels"], None, synthetic=simulated)


def real_pairs(evidence: Evidence, scale: float, count: int) -> bytes:
    """Private: held-out images of both labels above generated ones of the same labels."""
    generated, test, tiles = evidence.generated[scale], evidence.test, []
    labels = evidence.metrics["settings"]["labels"]
    groups = {w: _one_each(test.subjects, test.target == w) for w in (0.0, 1.0)}
    count = min(count, generated.profiles, *(len(rows) for rows in groups.values()))
    for which, half in ((0.0, 0), (1.0, 1)):
        tiles += [test.images[row] for row in groups[which][:count]]
        tiles += [generated.images[half * generated.profiles + p] for p in range(count)]
    names = [f"{source} {label}" for label in labels for source in ("real", "generated")]
    return grid(torch.stack(tiles), count, names, None, synthetic=evidence.metrics["simulated"])


def neighbour_grid(evidence: Evidence, scale: float, count: int) -> bytes:
    """Private: the generated images nearest to a training image, each beside its three nearest subjects' images."""
    rows, scores, copies = (evidence.neighbours[name] for name in ("rows", "scores", "copies"))
    order = np.lexsort((-scores[:, 0], ~copies))[:count].tolist()  # copies first, then by correlation
    tiles: list[Tensor] = []
    for row in order:
        tiles += [evidence.generated[scale].images[row], *evidence.train.images[torch.from_numpy(rows[row])]]
    names = [f"r = {scores[row, 0]:.3f}{' COPY' if copies[row] else ''}" for row in order]
    columns = ["generated", *(["nearest", "second", "third"][: rows.shape[1]])]
    return grid(torch.stack(tiles), len(columns), names, columns, synthetic=evidence.metrics["simulated"])


def _one_each(subjects: Sequence[str], wanted: NDArray[np.bool_]) -> list[int]:
    """The middle image of each subject among the wanted ones, in order of first appearance."""
    rows: dict[str, list[int]] = {}
    for row in np.flatnonzero(wanted).tolist():
        rows.setdefault(subjects[row], []).append(row)
    return [group[len(group) // 2] for group in rows.values()]


def by_plane(covariates: Covariates, values: Tensor) -> dict[str, NDArray[np.intp]]:
    """Rows of the images of each plane; all under "" where there are not several."""
    planes = plane_rows(covariates, values)
    return {plane: np.flatnonzero(mask) for plane, mask in planes.items()} or {"": np.arange(len(values))}


def spaced(
    target: NDArray[np.float64], rows: NDArray[np.intp], count: int, subjects: Sequence[str] | None = None
) -> list[int]:
    """Choose rows evenly from low to high targets; of each subject its middle one where subjects are given."""
    if subjects is not None:
        wanted = np.isin(np.arange(len(subjects)), rows)
        rows = np.array(_one_each(subjects, wanted), dtype=int)
    order = rows[np.argsort(target[rows], kind="stable")]
    places = np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))
    return [int(row) for row in order[places]] if len(order) else []


def grid(
    images: Tensor,
    columns: int,
    rows: Sequence[str] | None,
    titles: Sequence[str] | None,
    synthetic: bool = True,
) -> bytes:
    """Images as one PNG that says whether it is synthetic; small ones are enlarged.

    A row of volumes becomes three: their middle axial, coronal and sagittal slices.
    """
    if images.ndim == 5:
        shown = [middle_planes(image.float()) for image in images]
        starts = range(0, len(shown), columns)
        images = torch.stack([tiles[p] for first in starts for p in range(3) for tiles in shown[first:][:columns]])
        rows = rows and [text for name in rows for text in (name, "", "")]
    size = min(images.shape[-2:])
    if size < 128:  # smooth enlargement reads better than blocks
        images = functional.interpolate(
            images.float(), scale_factor=-(-128 // size), mode="bicubic", align_corners=False
        )
    array = image_grid(images.clamp(-1, 1), columns, rows, titles, cell=1)
    chunks = PngImagePlugin.PngInfo()
    said: Mapping[str, Any] = markings(None, synthetic)
    for key, value in said.items():
        chunks.add_text(key, str(value))
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", pnginfo=chunks, optimize=True)
    return buffer.getvalue()
