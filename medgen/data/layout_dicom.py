"""Any folder tree of DICOM files: one T1-weighted series per patient and visit."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from medgen.data.scan_rule import Candidate, ScanRule, choose_scans
from medgen.data.sources import Item, Source, counted, refuse_folder
from medgen.data.tables import CohortError, Table

__all__ = ["any_dicom", "read_dicom"]

LOOKED_AT = 200  # files, when a folder is asked whether it holds DICOM
COLUMNS = ("age", "sex", "site", "field_strength", "manufacturer", "model")


def any_dicom(root: Path) -> bool:
    """Say whether one of the first files below ``root`` is DICOM."""
    from medgen.dicom.files import is_dicom

    files = (Path(folder, name) for folder, _, names in os.walk(root) for name in sorted(names))
    return any(is_dicom(path) for path in itertools.islice(files, LOOKED_AT))


def read_dicom(root: Path, rule: ScanRule) -> Source:
    """Find one T1-weighted series per patient and visit, whatever folders and files are called.

    ``subject`` is the keyed name that :func:`medgen.dicom.scan_dicom` gives the patient, ``scan`` is ``v01``, ``v02``
    ... in the order of dates; age, sex, site, field strength, manufacturer and model are the header's. Of a series that
    lies in a folder of its own the image is this folder. A series that shares its folder with others gets one in the
    cache (:func:`medgen.data.cache_dir`), with links to its files. A series in whose folder a DICOM file cannot be read
    is set aside: it may be a slice short.

    Args:
        root: folder.
        rule: which series of a visit is taken.

    Raises:
        CohortError: when no series can be taken: which descriptions were found, and why not.
    """
    from medgen.dicom import scan_dicom

    table = scan_dicom(root)
    if not table:
        refuse_folder(root, "no DICOM file")
    source = Source("dicom", root, [])
    candidates = []
    broken = _names_by_folder(table.broken)
    for series in table:
        row = {name: _text(series.header.get(name, "")) for name in COLUMNS}
        tesla = series.header.get("field_strength")
        flaw = "; ".join(series.problems) or ("" if series.kind == "volume" else f"no volume but: {series.kind}")
        flaw = flaw or _broken_beside(series.files, broken)
        scan = f"v{series.visit:02d}"
        candidates.append(
            Candidate(
                item=Item(tuple(map(Path, series.files)), series.patient_key, scan, row=row, site=row["site"]),
                visit=scan,
                description=series.description,
                modality=series.modality,
                processed=series.derived,
                field_strength=tesla if isinstance(tesla, float) and tesla == tesla else None,
                when=f"{series.number:06d}",
                number=series.number,
                flaw=flaw,
            )
        )
    chosen, source.discards = choose_scans(candidates, rule)
    reasons = counted(d["reason"] for d in source.discards)
    if not chosen:
        found = counted(repr(series.description) for series in table)
        raise CohortError(
            f"{root}: none of {len(table)} series can be taken: {reasons}; their descriptions: {found}; what a "
            "T1-weighted scan is called can be said by scan_rule={'include': ..., 'exclude': ...}"
        )
    together = _by_folder(series.files for series in table)
    source.items = [
        Item((_place(c.item.images, together),), c.item.subject, c.item.scan, row=c.item.row, site=c.item.site)
        for c in chosen
    ]
    source.table = Table(root, COLUMNS, tuple(item.row for item in source.items))
    source.origins = dict.fromkeys(COLUMNS, "the DICOM header")
    if source.discards:
        source.notices.append(
            f"set aside {len(source.discards)} of {len(table)} series, as one T1-weighted series per patient and visit "
            f"is used: {reasons}"
        )
    if table.broken:
        source.notices.append(f"{len(table.broken)} DICOM file(s) cannot be read")
    if any("no Patient ID" in note for series in table for note in series.notes):
        source.notices.append("some series have no Patient ID: each of their studies counts as a person")
    return source


def _text(value: object) -> str:
    """Return a header's value as a table would hold it; NaN is empty."""
    if isinstance(value, float):
        return f"{value:g}" if value == value else ""
    return str(value)


def _names_by_folder(paths: Iterable[str]) -> dict[str, list[str]]:
    names = defaultdict(list)
    for path in paths:
        names[os.path.dirname(path)].append(os.path.basename(path))
    return names


def _broken_beside(files: Sequence[str], broken: Mapping[str, Sequence[str]]) -> str:
    """Return that a file which may be of this series cannot be read; "" when there is none.

    What is left of such a file does not say which series it is of, so it counts for each in its folder.
    """
    folders = dict.fromkeys(os.path.dirname(file) for file in files)
    names = [name for folder in folders for name in broken.get(folder, ())]
    if not names:
        return ""
    return f"{len(names)} file(s) in its folder cannot be read, such as {names[0]}: slices may be missing"


def _by_folder(series: Iterable[Sequence[str]]) -> dict[Path, int]:
    """Count the series with files in each folder or below it."""
    counts: dict[Path, int] = {}
    for files in series:
        folders = {parent for file in files for parent in Path(file).parents}
        for folder in folders:
            counts[folder] = counts.get(folder, 0) + 1
    return counts


def _place(files: Sequence[Path], together: dict[Path, int]) -> Path:
    """Return the folder that holds this series and no other."""
    folder = files[0].parent
    if all(file.parent == folder for file in files) and together[folder] == 1:
        return folder
    if len(files) == 1:
        return files[0]
    from medgen.data.simulated import cache_dir

    real = [os.path.realpath(file) for file in files]
    name = hashlib.sha256("\n".join(real).encode()).hexdigest()[:16]
    place = cache_dir() / "dicom-series" / name
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = Path(tempfile.mkdtemp(dir=place.parent))
        try:
            for i, path in enumerate(real):
                (temporary / f"{i:05d}.dcm").symlink_to(path)
            temporary.rename(place)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if not place.is_dir():  # no other process made it meanwhile
                raise CohortError(
                    f"{folder}: holds several series, and links to one of them cannot be made in {place.parent} "
                    f"({error}); sort the files into a folder per series"
                ) from error
    return place
