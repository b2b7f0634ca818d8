"""A simulated ADNI download: people who do not exist, as DICOM in the archive's folders with the study's tables.

What a researcher has after a download from the archive (https://adni.loni.usc.edu), without the patients: series of
several kinds at each visit, the search's CSV, ADNIMERGE and DXSUM. The truth about every scan is kept beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from medgen.data.simulated_anatomy import load_template
from medgen.data.simulated_head import Head, Person, draw_person, rigid_pose, sagittal_grid, simulate_head
from medgen.data.simulated_people import VentricleModel
from medgen.data.simulated_scans import Scan, plan_scans, write_scan
from medgen.data.simulated_skull import load_surroundings
from medgen.data.simulated_tables import write_adnimerge, write_dxsum, write_search
from medgen.data.simulated_visits import Participant, draw_participants
from medgen.data.simulated_writing import (
    GROUND_TRUTH,
    TEMPLATE_NOTICE,
    cache_dir,
    check_request,
    in_threads,
    make_once,
    save_volume,
)
from medgen.files import write_json, write_text
from medgen.randomness import numpy_generator

__all__ = ["simulated_download"]

VERSION = 1  # raise it with every change of what is written, so that old downloads are not taken for new ones
TRUTH = Path("derivatives") / "simulated_truth"
README = """These people do not exist: a simulated ADNI download, made by medgen (medgen.data.simulated_download).

ADNI/                         images as the archive delivers them: subject / description / date / image ID
SIMULATED_COLLECTION.csv      the search's table of the images
ADNIMERGE.csv, DXSUM.csv      the study's tables: visits, diagnoses, ages
derivatives/simulated_truth/  masks of brain and lateral ventricles of each T1 scan
ground_truth.json             the truth about people, visits and scans

Nothing here comes from the Alzheimer's Disease Neuroimaging Initiative but the layout and the names of columns.
Site numbers, subjects, dates and images are invented; every DICOM file has Synthetic Data (0008,001C) YES.

"""


def simulated_download(
    root: str | os.PathLike[str] | None = None,
    subjects: int = 12,
    seed: int = 0,
    spacing: float | Sequence[float] = 2.0,
    broken: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Write, or find, a simulated ADNI download with known ventricles, poses and diagnoses.

    Every twelve subjects hold all courses of :data:`medgen.data.simulated_visits.ROLES`: healthy, with complaints
    (SMC), impaired (EMCI, LMCI) and demented people with one to three visits over two years; two convert to dementia
    and one to MCI, one diagnosis is missing. Scans are of 1.5 T and 3 T, plain, repeated and accelerated; there are
    localizers, T2 images and processed versions (NIfTI). The download depends on the arguments alone.

    Args:
        root: the folder to write, absent, empty or a download of the same arguments; None is one in
            :func:`medgen.data.cache_dir`.
        subjects: how many, at least 2.
        seed: of everything random, at least 0.
        spacing: of the voxels in mm, one number, or three: between slices (left to right), within them back to front
            and down to up; each in [0.5, 8].
        broken: cut one DICOM file short, in the only T1 of a visit; ``ground_truth.json`` names it.
        workers: threads; None is one per available processor.
        progress: show a progress bar.

    Returns:
        The folder: ``ADNI``, ``SIMULATED_COLLECTION.csv``, ``ADNIMERGE.csv``, ``DXSUM.csv``, ``ground_truth.json``.

    Raises:
        ValueError: when an argument is outside its range.
        FileExistsError: when ``root`` holds something else.
        OptionalImportError: when nilearn, which carries the template, is not installed.

    Example:
        >>> folder = simulated_download("adni", subjects=4, spacing=4.0)  # doctest: +SKIP
    """
    sizes = check_request(subjects, spacing, seed)
    parameters: dict[str, Any] = {
        "version": VERSION,
        "subjects": subjects,
        "spacing_mm": list(sizes),
        "seed": seed,
        "broken": bool(broken),
    }
    key = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:8]
    folder = cache_dir() / "downloads" / f"simulated-adni-{subjects}-{key}" if root is None else Path(root).absolute()

    def complete(path: Path) -> bool:
        return _is_complete(path, parameters)

    if not complete(folder) and folder.exists():
        if root is not None and (not folder.is_dir() or any(folder.iterdir())):
            raise FileExistsError(f"root: {folder} holds something else; expected an absent or empty folder")
        if root is not None:
            folder.rmdir()
    return make_once(folder, complete, lambda part: _write(part, parameters, key, workers, progress))


