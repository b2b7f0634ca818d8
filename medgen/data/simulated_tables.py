"""The study's tables of the simulated download, with the column names the real ones have.

ADNIMERGE has one row for each examination. DXSUM writes the diagnosis as each phase of the study did: DXCURREN in
ADNI1, DXCHANGE in ADNI2 and DIAGNOSIS in ADNI3. A missing value is empty in ADNIMERGE and -4 in DXSUM.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from medgen.data.simulated_scans import Scan
from medgen.data.simulated_visits import YEAR, Participant, Visit

__all__ = ["write_adnimerge", "write_dxsum", "write_search"]

SEARCH = (
    "Image Data ID", "Subject", "Group", "Sex", "Age", "Visit", "Modality", "Description", "Type", "Acq Date",
    "Format", "Downloaded",
)  # fmt: skip
ADNIMERGE = (
    "RID", "COLPROT", "ORIGPROT", "PTID", "SITE", "VISCODE", "EXAMDATE", "DX_bl", "AGE", "PTGENDER", "PTEDUCAT",
    "PTETHCAT", "PTRACCAT", "PTMARRY", "APOE4", "CDRSB", "MMSE", "FLDSTRENG", "FSVERSION", "IMAGEUID", "Ventricles",
    "DX", "EXAMDATE_bl", "MMSE_bl", "FLDSTRENG_bl", "Ventricles_bl", "Years_bl", "Month_bl", "Month", "M",
    "update_stamp",
)  # fmt: skip
DXSUM = (
    "Phase", "ID", "RID", "SITEID", "VISCODE", "VISCODE2", "USERDATE", "USERDATE2", "EXAMDATE", "DXCHANGE", "DXCURREN",
    "DXCONV", "DXCONTYP", "DXREV", "DXNORM", "DXMCI", "DXAD", "DIAGNOSIS", "update_stamp",
)  # fmt: skip
CODES = {"CN": 1, "MCI": 2, "Dementia": 3}
# DXCHANGE: from the diagnosis before to the one now
CHANGES = {
    ("CN", "CN"): 1, ("MCI", "MCI"): 2, ("Dementia", "Dementia"): 3, ("CN", "MCI"): 4, ("MCI", "Dementia"): 5,
    ("CN", "Dementia"): 6, ("MCI", "CN"): 7, ("Dementia", "MCI"): 8, ("Dementia", "CN"): 9,
}  # fmt: skip
# the code of a visit in the phase's own tables, by months
PHASE_VISITS = {
    "ADNI1": {0: "bl", 6: "m06", 12: "m12", 24: "m24"},
    "ADNI2": {0: "v03", 6: "v05", 12: "v11", 24: "v21"},
    "ADNI3": {0: "bl", 6: "m06", 12: "y1", 24: "y2"},
}
STAMP = date(2026, 1, 15)  # when the invented tables were exported
MISSING = -4


def viscode(months: int) -> str:
    """Return the visit as ADNIMERGE and VISCODE2 write it: bl, m06, m12."""
    return "bl" if months == 0 else f"m{months:02d}"


def write_search(path: Path, scans: Sequence[Scan]) -> None:
    """Write the table that the archive's search gives: one row for each image; the group is that of the enrolment."""
    rows = []
    for scan in scans:
        person, processed = scan.participant, scan.kind == "processed"
        group = "MCI" if person.group in ("EMCI", "LMCI") and person.phase != "ADNI2" else person.group
        rows.append(
            {
                "Image Data ID": scan.image_id,
                "Subject": person.ptid,
                "Group": group,
                "Sex": person.sex,
                "Age": round(scan.visit.age),
                "Visit": scan.search_visit,
                "Modality": "MRI",
                "Description": scan.description,
                "Type": "Processed" if processed else "Original",
                "Acq Date": f"{scan.day.month}/{scan.day.day:02d}/{scan.day.year}",
                "Format": "NiFTI" if processed else "DCM",
                "Downloaded": f"{STAMP.month}/{STAMP.day:02d}/{STAMP.year}",
            }
        )
    _write(path, SEARCH, rows)


