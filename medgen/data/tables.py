"""Tables of participants and images: reading CSV / TSV, and finding a column under the names that people give it."""

from __future__ import annotations

import csv
import datetime
import functools
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medgen.spelling import nearest

__all__ = [
    "CohortError",
    "Table",
    "find_column",
    "find_path_columns",
    "is_unknown",
    "normal_name",
    "parse_date",
    "parse_number",
    "read_columns",
    "read_table",
    "same_name",
    "without_days",
]

ALIASES: Mapping[str, tuple[str, ...]] = {
    "subject": (
        *(
            "participant_id",
            "participant",
            "subject_id",
            "subject",
            "sub",
            "patient_id",
            "patient",
            "ptid",
            "rid",
            "id",
        ),
    ),
    "session": ("session_id", "session", "ses", "visit", "viscode", "visit_id"),
    "path": (
        *("path", "image", "image_path", "img_path", "img", "file", "filename", "file_name", "filepath", "file_path"),
        *("nifti", "nifti_path", "scan_path", "scan"),
    ),
    "age": ("age", "age_years", "age_at_scan", "age_at_visit", "age_yrs", "ptage"),
    "sex": ("sex", "gender", "ptgender", "m_f", "sex_m_f", "sex_f_m"),
    "site": ("site", "site_id", "siteid", "center", "centre"),
    "slice_index": ("slice_index", "slice_number", "slice_no"),
    "diagnosis": (
        *(
            "diagnosis",
            "dx",
            "group",
            "dx_group",
            "diagnosis_group",
            "research_group",
            "dx_bl",
            "dx1",
            "label",
            "class",
        ),
    ),
}
UNKNOWN = {"", "n/a", "na", "nan", "none", "null", "unknown", "."}


class CohortError(ValueError):
    """A data set on disk is not what its user said it is."""


@dataclass(frozen=True)
class Table:
    """The rows of a CSV or TSV file; a row maps column names, as written, to text."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]


def is_unknown(text: str | None) -> bool:
    """Say whether a cell holds no value: empty, "n/a", "NaN" and the like."""
    return text is None or text.strip().lower() in UNKNOWN


def read_table(path: str | os.PathLike[str]) -> Table:
    """Read a table with a header line; .tsv is separated by tabs, others by what the header holds most: , ; or tab.

    Raises:
        CohortError: when the file cannot be read, has no header, names a column twice, or a row has too many cells.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CohortError(f"{path}: cannot be read as a UTF-8 table ({error})") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise CohortError(f"{path}: the table is empty, expected a header line and one row per participant or image")
    header, *body = csv.reader(lines, delimiter=_delimiter(path, lines[0]))
    columns = tuple(name.strip() for name in header)
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        raise CohortError(f"{path}: column {twice[0]!r} occurs twice")
    rows = []
    for number, cells in enumerate(body, start=2):
        if len(cells) > len(columns):
            raise CohortError(
                f"{path}, row {number}: found {len(cells)} cells, expected {len(columns)} as in the header"
            )
        rows.append({name: cell.strip() for name, cell in zip(columns, cells + [""] * len(columns), strict=False)})
    return Table(path, columns, tuple(rows))


def read_columns(path: Path) -> tuple[str, ...]:
    """Return the column names of a table, without reading its rows; none when it cannot be read as a table."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            line = next((text for text in file if text.strip()), "")
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(name.strip() for name in next(csv.reader([line], delimiter=_delimiter(path, line)), []))


def _delimiter(path: Path, header: str) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=header.count)


@functools.lru_cache(maxsize=4096)
def normal_name(name: str) -> str:
    """Return a column's name in lower case with _ for spaces and punctuation."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def same_name(name: str, columns: Sequence[str]) -> str | None:
    """Return the first of ``columns`` that is ``name`` but for case, spaces and punctuation (DX.bl is DX_bl)."""
    return next((column for column in columns if normal_name(column) == normal_name(name)), None)


def find_column(table: Table, name: str, chosen: str | None = None) -> str | None:
    """Return the column of ``table`` that holds ``name``: the chosen one, the same name, or the first common alias.

    Case, spaces and punctuation do not matter ("Research Group" is ``research_group``).

    Raises:
        CohortError: when ``chosen`` is no column, or two columns carry names of equal rank.
    """
    if chosen is not None:
        if chosen not in table.columns:
            raise CohortError(
                f"{table.path}: no column {chosen!r} for {name}{nearest(chosen, table.columns)}; "
                f"found {list(table.columns)}"
            )
        return chosen
    for alias in (normal_name(name), *ALIASES.get(name, ())):
        if matches := [column for column in table.columns if normal_name(column) == alias]:
            if len(matches) > 1:
                raise CohortError(f"{table.path}: columns {matches} could all be {name}; say which with columns")
            return matches[0]
    return None


def find_path_columns(table: Table, chosen: str | Sequence[str] | None = None) -> list[str]:
    """Return the columns that hold image paths, one per channel.

    Raises:
        CohortError: when a chosen column is missing, or none is chosen and none is found.
    """
    if chosen is not None:
        names = [chosen] if isinstance(chosen, str) else list(chosen)
        return [str(find_column(table, "path", name)) for name in names]
    column = find_column(table, "path")
    if column is None:
        raise CohortError(
            f"{table.path}: no column with image paths; found {list(table.columns)}, expected one of "
            f"{list(ALIASES['path'])}, or name it with path_columns"
        )
    return [column]


def without_days(row: Mapping[str, str]) -> dict[str, str]:
    """Return a row without the columns that hold days by their name (EXAMDATE, DOB ...): they identify people.

    Example:
        >>> without_days({"EXAMDATE": "2006-05-18", "Acq Date": "5/18/2006", "DOB": "1931-01-02", "MMSE": "29"})
        {'MMSE': '29'}
    """
    return {name: text for name, text in row.items() if not _is_day(name)}


@functools.lru_cache(maxsize=4096)
def _is_day(name: str) -> bool:
    return re.search(r"date|stamp|dob|birth|downloaded", name, re.IGNORECASE) is not None


def parse_number(text: str) -> float | None:
    """Read a number as tables write it: "72.5", "90+" (top-coded), "072Y" (DICOM); None when it is none of these."""
    match = re.fullmatch(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(?:\+|[yY])?\s*", text)
    return float(match.group(1)) if match else None


def parse_date(text: str) -> datetime.date | None:
    """Read a day as clinical tables and download folders write it; None when it is none of these.

    Args:
        text: year first ("2006-05-18", "2006-05-18_12_34_56.0", "20060518") or, in American order, "5/18/2006" and
            "5/18/06".

    Example:
        >>> parse_date("2006-05-18_12_34_56.0") == parse_date("5/18/06")
        True
    """
    if match := re.match(r"\s*(\d{4})(?:-(\d{1,2})-(\d{1,2})(?!\d)|(\d{2})(\d{2})\s*$)", text):
        year, month, day = (int(part) for part in match.groups() if part)
    elif match := re.match(r"\s*(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})(?!\d)", text):
        month, day, year = (int(part) for part in match.groups())
        year += 0 if year > 99 else 2000 if year < 70 else 1900
    else:
        return None
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None
