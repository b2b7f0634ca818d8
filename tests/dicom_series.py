"""Write DICOM series with pydicom alone, independently of medgen's own writer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

MR_IMAGE, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
CORONAL = (1, 0, 0, 0, 0, -1)
KEY = b"a key for the tests alone"


def oblique(degrees: float = 17.0) -> tuple[float, ...]:
    """Direction cosines that are parallel to no axis."""
    a, b = np.deg2rad([degrees, 0.7 * degrees])
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    turned = turn_x @ turn_z
    return (*turned[:, 0], *turned[:, 1])


def picture(shape: Sequence[int] = (5, 6, 4), high: int = 4000) -> NDArray[np.uint16]:
    """Numbers (slices, rows, columns), no two slices alike."""
    return np.random.default_rng(0).integers(0, high, shape).astype(np.uint16)


def header(pixels: NDArray[Any], uids: dict[str, str]) -> Dataset:
    """What every instance of a series has; ``pixels`` (rows, columns)."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = MR_IMAGE, generate_uid()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = MR_IMAGE, ds.SOPInstanceUID
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Secret^Name", "ID-12345", "19400102"
    ds.PatientAge, ds.PatientSex, ds.StudyDate, ds.StudyTime = "073Y", "F", "20130304", "101112"
    ds.InstitutionName, ds.Modality, ds.Manufacturer = "Hidden Hospital", "MR", "Maker"
    ds.ManufacturerModelName, ds.MagneticFieldStrength = "Model 3", 3
    ds.RepetitionTime, ds.EchoTime, ds.InversionTime = 2300, 2.98, 900
    ds.ImageType, ds.SeriesDescription, ds.SeriesNumber = ["ORIGINAL", "PRIMARY", "M"], "T1 MPRAGE", 2
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = uids["study"], uids["series"], uids["frame"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape[-2:]
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(pixels.dtype.kind == "i")
    return ds


def new_uids() -> dict[str, str]:
    return {name: generate_uid() for name in ("study", "series", "frame")}


def write_series(
    folder: Path,
    volume: NDArray[Any],
    orientation: Sequence[float] = AXIAL,
    spacing: tuple[float, float] = (0.9, 1.1),
    step: float = 1.5,
    origin: Sequence[float] = (-20.0, 30.0, 10.0),
    change: Callable[[int, Dataset], Dataset | None] = lambda i, ds: ds,
    uids: dict[str, str] | None = None,
    prefix: str = "im",
) -> list[Path]:
    """Write slices (slices, rows, columns) along their normal, under names and numbers that say nothing.

    ``change`` edits the data set of each slice, or returns None to leave it out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    uids = uids or new_uids()
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    numbers = np.random.default_rng(1).permutation(len(volume))
    paths = []
    for i, plane in enumerate(volume):
        ds = header(plane, uids)
        ds.InstanceNumber = int(numbers[i]) + 1
        ds.ImageOrientationPatient = [float(f"{v:.12f}") for v in orientation]
        position = np.array(origin) + i * step * np.cross(row, column)
        ds.ImagePositionPatient = [float(f"{v:.9f}") for v in position]
        ds.PixelSpacing, ds.SliceThickness = list(spacing), step
        ds.PixelData = plane.tobytes()
        changed = change(i, ds)
        if changed is not None:
            path = folder / f"{prefix}{numbers[i]:03d}.dcm"
            changed.save_as(path, enforce_file_format=True)
            paths.append(path)
    return paths


def write_enhanced(
    path: Path,
    volume: NDArray[Any],
    orientation: Sequence[float] = AXIAL,
    step: float = 1.5,
    slopes: Sequence[float] | None = None,
    echo_times: Sequence[float] = (3.0,),
    change: Callable[[Dataset], Dataset] = lambda ds: ds,
) -> Path:
    """Write an enhanced multi-frame image, its frames in a mixed order; with several echo times, each slice of each."""
    ds = header(volume[0], new_uids())
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = ENHANCED_MR
    for keyword in ("RepetitionTime", "EchoTime", "InversionTime"):
        delattr(ds, keyword)
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)

    def item(**values: Any) -> Dataset:
        result = Dataset()
        for keyword, value in values.items():
            setattr(result, keyword, value)
        return result

    ds.SharedFunctionalGroupsSequence = Items(
        [
            item(
                PlaneOrientationSequence=Items([item(ImageOrientationPatient=[float(v) for v in orientation])]),
                PixelMeasuresSequence=Items([item(PixelSpacing=[0.9, 1.1], SliceThickness=step)]),
                MRTimingAndRelatedParametersSequence=Items([item(RepetitionTime=2300.0, FlipAngle=9.0)]),
                MRModifierSequence=Items([item(InversionTimes=[900.0])]),
            )
        ]
    )
    frames, pixels = [], []
    order = np.random.default_rng(2).permutation(len(volume) * len(echo_times))
    for number in order:
        i, echo = divmod(int(number), len(echo_times))
        position = np.array([-20.0, 30.0, 10.0]) + i * step * np.cross(row, column)
        slope = slopes[i] if slopes else 1.0
        frames.append(
            item(
                PlanePositionSequence=Items([item(ImagePositionPatient=[float(f"{v:.9f}") for v in position])]),
                PixelValueTransformationSequence=Items(
                    [item(RescaleSlope=slope, RescaleIntercept=0.0, RescaleType="US")]
                ),
                MREchoSequence=Items([item(EffectiveEchoTime=echo_times[echo])]),
            )
        )
        pixels.append(volume[i])
    ds.PerFrameFunctionalGroupsSequence = Items(frames)
    ds.NumberOfFrames = len(frames)
    ds.PixelData = np.stack(pixels).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    change(ds).save_as(path, enforce_file_format=True)
    return path