def write_adnimerge(
    path: Path, participants: Sequence[Participant], scans: Sequence[Scan], ventricle_ml: Mapping[str, float]
) -> None:
    """Write one row for each examination, with the visit's diagnosis and the volume of the ventricles in mm3.

    Args:
        path: to write.
        participants: whose visits these are.
        scans: of the visits.
        ventricle_ml: by image.
    """
    first = {(s.participant.rid, s.visit.months): s for s in reversed(scans) if s.kind in ("t1", "accelerated")}
    rows = []
    for person in participants:
        start = person.visits[0]
        at_start = first.get((person.rid, 0))
        for visit in person.visits:
            days = (visit.exam_date - start.exam_date).days
            scan = first.get((person.rid, visit.months))
            rows.append(
                {
                    "RID": person.rid,
                    "COLPROT": person.phase,
                    "ORIGPROT": person.phase,
                    "PTID": person.ptid,
                    "SITE": int(person.site),
                    "VISCODE": viscode(visit.months),
                    "EXAMDATE": visit.exam_date.isoformat(),
                    "DX_bl": person.group,
                    "AGE": f"{start.age:.1f}",
                    "PTGENDER": "Male" if person.sex == "M" else "Female",
                    "MMSE": _mmse(visit),
                    "FLDSTRENG": _field(scan),
                    "IMAGEUID": scan.image_id[1:] if scan else "",
                    "Ventricles": _cubic_millimetres(scan, ventricle_ml),
                    "DX": visit.diagnosis or "",
                    "EXAMDATE_bl": start.exam_date.isoformat(),
                    "MMSE_bl": _mmse(start),
                    "FLDSTRENG_bl": _field(at_start),
                    "Ventricles_bl": _cubic_millimetres(at_start, ventricle_ml),
                    "Years_bl": f"{days / YEAR:.6f}",
                    "Month_bl": f"{12 * days / YEAR:.5f}",
                    "Month": visit.months,
                    "M": visit.months,
                    "update_stamp": f"{STAMP.isoformat()} 00:00:00.0",
                }
            )
    _write(path, ADNIMERGE, rows)


def write_dxsum(path: Path, participants: Sequence[Participant]) -> None:
    """Write one row for each diagnosis, in the columns of the phase."""
    rows: list[dict[str, Any]] = []
    for person in participants:
        before: str | None = None
        for visit in person.visits:
            found = visit.diagnosis
            row: dict[str, Any] = {
                "Phase": person.phase,
                "ID": 2 * (len(rows) + 1),
                "RID": person.rid,
                "SITEID": int(person.site),
                "VISCODE": PHASE_VISITS[person.phase][visit.months],
                "VISCODE2": viscode(visit.months),
                "USERDATE": visit.exam_date.isoformat(),
                "EXAMDATE": visit.exam_date.isoformat(),
                "update_stamp": f"{STAMP.isoformat()} 00:00:00.0",
            }
            if person.phase == "ADNI1":
                row["DXCURREN"] = MISSING if found is None else CODES[found]
                row |= {column: int(found == d) for column, d in _ADNI1_BOXES.items() if found is not None}
            elif person.phase == "ADNI2":
                row["DXCHANGE"] = MISSING if found is None else CHANGES[before or found, found]
            else:
                row["DIAGNOSIS"] = MISSING if found is None else CODES[found]
            rows.append(row)
            before = found or before
    _write(path, DXSUM, rows)


_ADNI1_BOXES = {"DXNORM": "CN", "DXMCI": "MCI", "DXAD": "Dementia"}


def _mmse(visit: Visit) -> int:
    """Return a score of 0-30 that falls with severity."""
    return int(np.clip(round(29.3 - 6.5 * visit.severity), 0, 30))


def _field(scan: Scan | None) -> str:
    return f"{scan.field_strength:g} Tesla MRI" if scan else ""


def _cubic_millimetres(scan: Scan | None, ventricle_ml: Mapping[str, float]) -> str:
    return f"{1000.0 * ventricle_ml[scan.image_id]:.0f}" if scan else ""


def _write(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table with every value quoted, as the archive does."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
