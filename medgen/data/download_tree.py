"""The folders of an image archive's download, ``<PTID>/<description>/<date>/<image id>``, and its search CSV."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medgen.data.persons import PTID
from medgen.data.tables import CohortError, parse_date, read_columns, read_table, same_name

__all__ = ["Download", "SearchRow", "find_downloads", "image_key", "person_folders", "read_search", "search_tables"]

IMAGE_ID = re.compile(r"[A-Z]?[0-9]+")
NIFTI = (".nii", ".nii.gz")
DICOM = (".dcm", ".ima")
TABLES = (".csv", ".tsv")
# the search result's columns as the archive's simple and advanced search name them
SEARCH_COLUMNS = {
    "image": ("Image Data ID", "Image ID", "Image UID"),
    "subject": ("Subject", "Subject ID", "PTID"),
    "group": ("Group", "Research Group"),
    "sex": ("Sex",),
    "age": ("Age",),
    "visit": ("Visit",),
    "modality": ("Modality",),
    "description": ("Description", "Series Description"),
    "type": ("Type",),
    "date": ("Acq Date", "Study Date", "Acquisition Date"),
    "protocol": ("Imaging Protocol",),
}


@dataclass(frozen=True)
class Download:
    """One image as it lies on disk.

    Attributes:
        person: PTID, from the folder's name.
        description: of the series, with _ for what cannot stand in a folder's name.
        date: of the scan, None when the folder's name is none; ``time`` is that name, for sorting.
        image: image ID, from the folder's name.
        files: the NIfTI file, or the folder of DICOM files; empty when there is neither.
        flaw: why it cannot be taken, "" when it can.
    """

    person: str
    description: str
    date: datetime.date | None
    time: str
    image: str
    files: tuple[Path, ...]
    flaw: str = ""
    dicom: Path | None = None


@dataclass(frozen=True)
class SearchRow:
    """One row of the search result: the known columns by their names here, and the whole row."""

    cells: Mapping[str, str]
    row: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.cells.get(name, "")


def person_folders(root: Path) -> list[Path]:
    """Return the folders named by a PTID in ``root``, or in the folders in it (``ADNI``, ``ADNI 2``).

    None are returned when the first of them hold no folders as the archive makes them.
    """

    def inside(folder: Path) -> list[Path]:
        people = sorted(p for p in folder.iterdir() if PTID.fullmatch(p.name) and p.is_dir())
        first = (place for person in people[:10] for place in person.glob("*/*/*"))
        return people if any(IMAGE_ID.fullmatch(p.name) and p.is_dir() for p in first) else []

    if not root.is_dir():
        return []
    others = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    return inside(root) or [person for folder in others for person in inside(folder)]


def find_downloads(people: Sequence[Path]) -> list[Download]:
    """List the images in the folders of people, in the order of subjects, dates and image IDs."""
    found = []
    for person in people:
        for place in person.glob("*/*/*"):
            if place.is_dir() and IMAGE_ID.fullmatch(place.name):
                found.append(_download(person.name, place))
    return sorted(found, key=lambda d: (d.person, d.time, image_key(d.image)))


def _download(person: str, place: Path) -> Download:
    files = sorted(p for p in place.iterdir() if p.is_file() and not p.name.startswith("."))
    volumes = tuple(p for p in files if p.name.lower().endswith(NIFTI))
    others = [p for p in files if p.suffix.lower() in (*DICOM, "")]
    empty = [p for p in others if p.suffix and p.stat().st_size == 0]
    flaw = ""
    if len(volumes) > 1:
        flaw = f"{len(volumes)} NIfTI files in one folder, expected one"
    elif not volumes and not others:
        flaw = "no DICOM or NIfTI file in its folder"
    elif not volumes and empty:
        flaw = (
            f"{len(empty)} of {len(others)} DICOM files are empty, such as {empty[0].name}: a download that broke off"
        )
    return Download(
        person=person,
        description=place.parents[1].name,
        date=parse_date(place.parent.name),
        time=place.parent.name,
        image=place.name,
        files=volumes[:1] or (place,),
        flaw=flaw,
        dicom=others[0] if others and not volumes else None,
    )


def image_key(image: str) -> tuple[str, int]:
    """Return an image ID as prefix and number; the prefix I is not always written.

    Example:
        >>> image_key("45108") == image_key("I45108")
        True
    """
    match = re.fullmatch(r"([A-Za-z]?)([0-9]+)", image.strip())
    return (match[1].upper() or "I", int(match[2])) if match else (image, 0)


def search_tables(folders: Sequence[Path]) -> list[Path]:
    """Return the tables in ``folders`` that are results of an image search."""
    tables = [p for folder in folders for p in sorted(folder.iterdir()) if p.suffix.lower() in TABLES]
    return [p for p in tables if {"image", "subject", "description"} <= set(_known(read_columns(p)))]


def read_search(paths: Sequence[Path]) -> dict[tuple[str, int], SearchRow]:
    """Read the results of image searches, by image ID.

    Raises:
        CohortError: when one image is two subjects'.
    """
    rows: dict[tuple[str, int], SearchRow] = {}
    for path in paths:
        table = read_table(path)
        known = _known(table.columns)
        for row in table.rows:
            found = SearchRow({name: row[column] for name, column in known.items()}, row)
            first = rows.setdefault(image_key(found["image"]), found)
            if first["subject"] != found["subject"]:
                raise CohortError(
                    f"{path}: image {found['image']!r} is of both {first['subject']!r} and {found['subject']!r}"
                )
    return rows


def _known(columns: Sequence[str]) -> dict[str, str]:
    pairs = {
        name: next((c for alias in names if (c := same_name(alias, columns))), None)
        for name, names in SEARCH_COLUMNS.items()
    }
    return {name: column for name, column in pairs.items() if column}
