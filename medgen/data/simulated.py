"""The simulated cohort: real anatomy, invented people, a ventricle volume that is known.

It stands in wherever no licence lets us ship patients, and it is the one cohort whose true effects are known, so that a
generator trained on it can be asked whether it learned them.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from medgen.data.simulated_anatomy import Template, load_template, simulate_image
from medgen.data.simulated_followup import Seen, check_visits, seen_again, younger_people
from medgen.data.simulated_people import Subject, VentricleModel, draw_subjects
from medgen.data.simulated_writing import (
    GROUND_TRUTH,
    TEMPLATE_NOTICE,
    cache_dir,
    check_request,
    in_threads,
    make_once,
    save_volume,
)
from medgen.files import write_rows
from medgen.randomness import numpy_generator

__all__ = ["GROUND_TRUTH", "cache_dir", "simulated_cohort"]

VERSION = 2  # raise it with every change of the images or the table, so that old caches are not taken for new ones


def simulated_cohort(
    root: str | os.PathLike[str] | None = None,
    subjects: int = 120,
    spacing: float | Sequence[float] = 2.0,
    seed: int = 0,
    confounded: bool = False,
    diagnosis_effect_ml: float = VentricleModel.diagnosis,
    visits: int = 1,
    years: float = 10.0,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Make, or find in the cache, a cohort of simulated T1-weighted brain images with known ventricle volumes.

    The folder is a BIDS data set: ``sub-SIM001/anat/sub-SIM001_T1w.nii.gz`` (skull-stripped, int16), the mask of the
    lateral ventricles in ``derivatives/ventricles``, ``participants.tsv`` (age, sex, diagnosis, ventricle_ml), and
    ``ground_truth.json`` with the true effects. It depends on the arguments alone, bit by bit, whatever the number of
    workers. It is written beside its final name and renamed when complete; calls at the same time wait for the first.

    With ``visits`` of 2 or more everyone is scanned again ``years`` later, as ``sub-SIML001/ses-01``, ``ses-02``, ...
    with ``sub-SIML001_sessions.tsv`` (age, ventricle_ml). It is the same head in the same pose and contrast, as after a
    perfect registration, with noise of its own; the ventricles have grown and the cortex has thinned as much as age
    does in the model, alike in everyone. The first ages lie as much lower as the last visit needs.

    Args:
        root: folder of the cohorts, each under a name made of its parameters; None is ``cohorts`` in :func:`cache_dir`.
        subjects: how many, at least 2; half of them AD.
        spacing: voxel size in mm, one number or three, each in [0.5, 8].
        seed: of everything random, at least 0.
        confounded: make AD ten years older than NC, with the same direct effects.
        diagnosis_effect_ml: direct effect of AD on the ventricle volume at fixed age and sex, in ml, in [0, 20].
        visits: of each person, at least 1.
        years: between two visits; 35 at most from the first to the last.
        workers: threads; None is one per available processor.
        progress: show a progress bar.

    Returns:
        The folder of the cohort.

    Raises:
        ValueError: when an argument is outside its range.
        OptionalImportError: when nilearn, which carries the template, is not installed.

    Example:
        >>> folder = simulated_cohort(subjects=8, spacing=4.0)  # doctest: +SKIP
    """
    sizes = check_request(subjects, spacing, seed)
    if not 0.0 <= diagnosis_effect_ml <= 20.0:
        raise ValueError(f"diagnosis_effect_ml: expected 0-20 ml, found {diagnosis_effect_ml!r}")
    check_visits(visits, years)
    parameters: dict[str, Any] = {
        "version": VERSION,
        "subjects": subjects,
        "spacing_mm": list(sizes),
        "seed": seed,
        "confounded": bool(confounded),
        "diagnosis_effect_ml": float(diagnosis_effect_ml),
    }
    if visits > 1:  # without, names and folders are those of before
        parameters |= {"visits": visits, "years": float(years)}
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:8]
    millimetres = f"{sizes[0]:g}" if len(set(sizes)) == 1 else "x".join(f"{s:g}" for s in sizes)
    name = f"simulated-{subjects}-{millimetres}mm-seed{seed}{'-confounded' if confounded else ''}"
    name += f"{f'-{visits}visits' if visits > 1 else ''}-{digest}"
    folder = (Path(root) if root is not None else cache_dir() / "cohorts") / name
    return make_once(folder, _is_complete, lambda part: _write(part, parameters, workers, progress))


def _image_path(folder: Path, place: str, stem: str) -> Path:
    return folder / place / "anat" / f"{stem}_T1w.nii.gz"


def _mask_path(folder: Path, place: str, stem: str) -> Path:
    return folder / "derivatives" / "ventricles" / place / "anat" / f"{stem}_label-ventricles_mask.nii.gz"


