"""An invented patient's series, with identity in every corner of the header, and what of it must never survive."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medgen.dicom.instances import mr_instances

AFFINE = np.array([[-0.9, 0.1, 0, 40], [0.1, 0.9, 0, -50], [0, 0, 1.5, -10], [0, 0, 0, 1]])
AFFINE[:2, :2] *= 1.0 / np.linalg.norm(AFFINE[:2, 0])
IDENTITY = {
    "PatientName": "Doe-Quux^Janette",
    "PatientID": "HOSP-0099471",
    "PatientBirthDate": "19410317",
    "AccessionNumber": "ACC7731",
    "ReferringPhysicianName": "Grimaldi^Ottavia",
    "StudyDate": "20190611",
    "StudyTime": "101112",
    "StudyID": "ST8851",
    "StudyDescription": "Head of Doe-Quux",
    "StudyInstanceUID": "1.2.840.99999.1.1",
}
SERIES = {
    "SeriesInstanceUID": "1.2.840.99999.1.2",
    "FrameOfReferenceUID": "1.2.840.99999.1.3",
    "BodyPartExamined": "BRAIN",
}
EQUIPMENT = {
    "Manufacturer": "Invented Scanners",
    "InstitutionName": "Saint Elsewhere",
    "StationName": "MRROOM7",
    "DeviceSerialNumber": "SER-552255",
}
HIDDEN = ["Wolverton^Ada", "1.2.840.99999.7.7", "20190610", "Private-Janette", "1.2.840.99999.8.8", "UNKNOWN-0099471"]
KEY = b"a secret of tests only"


def instances(depth: int = 4) -> list[Dataset]:
    """Return one slice after another of a series without marks."""
    volume = np.arange(20 * 24 * depth).reshape(20, 24, depth) % 900
    patient = {name: value for name, value in IDENTITY.items() if name.startswith("Patient")}
    study = {name: value for name, value in IDENTITY.items() if not name.startswith("Patient")}
    return mr_instances(
        volume,
        AFFINE,
        patient=patient | {"PatientAge": "078Y", "PatientSex": "F"},
        study=study,
        series=SERIES,
        equipment=EQUIPMENT,
    )


def full_header() -> Dataset:
    """Return one instance with identity in nested sequences, private and unknown elements, dates and free text."""
    dataset = instances(1)[0]
    reference = Dataset()
    reference.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    reference.ReferencedSOPInstanceUID = "1.2.840.99999.7.7"
    dataset.ReferencedImageSequence = Sequence([reference])
    inner = Dataset()
    inner.OperatorsName = "Wolverton^Ada"
    inner.PerformedProcedureStepStartDate = "20190610"
    inner.UID = "1.2.840.99999.8.8"
    block = inner.private_block(0x0011, "INVENTED", create=True)
    block.add_new(0x01, "LO", "Private-Janette")
    outer = Dataset()
    outer.ConceptNameCodeSequence = Sequence([inner])
    outer.ContentSequence = Sequence([inner])
    dataset.AcquisitionContextSequence = Sequence([outer])
    dataset.AnatomicRegionSequence = Sequence([outer])  # stays, cleaned
    dataset.private_block(0x0009, "INVENTED", create=True).add_new(0x02, "PN", "Private-Janette")
    dataset.add_new(0x00091010, "UN", b"UNKNOWN-0099471 ")
    dataset.ProtocolName = "t1 for Janette"
    dataset.SeriesDescription = "Doe-Quux follow-up 2019-06-11"
    dataset.ManufacturerModelName = "Model of HOSP-0099471"
    dataset.AcquisitionDate = dataset.ContentDate = "20190610"
    dataset.AcquisitionDateTime = "20190610101112.5"
    dataset.PatientComments = dataset.ImageComments = "Janette was restless"
    dataset.InstanceCreatorUID = "1.2.840.99999.8.8"
    dataset.IrradiationEventUID = ["1.2.840.99999.8.8", "1.2.840.99999.7.7"]
    return dataset


def forbidden() -> list[bytes]:
    """Return the byte strings that no de-identified file may hold, in any writing."""
    words = [*IDENTITY.values(), *EQUIPMENT.values(), *HIDDEN, "Janette", "Doe-Quux", "2019-06-11"]
    words = [word for word in words if word not in ("Invented Scanners", "101112")]
    return [word.lower().encode() for word in [*words, *SERIES.values()] if word != "BRAIN"]
