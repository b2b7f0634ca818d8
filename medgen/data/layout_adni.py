"""A download from ADNI's image archive: the image tree, the search CSV, and the clinical tables."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from medgen.data.adni_codes import ADNI_LABELS, label_of, visit_code
from medgen.data.adni_people import with_people
from medgen.data.clinical import ClinicalTables, find_clinical_tables, nearby_clinical_tables
from medgen.data.download_tree import (
    Download,
    SearchRow,
    find_downloads,
    image_key,
    person_folders,
    read_search,
    search_tables,
)
from medgen.data.persons import site_of
from medgen.data.scan_rule import Candidate, ScanRule, choose_scans
from medgen.data.sources import Item, Source, counted, drop_or_raise, refuse_folder
from medgen.data.tables import CohortError, Table, parse_date
from medgen.progress import progress_bar

__all__ = ["read_adni"]


def read_adni(root: Path, clinical: Sequence[str | Path], rule: ScanRule, missing: str) -> Source:
    """Find one T1-weighted image per subject and visit in ADNI's download, with what is known of the person then.

    The tree is ``[ADNI/]<PTID>/<description>/<date>/<image id>`` with DICOM or NIfTI files, all below ``root``; the
    search CSV lies in ``root`` or beside it. Where no clinical table is named, ADNIMERGE and DXSUM in these folders are
    taken. What the people's covariates are is said in :func:`medgen.data.adni_people.with_people`.

    Args:
        root: folder of the download.
        clinical: ADNIMERGE and DXSUM as CSV; a name alone is looked for beside the images.
        rule: which scan of a visit is taken.
        missing: "error" or "drop", for T1-weighted scans of the CSV of whose visit there is no image.

    Raises:
        CohortError: when there is no image, a table is not what it should be, or an image lies in another subject's
            folder than the CSV says.
    """
    people = person_folders(root)
    downloads = find_downloads(people)
    if not downloads:
        refuse_folder(root, "no folder <PTID>/<description>/<date>/<image id>")
    folders = list(dict.fromkeys([root, *(person.parent for person in people)]))
    beside = [root.resolve().parent] if root in {person.parent for person in people} else []
    searches = search_tables(folders) or search_tables(beside)
    search = read_search(searches)
    # the whole download, with the truth about a simulated one, is where its table is
    whole = beside[0] if any(table.parent in beside for table in searches) else root
    source = Source("adni", whole, [], labels=ADNI_LABELS)
    paths = find_clinical_tables(clinical, [*folders, *beside]) or nearby_clinical_tables([*folders, *beside])
    tables = ClinicalTables(paths)
    source.clinical_tables = tables.names

    rows = [_row_of(found, search) for found in downloads]
    candidates = [_candidate(found, row) for found, row in zip(downloads, rows, strict=True)]
    candidates = _with_headers(candidates, [d.dicom for d in downloads], rule)
    chosen, source.discards = choose_scans(candidates, rule)
    _report_absent(search, candidates, rule, source, missing, root)
    source.items = with_people(chosen, tables, source)
    columns = dict.fromkeys(name for item in source.items for name in item.row)
    source.table = Table(searches[0] if searches else root, tuple(columns), tuple(item.row for item in source.items))

    if not searches:
        source.notices.append("there is no search CSV: descriptions and dates are those of the folders' names")
    elif strangers := sum(row is None for row in rows):
        source.notices.append(f"{strangers} image(s) are not in the search CSV")
    if source.discards:
        reasons = counted(d["reason"] for d in source.discards)
        source.notices.append(
            f"set aside {len(source.discards)} of {len(downloads)} scan(s), as one T1-weighted scan per subject and "
            f"visit is used: {reasons}"
        )
    strengths = [f"at {c.field_strength:g} T" for c in chosen if c.field_strength is not None]
    if len(set(strengths)) > 1:
        source.notices.append(f"field strengths are mixed: {counted(strengths)}")
    return source


def _row_of(found: Download, search: Mapping[tuple[str, int], SearchRow]) -> SearchRow | None:
    """Return the CSV's row of an image, by its ID, or by its number and subject when only the prefix differs."""
    prefix, number = image_key(found.image)
    row = search.get((prefix, number))
    for other in "ID" if row is None else "":
        same = search.get((other, number))
        row = same if same is not None and same["subject"] == found.person else row
    if row is not None and row["subject"] != found.person:
        raise CohortError(
            f"{found.files[0]}: lies in the folder of {found.person}, but the search CSV says {row['subject']!r}"
        )
    return row


