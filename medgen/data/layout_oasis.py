"""OASIS-1 as distributed: disc folders of Analyze images, and ``oasis_cross-sectional.csv``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from medgen.data.persons import person_of
from medgen.data.sources import Item, Labels, Source, drop_or_raise, refuse_folder
from medgen.data.tables import CohortError, Table, is_unknown, parse_number, read_columns, read_table, same_name

__all__ = ["CDR_NOTICE", "CDR_ORIGIN", "cdr_diagnosis", "oasis_sessions", "read_oasis"]

SESSION = re.compile(r"OAS1_[0-9]{4}_MR[0-9]+")
# skull-stripped, corrected for the bias field, registered to the atlas of Talairach and Tournoux, 1 mm
IMAGE = "PROCESSED/MPRAGE/T88_111/{session}_mpr_*_t88_masked_gfc"
LABELS = Labels(means={"NC": ("NC", "CN", "HC", "control", "nondemented"), "AD": ("AD", "Dementia", "demented")})
CDR_ORIGIN = "CDR (0 is NC, above is AD)"
CDR_NOTICE = "the diagnosis is NC where CDR is 0 and AD where it is above; blank CDR is unknown"


def oasis_sessions(root: Path) -> list[Path]:
    """Return the folders ``OAS1_0901_MR1`` in ``root`` or in the folders in it (``disc1``)."""

    def inside(folder: Path) -> list[Path]:
        return sorted(p for p in folder.iterdir() if SESSION.fullmatch(p.name) and p.is_dir())

    if not root.is_dir():
        return []
    others = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    return inside(root) or sorted((s for folder in others for s in inside(folder)), key=lambda p: p.name)


def read_oasis(root: Path, missing: str) -> Source:
    """Find the atlas-registered T1-weighted image of each session.

    ``diagnosis`` is NC where the Clinical Dementia Rating (CDR) is 0, AD where it is above, as OASIS-1 states it
    (Marcus et al., J Cogn Neurosci 19:1498, 2007: CDR above 0 with probable Alzheimer's disease), and unknown where it
    is blank, as for most under 60. MR1 and MR2 are visits of one subject. Age, sex (M/F), CDR, MMSE, nWBV, eTIV and the
    other columns are the CSV's.

    Analyze files cannot say which side is left. These are stored from right to left, from back to front and from below
    to above (the format's "transverse unflipped"), and are read so.

    Args:
        root: folder of the discs, or of the sessions.
        missing: "error" or "drop", for sessions without their image.

    Raises:
        CohortError: when there is no such image, or the CSV lists a session twice.
    """
    sessions = oasis_sessions(root)
    source = Source("oasis", root, [], labels=LABELS)
    table = _table(root)
    rows = _rows(table) if table else {}
    problems, unlisted = [], 0
    for session in sessions:
        found = _image(session)
        if found is None:
            problems.append(f"{session.name} has no {IMAGE.format(session='*')}.img with its .hdr")
            continue
        row = rows.get(session.name, {})
        unlisted += bool(rows) and not row
        source.items.append(Item((found,), str(person_of(session.name)), session.name.rsplit("_", 1)[-1], row=row))
    if not source.items:
        refuse_folder(root, f"no image {IMAGE.format(session='*')}.img in {len(sessions)} session folder(s)")
    drop_or_raise(problems, missing, source.notices, root)
    if table is None:
        source.notices.append("oasis_cross-sectional.csv is absent: every covariate is unknown")
    else:
        source.table = Table(table.path, (*table.columns, "diagnosis"), table.rows)
        source.origins["diagnosis"] = CDR_ORIGIN
        source.notices.append(CDR_NOTICE)
    if unlisted:
        source.notices.append(f"{unlisted} session(s) are not in the table: covariates unknown")
    if any(item.images[0].suffix == ".img" for item in source.items):
        source.notices.append("Analyze images do not say which side is left: it is the format's convention")
    return source


def _image(session: Path) -> Path | None:
    """Return the session's image: Analyze, or the same converted to NIfTI."""
    for suffix in (".img", ".nii.gz", ".nii"):
        for path in sorted(session.glob(IMAGE.format(session=session.name) + suffix)):
            if suffix != ".img" or path.with_suffix(".hdr").is_file():
                return path
    return None


def _table(root: Path) -> Table | None:
    """Return the table of OASIS-1 in ``root`` or beside it."""
    places = [p for folder in (root, root.resolve().parent) for p in sorted(folder.glob("*.csv"))]
    for path in places:
        columns = read_columns(path)
        if same_name("ID", columns) and same_name("CDR", columns):
            return read_table(path)
    return None


def _rows(table: Table) -> dict[str, Mapping[str, str]]:
    identifier, rating = (str(same_name(name, table.columns)) for name in ("ID", "CDR"))
    rows: dict[str, Mapping[str, str]] = {}
    for row in table.rows:
        if row[identifier] in rows:
            raise CohortError(f"{table.path}: {row[identifier]} occurs twice")
        rows[row[identifier]] = {**row, "diagnosis": cdr_diagnosis(row[rating], table.path)}
    return rows


def cdr_diagnosis(text: str, where: Path) -> str:
    """Return NC for a Clinical Dementia Rating of 0, AD for one above, "" where it is blank.

    Raises:
        CohortError: when it is neither a number from 0 nor blank.
    """
    if is_unknown(text):
        return ""
    rating = parse_number(text)
    if rating is None or rating < 0:
        raise CohortError(f"{where}: cdr is {text!r}, expected 0, 0.5, 1, 2 or 3")
    return "AD" if rating > 0 else "NC"