def _is_complete(folder: Path, parameters: dict[str, Any]) -> bool:
    """Say whether ``folder`` holds the download of these parameters, with all its files."""
    try:
        truth = json.loads((folder / GROUND_TRUTH).read_text(encoding="utf-8"))
        if truth["parameters"] != parameters:
            return False
        return all(len(list((folder / s["folder"]).iterdir())) == s["files"] for s in truth["scans"].values())
    except (OSError, KeyError, TypeError, ValueError):
        return False


def _write(folder: Path, parameters: dict[str, Any], key: str, workers: int | None, progress: bool) -> None:
    """Write the whole download into the empty ``folder``; the ground truth last, as it marks the download as whole."""
    model, seed = VentricleModel(), parameters["seed"]
    participants = draw_participants(parameters["subjects"], seed, model)
    scans = plan_scans(participants)
    spacing = tuple(parameters["spacing_mm"])
    load_template()  # once, before the threads
    load_surroundings()
    people = {
        p.ptid: draw_person(
            numpy_generator("simulated download", seed, "person", p.index), p.visits[0].anatomy.head_scale
        )
        for p in participants
    }

    def write(scan: Scan) -> dict[str, dict[str, Any]]:
        made_of_it = [s for s in scans if s.source == scan.image_id and s is not scan]
        return _write_head(folder, [scan, *made_of_it], people[scan.participant.ptid], seed, spacing, key)

    truth: dict[str, dict[str, Any]] = {}
    heads = [scan for scan in scans if scan.source == scan.image_id]
    for _, entries in in_threads(write, heads, workers, progress, "simulated download", "scans"):
        truth.update(entries)
    broken = _break_one(folder, scans) if parameters["broken"] else None
    write_search(folder / "SIMULATED_COLLECTION.csv", scans)
    volumes = {image: entry["ventricle_ml"] for image, entry in truth.items()}
    write_adnimerge(folder / "ADNIMERGE.csv", participants, scans, volumes)
    write_dxsum(folder / "DXSUM.csv", participants)
    write_text(folder / "README.txt", README + TEMPLATE_NOTICE + "\n")
    write_json(
        folder / GROUND_TRUTH,
        _ground_truth(parameters, model, participants, {i: truth[i] for i in sorted(truth)}, broken),
    )


def _write_head(
    folder: Path, scans: list[Scan], person: Person, seed: int, spacing: tuple[float, float, float], key: str
) -> dict[str, dict[str, Any]]:
    """Write a scan with its masks and what is made of it (``scans`` after the first); returns the truth by image."""
    scan = scans[0]
    visit_random = numpy_generator("simulated download", seed, "pose", scan.participant.ptid, scan.day.isoformat())
    random = numpy_generator("simulated download", seed, "scan", scan.image_id)
    # the head lies differently at each visit, and moves a little from scan to scan
    degrees = np.clip(visit_random.standard_normal(3) * (5.0, 2.5, 3.5), -10.0, 10.0) + 0.4 * random.standard_normal(3)
    shift = np.clip(visit_random.standard_normal(3) * 6.0, -12.0, 12.0) + 0.6 * random.standard_normal(3)
    # the first phase asked for straight sagittal slices; later ones are turned towards the head
    turn = np.zeros(3) if scan.participant.phase == "ADNI1" else visit_random.standard_normal(3) * 2.5
    centre = np.array([0.0, 12.0, -24.0]) + shift + visit_random.standard_normal(3) * 2.0
    gain = scan.scanner.gain * float(np.exp(0.15 * random.standard_normal()))
    pose = rigid_pose(tuple(degrees), tuple(shift))
    head = simulate_head(
        person,
        scan.visit.anatomy,
        random,
        sagittal_grid(spacing, tuple(turn), centre=tuple(centre)),
        pose,
        replace(scan.scanner, gain=gain),
    )
    for name, mask in (("brain", head.brain), ("ventricles", head.ventricles)):
        save_volume(mask, head.affine, folder / TRUTH / f"{scan.image_id}_{name}.nii.gz", "scanner")
    result = {}
    for member in scans:
        files = write_scan(member, head, folder / "ADNI", key)
        result[member.image_id] = _truth(member, head, person, spacing) | {"files": len(files)}
    return result


