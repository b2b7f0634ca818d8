"""Which series a simulated visit has, and how each is written: DICOM as an archive delivers it, or processed NIfTI."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from medgen.data.simulated_head import Affine, Head, Scanner
from medgen.data.simulated_visits import Participant, Visit
from medgen.data.simulated_writing import save_volume
from medgen.dicom.instances import age_string, mr_instances, write_instances
from medgen.dicom.uids import hashed_uid

__all__ = ["Scan", "plan_scans", "write_scan"]

FIRST_IMAGE, FIRST_SERIES = 9_900_001, 990_001  # far above the archive's
COMMENT = "Simulated by medgen: this person does not exist"
PROCESSED = "MPR; GradWarp; B1 Correction; N3; Scaled"


@dataclass(frozen=True)
class Vendor:
    """What one maker's scanners call things.

    Args:
        name: Manufacturer.
        models: by field strength in T.
        plain: description of the T1 by phase.
        accelerated: description of the accelerated T1 by phase.
        image_type: Image Type.
    """

    name: str
    models: Mapping[float, str]
    plain: Mapping[str, str]
    accelerated: Mapping[str, str]
    image_type: tuple[str, ...]


VENDORS = {
    "991": Vendor(
        "Simulated SIEMENS",
        {1.5: "Simulated Avanto", 3.0: "Simulated TrioTim"},
        {"ADNI1": "MP-RAGE", "ADNI2": "MPRAGE"},
        {"ADNI2": "MPRAGE GRAPPA2", "ADNI3": "Accelerated Sagittal MPRAGE"},
        ("ORIGINAL", "PRIMARY", "M", "ND"),
    ),
    "992": Vendor(
        "Simulated GE MEDICAL SYSTEMS",
        {1.5: "Simulated SIGNA EXCITE", 3.0: "Simulated DISCOVERY MR750"},
        {"ADNI1": "MP-RAGE", "ADNI2": "Sag IR-SPGR"},
        {"ADNI2": "Accelerated SAG IR-SPGR", "ADNI3": "Accelerated Sag IR-FSPGR"},
        ("ORIGINAL", "PRIMARY", "OTHER"),
    ),
    "993": Vendor(
        "Simulated Philips Medical Systems",
        {1.5: "Simulated Intera", 3.0: "Simulated Achieva"},
        {"ADNI1": "MPRAGE", "ADNI2": "MPRAGE"},
        {"ADNI2": "MPRAGE SENSE2", "ADNI3": "Accelerated Sagittal MPRAGE"},
        ("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"),
    ),
}
# what the archive's search calls a visit, by phase and months: the baseline scan belongs to the screening
SEARCH_VISITS = {
    "ADNI1": {0: "sc", 12: "m12", 24: "m24"},
    "ADNI2": {0: "v02", 12: "v11", 24: "v21"},
    "ADNI3": {0: "sc", 12: "y1", 24: "y2"},
}


@dataclass(frozen=True)
class Scan:
    """One image of the archive.

    Attributes:
        image_id: such as I9900001.
        series_id: such as S990001.
        participant: whose.
        visit: at which.
        description: of the series, as the scanner or the archive's processing names it.
        kind: t1, repeat, accelerated, second_field, localizer, t2 or processed.
        field_strength: in T.
        day: of the acquisition.
        order: within the day.
        source: image whose head this one shows; itself when it has its own pose and noise.
    """

    image_id: str
    series_id: str
    participant: Participant
    visit: Visit
    description: str
    kind: str
    field_strength: float
    day: date
    order: int
    source: str

    @property
    def folder(self) -> Path:
        """Where the archive's download has it, below ``ADNI``."""
        stamp = f"{self.day.isoformat()}_{self.clock[:2]}_{self.clock[2:4]}_{self.clock[4:]}.0"
        return Path(self.participant.ptid) / _as_folder(self.description) / stamp / self.image_id

    @property
    def clock(self) -> str:
        """Time of the acquisition, HHMMSS."""
        minutes = 9 * 60 + 7 * self.participant.index % 300 + 8 * self.order
        return f"{minutes // 60:02d}{minutes % 60:02d}{(17 * self.participant.index + 5) % 60:02d}"

    @property
    def search_visit(self) -> str:
        """The visit as the archive's search writes it."""
        return SEARCH_VISITS[self.participant.phase][self.visit.months]

    @property
    def scanner(self) -> Scanner:
        """Noise and field of this acquisition."""
        plain = Scanner(0.03, 0.10, 0.2, 420.0) if self.field_strength < 2 else Scanner(0.022, 0.15, 0.3, 600.0)
        return replace(plain, noise=1.4 * plain.noise) if self.kind == "accelerated" else plain


