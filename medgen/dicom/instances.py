"""Build valid MR instances from an array, by an allowlist of attributes; write them.

Nothing is copied from another header: each attribute is one of the tables below, given by the caller or left empty
where the standard allows that (PS3.3 A.4, MR Image IOD).
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import format_number_as_ds, validate_value

from medgen import __version__
from medgen.dicom.slicing import SliceStack, cut
from medgen.dicom.uids import IMPLEMENTATION_UID, hashed_uid, new_uid
from medgen.files import atomic_write
from medgen.spelling import nearest

__all__ = ["age_string", "assign", "mr_instances", "sex_code", "write_instances"]

# attributes a caller may give, with what stands there when none is given; None: left out
PATIENT: dict[str, Any] = {
    "PatientName": "",
    "PatientID": "",
    "PatientBirthDate": "",
    "PatientSex": "",
    "PatientAge": None,
    "PatientSize": None,
    "PatientWeight": None,
    "PatientComments": None,
    "PatientIdentityRemoved": None,
    "DeidentificationMethod": None,
    "DeidentificationMethodCodeSequence": None,
}
STUDY: dict[str, Any] = {
    "StudyInstanceUID": None,
    "StudyDate": "",
    "StudyTime": "",
    "StudyID": "",
    "StudyDescription": None,
    "AccessionNumber": "",
    "ReferringPhysicianName": "",
}
SERIES: dict[str, Any] = {
    "SeriesInstanceUID": None,
    "SeriesNumber": 1,
    "SeriesDescription": None,
    "SeriesDate": None,
    "SeriesTime": None,
    "ProtocolName": None,
    "BodyPartExamined": "BRAIN",
    "PatientPosition": "HFS",
    "FrameOfReferenceUID": None,
    "PositionReferenceIndicator": "",
}
EQUIPMENT: dict[str, Any] = {
    "Manufacturer": "",
    "ManufacturerModelName": None,
    "InstitutionName": None,
    "StationName": None,
    "DeviceSerialNumber": None,
    "SoftwareVersions": None,
}
ACQUISITION: dict[str, Any] = {
    "ScanningSequence": "RM",
    "SequenceVariant": "NONE",
    "ScanOptions": "",
    "MRAcquisitionType": "",
    "SequenceName": None,
    "RepetitionTime": "",
    "EchoTime": "",
    "InversionTime": None,
    "EchoTrainLength": "",
    "FlipAngle": None,
    "MagneticFieldStrength": None,
    "ImagingFrequency": None,
    "ImagedNucleus": None,
    "NumberOfAverages": None,
    "PixelBandwidth": None,
    "ReceiveCoilName": None,
    "AcquisitionNumber": None,
    "AcquisitionDate": None,
    "AcquisitionTime": None,
}
IMAGE: dict[str, Any] = {
    "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
    "ContentDate": None,
    "ContentTime": None,
    "InstanceCreationDate": None,
    "InstanceCreationTime": None,
    "SyntheticData": None,
    "DerivationDescription": None,
    "DerivationCodeSequence": None,
    "ImageComments": None,
    "BurnedInAnnotation": None,
    "LossyImageCompression": None,
    "QualityControlImage": None,
    "ContributingEquipmentSequence": None,
    "SourceImageSequence": None,
    "WindowCenter": None,
    "WindowWidth": None,
}


def mr_instances(
    volume: Any,
    affine: Any,
    *,
    patient: Mapping[str, Any],
    study: Mapping[str, Any] | None = None,
    series: Mapping[str, Any] | None = None,
    equipment: Mapping[str, Any] | None = None,
    acquisition: Mapping[str, Any] | None = None,
    image: Mapping[str, Any] | None = None,
    slice_axis: int | str = "axial",
    draw: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
) -> list[Dataset]:
    """Build one series of MR Image Storage, a dataset for each slice.

    The mappings go from DICOM keyword to value; only the keywords of this module's tables ``PATIENT``, ``STUDY``,
    ``SERIES``, ``EQUIPMENT``, ``ACQUISITION`` and ``IMAGE`` are accepted. None leaves an attribute out, or empty where
    the IOD requires it. UIDs that are not given are new; an instance's is a function of its series' and its number.

    Args:
        volume: intensities as they are to be stored, (X, Y, Z) or (1, X, Y, Z), all within -32768..32767 or within
            0..65535; fractions are rounded.
        affine: (4, 4), voxel to RAS mm, axes at right angles.
        patient: such as PatientName, PatientID, PatientSex (see :func:`sex_code`), PatientAge (:func:`age_string`).
        study: such as StudyInstanceUID, StudyDate ("YYYYMMDD"), StudyDescription.
        series: such as SeriesDescription, SeriesNumber, FrameOfReferenceUID.
        equipment: such as Manufacturer and ManufacturerModelName.
        acquisition: such as MagneticFieldStrength (T), RepetitionTime, EchoTime and InversionTime (ms); its default
            Scanning Sequence is RM, research mode.
        image: such as ImageType and SyntheticData. A window that is not given is made of the intensities.
        slice_axis: see :func:`medgen.dicom.slicing.cut`.
        draw: changes the stored pixels (S, rows, columns), turned as they are displayed; the type and shape stay.

    Raises:
        ValueError: on an unknown keyword, or a volume or an affine that is not as above.

    Example:
        >>> first, *rest = mr_instances(
        ...     np.full((4, 5, 6), 100), np.diag([1.0, 1.0, 1.2, 1.0]), patient={"PatientID": "941_S_9001"}
        ... )
        >>> len(rest), first.Rows, first.Columns, float(first.SliceThickness)
        (5, 5, 4, 1.2)
    """
    array = np.asarray(volume)
    array = array[0] if array.ndim == 4 and array.shape[0] == 1 else array
    if array.ndim != 3:
        raise ValueError(f"volume: found shape {np.shape(volume)}, expected (X, Y, Z) or (1, X, Y, Z)")
    common = Dataset()
    common.SpecificCharacterSet = "ISO_IR 192"  # UTF-8
    common.SOPClassUID = MRImageStorage
    common.Modality = "MR"
    assign(common, "patient", PATIENT, patient)
    assign(common, "study", STUDY, study)
    assign(common, "series", SERIES, series)
    assign(common, "equipment", EQUIPMENT, equipment)
    assign(common, "acquisition", ACQUISITION, acquisition)
    assign(common, "image", IMAGE, image)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if keyword not in common:
            setattr(common, keyword, new_uid())
    stack = cut(_stored(array), affine, slice_axis)
    if draw is not None:
        stack = dataclasses.replace(stack, pixels=draw(stack.pixels))
    _describe_pixels(common, stack)
    return [_instance(common, stack, index) for index in range(len(stack.pixels))]


def write_instances(
    instances: Sequence[Dataset], folder: str | os.PathLike[str], names: Sequence[str] | None = None
) -> list[Path]:
    """Write instances as DICOM files (explicit little endian), each whole or not at all, their preamble zero.

    Args:
        instances: datasets with SOPClassUID and SOPInstanceUID.
        folder: made when absent.
        names: file names, one for each; by default ``image_0001.dcm`` and so on.

    Returns:
        The files, in the order of ``instances``.
    """
    if names is None:
        names = [f"image_{number:04d}.dcm" for number in range(1, len(instances) + 1)]
    paths = [Path(folder) / name for name in names]
    for dataset, path in zip(instances, paths, strict=True):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.ImplementationClassUID = IMPLEMENTATION_UID
        meta.ImplementationVersionName = f"MEDGEN_{__version__}"[:16]
        file = pydicom.FileDataset(str(path), dataset, file_meta=meta, preamble=bytes(128))
        with atomic_write(path) as temporary:
            pydicom.dcmwrite(temporary, file, enforce_file_format=True)
    return paths


def age_string(years: float | None) -> str | None:
    """Return an age as DICOM has it: ``073Y``; below two years in months, ``018M``; None and NaN give None.

    Raises:
        ValueError: when it is not within 0 to 999.

    Example:
        >>> age_string(73.8), age_string(0.5), age_string(None)
        ('073Y', '006M', None)
    """
    if years is None or np.isnan(years):
        return None
    if not 0 <= years < 1000:
        raise ValueError(f"years: found {years!r}, expected 0 to 999")
    return f"{int(years * 12):03d}M" if years < 2 else f"{int(years):03d}Y"


def sex_code(sex: str | None) -> str:
    """Return DICOM's code for a sex, ``F``, ``M`` or ``O``; anything else is unknown, "".

    Example:
        >>> sex_code("female"), sex_code("M"), sex_code(None)
        ('F', 'M', '')
    """
    first = str(sex or "").strip().upper()[:1]
    return first if first in ("F", "M", "O") else ""


def assign(dataset: Dataset, argument: str, allowed: Mapping[str, Any], given: Mapping[str, Any] | None) -> None:
    """Put the allowed attributes into a dataset, those given over the defaults.

    Raises:
        ValueError: naming ``argument`` and a keyword that is not among the allowed, with the nearest that is, or whose
            value is not of the form that the standard wants.
    """
    for keyword in given or {}:
        if keyword not in allowed:
            hint = nearest(keyword, allowed)
            raise ValueError(f"{argument}: {keyword!r} is not among the attributes that are written{hint}")
    for keyword, default in allowed.items():
        value = (given or {}).get(keyword)
        value = default if value is None else value
        if value is not None:
            setattr(dataset, keyword, _decimal(value) if isinstance(value, float) else value)
            if isinstance(value, str):
                _check_form(argument, keyword, dataset[keyword].VR, value)


def _check_form(argument: str, keyword: str, vr: str, value: str) -> None:
    try:
        validate_value(vr, value, pydicom.config.RAISE)
    except ValueError as error:
        raise ValueError(f"{argument}: {keyword} is {value!r}: {error}") from error


def _decimal(value: float) -> str:
    """Return a number as a decimal string of at most 16 characters."""
    return format_number_as_ds(float(value) + 0.0)


def _stored(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array in the 16-bit type that holds it."""
    whole = array if np.issubdtype(array.dtype, np.integer) else np.rint(array)
    low, high = (float(whole.min()), float(whole.max())) if whole.size else (0.0, 0.0)
    if not (np.isfinite([low, high]).all() and low >= -32768 and high <= (32767 if low < 0 else 65535)):
        raise ValueError(f"volume: found intensities {low:g} to {high:g}, expected -32768..32767 or 0..65535")
    return whole.astype("<i2" if low < 0 else "<u2")


