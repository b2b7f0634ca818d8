"""Recognise how a cohort lies on disk, and read it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from medgen.data.download_tree import person_folders
from medgen.data.layout_adni import read_adni
from medgen.data.layout_bids import read_bids
from medgen.data.layout_dicom import any_dicom, read_dicom
from medgen.data.layout_ixi import ixi_images, read_ixi
from medgen.data.layout_oasis import oasis_sessions, read_oasis
from medgen.data.layout_planes import plane_pictures, read_planes
from medgen.data.layout_slices import class_folders, read_slices
from medgen.data.layout_table import path_table, read_path_table
from medgen.data.persons import site_of
from medgen.data.scan_rule import ScanRule
from medgen.data.sources import EXPECTED, Source, refuse_folder
from medgen.data.tables import CohortError, Table, find_column, is_unknown, read_columns
from medgen.spelling import nearest

__all__ = ["LAYOUTS", "read_layout"]

LAYOUTS = ("auto", "bids", "adni", "oasis", "ixi", "slices", "planes", "table", "dicom")


def read_layout(
    root: Path,
    layout: str = "auto",
    suffix: str | Sequence[str] = "T1w",
    path_columns: str | Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    subject_map: Path | None = None,
    missing: str = "error",
    clinical_table: Sequence[str | Path] = (),
    scan_rule: ScanRule | None = None,
) -> Source:
    """Find the images under ``root``; see :class:`medgen.data.Cohort` for the arguments.

    Raises:
        CohortError: when nothing is found, with what is there and which layouts are known.
        ValueError: when an argument is none of its choices, or does not belong to the layout.
    """
    chosen = dict(columns or {})
    if layout not in LAYOUTS:
        raise ValueError(f"layout: found {layout!r}{nearest(layout, LAYOUTS)}, expected one of {LAYOUTS}")
    if missing not in ("error", "drop"):
        raise ValueError(f'missing: found {missing!r}, expected "error" or "drop"')
    if not root.exists():
        raise CohortError(f"{root}: no such file or folder; {EXPECTED}")
    found = _detect(root) if layout == "auto" else layout
    if clinical_table and found != "adni":
        raise ValueError(f"clinical_table: belongs to the layout adni, found the layout {found}; leave it out (None)")
    rule = scan_rule or ScanRule()
    if found == "bids":
        source = read_bids(root, [suffix] if isinstance(suffix, str) else list(suffix), chosen, missing)
    elif found == "adni":
        source = read_adni(root, clinical_table, rule, missing)
    elif found == "oasis":
        source = read_oasis(root, missing)
    elif found == "ixi":
        source = read_ixi(root)
    elif found == "slices":
        source = read_slices(root, chosen, subject_map)
    elif found == "planes":
        source = read_planes(root, chosen)
    elif found == "dicom":
        source = read_dicom(root, rule)
    else:
        source = read_path_table(path_table(root), path_columns, chosen, missing)
    return _with_sites(source, chosen.get("site"))


def _detect(root: Path) -> str:
    if root.is_file():
        return "table"
    if any(p.is_dir() for p in root.glob("sub-*")):
        return "bids"
    tables = [p for p in root.iterdir() if p.suffix.lower() in (".csv", ".tsv")]
    # someone who lists the images of a download in a table wants these
    listed = any(find_column(Table(p, read_columns(p), ()), "path") for p in tables)
    for name, recognised in (("adni", person_folders), ("oasis", oasis_sessions), ("ixi", ixi_images)):
        if not listed and recognised(root):
            return name
    if plane_pictures(root):
        return "planes"
    if class_folders(root) is not None:
        return "slices"
    if tables:
        return "table"
    if any_dicom(root):
        return "dicom"
    known = [p.name for p in sorted(root.iterdir()) if p.is_dir() and (any(p.glob("sub-*/")) or class_folders(p))]
    refuse_folder(root, f"no known layout{f'; its subfolder {known[0]!r} has one' if known else ''}")


def _with_sites(source: Source, chosen: str | None) -> Source:
    """Give each image its site where the layout did not: from a column, else from an ADNI participant's name."""
    column = find_column(source.table, "site", chosen) if source.table else None
    for i, item in enumerate(source.items):
        if not item.site:
            text = item.row.get(column, "") if column else ""
            site = site_of(item.subject) if is_unknown(text) else text
            source.items[i] = dataclasses.replace(item, site=site)
    return source
