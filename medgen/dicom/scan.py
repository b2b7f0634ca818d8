"""A table of the DICOM series below a folder, and what is wrong with each."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path

from medgen.data.guard import ImageFileError
from medgen.dicom.files import is_dicom, named_dicom
from medgen.dicom.frames import Image, read_frames
from medgen.dicom.keys import secret_key
from medgen.dicom.series import SeriesInfo, describe, patient_of
from medgen.files import write_text
from medgen.progress import progress_bar

__all__ = ["SeriesTable", "group_series", "read_images", "scan_dicom"]

_PRINTED = 60  # characters of a description in the printed table


class SeriesTable(list[SeriesInfo]):
    """The series found below a folder: a list, with what else was met.

    Args:
        series: the series, by patient, visit and series number.
        other_files: number of files that are not DICOM.
        broken: by the path of a file that looks like DICOM and cannot be read: why.
    """

    def __init__(
        self, series: Iterable[SeriesInfo] = (), other_files: int = 0, broken: dict[str, str] | None = None
    ) -> None:
        super().__init__(series)
        self.other_files = other_files
        self.broken = dict(broken or {})

    def __str__(self) -> str:
        lines = []
        for patient, of_patient in groupby(self, key=lambda s: s.patient_key):
            lines.append(patient)
            lines += [f"  visit {s.visit}  {_line(s)}" for s in of_patient]
        files = sum(len(s.files) for s in self)
        readable = sum(s.readable for s in self)
        lines.append(f"{len(self)} series in {files} DICOM files, {readable} of them can be read as a volume")
        if self.other_files:
            lines.append(f"{self.other_files} files are not DICOM")
        lines += [f"broken: {path}: {why}" for path, why in self.broken.items()]
        return "\n".join(lines)

    def to_csv(self) -> str:
        """Return the table as CSV with a header line."""
        rows = [s.to_row() for s in self]
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, fieldnames=list(rows[0]) if rows else ["patient_key"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return buffer.getvalue()

    def write_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write the table as CSV, readable to this user only: it holds paths, UIDs and descriptions."""
        return write_text(path, self.to_csv(), permissions=0o600)


def _line(series: SeriesInfo) -> str:
    spacing = " x ".join("?" if value != value else f"{value:.3g}" for value in series.spacing)
    size = f"{series.columns} x {series.rows} x {series.slices}, {spacing} mm {series.orientation}".rstrip()
    description = " ".join(series.description.split())[:_PRINTED]
    text = f"{series.number:>4}  {series.modality}  {description!r}: {series.kind}, {size}"
    return "\n          ".join([text, *(f"! {p}" for p in series.problems), *(f"- {n}" for n in series.notes)])


def scan_dicom(
    root: str | os.PathLike[str], progress: bool = True, key: bytes | None = None, workers: int = 8
) -> SeriesTable:
    """List the DICOM series in a folder and below it, from their headers, whatever the files are called.

    Args:
        root: a folder, or one file.
        progress: whether to show a bar with rate and time left.
        key: secret for the keyed names of patients, studies and sites; None for
            :func:`medgen.dicom.keys.secret_key`, which is the same in every run of this user.
        workers: number of threads.

    Returns:
        A list of :class:`SeriesInfo` by patient, visit and series number. Files that are not DICOM are counted in
        ``other_files``; broken ones are in ``broken``.

    Raises:
        ImageFileError: when there is no such path.

    Example:
        >>> from pydicom.data import get_testdata_file
        >>> table = scan_dicom(get_testdata_file("CT_small.dcm"), progress=False, key=b"secret of 16 bytes")
        >>> [(s.modality, s.kind, s.columns, s.rows, s.slices, s.orientation, s.readable) for s in table]
        [('CT', 'image', 128, 128, 1, 'axial', True)]
    """
    if not Path(root).exists():
        raise ImageFileError(root, "no such folder")
    key = secret_key() if key is None else key
    paths = _files(root)
    with ThreadPoolExecutor(workers) as pool:
        outcomes = pool.map(partial(_try_to_read, key=key), paths)
        found = list(progress_bar(outcomes, progress, total=len(paths), desc="scan DICOM", unit="file"))
    images = [outcome for outcome in found if isinstance(outcome, Image)]
    broken = {p: outcome for p, outcome in zip(paths, found, strict=True) if isinstance(outcome, str)}
    groups = group_series(images)
    visits = _visits(images)
    series = [describe(group, visits[patient_of(group[0]), group[0].study], key) for group in groups]
    for info in series:
        folders = {os.path.dirname(file) for file in info.files}
        if count := sum(os.path.dirname(path) in folders for path in broken):
            info.notes.append(f"{count} file(s) beside it cannot be read: slices may be missing")
    series.sort(key=lambda s: (s.patient_key, s.visit, s.study_key, s.number, s.uid))
    return SeriesTable(series, found.count(None), broken)


def _files(root: str | os.PathLike[str]) -> list[str]:
    if not Path(root).is_dir():
        return [os.fspath(root)]
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names)


def _try_to_read(path: str, key: bytes) -> Image | str | None:
    """Return the header, or why it cannot be read, or None for what is no DICOM file."""
    if not is_dicom(path) and not named_dicom(path):
        return None
    try:
        image = read_frames(path, key)
    except ImageFileError as error:
        return error.reason
    return image if image.series or image.frames else None  # a DICOMDIR, a colour palette


def read_images(paths: Iterable[str], key: bytes | None = None) -> list[Image]:
    """Read the headers of files.

    Raises:
        ImageFileError: naming the first that cannot be read.
    """
    return [read_frames(path, key) for path in paths]


def group_series(images: Iterable[Image]) -> list[list[Image]]:
    """Group images by series; without a Series Instance UID, by folder."""
    groups: dict[tuple[str, ...], list[Image]] = {}
    for image in images:
        own = (image.series,) if image.series else ("", os.path.dirname(image.path))
        groups.setdefault((patient_of(image), image.study, *own), []).append(image)
    return list(groups.values())


def _visits(images: Iterable[Image]) -> dict[tuple[str, str], int]:
    """Number the visits of each patient by date; studies of one day are one visit."""
    days: dict[str, dict[str, tuple[str, str]]] = {}
    for image in images:
        day = image.started[:8].strip()
        when = (day, "") if day else ("9", image.study)  # without a date: after the others, one visit each study
        studies = days.setdefault(patient_of(image), {})
        studies[image.study] = min(when, studies.get(image.study, when))
    numbers = {}
    for patient, studies in days.items():
        order = sorted(set(studies.values()))
        numbers.update({(patient, study): order.index(when) + 1 for study, when in studies.items()})
    return numbers