def _describe_pixels(dataset: Dataset, stack: SliceStack) -> None:
    """Say how the pixels are stored, how they lie in space and how they are to be shown."""
    pixels = stack.pixels
    high = int(pixels.max())
    signed = pixels.dtype.kind == "i"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[1:3]
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12 if not signed and high < 4096 else 16
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(signed)
    dataset.PixelSpacing = [_decimal(value) for value in stack.pixel_spacing]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = _decimal(stack.slice_spacing)
    dataset.ImageOrientationPatient = [_decimal(value) for value in stack.orientation]
    if "WindowCenter" not in dataset or "WindowWidth" not in dataset:
        low, top = (float(q) for q in np.quantile(pixels.reshape(-1)[:: max(1, pixels.size // 200_000)], (0.01, 0.99)))
        dataset.WindowCenter = _decimal((low + top) / 2)
        dataset.WindowWidth = _decimal(max(1.0, top - low))


def _instance(common: Dataset, stack: SliceStack, index: int) -> Dataset:
    """Return one slice's dataset."""
    dataset = copy.deepcopy(common)
    dataset.InstanceNumber = index + 1
    dataset.SOPInstanceUID = hashed_uid(str(common.SeriesInstanceUID), index + 1)
    dataset.ImagePositionPatient = [_decimal(value) for value in stack.positions[index]]
    dataset.SliceLocation = _decimal(float(stack.positions[index] @ stack.normal))
    dataset.PixelData = stack.pixels[index].tobytes() + (b"\0" if stack.pixels[index].nbytes % 2 else b"")
    dataset["PixelData"].VR = "OW"
    return dataset