def _truth(scan: Scan, head: Head, person: Person, spacing: tuple[float, float, float]) -> dict[str, Any]:
    """Return what is known about one image."""
    voxel_ml = float(np.prod(spacing)) / 1000.0
    return {
        "folder": (Path("ADNI") / scan.folder).as_posix(),
        "subject": scan.participant.ptid,
        "visit": "bl" if scan.visit.months == 0 else f"m{scan.visit.months:02d}",
        "description": scan.description,
        "kind": scan.kind,
        "source": scan.source,
        "field_strength": scan.field_strength,
        "age": scan.visit.age,
        "severity": scan.visit.severity,
        "diagnosis": scan.visit.diagnosis,
        "ventricle_ml": float(head.ventricles.sum(dtype=np.int64)) * voxel_ml,
        "brain_ml": float(head.brain.sum(dtype=np.int64)) * voxel_ml,
        "thinning": scan.visit.anatomy.thinning,
        "layers_mm": asdict(person.layers),
        "scale": person.scale.tolist(),
        "shape": list(head.intensity.shape),
        "affine": head.affine.tolist(),
        "pose": head.pose.tolist(),
        "to_template": head.to_template.tolist(),
        "landmarks_mm": head.landmarks,
    }


def _break_one(folder: Path, scans: list[Scan]) -> str:
    """Cut short a file in the only T1 of a visit; returns its path below ``folder``."""
    shown = [s for s in scans if s.kind in ("t1", "accelerated", "repeat", "second_field")]
    alone = [s for s in shown if sum(o.participant is s.participant and o.visit is s.visit for o in shown) == 1]
    files = sorted((folder / "ADNI" / alone[-1].folder).iterdir())
    victim = files[len(files) // 2]
    os.truncate(victim, victim.stat().st_size // 2)
    return victim.relative_to(folder).as_posix()


def _ground_truth(
    parameters: dict[str, Any],
    model: VentricleModel,
    participants: list[Participant],
    scans: dict[str, dict[str, Any]],
    broken: str | None,
) -> dict[str, Any]:
    """Return the content of ``ground_truth.json``."""
    visits = [v for p in participants for v in p.visits if v.scan_date is not None]
    severity = {d: [v.severity for v in visits if v.diagnosis == d] for d in ("CN", "Dementia")}
    effect = model.diagnosis * (float(np.mean(severity["Dementia"])) - float(np.mean(severity["CN"])))
    return {
        "simulated": True,
        "parameters": parameters,
        "model": "ventricle_ml = intercept + age_slope * (age - 75) + diagnosis * severity + sex * ([M] - 0.5) "
        "+ spread * residual",
        "coefficients": asdict(model),
        "direct_diagnosis_effect_ml": effect,
        "age_slope_ml_per_year": model.age_slope,
        "sex_effect_ml": model.sex,
        "spaces": "pose: head to scanner mm, rigid; to_template: scanner mm to MNI152 mm, the affine nearest over "
        "the brain; landmarks_mm: in the scanner; all RAS",
        "subjects": {
            p.ptid: {
                "sex": p.sex,
                "group": p.group,
                "phase": p.phase,
                "visits": {
                    "bl" if v.months == 0 else f"m{v.months:02d}": {
                        "age": v.age,
                        "severity": v.severity,
                        "diagnosis": v.diagnosis,
                        "ventricle_ml": v.anatomy.ventricle_ml,
                        "scanned": v.scan_date is not None,
                    }
                    for v in p.visits
                },
            }
            for p in participants
        },
        "scans": scans,
        "broken": broken,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a download from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m medgen.data.simulated_download", description="Write a simulated ADNI download."
    )
    parser.add_argument("out", help="folder to write, absent or empty")
    parser.add_argument("--subjects", type=int, default=12, help="how many (default 12: all courses once)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (default 0)")
    parser.add_argument("--spacing", type=float, nargs="+", default=[2.0], help="voxel size in mm (default 2)")
    parser.add_argument("--broken", action="store_true", help="cut one DICOM file short")
    given = parser.parse_args(arguments)
    spacing = given.spacing[0] if len(given.spacing) == 1 else given.spacing
    print(simulated_download(given.out, given.subjects, given.seed, spacing, given.broken))


if __name__ == "__main__":
    main()
