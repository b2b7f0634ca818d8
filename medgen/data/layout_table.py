"""A table with a column of image paths, relative to the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medgen.data.images import PLANES, is_picture
from medgen.data.persons import person_of
from medgen.data.sources import Item, Source, drop_or_raise, refuse_folder
from medgen.data.tables import CohortError, Table, find_column, find_path_columns, is_unknown, parse_number, read_table

__all__ = ["path_table", "read_path_table"]


def path_table(root: Path) -> Table:
    """Return the table at ``root``, or the one table in the folder ``root`` that has a column of paths."""
    if root.is_file():
        if root.suffix.lower() not in (".csv", ".tsv", ".txt"):
            refuse_folder(root, f"a {root.suffix or 'nameless'} file is no table")
        return read_table(root)
    tables = [read_table(p) for p in sorted(root.iterdir()) if p.suffix.lower() in (".csv", ".tsv")]
    if not tables:
        refuse_folder(root, "no CSV or TSV file")
    with_paths = [t for t in tables if find_column(t, "path")]
    if len(with_paths) > 1:
        raise CohortError(f"{root}: {[t.path.name for t in with_paths]} all have image paths; pass one of them as root")
    return with_paths[0] if with_paths else tables[0]


def read_path_table(
    table: Table, path_columns: str | Sequence[str] | None, columns: dict[str, str], missing: str
) -> Source:
    """Read the images that a table lists, one row each, with one column of paths per channel.

    Where the subject's column names scans (``OAS1_0901_MR1``, ``ADNI_941_S_9001_MR_I123``), the subject is the person
    in that name, so that all scans of one stay in one split, and ``scan`` is the name where no column says it. Of
    pictures the columns ``plane`` and ``slice`` (a number, or the position from 0 to 1) are read too.

    Raises:
        CohortError: on a missing path column, a subject that is not named, an image of two subjects, and on missing
            images when ``missing`` is "error".
    """
    source = Source("table", table.path.parent, [], table)
    paths = find_path_columns(table, path_columns)
    subject_column = find_column(table, "subject", columns.get("subject"))
    session_column = find_column(table, "session", columns.get("session"))
    slice_column = _slice_column(table, columns.get("slice_index"))
    if subject_column is None:
        source.by_scan = True
        source.notices.append("split by scan, not by subject: the table has no column that names the subject")
    problems = []
    scans = 0
    owners: dict[Path, str] = {}
    for number, row in enumerate(table.rows, start=2):
        images = tuple(table.path.parent / row[p] for p in paths)  # an absolute path stays as it is
        absent = [str(i) for i, p in zip(images, paths, strict=True) if is_unknown(row[p]) or not i.exists()]
        if absent:
            problems.append(f"row {number}: {absent[0]}")
            continue
        subject = row[subject_column] if subject_column else row[paths[0]]
        if is_unknown(subject):
            raise CohortError(f"{table.path}, row {number}: no subject in column {subject_column!r}")
        session = row[session_column] if session_column else ""
        if subject_column and (person := person_of(subject)) and person != subject:
            scans += 1
            subject, session = person, session or subject
        if owners.setdefault(images[0], subject) != subject:
            raise CohortError(
                f"{table.path}, row {number}: {images[0]} belongs to {owners[images[0]]!r} and {subject!r}"
            )
        index = int(row[slice_column]) if slice_column and row[slice_column].isdigit() else None
        plane, position = _place(row, table) if is_picture(images[0].name) else (None, None)
        source.items.append(Item(images, subject, session, index, row=row, plane=plane, position=position))
    drop_or_raise(problems, missing, source.notices, table.path)
    if scans:
        people = len({item.subject for item in source.items})
        source.notices.append(f"the column {subject_column!r} names scans: {scans} scan(s), {people} person(s) in all")
    if not source.items:
        raise CohortError(f"{table.path}: no image left of {len(table.rows)} row(s)")
    return source


def _place(row: Mapping[str, str], table: Table) -> tuple[str | None, float | None]:
    """Return the plane of a picture and its position from 0 to 1, each None where no column says it."""
    plane, place = (row[column] if (column := find_column(table, name)) else "" for name in ("plane", "slice"))
    position = parse_number(place)
    inside = position is not None and 0 <= position <= 1
    return plane.lower() if plane.lower() in PLANES else None, position if inside else None


def _slice_column(table: Table, chosen: str | None) -> str | None:
    """Return the column of slice numbers: the chosen one, ``slice_index``, or ``slice`` when it holds no fractions."""
    column = find_column(table, "slice_index", chosen)
    if column is None and (candidate := find_column(table, "slice")):
        values = [row[candidate] for row in table.rows]
        if all(v.isdigit() for v in values) and any(int(v) > 1 for v in values):
            column = candidate
    return column
