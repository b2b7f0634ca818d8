"""One scan through the pipeline: what a worker does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from medgen.apps.preprocess.measure import Measured
from medgen.apps.preprocess.picture import planes_with_outline
from medgen.apps.preprocess.places import ScanPlace
from medgen.apps.preprocess.rim import rim_features
from medgen.apps.preprocess.source import content_key, source_files, status_key
from medgen.files import remove_leftovers, write_json
from medgen.io import save_nifti, save_png

__all__ = ["Job", "Keys", "finished_record", "process_scan", "reason"]

FORMAT = "medgen.preprocess/1"


@dataclass(frozen=True)
class Keys:
    """Where the pipeline leaves its results in the dictionary.

    Attributes:
        image: the finished image, (1, X, Y, Z) on the template's grid, the background lowest.
        mask: the brain mask on the same grid.
        head: the image on the same grid before it was masked; None when the pipeline does not keep it.
    """

    image: str = "image"
    mask: str = "brain_mask"
    head: str | None = "head"


@dataclass(frozen=True)
class Job:
    """One scan of the cohort, with everything that a worker needs to know.

    Attributes:
        record: of the cohort.
        place: where the results go below ``output_dir``.
        output_dir: the output folder, absolute.
        pipeline: MONAI's ``Compose`` of dictionary transforms.
        settings: key of the pipeline's configuration.
        keys: where the pipeline leaves its results.
        template: what the outline is drawn of, see :func:`medgen.data.templates.open_template`.
        simulated: whether the person does not exist.
    """

    record: Mapping[str, Any]
    place: ScanPlace
    output_dir: str
    pipeline: Callable[[dict[str, Any]], Mapping[str, Any]]
    settings: str
    keys: Keys = field(default_factory=Keys)
    template: Any = "mni152"
    simulated: bool = False


def process_scan(job: Job) -> dict[str, Any]:
    """Process one scan and write its files, the record last.

    Returns:
        The record, or ``{"error": why}`` when the scan cannot be processed; its earlier files are gone then.
    """
    torch.set_num_threads(1)
    folder = Path(job.output_dir)
    for file in job.place.files:  # the record first: from here on the scan is not finished
        (folder / file).unlink(missing_ok=True)
        remove_leftovers(folder / file)
    try:
        files = source_files(job.record["image"], job.record.get("mask_file"))
        status = status_key(files)
        with Measured() as took:
            measured = _process(job, folder)
        record = {
            "format": FORMAT,
            "settings": job.settings,
            "source": {"status": status, "content": content_key(files)},
            "files": {str(file): (folder / file).stat().st_size for file in job.place.files[1:]},
            **measured,
            "seconds": round(took.seconds, 2),
            "cpu_seconds": round(took.cpu_seconds, 2),
            "peak_mib": round(took.peak_mib) if math.isfinite(took.peak_mib) else None,
        }
        write_json(folder / job.place.record, record)
    except Exception as error:  # whatever a format's library raises; the other scans go on
        for file in job.place.files:
            (folder / file).unlink(missing_ok=True)
        return {"error": reason(error)}
    return record


def _process(job: Job, folder: Path) -> dict[str, Any]:
    """Run the pipeline, write image, mask and picture, and return what was measured."""
    data = job.pipeline(dict(job.record))
    image, mask = (_volume(data, name, job) for name in (job.keys.image, job.keys.mask))
    head = image if job.keys.head is None else _volume(data, job.keys.head, job)
    if not mask.shape == image.shape == head.shape:
        shapes = {"image": image.shape, "mask": mask.shape, "head": head.shape}
        raise ValueError(f"pipeline: expected one grid, found { ({k: tuple(v) for k, v in shapes.items()}) }")
    inside = mask.numpy()[0] > 0.5
    if not inside.any():
        raise ValueError("the brain mask is empty")
    if not bool(torch.isfinite(image).all()):
        raise ValueError("the processed image holds values that are not finite")
    measured = _measured(image, inside)
    rim = None if job.keys.head is None else rim_features(head.numpy()[0], inside, _spacing(head))
    said = {"SkullStripped": True, "SpatialReference": str(job.template), "Settings": job.settings}
    affine = image.affine.numpy()
    save_nifti(mask.float(), folder / job.place.mask, affine, {"Type": "Brain"}, synthetic=job.simulated)
    save_png(planes_with_outline(head, job.template), folder / job.place.picture, synthetic=job.simulated)
    save_nifti(image, folder / job.place.image, affine, said, synthetic=job.simulated)
    return measured | {"rim": rim}


def _measured(image: MetaTensor, inside: NDArray[np.bool_]) -> dict[str, Any]:
    """Return similarity, determinant, brain volume in the scan's own space and warnings, None where unknown."""
    meta = image.meta
    to_template = meta.get("template_affine")
    stretch = 1.0 if to_template is None else abs(float(np.linalg.det(np.asarray(to_template)[:3, :3])))
    template_ml = float(inside.sum()) * float(np.prod(_spacing(image))) / 1000.0
    problem = meta.get("registration_problem")
    return {
        "similarity": _rounded(meta.get("similarity"), 4),
        "determinant": _rounded(meta.get("determinant"), 4),
        "brain_ml": _rounded(template_ml / stretch, 1),
        "template_affine": None if to_template is None else np.asarray(to_template).tolist(),
        "warnings": [str(problem)] if problem else [],
    }


def _rounded(value: Any, digits: int) -> float | None:
    return round(float(value), digits) if value is not None and math.isfinite(float(value)) else None


def _volume(data: Mapping[str, Any], name: str, job: Job) -> MetaTensor:
    if name not in data:
        raise KeyError(f"the pipeline left no {name!r}; it left {sorted(map(str, data))}")
    volume = data[name]
    if not isinstance(volume, MetaTensor) or volume.ndim != 4 or volume.shape[0] != 1:
        shape = tuple(getattr(volume, "shape", ()))
        raise ValueError(f"pipeline: {name!r} is a {type(volume).__name__} of shape {shape}, expected (1, X, Y, Z)")
    return volume


def _spacing(volume: MetaTensor) -> list[float]:
    return [float(step) for step in volume.pixdim]


def finished_record(folder: Path, job: Job) -> dict[str, Any] | None:
    """Return the record of a scan that was finished from the same files with the same settings, else None.

    Files that were copied or touched since are compared by content.
    """
    record = _read_record(folder / job.place.record)
    if record is None or record.get("format") != FORMAT or record.get("settings") != job.settings:
        return None
    try:
        if any((folder / file).stat().st_size != size for file, size in record["files"].items()):
            return None
        files = source_files(job.record["image"], job.record.get("mask_file"))
        source = record["source"]
        same = status_key(files) == source["status"] or content_key(files) == source["content"]
    except (OSError, KeyError, TypeError, AttributeError):
        return None
    return record if same else None


def _read_record(path: Path) -> dict[str, Any] | None:
    """Return a record as it stands on disk, or None where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def reason(error: BaseException) -> str:
    """Return what an exception says in one line, that of its first cause: MONAI wraps whatever a transform raises."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else repr(error)
