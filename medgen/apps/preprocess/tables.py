"""The tables of a preprocessed cohort: participants and visits for training, and what is only for its owner."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgen import __version__
from medgen.apps.preprocess.places import DERIVATIVES, ScanPlace
from medgen.data.simulated import GROUND_TRUTH
from medgen.data.values import UNKNOWN_LABEL
from medgen.files import write_json, write_rows, write_text

__all__ = ["Finished", "source_name", "write_cohort", "write_owner_tables"]

PRIVATE = 0o600
BY_VISIT = ("age", "diagnosis")  # BIDS keeps these beside the session even where they are the same in all


@dataclass(frozen=True)
class Finished:
    """One finished scan: its place, the cohort's record and row of the table, what was measured, why to look at it."""

    place: ScanPlace
    record: Mapping[str, Any]
    row: Mapping[str, str]
    measured: Mapping[str, Any]
    flags: Sequence[str] = ()


def write_cohort(
    folder: Path, cohort: Any, scans: Sequence[Finished], settings: Mapping[str, Any], keep_columns: Sequence[str] = ()
) -> None:
    """Write what makes ``folder`` a cohort: participants, visits, the data set's description and terms.

    Args:
        folder: the output folder.
        cohort: the :class:`medgen.data.Cohort` that the scans are of.
        scans: the finished ones.
        settings: configuration of the pipeline, for the description.
        keep_columns: columns of the cohort's table to carry over beside the declared covariates and the site.
    """
    names = [name for name in cohort.covariates.names if name != "slice"]
    names += ["site"] if any("site" in scan.record for scan in scans) and "site" not in names else []
    kept = [column for column in keep_columns if column not in names]
    rows = [
        {name: _text(scan.record.get(name)) for name in names} | {c: scan.row.get(c) or UNKNOWN_LABEL for c in kept}
        for scan in scans
    ]
    people: dict[str, dict[str, str]] = {}
    visits: dict[str, list[dict[str, str]]] = defaultdict(list)
    for subject, own in _by_subject(scans, rows).items():
        changing = [
            name
            for name in (*names, *kept)
            if own[0][0].session and (name in BY_VISIT or len({row[name] for _, row in own}) > 1)
        ]
        people[subject] = own[0][1] | dict.fromkeys(changing, UNKNOWN_LABEL)
        for place, row in own:
            if place.session and changing:
                visits[subject].append({"session_id": place.session} | {name: row[name] for name in changing})
    columns = [c for c in (*names, *kept) if any(row[c] != UNKNOWN_LABEL for row in people.values()) or not visits]
    write_rows(
        folder / "participants.tsv",
        ["participant_id", *columns],
        [{"participant_id": subject} | row for subject, row in people.items()],
    )
    for subject in people:
        path = folder / subject / f"{subject}_sessions.tsv"
        path.unlink(missing_ok=True)
        if visits[subject]:
            write_rows(path, list(visits[subject][0]), visits[subject])
    _describe(folder, cohort, settings)


def _by_subject(
    scans: Sequence[Finished], rows: Sequence[dict[str, str]]
) -> dict[str, list[tuple[ScanPlace, dict[str, str]]]]:
    result: dict[str, list[tuple[ScanPlace, dict[str, str]]]] = defaultdict(list)
    for scan, row in zip(scans, rows, strict=True):
        result[scan.place.subject].append((scan.place, row))
    return dict(sorted(result.items()))


def _text(value: Any) -> str:
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return UNKNOWN_LABEL
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _describe(folder: Path, cohort: Any, settings: Mapping[str, Any]) -> None:
    """Say what the data are, whose, and how they were made; simulated people stay simulated."""
    real = "SIMULATED: these people do not exist." if cohort.simulated else "Images of participants: do not publish."
    description = {
        "Name": f"Preprocessed brain MRI. {real}",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "Simulated": bool(cohort.simulated),
        "License": cohort.data_terms,
        "GeneratedBy": [{"Name": "medgen", "Version": __version__, "Settings": dict(settings)}],
    }
    write_json(folder / "dataset_description.json", description)
    write_json(folder / DERIVATIVES / "dataset_description.json", description | {"Name": f"Brain masks, QC. {real}"})
    columns = cohort.covariates.to_dict()
    write_json(
        folder / "participants.json", {name: _described(value) for name, value in columns.items() if name != "slice"}
    )
    lines = [real, f"Terms of use: {cohort.data_terms}", "", "Made by medgen. For research, not for diagnosis."]
    write_text(folder / "README", "\n".join(lines) + "\n")
    if cohort.ground_truth is not None:
        write_json(folder / GROUND_TRUTH, cohort.ground_truth)


def _described(declared: Any) -> dict[str, Any]:
    if isinstance(declared, Mapping):
        return {"Units": declared.get("unit") or "", "Minimum": declared["low"], "Maximum": declared["high"]}
    return {"Levels": {str(label): str(label) for label in declared}}


def write_owner_tables(
    folder: Path, cohort: Any, scans: Sequence[Finished], failures: Sequence[tuple[ScanPlace, Mapping[str, Any], str]]
) -> None:
    """Write scans, failures and discards, which name the original files; readable by their owner alone.

    Args:
        folder: the output folder.
        cohort: the cohort; its ``discards`` say which images were not used, and why.
        scans: the finished scans.
        failures: place, record and error of each scan that failed.
    """
    measured = ("similarity", "determinant", "brain_ml", "seconds", "cpu_seconds", "peak_mib")
    rows: list[dict[str, Any]] = [
        {"scan": s.place.name, "source": source_name(cohort, s.record), "flags": "; ".join(s.flags)}
        | {name: "" if s.measured.get(name) is None else s.measured[name] for name in measured}
        for s in scans
    ]
    write_rows(folder / "scans.csv", ["scan", *measured, "flags", "source"], rows, PRIVATE)
    failed = [
        {"scan": place.name, "error": " ".join(error.split()), "source": source_name(cohort, record)}
        for place, record, error in failures
    ]
    write_rows(folder / "failures.csv", ["scan", "error", "source"], failed, PRIVATE)
    discards = [dict(row) for row in getattr(cohort, "discards", None) or ()]
    columns = list(dict.fromkeys(key for row in discards for key in row)) or ["reason"]
    write_rows(folder / "discards.csv", columns, discards, PRIVATE)


def source_name(cohort: Any, record: Mapping[str, Any]) -> str:
    """Return where the scan lies below the cohort's folder."""
    image = record["image"]
    paths = [image] if isinstance(image, str) else list(image)
    return "; ".join(os.path.relpath(path, cohort.folder) for path in paths)
