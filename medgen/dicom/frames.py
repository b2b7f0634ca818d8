"""The images in a DICOM file, one frame each: where each lies in the patient and what its numbers mean."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID

from medgen.data.guard import ImageFileError
from medgen.dicom.files import PixelElement, quiet_pydicom, read_header
from medgen.dicom.header import HEADER_TAGS, allowed_header, numbers, text
from medgen.dicom.pixels import PIXEL_TAGS, PixelFormat, pixel_problems
from medgen.dicom.problems import Problem

__all__ = ["FRAME_TAGS", "Frame", "Image", "read_frames"]

# by which images of one place in one series differ; those of an enhanced image are in its functional groups
TRAITS = (
    "EchoTime",
    "EffectiveEchoTime",
    "EchoNumbers",
    "InversionTime",
    "FlipAngle",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "DiffusionBValue",
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
    "ImageType",
    "FrameType",
    "ComplexImageComponent",
    "AcquisitionNumber",
    "ContentTime",
    "AcquisitionTime",
    "StackID",
)
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_MOSAIC_COUNT = (0x0019, 0x100A)  # NumberOfImagesInMosaic in the block that the next element names as Siemens'
_MOSAIC_OWNER = (0x0019, 0x0010)
_WANTED: tuple[Any, ...] = (
    *HEADER_TAGS,
    *PIXEL_TAGS,
    *TRAITS,
    *_GROUPS,
    _MOSAIC_OWNER,
    _MOSAIC_COUNT,
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "Modality",
    "SeriesDescription",
    "ProtocolName",
    "SequenceName",
    "SeriesNumber",
    "InstanceNumber",
    "StudyTime",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "MRAcquisitionType",
    "BurnedInAnnotation",
    "LossyImageCompression",
    "ImagesInAcquisition",
    "FrameOfReferenceUID",
)
FRAME_TAGS = tuple(map(Tag, _WANTED))


@dataclass(frozen=True, slots=True)
class Frame:
    """One plane of pixels.

    Args:
        path: its file.
        index: its number in the file, from 0.
        orientation: direction cosines of a row and of a column, LPS; None when not given.
        position: centre of the first pixel, LPS, mm; None when not given.
        spacing: distance of rows and distance of columns, mm; None when not given.
        between: Spacing Between Slices, mm; NaN when not given.
        stated_thickness: Slice Thickness, mm; NaN when not given.
        slope: what a stored value is multiplied by.
        intercept: what is added then.
        traits: by which it may differ from others in its place.
    """

    path: str
    index: int
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    between: float
    stated_thickness: float
    slope: float
    intercept: float
    traits: dict[str, str]

    @property
    def thickness(self) -> float:
        """Distance of slices that the header states, else the slices' thickness, mm; NaN when not given."""
        return self.between if self.between > 0 else self.stated_thickness


@dataclass(frozen=True)
class Image:
    """A DICOM file's header, as far as reading its series needs it.

    Args:
        path: the file.
        series: Series Instance UID.
        study: Study Instance UID.
        instance: SOP Instance UID.
        patient: Patient ID; must not leave :mod:`medgen.dicom`.
        started: date and time of the study as text that sorts, for the order of visits; must not leave either.
        facts: further text of the header: ``modality``, ``description``, ``image_type`` ...
        pixels: size and type of the pixels.
        header: the allowlisted fields.
        frames: the planes.
        problems: why it cannot be read.
    """

    path: str
    series: str
    study: str
    instance: str
    patient: str
    started: str
    facts: dict[str, str]
    pixels: PixelFormat
    header: dict[str, Any]
    frames: tuple[Frame, ...]
    problems: tuple[Problem, ...] = field(default=())


def read_frames(path: str | os.PathLike[str], key: bytes | None = None) -> Image:
    """Read the header of a DICOM file.

    Args:
        path: the file.
        key: secret for keyed names; see :func:`medgen.dicom.header.allowed_header`.

    Raises:
        ImageFileError: the file is no DICOM file or its header cannot be read. What is wrong with an image whose
            header can be read is in ``problems``.
    """
    with quiet_pydicom():
        dataset, element = read_header(path, FRAME_TAGS)
        try:
            image = _image(os.fspath(path), dataset, element, key)
            if not (image.series or image.frames) and _cut_short(dataset):
                raise ImageFileError(path, "its DICOM header ends before it says what the file is of: truncated")
            return image
        except RecursionError as error:
            raise ImageFileError(path, "its DICOM header is nested too deeply") from error


def _cut_short(dataset: Dataset) -> bool:
    """Whether a file without pixels and without a series should have had them: not a DICOMDIR, not a colour palette."""
    kind = text(dataset, "SOPClassUID") or text(dataset.file_meta, "MediaStorageSOPClassUID")
    return getattr(dataset, "preamble", None) is not None and (not kind or "Image Storage" in UID(kind).name)