def _is_complete(folder: Path) -> bool:
    """Say whether ``folder`` holds a whole cohort; only a folder that someone touched since can be partial."""
    table, truth = folder / "participants.tsv", folder / GROUND_TRUTH
    if not (truth.is_file() and table.is_file()):
        return False
    visits = json.loads(truth.read_text(encoding="utf-8"))["parameters"].get("visits", 1)
    names = [line.split("\t", 1)[0] for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    sessions = [f"ses-{number + 1:02d}" for number in range(visits)] if visits > 1 else [""]
    scans = [(f"{n}/{s}", f"{n}_{s}") if s else (n, n) for n in names for s in sessions]
    return all(_image_path(folder, *scan).is_file() and _mask_path(folder, *scan).is_file() for scan in scans)


def _write(folder: Path, parameters: dict[str, Any], workers: int | None, progress: bool) -> None:
    """Write the whole cohort into the empty ``folder``."""
    model = VentricleModel(diagnosis=parameters["diagnosis_effect_ml"])
    people = draw_subjects(parameters["subjects"], parameters["seed"], parameters["confounded"], model)
    visits, years = parameters.get("visits", 1), parameters.get("years", 0.0)
    if visits > 1:
        people = younger_people(people, years * (visits - 1), parameters["confounded"], model)
    seen = {person.participant_id: seen_again(person, visits, years, model) for person in people}
    scans = [(index, scan) for index, person in enumerate(people) for scan in seen[person.participant_id]]
    spacing = tuple(parameters["spacing_mm"])
    template = load_template(round(0.3 * max(spacing), 3) if max(spacing) > 2 else 0.0)

    def write(numbered: tuple[int, Seen]) -> float:
        return _write_scan(folder, template, numbered[1], parameters["seed"], numbered[0], spacing)

    done = in_threads(write, scans, workers, progress, "simulated cohort", "scans")
    volumes = {scan.stem: volume for (_, scan), volume in done}
    if visits > 1:
        _write_sessions(folder, seen, volumes)
    first = {name: volumes[scans[0].stem] for name, scans in seen.items()}
    _write_tables(folder, parameters, model, people, first)


def _write_scan(
    folder: Path, template: Template, scan: Seen, seed: int, index: int, spacing: tuple[float, float, float]
) -> float:
    """Write the image and mask of one visit; returns the volume of the mask in ml."""
    key = ("simulated cohort", seed, "subject", index)
    again = numpy_generator(*key, scan.session) if scan.session else None
    image = simulate_image(template, scan.anatomy, numpy_generator(*key), spacing, noise_random=again)
    save_volume(image.intensity, image.affine, _image_path(folder, scan.folder, scan.stem), "mni")
    save_volume(image.ventricles, image.affine, _mask_path(folder, scan.folder, scan.stem), "mni")
    return float(image.ventricles.sum(dtype=np.int64) * np.prod(spacing) / 1000.0)


def _write_sessions(folder: Path, seen: dict[str, list[Seen]], volumes: dict[str, float]) -> None:
    """Write what changes from visit to visit, a table for each person."""
    for name, scans in seen.items():
        rows = [
            {"session_id": s.session, "age": f"{s.age:.1f}", "ventricle_ml": f"{volumes[s.stem]:.4f}"} for s in scans
        ]
        write_rows(folder / name / f"{name}_sessions.tsv", ["session_id", "age", "ventricle_ml"], rows)


def _write_tables(
    folder: Path, parameters: dict[str, Any], model: VentricleModel, people: list[Subject], volumes: dict[str, float]
) -> None:
    """Write the table, its description and the ground truth; the latter last, as it marks the cohort as whole."""
    with open(folder / "participants.tsv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        rows.writerow(["participant_id", "age", "sex", "diagnosis", "ventricle_ml"])
        for p in people:
            rows.writerow([p.participant_id, f"{p.age:.1f}", p.sex, p.diagnosis, f"{volumes[p.participant_id]:.4f}"])
    columns = {
        "age": {"Description": "age of the simulated person", "Units": "years"},
        "sex": {"Description": "sex of the simulated person", "Levels": {"F": "female", "M": "male"}},
        "diagnosis": {
            "Description": "simulated diagnosis",
            "Levels": {"NC": "normal cognition", "AD": "Alzheimer's disease"},
        },
        "ventricle_ml": {"Description": "volume of both lateral ventricles, that of the mask", "Units": "ml"},
    }
    description = {
        "Name": "Simulated ageing and dementia cohort. These people do not exist.",
        "BIDSVersion": "1.9.0",
        "DatasetType": "raw",
        "Simulated": True,
        "License": "CC0 for what medgen adds; the template's notice stands under Acknowledgements",
        "Acknowledgements": TEMPLATE_NOTICE,
        "GeneratedBy": [{"Name": "medgen.data.simulated_cohort", "Parameters": parameters}],
    }
    derivative = {**description, "Name": "Masks of the lateral ventricles (simulated)", "DatasetType": "derivative"}
    ground_truth = {
        "simulated": True,
        "parameters": parameters,
        "model": "ventricle_ml = intercept + age_slope * (age - 75) + diagnosis * [AD] + sex * ([M] - 0.5) "
        "+ spread * residual",
        "coefficients": asdict(model),
        "direct_diagnosis_effect_ml": model.diagnosis,
        "age_slope_ml_per_year": model.age_slope,
        "sex_effect_ml": model.sex,
        "residual_sd_ml": model.spread * 0.8796,
    }
    for path, content in (
        (folder / "participants.json", columns),
        (folder / "dataset_description.json", description),
        (folder / "derivatives" / "ventricles" / "dataset_description.json", derivative),
        (folder / GROUND_TRUTH, ground_truth),
    ):
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
