"""What a layout finds on disk: items, the table they belong to, and what its reader should know."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from medgen.data.tables import CohortError, Table

__all__ = ["Item", "Source", "drop_or_raise", "refuse_folder"]

logger = logging.getLogger(__name__)

EXPECTED = """expected one of
  bids    sub-<id>/[ses-<id>/]anat/*_T1w.nii.gz, with participants.tsv
  slices  AD_NC/{AD,NC}/<subject>_<slice>.jpg, or AD_NC/{train,test}/{AD,NC}/<image id>_<slice>.jpeg
  planes  images/<subject>_<a|c|s>.jpg (axial, coronal, sagittal), with participants.tsv
  table   a CSV or TSV file with a column of image paths, relative to the table"""


@dataclass(frozen=True)
class Item:
    """One image (all its channels) as found on disk.

    Attributes:
        images: one file per channel.
        subject: whom it shows (the scan, when nothing says whom).
        scan: session or image identifier; empty when the subject has one scan.
        slice_index: number of the slice in the scan, None for volumes.
        label: name of the class folder it lies in, if any.
        fold: "train", "validation" or "test" when the data set comes divided.
        row: its row of the table, column name to text.
        plane: that of a picture, where its layout says it.
    """

    images: tuple[Path, ...]
    subject: str
    scan: str = ""
    slice_index: int | None = None
    label: str | None = None
    fold: str | None = None
    row: Mapping[str, str] = field(default_factory=dict)
    plane: str | None = None


@dataclass
class Source:
    """Everything a layout found: its name, the images, the table with the participants' columns, and what to tell.

    ``notices`` hold no name of a participant and no path: reports print them.
    """

    layout: str
    folder: Path
    items: list[Item]
    table: Table | None = None
    notices: list[str] = field(default_factory=list)
    by_scan: bool = False


def refuse_folder(root: Path, what: str) -> NoReturn:
    """Raise the error that says what lies in ``root`` and what was expected."""
    names = sorted(p.name + ("/" if p.is_dir() else "") for p in root.iterdir()) if root.is_dir() else [root.name]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "nothing"
    raise CohortError(f"{root}: {what}; found {shown}; {EXPECTED}")


def drop_or_raise(problems: list[str], missing: str, notices: list[str], where: Path) -> None:
    """Report files that are not there: an error, or a notice when ``missing`` is "drop".

    Notices stand in reports that may be passed on, so which files they are goes to the log alone.
    """
    if not problems:
        return
    text = (
        f"{where}: {len(problems)} image(s) missing: "
        + "; ".join(problems[:5])
        + ("; ..." if len(problems) > 5 else "")
    )
    if missing != "drop":
        raise CohortError(f'{text}; complete the data set, or pass missing="drop" to go on without them')
    logger.warning("dropped: %s", text)
    notices.append(f"dropped {len(problems)} image(s) that should be there and are not")