def _as_folder(description: str) -> str:
    """Return a description as the archive makes a folder name of it."""
    return re.sub(r"[^A-Za-z0-9-]", "_", description)


def plan_scans(participants: list[Participant]) -> list[Scan]:
    """Return the images of all visits, numbered in the order of participants and time."""
    scans: list[Scan] = []
    for participant in participants:
        for visit in participant.visits:
            if visit.scan_date is None:
                continue
            first = len(scans)
            for order, (kind, description, field_strength, source) in enumerate(_series(participant, visit)):
                number = first + order
                processed = kind == "processed"  # the archive files it under the acquisition it was made of
                day = visit.scan_date
                scans.append(
                    Scan(
                        image_id=f"I{FIRST_IMAGE + number}",
                        series_id=f"S{FIRST_SERIES + number - (order if processed else 0)}",
                        participant=participant,
                        visit=visit,
                        description=description,
                        kind=kind,
                        field_strength=field_strength,
                        # the second magnet is in another building, four days later
                        day=day + timedelta(days=4) if kind == "second_field" else day,
                        order=0 if processed else order,
                        source=f"I{FIRST_IMAGE + (number if source is None else first + source)}",
                    )
                )
    return scans


def _series(participant: Participant, visit: Visit) -> Iterator[tuple[str, str, float, int | None]]:
    """Give kind, description, field strength and source (place in the visit, None for itself) of a visit's series."""
    vendor, baseline = VENDORS[participant.site], visit.months == 0
    if participant.phase == "ADNI1":
        plain = vendor.plain["ADNI1"]
        yield "t1", plain, 1.5, None
        yield "processed", PROCESSED, 1.5, 0
        if baseline:
            yield "localizer", "3 Plane Localizer", 1.5, 0
            yield "repeat", f"{plain} REPEAT", 1.5, None
            if participant.index % 2 == 0:
                yield "second_field", "MPRAGE", 3.0, None
    elif participant.phase == "ADNI2":
        yield "t1", vendor.plain["ADNI2"], 3.0, None
        if baseline:
            yield "accelerated", vendor.accelerated["ADNI2"], 3.0, None
            yield "t2", "Axial T2 FSE", 3.0, 0
    else:
        yield "accelerated", vendor.accelerated["ADNI3"], 3.0, None


def write_scan(scan: Scan, head: Head, folder: Path, key: str) -> list[Path]:
    """Write one image below ``folder``; returns its files.

    Args:
        scan: from :func:`plan_scans`.
        head: of the scan or its source.
        folder: the download's ``ADNI`` folder.
        key: what the UIDs belong to.
    """
    target = folder / scan.folder
    target.mkdir(parents=True)
    if scan.kind == "processed":
        return [_write_processed(scan, head, target)]
    headers: dict[str, Any] = {**_headers(scan, key)}
    if scan.kind == "localizer":
        stacks = [_three_planes(head.intensity, head.affine, axis) for axis in range(3)]
        instances = [i for axis, (v, a) in enumerate(stacks) for i in mr_instances(v, a, slice_axis=axis, **headers)]
        for number, instance in enumerate(instances, start=1):
            instance.InstanceNumber = number
            instance.SOPInstanceUID = hashed_uid(str(instance.SeriesInstanceUID), number)
    elif scan.kind == "t2":
        instances = mr_instances(*_as_t2(head), slice_axis="axial", **headers)
    else:
        instances = mr_instances(head.intensity, head.affine, slice_axis="sagittal", **headers)
    stamp = f"{scan.day:%Y%m%d}{scan.clock}{scan.order:03d}"
    # the archive numbers files as they came in, which need not be their order in space
    numbers = [int(n) + 1 for n in np.random.default_rng(int(scan.image_id[1:])).permutation(len(instances))]
    names = [
        f"ADNI_{scan.participant.ptid}_MR_{_as_folder(scan.description)}__br_raw_{stamp}_{number}_{scan.series_id}"
        f"_{scan.image_id}.dcm"
        for number in numbers
    ]
    return write_instances(instances, target, names, atomic=False)


