"""Class folders of 2D slices: ``AD_NC/{AD,NC}/<subject>_<slice>.jpg``, and the course archive's train and test."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from medgen.data.layout_bids import participant_rows
from medgen.data.persons import PERSON, person_of
from medgen.data.sources import Item, Source, refuse_folder
from medgen.data.tables import CohortError, find_column, is_unknown, read_table

__all__ = ["class_folders", "read_slices"]

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
FOLDS = ("train", "validation", "val", "test")
IMAGE_ID = re.compile(r"I?[0-9]+")


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and not p.name.startswith("."))


def class_folders(root: Path) -> list[tuple[str | None, Path]] | None:
    """Return (fold, class folder) pairs of ``root``, of its ``AD_NC``, or of its only subfolder.

    Returns:
        The pairs, fold None when the folder is not divided; None when no subfolder holds pictures.
    """
    if not root.is_dir():
        return None
    subfolders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    for base in (root, root / "AD_NC", *(subfolders if len(subfolders) == 1 else [])):
        if not base.is_dir():
            continue
        folders = sorted(p for p in base.iterdir() if p.is_dir() and not p.name.startswith("."))
        folds = [p for p in folders if p.name.lower() in FOLDS]
        if folds:
            pairs: list[tuple[str | None, Path]] = [
                (fold.name.lower(), p) for fold in folds for p in sorted(fold.iterdir()) if p.is_dir() and _pictures(p)
            ]
        else:
            pairs = [(None, p) for p in folders if _pictures(p)]
        if pairs:
            return pairs
    return None


def read_slices(root: Path, columns: dict[str, str], subject_map: Path | None) -> Source:
    """Find the slices; file names give subject (or image id) and slice, folder names the class and the fold.

    A name that holds a subject as BIDS (``sub-01_ses-2``), OASIS (``OAS1_0928_MR1_mpr-3``) or ADNI (``991_S_9001``)
    write it is a scan of that subject, so that visits and repeats stay on one side of a split.

    Raises:
        CohortError: on a name that has no slice number, and on a scan that lies in two folders.
    """
    pairs = class_folders(root)
    if pairs is None:
        refuse_folder(root, "no class folders with pictures")
    folder = pairs[0][1].parent.parent if pairs[0][0] else pairs[0][1].parent
    source = Source("slices", folder, [])
    rows: dict[str, Mapping[str, str]] = {}
    for place in (folder, folder.parent):
        if (place / "participants.tsv").is_file():
            source.table = read_table(place / "participants.tsv")
            rows = {s.removeprefix("sub-"): row for (s, _), row in participant_rows(source.table, columns).items()}
            break
    owners = _read_subject_map(subject_map) if subject_map else {}
    for fold, place in pairs:
        for path in _pictures(place):
            match = re.fullmatch(r"(.+?)[_-](\d+)", path.stem)
            if match is None:
                raise CohortError(f"{path}: expected a name like <subject>_<slice>{path.suffix}")
            scan, index = match.group(1), int(match.group(2))
            if owners and scan not in owners:
                raise CohortError(f"{subject_map}: no row for image id {scan!r} of {path}")
            subject = (None if owners else person_of(scan)) or owners.get(scan, scan)
            fold_name = {"val": "validation"}.get(fold, fold) if fold else None
            row = rows.get(subject.removeprefix("sub-"), {})
            source.items.append(
                Item((path,), subject, scan if scan != subject or owners else "", index, place.name, fold_name, row)
            )
    _refuse_scans_in_two_places(source)
    names = {item.subject for item in source.items if not PERSON.fullmatch(item.subject)}
    listed = bool(rows) and all(s.removeprefix("sub-") in rows for s in names)
    image_ids = pairs[0][0] is not None or all(IMAGE_ID.fullmatch(s) for s in names)
    if names and not owners and not listed and image_ids:
        source.by_scan = True
        source.notices.append(
            "split by scan, not by subject: the files name image ids; pass subject_map, a CSV of image_id,subject"
        )
    return source


def _refuse_scans_in_two_places(source: Source) -> None:
    """A scan belongs to one fold and one class folder, and a slice of it exists once."""
    places: dict[str, tuple[str | None, str | None]] = {}
    for item in source.items:
        name, place = item.scan or item.subject, (item.fold, item.label)
        first = places.setdefault(name, place)
        if first != place:
            there, here = ("/".join(filter(None, p)) for p in (first, place))
            raise CohortError(f"{source.folder}: scan {name!r} lies in both {there} and {here}; expected one place")
    slices = Counter((item.scan or item.subject, item.slice_index) for item in source.items)
    (name, index), count = slices.most_common(1)[0]
    if count > 1:
        raise CohortError(f"{source.folder}: slice {index} of scan {name!r} occurs {count} times")


def _read_subject_map(path: Path) -> dict[str, str]:
    table = read_table(path)
    image = next((c for c in table.columns if c.lower() in ("image_id", "image", "scan", "scan_id", "imageid")), None)
    subject = find_column(table, "subject", next((c for c in table.columns if c.lower() == "subject"), None))
    if image is None or subject is None or image == subject:
        raise CohortError(f"{path}: expected the columns image_id and subject, found {list(table.columns)}")
    owners: dict[str, str] = {}
    for row in table.rows:
        if is_unknown(row[subject]):
            raise CohortError(f"{path}: image id {row[image]!r} has no subject")
        if owners.setdefault(row[image], row[subject]) != row[subject]:
            raise CohortError(f"{path}: image id {row[image]!r} belongs to two subjects")
    return owners
