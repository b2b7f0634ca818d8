"""Pictures of planes: ``images/<subject>_<a|c|s>.jpg``, one axial, coronal and sagittal slice of each scan."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from medgen.data.images import is_picture
from medgen.data.layout_bids import participant_rows
from medgen.data.layout_oasis import CDR_NOTICE, CDR_ORIGIN, cdr_diagnosis
from medgen.data.persons import person_of
from medgen.data.sources import Item, Source
from medgen.data.tables import CohortError, find_column, read_table

__all__ = ["plane_pictures", "read_planes"]

PLANE_LETTERS = {"a": "axial", "c": "coronal", "s": "sagittal"}
_NAME = re.compile(r"(.+)_([acs])")


def plane_pictures(root: Path) -> list[Path]:
    """Return the pictures in ``root/images`` when every one is named by its plane, else none."""
    folder = root / "images"
    if not folder.is_dir():
        return []
    pictures = sorted(p for p in folder.iterdir() if is_picture(p.name) and not p.name.startswith("."))
    return pictures if all(_NAME.fullmatch(p.stem) for p in pictures) else []


def read_planes(root: Path, columns: dict[str, str]) -> Source:
    """Find the pictures; the letter that ends a file's name gives the plane.

    A table without a diagnosis but with a clinical dementia rating (CDR) gives one: 0 is NC, above is AD.

    Raises:
        CohortError: when there is no picture, no table, or a picture is of nobody in it.
    """
    pictures = plane_pictures(root)
    if not pictures:
        raise CohortError(f"{root}: found no pictures, expected images/<subject>_<a|c|s>.jpg")
    table_path = root / "participants.tsv"
    if not table_path.is_file():
        raise CohortError(f"{table_path}: found no such file, expected the participants of images/")
    table = read_table(table_path)
    source = Source("planes", root, [], table)
    rows = {subject.removeprefix("sub-"): dict(row) for (subject, _), row in participant_rows(table, columns).items()}
    if find_column(table, "diagnosis", columns.get("diagnosis")) is None and (cdr := find_column(table, "cdr")):
        for row in rows.values():
            row["diagnosis"] = cdr_diagnosis(row[cdr], table.path)
        source.table = replace(table, columns=(*table.columns, "diagnosis"))
        source.origins["diagnosis"] = CDR_ORIGIN
        source.notices.append(CDR_NOTICE)
    unlisted = 0
    for path in pictures:
        scan, letter = path.stem[:-2], path.stem[-1]
        subject = person_of(scan) or scan
        found = rows.get(scan.removeprefix("sub-"), rows.get(subject.removeprefix("sub-")))
        unlisted += found is None
        other = scan if scan != subject else ""
        source.items.append(Item((path,), subject, other, row=found or {}, plane=PLANE_LETTERS[letter]))
    if unlisted == len(pictures):
        raise CohortError(f"{table.path}: names none of the subjects of {root / 'images'}")
    if unlisted:
        source.notices.append(f"{unlisted} picture(s) are of nobody in participants.tsv: covariates unknown")
    return source
