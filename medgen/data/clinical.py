"""ADNI's clinical tables (ADNIMERGE, DXSUM): what was known of a person at the visit of a scan."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medgen.data.adni_codes import DIAGNOSIS_COLUMNS, diagnosis_of, label_of, visit_code
from medgen.data.tables import (
    CohortError,
    Table,
    is_unknown,
    parse_date,
    parse_number,
    read_columns,
    read_table,
    same_name,
)

__all__ = ["KNOWN", "WINDOW_DAYS", "ClinicalTables", "find_clinical_tables", "nearby_clinical_tables"]

WINDOW_DAYS = 183  # half a year, the shortest time between two of ADNI's visits with a diagnosis
KNOWN = ("diagnosis", "age", "sex", "baseline", "visit")  # beside the tables' own columns
MISSING = {"-1", "-4", "-1.0", "-4.0"}  # ADNI's codes for "not applicable" and "not recorded"


@dataclass(frozen=True)
class _Visit:
    """One row of one table; texts are "" where unknown, ADNI's codes for missing values among them."""

    date: datetime.date | None
    codes: tuple[str, ...]
    diagnosis: str
    age: str
    sex: str
    baseline: str
    row: Mapping[str, str]


def _is_clinical(columns: Sequence[str]) -> bool:
    """Say whether a table with these columns is one of ADNI's with diagnoses per visit."""
    has_person = same_name("RID", columns) or same_name("PTID", columns)
    has_visit = same_name("VISCODE", columns)
    return bool(has_person and has_visit and any(same_name(name, columns) for name in DIAGNOSIS_COLUMNS))


def find_clinical_tables(names: Sequence[str | Path], folders: Sequence[Path]) -> list[Path]:
    """Return the tables' paths: as given, or beside the images.

    Raises:
        CohortError: when there is no such file.
    """
    found = []
    for name in names:
        places = [Path(name).expanduser(), *(folder / name for folder in folders)]
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise CohortError(
                f"clinical_table: no such file: {name}, neither there nor in {', '.join(map(str, folders))}; "
                "expected ADNIMERGE.csv or DXSUM.csv"
            )
        found.append(path)
    return found


def nearby_clinical_tables(folders: Sequence[Path]) -> list[Path]:
    """Return ADNI's clinical tables in some folders, DXSUM first: it is the form that ADNIMERGE's DX is made from."""
    tables = [p for folder in folders for p in sorted(folder.iterdir()) if p.suffix.lower() in (".csv", ".tsv")]
    headers = {p: read_columns(p) for p in tables}
    found = [p for p in tables if _is_clinical(headers[p])]
    return sorted(found, key=lambda p: same_name("DX", headers[p]) is not None)


class ClinicalTables:
    """One or more of ADNI's clinical tables; where several know a value, the first does.

    Args:
        paths: ADNIMERGE and DXSUM as CSV, any release: columns are found by name (``DX_bl`` or ``DX.bl``).

    Raises:
        CohortError: when a table is neither.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.tables = [read_table(path) for path in paths]
        self._visits = [_visits(table) for table in self.tables]

    @property
    def names(self) -> list[str]:
        """The tables' file names."""
        return [table.path.name for table in self.tables]

    def diagnosis_columns(self) -> str:
        """Say which columns the diagnoses are from, for example ``"DX of ADNIMERGE.csv"``."""
        pairs = ((table, [c for n in DIAGNOSIS_COLUMNS if (c := same_name(n, table.columns))]) for table in self.tables)
        return ", ".join(f"{'/'.join(columns)} of {table.path.name}" for table, columns in pairs)

    def at(self, person: str, when: datetime.date | None, visit: str) -> dict[str, str]:
        """Return what the tables know of a person at a scan.

        The diagnosis is that of the visit nearest the scan, of those with a diagnosis, :data:`WINDOW_DAYS` away at
        most; a visit without a date (or any, for a scan without one) counts when its code is the scan's. ``age`` is
        AGE + Years_bl of the nearest such visit.

        Args:
            person: PTID; a table without that column is asked for its last digits, the RID.
            when: day of the scan, None when unknown.
            visit: code of the scan's visit, see :func:`medgen.data.adni_codes.visit_code`; "" when unknown.

        Returns:
            The columns of that visit's rows, and of :data:`KNOWN` what is known: "baseline" is the group at enrolment,
            "visit" the code.
        """
        known: dict[str, str] = {}
        for visits in self._visits:
            own = visits.get(person) or visits.get(str(int(person.rsplit("_", 1)[-1]))) or []
            found: dict[str, str] = {}
            if nearest := _nearest([v for v in own if v.diagnosis], when, visit):
                found |= {**nearest.row, "diagnosis": nearest.diagnosis, "visit": "".join(nearest.codes[:1])}
            if nearest := _nearest([v for v in own if v.age], when, visit):
                found = {**nearest.row, **found, "age": nearest.age}
            found["sex"] = next((v.sex for v in own if v.sex), "")
            found["baseline"] = next((v.baseline for v in own if v.baseline), "")
            known = {**{k: v for k, v in found.items() if v}, **known}
        return known


def _visits(table: Table) -> dict[str, list[_Visit]]:
    """Index a table's rows by PTID, or by RID where it has no PTID."""
    person = same_name("PTID", table.columns) or same_name("RID", table.columns)
    if person is None or not _is_clinical(table.columns):
        raise CohortError(
            f"{table.path}: expected ADNIMERGE or DXSUM, with the columns PTID or RID, VISCODE, and one of "
            f"{', '.join(DIAGNOSIS_COLUMNS)}; found {list(table.columns)[:20]}"
        )
    wanted = ("EXAMDATE", "VISCODE2", "VISCODE", "AGE", "Years_bl", "PTGENDER", "DX_bl", *DIAGNOSIS_COLUMNS)
    columns = {name: column for name in wanted if (column := same_name(name, table.columns))}
    index: dict[str, list[_Visit]] = defaultdict(list)
    for row in table.rows:
        plain = {name: "" if text in MISSING or is_unknown(text) else text for name, text in row.items()}
        cells = {name: plain[column] for name, column in columns.items()}
        codes = (visit_code(cells.get(name, "")) for name in ("VISCODE2", "VISCODE"))
        number = parse_number(row[person])
        visit = _Visit(
            date=parse_date(cells.get("EXAMDATE", "")),
            codes=tuple(filter(None, codes)),
            diagnosis=diagnosis_of(cells),
            age=_age(cells),
            sex=cells.get("PTGENDER", ""),
            baseline=label_of(cells.get("DX_bl", "")),
            row=plain,
        )
        index[row[person] if number is None else str(int(number))].append(visit)
    return dict(index)


def _age(cells: Mapping[str, str]) -> str:
    """Return the age at a visit in years, AGE (at baseline) + Years_bl; "" when unknown."""
    baseline, since = (parse_number(cells.get(name, "")) for name in ("AGE", "Years_bl"))
    return f"{baseline + since:.2f}" if baseline is not None and since is not None else ""


def _nearest(able: Sequence[_Visit], when: datetime.date | None, code: str) -> _Visit | None:
    """Return the visit nearest the scan."""
    if when is not None:
        days = [(abs((visit.date - when).days), i) for i, visit in enumerate(able) if visit.date]
        if days and min(days)[0] <= WINDOW_DAYS:
            return able[min(days)[1]]
    same = [visit for visit in able if code and code in visit.codes and (visit.date is None or when is None)]
    return same[0] if same else None
