"""A download from ADNI's archive in small: invented people, one small NIfTI or DICOM file per scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cohort_files import write_rows, write_volume

from medgen.dicom.instances import mr_instances, write_instances

SEARCH = ("Image Data ID", "Subject", "Group", "Sex", "Age", "Visit", "Modality", "Description", "Type", "Acq Date")
SEARCH += ("Format", "Downloaded")


def scan(
    person: str,
    image: str,
    date: str,
    visit: str = "bl",
    description: str = "MPRAGE",
    group: str = "CN",
    age: Any = 70,
    sex: str = "F",
    kind: str = "Original",
    **more: Any,
) -> dict[str, Any]:
    """A row of the search CSV (``date`` as 2011-05-18), and by ``more`` how it lies on disk."""
    year, month, day = date.split("-")
    values = (
        image,
        person,
        group,
        sex,
        age,
        visit,
        "MRI",
        description,
        kind,
        f"{int(month)}/{int(day)}/{year}",
        "NiFTI",
    )
    return dict(zip(SEARCH, (*values, "1/15/2026"), strict=True)) | {"date": date} | more


def write_download(root: Path, scans: Sequence[Mapping[str, Any]], below: str = "ADNI") -> Path:
    """Write the images, and the CSV unless ``root`` has one."""
    for row in scans:
        description = "".join(c if c.isalnum() or c == "-" else "_" for c in row["Description"])
        place = root / below / row["Subject"] / description / f"{row['date']}_10_11_12.0" / row["Image Data ID"]
        if row.get("absent"):
            continue
        if "dicom" in row:
            write_dicom(place, **row["dicom"])
        else:
            write_volume(place / f"ADNI_{row['Image Data ID']}.nii", np.ones((4, 4, 4)))
    rows = [{name: row[name] for name in SEARCH} for row in scans if not row.get("unlisted")]
    write_rows(root / "collection_1_15_2026.csv", rows)
    return root


def write_dicom(
    folder: Path, patient: str = "P", names: Sequence[str] | None = None, study: Any = None, **about: Any
) -> None:
    """Write a DICOM series of four small slices."""
    acquisition = {"MagneticFieldStrength": about.pop("tesla", 3.0), "EchoTime": 3.0}
    series = {"SeriesDescription": about.pop("description", "MPRAGE"), "SeriesNumber": about.pop("number", 1)}
    person = {"PatientID": patient, "PatientName": "SIMULATED^X", "PatientAge": "071Y", "PatientSex": "M"} | about
    volume = np.arange(4 * 5 * 4).reshape(4, 5, 4)
    instances = mr_instances(
        volume, np.diag([2.0, 2.0, 3.0, 1.0]), patient=person, study=study, series=series, acquisition=acquisition
    )
    write_instances(instances, folder, names)


def write_adnimerge(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write ADNIMERGE with the columns that matter; ``rows`` give what differs from a healthy person's baseline."""
    plain = {"RID": 9001, "PTID": "941_S_9001", "SITE": 41, "VISCODE": "bl", "EXAMDATE": "2011-05-10", "DX_bl": "CN"}
    plain |= {"AGE": 70.5, "PTGENDER": "Female", "MMSE": 29, "DX": "CN", "Years_bl": 0, "update_stamp": "2026-01-15"}
    write_rows(path, [plain | dict(row) for row in rows])
    return path


def write_dxsum(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write DXSUM as its older releases are: by RID, with the diagnosis of each phase in a column of its own."""
    plain = {"Phase": "ADNI2", "ID": 1, "RID": 9001, "VISCODE": "v03", "VISCODE2": "bl", "EXAMDATE": "2011-05-10"}
    plain |= {"DXCHANGE": -4, "DXCURREN": -4, "DIAGNOSIS": -4}
    write_rows(path, [plain | dict(row) for row in rows])
    return path