def _candidate(found: Download, row: SearchRow | None) -> Candidate:
    row = row or SearchRow({})
    date = found.date or parse_date(row["date"])
    visit = visit_code(row["visit"])
    strength = re.search(r"Field Strength=([0-9]+\.?[0-9]*)", row["protocol"])
    return Candidate(
        item=Item(found.files, found.person, row=row.row, site=site_of(found.person)),
        visit=visit or found.time,
        description=row["description"] or found.description,
        modality=row["modality"],
        processed=row["type"].lower() not in ("", "original"),
        field_strength=float(strength[1]) if strength else None,
        when=f"{date or ''} {found.time}",
        number=image_key(found.image)[1],
        flaw=found.flaw,
        about={
            "group": label_of(row["group"]),
            "age": row["age"],
            "sex": row["sex"],
            "visit": visit,
            "date": date.isoformat() if date else "",
        },
    )


def _with_headers(candidates: list[Candidate], files: Sequence[Path | None], rule: ScanRule) -> list[Candidate]:
    """Fill in from one DICOM header of each T1-weighted scan what the CSV does not say: field strength, age, sex."""
    from medgen.data.guard import ImageFileError
    from medgen.dicom.files import read_header
    from medgen.dicom.header import HEADER_TAGS, allowed_header

    def fill(index: int) -> Candidate:
        candidate, file = candidates[index], files[index]
        try:
            header = allowed_header(read_header(str(file), HEADER_TAGS)[0], key=bytes(16))  # which is for the site
        except ImageFileError:
            return candidate  # a damaged file is named when it is read
        known = {name: str(header[name]) for name in ("age", "sex") if header[name] == header[name] and header[name]}
        tesla = candidate.field_strength or header["field_strength"]
        return dataclasses.replace(
            candidate,
            field_strength=tesla if tesla == tesla else None,
            about={**candidate.about, **{f"header_{name}": text for name, text in known.items()}},
        )

    asked = [i for i, c in enumerate(candidates) if files[i] and not rule.why_not(c.description, c.modality)]
    filled = list(candidates)
    with ThreadPoolExecutor(8) as pool:
        show = len(asked) > 500  # seconds, on a local disk
        jobs = progress_bar(pool.map(fill, asked), show, total=len(asked), desc="reading headers", unit=" scans")
        for index, candidate in zip(asked, jobs, strict=True):
            filled[index] = candidate
    return filled


def _report_absent(
    search: Mapping[tuple[str, int], SearchRow],
    candidates: Sequence[Candidate],
    rule: ScanRule,
    source: Source,
    missing: str,
    root: Path,
) -> None:
    """Report the visits of which the CSV has a T1-weighted scan, and the download none that can be read."""
    good = [c for c in candidates if not c.flaw and rule.why_not(c.description, c.modality) is None]
    there = {(c.item.subject, c.about["visit"] or c.about["date"]) for c in good}
    absent: dict[tuple[str, str], str] = {}
    for row in search.values():
        date = parse_date(row["date"])
        visit = (row["subject"], visit_code(row["visit"]) or (date.isoformat() if date else ""))
        if visit not in there and rule.why_not(row["description"], row["modality"]) is None:
            absent.setdefault(visit, f"{row['subject']}, visit {row['visit']}: image {row['image']} is not there")
    drop_or_raise(list(absent.values()), missing, source.notices, root)
