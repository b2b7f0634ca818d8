"""The records of a cohort: made from what a layout found, and what can be asked of them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medgen.covariates import Covariates
from medgen.data.simulated import GROUND_TRUTH
from medgen.data.sources import Item
from medgen.data.splits import check_disjoint
from medgen.data.tables import CohortError
from medgen.spelling import nearest

__all__ = [
    "Record",
    "check_folds",
    "make_records",
    "read_ground_truth",
    "stated_terms",
    "record_paths",
    "stored_bytes",
    "subject_strata",
    "subjects_of_sites",
]

Record = dict[str, Any]


def make_records(items: Sequence[tuple[Item, Mapping[str, str | float]]]) -> list[Record]:
    """Return one record per image; slice numbers become positions from 0 to 1 over the data set."""
    indices = [item.slice_index for item, _ in items if item.slice_index is not None]
    low, high = (min(indices), max(indices)) if indices else (0, 0)
    records = []
    for item, values in items:
        paths = [str(path) for path in item.images]
        record: Record = {"image": paths[0] if len(paths) == 1 else paths, "subject": item.subject, "scan": item.scan}
        if item.site:
            record["site"] = item.site
        record |= values
        if item.slice_index is not None:
            record["slice_index"] = item.slice_index
            record["slice"] = (item.slice_index - low) / (high - low) if high > low else 0.5
        elif item.position is not None:
            record["slice"] = item.position
        if item.plane:
            record["plane"] = item.plane
        if item.fold:
            record["fold"] = item.fold
        records.append(record)
    return records


def record_paths(record: Record) -> list[str]:
    """Return the paths of a record's image, one per channel."""
    return [record["image"]] if isinstance(record["image"], str) else list(record["image"])


def stored_bytes(path: str) -> int:
    """Return the size of an image: of its file, or of the files in its folder (a DICOM series) together."""
    if not os.path.isdir(path):
        return os.path.getsize(path)
    with os.scandir(path) as entries:
        return sum(entry.stat().st_size for entry in entries if entry.is_file())


def check_folds(records: Sequence[Record], root: Path) -> None:
    """With the data set's own folders kept, nobody may be in two of them."""
    folds: dict[str, list[str]] = {}
    for record in records:
        if "fold" in record:
            folds.setdefault(record["fold"], []).append(record["subject"])
    try:
        check_disjoint(folds, str(root))
    except CohortError as error:
        raise CohortError(f'{error}; pass folders="merge" to divide the subjects anew') from error


def subject_strata(records: Sequence[Record], covariates: Covariates) -> dict[str, list[str]]:
    """Return each subject's strata at the first scan: the categorical covariates, and ten years of age."""
    strata: dict[str, list[str]] = {}
    for record in records:
        keys = [str(record[name]) for name in covariates.categorical if name != "plane"]
        age = record.get("age", math.nan)
        if isinstance(age, float) and not math.isnan(age):
            keys.append(f"{int(age // 10) * 10}")
        strata.setdefault(record["subject"], keys)
    return strata


def subjects_of_sites(records: Sequence[Record], sites: Sequence[str]) -> dict[str, str]:
    """Return subject to "test" for everyone with a scan from one of ``sites``.

    Raises:
        ValueError: when a site is none of the records', or the records have none.
    """
    known = sorted({str(record["site"]) for record in records if record.get("site")})
    for site in sites:
        if site not in known:
            have = f"the cohort's sites are {known}" if known else "nothing says from which sites the images are"
            raise ValueError(f"leave_site_out: no site {site!r}{nearest(site, known)}; {have}")
    return {record["subject"]: "test" for record in records if str(record.get("site", "")) in sites}


def read_ground_truth(folder: Path) -> tuple[bool, dict[str, Any] | None]:
    """Return whether a data set is simulated, and the truth that lies beside it."""
    path = folder / GROUND_TRUTH
    if not path.is_file():
        return False, None
    content = json.loads(path.read_text(encoding="utf-8"))
    return bool(content.get("simulated")), content


def stated_terms(folder: Path) -> str | None:
    """Return what a BIDS folder's ``dataset_description.json`` says under License, None when it says nothing."""
    path = folder / "dataset_description.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    terms = content.get("License") if isinstance(content, dict) else None
    return terms.strip() or None if isinstance(terms, str) else None
