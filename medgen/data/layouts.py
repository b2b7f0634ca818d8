"""Recognise how a cohort lies on disk, and read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medgen.data.layout_bids import read_bids
from medgen.data.layout_planes import plane_pictures, read_planes
from medgen.data.layout_slices import class_folders, read_slices
from medgen.data.layout_table import path_table, read_path_table
from medgen.data.sources import EXPECTED, Source, refuse_folder
from medgen.data.tables import CohortError
from medgen.spelling import nearest

__all__ = ["LAYOUTS", "read_layout"]

LAYOUTS = ("auto", "bids", "slices", "planes", "table")


def read_layout(
    root: Path,
    layout: str = "auto",
    suffix: str | Sequence[str] = "T1w",
    path_columns: str | Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    subject_map: Path | None = None,
    missing: str = "error",
) -> Source:
    """Find the images under ``root``; see :class:`medgen.data.Cohort` for the arguments.

    Raises:
        CohortError: when nothing is found, with what is there and which layouts are known.
    """
    chosen = dict(columns or {})
    if layout not in LAYOUTS:
        raise ValueError(f"layout: found {layout!r}{nearest(layout, LAYOUTS)}, expected one of {LAYOUTS}")
    if missing not in ("error", "drop"):
        raise ValueError(f'missing: found {missing!r}, expected "error" or "drop"')
    if not root.exists():
        raise CohortError(f"{root}: no such file or folder; {EXPECTED}")
    found = _detect(root) if layout == "auto" else layout
    if found == "bids":
        return read_bids(root, [suffix] if isinstance(suffix, str) else list(suffix), chosen, missing)
    if found == "slices":
        return read_slices(root, chosen, subject_map)
    if found == "planes":
        return read_planes(root, chosen)
    return read_path_table(path_table(root), path_columns, chosen, missing)


def _detect(root: Path) -> str:
    if root.is_file():
        return "table"
    if any(p.is_dir() for p in root.glob("sub-*")):
        return "bids"
    if plane_pictures(root):
        return "planes"
    if class_folders(root) is not None:
        return "slices"
    if any(p.suffix.lower() in (".csv", ".tsv") for p in root.iterdir()):
        return "table"
    known = [p.name for p in sorted(root.iterdir()) if p.is_dir() and (any(p.glob("sub-*/")) or class_folders(p))]
    refuse_folder(root, f"no known layout{f'; its subfolder {known[0]!r} has one' if known else ''}")