def _headers(scan: Scan, key: str) -> dict[str, dict[str, Any]]:
    """Return what the instances say besides their pixels."""
    person, vendor = scan.participant, VENDORS[scan.participant.site]
    study = hashed_uid("simulated download", key, person.ptid, scan.day.isoformat())
    day = f"{scan.day:%Y%m%d}"
    t2 = scan.kind == "t2"
    return {
        "patient": {
            "PatientName": f"SIMULATED^{person.ptid}",
            "PatientID": person.ptid,
            "PatientSex": person.sex,
            "PatientAge": age_string(scan.visit.age),
            "PatientComments": COMMENT,
        },
        "study": {
            "StudyInstanceUID": study,
            "StudyDate": day,
            "StudyTime": f"{scan.clock}.000000",
            "StudyID": f"{person.rid}",
            "StudyDescription": "SIMULATED ADNI",
        },
        "series": {
            "SeriesInstanceUID": hashed_uid("simulated download", key, scan.image_id),
            "SeriesNumber": scan.order + 2,
            "BodyPartExamined": "HEAD",
            "SeriesDescription": scan.description,
            "SeriesDate": day,
            "SeriesTime": f"{scan.clock}.000000",
            "ProtocolName": scan.description,
            "FrameOfReferenceUID": hashed_uid(study, "frame"),
        },
        "equipment": {"Manufacturer": vendor.name, "ManufacturerModelName": vendor.models[scan.field_strength]},
        "acquisition": {
            "ScanningSequence": "SE" if t2 else ["GR", "IR"],
            "SequenceVariant": "SK" if t2 else ["SP", "MP"],
            "MRAcquisitionType": "2D" if t2 or scan.kind == "localizer" else "3D",
            "RepetitionTime": 3000.0 if t2 else 2400.0 if scan.field_strength < 2 else 2300.0,
            "EchoTime": 96.0 if t2 else 3.5 if scan.field_strength < 2 else 2.98,
            "InversionTime": None if t2 else 1000.0 if scan.field_strength < 2 else 900.0,
            "EchoTrainLength": 1,
            "FlipAngle": 90.0 if t2 else 8.0 if scan.field_strength < 2 else 9.0,
            "MagneticFieldStrength": scan.field_strength,
            "AcquisitionDate": day,
            "AcquisitionTime": f"{scan.clock}.000000",
            "AcquisitionNumber": 1,
        },
        "image": {"ImageType": list(vendor.image_type), "SyntheticData": "YES", "ImageComments": COMMENT},
    }


def _three_planes(volume: np.ndarray, affine: Affine, axis: int) -> tuple[np.ndarray, Affine]:
    """Return three planes across ``axis`` around the middle, 20 mm apart."""
    step = max(1, round(20.0 / float(np.linalg.norm(affine[:3, axis]))))
    first = volume.shape[axis] // 2 - step
    moved = affine.copy()
    moved[:3, 3] += affine[:3, axis] * first
    moved[:3, axis] *= step
    return np.take(volume, [first, first + step, first + 2 * step], axis=axis), moved


def _as_t2(head: Head) -> tuple[np.ndarray, Affine]:
    """Return a picture with dark and bright exchanged, in thick axial slices: nobody should take it for a T1."""
    step = max(1, round(5.0 / float(np.linalg.norm(head.affine[:3, 2]))))
    image = head.intensity[:, :, step // 2 :: step].astype(np.float32) / np.percentile(head.intensity, 99)
    affine = head.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (step // 2)
    affine[:3, 2] *= step
    return np.rint(900.0 * np.clip((image - 0.1) / 0.06, 0.0, 1.0) * np.clip(1.15 - image, 0.05, 1.0)), affine


def _write_processed(scan: Scan, head: Head, target: Path) -> Path:
    """Write what the archive's processing makes of a scan: its field taken out for the most part, as NIfTI."""
    flat = np.clip(np.rint(0.8 * head.intensity / head.bias**0.8), 0, 32767).astype(np.int16)
    stamp = f"{scan.day:%Y%m%d}{scan.clock}{scan.order:03d}"
    name = f"ADNI_{scan.participant.ptid}_MR_{_as_folder(scan.description)}_Br_{stamp}_{scan.series_id}"
    path = target / f"{name}_{scan.image_id}.nii"
    save_volume(flat, head.affine, path, "scanner")
    return path
