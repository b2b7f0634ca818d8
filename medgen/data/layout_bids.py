"""BIDS folders with participants.tsv, with or without sessions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medgen.data.sources import Item, Source, drop_or_raise, refuse_folder
from medgen.data.tables import CohortError, Table, find_column, is_unknown, read_table

__all__ = ["participant_rows", "read_bids"]

NIFTI_SUFFIXES = (".nii.gz", ".nii")


def read_bids(root: Path, suffixes: list[str], columns: dict[str, str], missing: str) -> Source:
    """Find the images with every one of ``suffixes`` (one channel each) in the subjects' and sessions' folders.

    Raises:
        CohortError: when there is none, or when some are missing and ``missing`` is "error".
    """
    table_path = root / "participants.tsv"
    source = Source("bids", root, [])
    rows: dict[tuple[str, str], Mapping[str, str]] = {}
    if table_path.is_file():
        source.table = read_table(table_path)
        rows = participant_rows(source.table, columns)
    else:
        source.notices.append(f"{table_path.name} is absent: every covariate is unknown")
    folders = {p.name: p for p in sorted(root.glob("sub-*")) if p.is_dir()}
    problems, unlisted, repeats = [], [], 0
    visiting: dict[str, None] = {}
    for subject, folder in folders.items():
        if rows and not any(s == subject for s, _ in rows):
            unlisted.append(subject)
        sessions = sorted(p for p in folder.glob("ses-*") if p.is_dir()) or [folder]
        visits, visit_columns = _session_rows(folder, subject)
        visiting |= dict.fromkeys(visit_columns)
        for place in sessions:
            session = place.name if place != folder else ""
            images = []
            for suffix in suffixes:
                candidates = [
                    p
                    for kind in ("anat", ".")
                    for p in sorted((place / kind).glob(f"{subject}*_{suffix}.nii*"))
                    if p.name.endswith(NIFTI_SUFFIXES)
                ]
                if not candidates:
                    problems.append(f"{subject}{'/' + session if session else ''} has no *_{suffix}.nii.gz")
                    break
                repeats += len(candidates) > 1
                images.append(candidates[0])
            else:
                row = {**rows.get((subject, ""), {}), **rows.get((subject, session), {}), **visits.get(session, {})}
                source.items.append(Item(tuple(images), subject, session, row=row))
    problems += [f"{s} is in participants.tsv but has no folder" for s in sorted({s for s, _ in rows} - set(folders))]
    if visiting:
        known = source.table or Table(root / "sessions.tsv", (), ())
        source.table = Table(known.path, tuple(dict.fromkeys([*known.columns, *visiting])), known.rows)
    if not source.items:
        refuse_folder(root, f"no image *_{suffixes[0]}.nii.gz in {len(folders)} subject folder(s)")
    drop_or_raise(problems, missing, source.notices, root)
    if unlisted:
        source.notices.append(f"{len(unlisted)} subject folder(s) are not in participants.tsv: covariates unknown")
    if repeats:
        source.notices.append(f"{repeats} session(s) hold several runs of an image: the first by name is used")
    return source


def participant_rows(table: Table, columns: Mapping[str, str]) -> dict[tuple[str, str], Mapping[str, str]]:
    """Index the rows by (subject, session), both with their BIDS prefix; session is "" where there is none."""
    subject_column = find_column(table, "subject", columns.get("subject"))
    if subject_column is None:
        raise CohortError(f"{table.path}: no column participant_id; found {list(table.columns)}")
    session_column = find_column(table, "session", columns.get("session"))
    rows: dict[tuple[str, str], Mapping[str, str]] = {}
    for row in table.rows:
        subject, session = row[subject_column], row[session_column] if session_column else ""
        key = (_prefixed(subject, "sub-"), "" if is_unknown(session) else _prefixed(session, "ses-"))
        if key in rows:
            raise CohortError(f"{table.path}: {' '.join(filter(None, key))} occurs twice")
        rows[key] = row
    return rows


def _prefixed(name: str, prefix: str) -> str:
    return name if name.startswith(prefix) else prefix + name


def _session_rows(folder: Path, subject: str) -> tuple[dict[str, Mapping[str, str]], list[str]]:
    """Read ``sub-<id>_sessions.tsv``, where BIDS keeps what changes from visit to visit (age, diagnosis)."""
    path = folder / f"{subject}_sessions.tsv"
    if not path.is_file():
        return {}, []
    table = read_table(path)
    column = find_column(table, "session")
    if column is None:
        raise CohortError(f"{path}: no column session_id; found {list(table.columns)}")
    rows: dict[str, Mapping[str, str]] = {
        _prefixed(row[column], "ses-"): {k: v for k, v in row.items() if k != column and not is_unknown(v)}
        for row in table.rows
    }
    return rows, [c for c in table.columns if c != column]
