"""Who ADNI's scans show: diagnosis, age and sex at the visit of each scan, and the visit's name."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence

from medgen.data.clinical import KNOWN, WINDOW_DAYS, ClinicalTables
from medgen.data.scan_rule import Candidate
from medgen.data.sources import Item, Source
from medgen.data.tables import normal_name, without_days

__all__ = ["with_people"]


def with_people(chosen: Sequence[Candidate], tables: ClinicalTables, source: Source) -> list[Item]:
    """Give each scan its row and its visit's name.

    - ``diagnosis`` is that of the clinical visit nearest the scan, see :meth:`ClinicalTables.at`; where there is no
      clinical table it is the group at enrolment, and a notice says so. Someone who enrolled with a memory complaint
      (SMC) and is CN counts as SMC.
    - ``age`` and ``sex`` are the clinical table's, else the search CSV's, else the DICOM header's.
    - ``scan`` is the visit's code (``bl``, ``m12``): the CSV's, else the clinical visit's, else ``v01``, ``v02`` ... in
      the order of time.

    Args:
        chosen: one scan per subject and visit, with "group", "age", "sex", "visit", "date", "header_age" and
            "header_sex" in ``about``.
        tables: of the study; there may be none.
        source: told where the values come from, and what is unknown.
    """
    items: dict[int, Item] = {}
    by_person: dict[str, list[int]] = defaultdict(list)
    for i, candidate in enumerate(chosen):
        by_person[candidate.item.subject].append(i)
    undiagnosed = 0
    for own in by_person.values():
        own.sort(key=lambda i: chosen[i].when)
        known = [_known(chosen[i], tables) for i in own]
        names = _visit_names([chosen[i].about["visit"] for i in own], [k.get("visit", "") for k in known])
        for i, clinical, name in zip(own, known, names, strict=True):
            undiagnosed += not clinical.get("diagnosis")
            row = _row(chosen[i], clinical, name, bool(tables.tables))
            items[i] = dataclasses.replace(chosen[i].item, scan=name, row=row)
    _say(source, tables, undiagnosed, [c.about["group"] for c in chosen])
    return [items[i] for i in range(len(chosen))]


def _known(candidate: Candidate, tables: ClinicalTables) -> dict[str, str]:
    date = candidate.about["date"]
    when = datetime.date.fromisoformat(date) if date else None
    return tables.at(candidate.item.subject, when, candidate.about["visit"])


def _row(candidate: Candidate, clinical: Mapping[str, str], visit: str, joined: bool) -> dict[str, str]:
    """Return what is derived, then the CSV's and the clinical columns, each name once whatever its case, no days."""
    about = candidate.about
    baseline = clinical.get("baseline") or about["group"]
    diagnosis = clinical.get("diagnosis", "") if joined else about["group"]
    if diagnosis == "CN" and baseline == "SMC":
        diagnosis = "SMC"
    strength = candidate.field_strength
    row = {
        "subject": candidate.item.subject,
        "session": visit,
        "diagnosis": diagnosis,
        "age": clinical.get("age") or about["age"] or about.get("header_age", ""),
        "sex": clinical.get("sex") or about["sex"] or about.get("header_sex", ""),
        "site": candidate.item.site,
        "field_strength": f"{strength:g}" if strength is not None else "",
    }
    taken = [normal_name(name) for name in row]
    columns = {name: text for name, text in clinical.items() if name not in KNOWN}
    for name, text in (without_days(candidate.item.row) | without_days(columns)).items():
        if normal_name(name) not in taken:
            row[name] = text
            taken.append(normal_name(name))
    return row


def _visit_names(stated: Sequence[str], clinical: Sequence[str]) -> list[str]:
    """Return one name per visit of a person, in the order of time, each once."""
    names = [code if _since_baseline(code) else "" for code in stated]
    for i, code in enumerate(clinical):
        if not names[i] and _since_baseline(code) and code not in names:
            names[i] = code
    for i, code in enumerate(stated):
        if not names[i] and code and code not in names:
            names[i] = code
    free = (name for number in itertools.count(1) if (name := f"v{number:02d}") not in names)
    return [name or next(free) for name in names]


def _since_baseline(code: str) -> bool:
    return code == "bl" or (code[:1] == "m" and code[1:].isdigit())


def _say(source: Source, tables: ClinicalTables, undiagnosed: int, groups: Sequence[str]) -> None:
    """Note where the covariates come from, and what is unknown."""
    archive = "the search CSV, else the DICOM header"
    if not tables.tables:
        source.origins = {"diagnosis": "Group (at enrolment)", "age": archive, "sex": archive}
        if any(groups):
            source.notices.append(
                "WARNING: the diagnosis is the group at enrolment, which may have changed by the visit of the scan; "
                "pass clinical_table: ADNIMERGE.csv or DXSUM.csv"
            )
        return
    source.origins = {
        "diagnosis": f"{tables.diagnosis_columns()}, the visit nearest the scan",
        "age": f"AGE + Years_bl, else {archive}",
        "sex": f"PTGENDER, else {archive}",
    }
    source.notices.append(
        f"the diagnosis is that of the clinical visit nearest the scan, {WINDOW_DAYS} days away at most "
        f"({', '.join(tables.names)})"
    )
    if undiagnosed:
        source.notices.append(f"{undiagnosed} scan(s) have no diagnosis within {WINDOW_DAYS} days: it is unknown")
