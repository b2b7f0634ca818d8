"""Build valid MR instances from an array, by an allowlist of attributes; write them.

Nothing is copied from another header: each attribute is one of :mod:`medgen.dicom.attributes`, given by the caller or
left empty where the standard allows that (PS3.3 A.4, MR Image IOD).
"""

from __future__ import annotations

import contextlib
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

from medgen import __version__
from medgen.dicom.attributes import (
    ACQUISITION,
    EQUIPMENT,
    IMAGE,
    PATIENT,
    SERIES,
    STUDY,
    age_string,
    assign,
    decimal,
    sex_code,
)
from medgen.dicom.slicing import SliceStack, cut
from medgen.dicom.uids import IMPLEMENTATION_UID, hashed_uid, new_uid
from medgen.files import atomic_write

__all__ = ["age_string", "mr_instances", "sex_code", "write_instances"]

# how dcmwrite is told to write preamble and file meta information, as of pydicom 3 and before
_WHOLE_FILE: dict[str, Any] = (
    {"enforce_file_format": True} if int(pydicom.__version__.split(".")[0]) >= 3 else {"write_like_original": False}
)
_UNPAIRED = ("ABDOMEN", "BRAIN", "CHEST", "HEAD", "HEART", "LIVER", "NECK", "PELVIS", "PROSTATE", "SKULL", "WHOLEBODY")


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

    The mappings go from DICOM keyword to value; only the keywords of the tables ``PATIENT``, ``STUDY``,
    ``SERIES``, ``EQUIPMENT``, ``ACQUISITION`` and ``IMAGE`` of
    :mod:`medgen.dicom.attributes` are accepted. None leaves an attribute out, or empty where
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
    if common.get("BodyPartExamined") not in _UNPAIRED:
        common.Laterality = ""  # required where the part may be one of a pair, and unknown
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        if keyword not in common:
            setattr(common, keyword, new_uid())
    stack = cut(_stored(array), affine, slice_axis)
    if draw is not None:
        stack = dataclasses.replace(stack, pixels=draw(stack.pixels))
    _describe_pixels(common, stack)
    return [_instance(common, stack, index) for index in range(len(stack.pixels))]


def write_instances(
    instances: Sequence[Dataset],
    folder: str | os.PathLike[str],
    names: Sequence[str] | None = None,
    atomic: bool = True,
) -> list[Path]:
    """Write instances as DICOM files (explicit little endian), their preamble zero.

    Args:
        instances: datasets with SOPClassUID and SOPInstanceUID.
        folder: made when absent.
        names: file names, one for each; by default ``image_0001.dcm`` and so on.
        atomic: each file whole or not at all, and on the disk; False is several times faster, for a folder that is
            itself made whole or not at all.

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
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) if atomic else contextlib.nullcontext(path) as temporary:
            pydicom.dcmwrite(temporary, file, **_WHOLE_FILE)
    return paths


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
    dataset.PixelSpacing = [decimal(value) for value in stack.pixel_spacing]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = decimal(stack.slice_spacing)
    dataset.ImageOrientationPatient = [decimal(value) for value in stack.orientation]
    if "WindowCenter" not in dataset or "WindowWidth" not in dataset:
        low, top = (float(q) for q in np.quantile(pixels.reshape(-1)[:: max(1, pixels.size // 200_000)], (0.01, 0.99)))
        dataset.WindowCenter = decimal((low + top) / 2)
        dataset.WindowWidth = decimal(max(1.0, top - low))


def _instance(common: Dataset, stack: SliceStack, index: int) -> Dataset:
    """Return one slice's dataset."""
    dataset = Dataset()
    for element in common:  # a deep copy of all of them would take longer than the pixels
        dataset.add(copy.deepcopy(element) if element.VR == "SQ" else copy.copy(element))
    dataset.InstanceNumber = index + 1
    dataset.SOPInstanceUID = hashed_uid(str(common.SeriesInstanceUID), index + 1)
    dataset.ImagePositionPatient = [decimal(value) for value in stack.positions[index]]
    dataset.SliceLocation = decimal(float(stack.positions[index] @ stack.normal))
    dataset.PixelData = stack.pixels[index].tobytes() + (b"\0" if stack.pixels[index].nbytes % 2 else b"")
    dataset["PixelData"].VR = "OW"
    return dataset