def _image(path: str, dataset: Dataset, element: PixelElement | None, key: bytes | None) -> Image:
    shared, each = _functional_groups(dataset)
    pixels = PixelFormat.of(dataset)
    problems = list(pixel_problems(path, pixels, element))
    if pixels.frames > 1 and not each:
        problems.append(Problem("geometry", "its frames have no positions of their own (no functional groups)"))
    elif each and len(each) != pixels.frames:
        problems.append(
            Problem("geometry", f"it has {pixels.frames} frames and functional groups for {len(each)}: truncated?")
        )
    count = _mosaic_count(dataset)
    if "MOSAIC" in text(dataset, "ImageType").upper().split("\\") or count > 1:
        several = f" of {count} slices" if count > 1 else ""
        problems.append(
            Problem("mosaic", f"a Siemens mosaic{several} (all slices in one picture): convert it with dcm2niix")
        )
    frames: list[Frame] = []
    if not any(p.code == "no image" for p in problems):
        groups = [[*shared, *group] for group in each] if each and len(each) == pixels.frames else [shared]
        frames = [_frame(path, i, dataset, group) for i, group in enumerate(groups)]
    broken = [f.index for f in frames if not (math.isfinite(f.slope) and f.slope != 0)]
    if broken:
        problems.append(Problem("rescale", f"the Rescale Slope of frame {broken[0]} is not a number other than 0"))
    return Image(
        path=path,
        series=text(dataset, "SeriesInstanceUID"),
        study=text(dataset, "StudyInstanceUID"),
        instance=text(dataset, "SOPInstanceUID"),
        patient=text(dataset, "PatientID"),
        started=" ".join(text(dataset, k) for k in ("StudyDate", "StudyTime")).strip(),
        facts=_facts(dataset, shared),
        pixels=pixels,
        header=allowed_header(dataset, [*shared, *(each[0] if each else [])], key),
        frames=tuple(frames),
        problems=tuple(problems),
    )


def _facts(dataset: Dataset, shared: list[Dataset]) -> dict[str, str]:
    return {
        "modality": text(dataset, "Modality"),
        "description": text(dataset, "SeriesDescription") or text(dataset, "ProtocolName"),
        "number": text(dataset, "SeriesNumber"),
        "image_type": text(dataset, "ImageType").upper(),
        "sequence": text(dataset, "SequenceName"),
        "acquisition": text(dataset, "MRAcquisitionType"),
        "flip_angle": next(filter(None, (text(d, "FlipAngle") for d in [dataset, *shared])), ""),
        "instance_number": text(dataset, "InstanceNumber"),
        "of_images": text(dataset, "ImagesInAcquisition"),
        "burned_in": text(dataset, "BurnedInAnnotation").upper(),
        "frame_of_reference": text(dataset, "FrameOfReferenceUID"),
        "lossy": text(dataset, "LossyImageCompression"),
    }


def _functional_groups(dataset: Dataset) -> tuple[list[Dataset], list[list[Dataset]]]:
    """Return the items of all shared functional groups, and those of each frame."""
    shared, each = (list(_items(dataset, keyword)) for keyword in _GROUPS)
    return [inner for item in shared for inner in _inner(item)], [list(_inner(item)) for item in each]


def _items(dataset: Dataset, keyword: str) -> Iterator[Dataset]:
    try:
        value = dataset.get(keyword) or []
        yield from (item for item in value if isinstance(item, Dataset))
    except RecursionError:
        raise
    except Exception:  # a damaged sequence counts as absent, which the geometry then says
        return


def _inner(item: Dataset) -> Iterator[Dataset]:
    """Yield the first item of each functional group, and of the sequences in it (diffusion, inversion)."""
    for element in item:
        if element.VR == "SQ":
            yield from list(element.value)[:1]


def _frame(path: str, index: int, dataset: Dataset, groups: list[Dataset]) -> Frame:
    # what is in a functional group is of this frame; the top level of an enhanced image has none of it
    places = [*reversed(groups), dataset]

    def of(keyword: str, count: int) -> tuple[float, ...] | None:
        return next(filter(None, (numbers(place, keyword, count) for place in places)), None)

    def given(keyword: str, default: float) -> float:
        holder = next((place for place in places if keyword in place and text(place, keyword)), None)
        found = None if holder is None else numbers(holder, keyword, 1)
        return default if holder is None else (math.nan if found is None else found[0])

    distances = (of(keyword, 1) for keyword in ("SpacingBetweenSlices", "SliceThickness"))
    between, thickness = (abs(found[0]) if found and found[0] != 0 else math.nan for found in distances)
    return Frame(
        path=path,
        index=index,
        orientation=of("ImageOrientationPatient", 6),
        position=of("ImagePositionPatient", 3),
        spacing=of("PixelSpacing", 2),
        between=between,
        stated_thickness=thickness,
        slope=given("RescaleSlope", 1.0),
        intercept=given("RescaleIntercept", 0.0),
        traits={k: found for k in TRAITS if (found := next(filter(None, (text(p, k) for p in places)), ""))},
    )


def _mosaic_count(dataset: Dataset) -> int:
    """Return Siemens' number of images in a mosaic, 0 when the file does not say."""
    try:
        if "SIEMENS" not in str(dataset[_MOSAIC_OWNER].value).upper():
            return 0
        value = dataset[_MOSAIC_COUNT].value
        return int.from_bytes(value[:2], "little") if isinstance(value, bytes) else int(value)
    except Exception:  # absent, or of another vendor's making
        return 0
