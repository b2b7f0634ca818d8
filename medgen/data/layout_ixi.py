"""IXI as distributed: one folder of NIfTI files, and the table ``IXI.xls`` saved as CSV."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from medgen.data.sources import Item, Source, refuse_folder
from medgen.data.tables import Table, parse_number, read_columns, read_table, same_name, without_days

__all__ = ["ixi_images", "read_ixi"]

IMAGE = re.compile(r"(IXI([0-9]{3}))-(HH|Guys|IOP)-[0-9]+-T1\.nii(\.gz)?")
SEXES = {1.0: "M", 2.0: "F"}


def ixi_images(root: Path) -> list[Path]:
    """Return the T1-weighted images ``IXI901-HH-1001-T1.nii.gz`` in ``root`` or in the folders in it."""
    if not root.is_dir():
        return []
    places = [root, *sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))]
    return [p for place in places for p in sorted(place.glob("IXI*-T1.nii*")) if IMAGE.fullmatch(p.name)]


def read_ixi(root: Path) -> Source:
    """Find the T1-weighted images; ``site`` is HH (3 T), Guys or IOP (1.5 T), from the files' names.

    ``sex`` and ``age`` are SEX_ID (1 is male, 2 is female) and AGE (0 is unknown). The table has several rows of some
    people: where they contradict each other, the value is unknown.

    Raises:
        CohortError: when there is no such image.
    """
    images = ixi_images(root)
    if not images:
        refuse_folder(root, "no image IXI<number>-<site>-<number>-T1.nii.gz")
    source = Source("ixi", root, [])
    table = _table(root)
    rows = _rows(table) if table else {}
    unlisted = 0
    for path in images:
        match = IMAGE.fullmatch(path.name)
        if match is None:
            continue
        row = rows.get(int(match[2]), {})
        unlisted += not row
        source.items.append(Item((path,), match[1], row={**row, "site": match[3]}, site=match[3]))
    if table is None:
        source.table = Table(root, ("site",), ())
        spreadsheet = any(path for folder in (root, root.resolve().parent) for path in folder.glob("IXI*.xls*"))
        hint = ": save IXI.xls as CSV beside the images" if spreadsheet else ""
        source.notices.append(f"IXI.csv is absent, age and sex are unknown{hint}")
    else:
        others = [c for c in table.columns if same_name(c, ("age", "sex", "site")) is None]
        source.table = Table(table.path, (*others, "age", "sex", "site"), table.rows)
        source.origins = {"age": "AGE", "sex": "SEX_ID (1 is M, 2 is F)", "site": "the files' names"}
        if unlisted:
            source.notices.append(f"{unlisted} image(s) are not in the table: covariates unknown")
        if unclear := sum(row.get("unclear") == "yes" for row in (item.row for item in source.items)):
            source.notices.append(f"{unclear} image(s) have rows that contradict each other: age or sex is unknown")
    return source


def _table(root: Path) -> Table | None:
    for path in (p for folder in (root, root.resolve().parent) for p in sorted(folder.glob("*.csv"))):
        if same_name("IXI_ID", read_columns(path)):
            return read_table(path)
    return None


def _rows(table: Table) -> dict[int, Mapping[str, str]]:
    """Return one row per person."""
    number = str(same_name("IXI_ID", table.columns))
    sex = next((c for c in table.columns if c.upper().startswith("SEX_ID")), "")
    age = same_name("AGE", table.columns) or ""
    rows: dict[int, dict[str, str]] = {}
    for row in table.rows:
        person = parse_number(row[number])
        if person is None:
            continue
        years = parse_number(row.get(age, "")) or 0.0
        values = {"age": f"{years:.2f}" if years > 0 else "", "sex": SEXES.get(parse_number(row.get(sex, "")) or 0, "")}
        first = rows.get(int(person))
        if first is None:
            rows[int(person)] = {k: v for k, v in row.items() if k != age} | values
            continue
        for name, value in values.items():
            if value and first[name] and value != first[name]:
                first |= {name: "", "unclear": "yes"}
            elif value and first.get("unclear") != "yes":
                first[name] = value
    return {person: without_days(row) for person, row in rows.items()}
