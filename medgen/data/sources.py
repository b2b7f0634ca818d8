"""What a layout finds on disk: items, the table they belong to, and what its reader should know."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from medgen.data.tables import CohortError, Table

__all__ = ["Discard", "Item", "Labels", "Source", "counted", "drop_or_raise", "refuse_folder"]

logger = logging.getLogger(__name__)

EXPECTED = """expected one of
  bids    sub-<id>/[ses-<id>/]anat/*_T1w.nii.gz, with participants.tsv
  adni    [ADNI/]<PTID>/<description>/<date>/<image id>/*.dcm or *.nii, with the search CSV
  oasis   OAS1_0901_MR1/PROCESSED/MPRAGE/T88_111/*_t88_masked_gfc.img, with oasis_cross-sectional.csv
  ixi     IXI901-HH-1001-T1.nii.gz, with IXI.xls saved as CSV
  slices  AD_NC/{AD,NC}/<subject>_<slice>.jpg, or AD_NC/{train,test}/{AD,NC}/<image id>_<slice>.jpeg
  planes  images/<subject>_<a|c|s>.jpg (axial, coronal, sagittal), with participants.tsv
  table   a CSV or TSV file with a column of image paths, relative to the table
  dicom   any folder tree of DICOM files"""

Discard = dict[str, str]


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
        site: where it was made, "" when unknown.
        plane: that of a picture, where its layout says it.
        position: of a picture along its plane's axis, 0 to 1, where its layout says that and not its number.
    """

    images: tuple[Path, ...]
    subject: str
    scan: str = ""
    slice_index: int | None = None
    label: str | None = None
    fold: str | None = None
    row: Mapping[str, str] = field(default_factory=dict)
    site: str = ""
    plane: str | None = None
    position: float | None = None


@dataclass(frozen=True)
class Labels:
    """What a consortium calls its diagnoses.

    Attributes:
        means: its label to the names that mean the same; the first of them that is declared is taken.
        optional: its labels whose images are dropped and counted where they are neither declared nor mapped.
    """

    means: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    optional: tuple[str, ...] = ()


@dataclass
class Source:
    """Everything a layout found: its name, the images, the table with the participants' columns, and what to tell.

    ``notices`` hold no name of a participant and no path: reports print them.

    Attributes:
        layout: its name.
        folder: where the images are.
        items: the images.
        table: the columns of the items' rows.
        notices: what the reader of any result should know.
        by_scan: whether nothing says which scans are of one subject.
        labels: the consortium's names of diagnoses.
        origins: covariate to where its values come from, where a column's name does not say it.
        clinical_tables: file names of the clinical tables that were joined.
        discards: the scans that were set aside, each with "subject", "scan", "description", "image" and "reason".
    """

    layout: str
    folder: Path
    items: list[Item]
    table: Table | None = None
    notices: list[str] = field(default_factory=list)
    by_scan: bool = False
    labels: Labels = field(default_factory=Labels)
    origins: dict[str, str] = field(default_factory=dict)
    clinical_tables: list[str] = field(default_factory=list)
    discards: list[Discard] = field(default_factory=list)


def refuse_folder(root: Path, what: str) -> NoReturn:
    """Raise the error that says what lies in ``root`` and what was expected."""
    names = sorted(p.name + ("/" if p.is_dir() else "") for p in root.iterdir()) if root.is_dir() else [root.name]
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "nothing"
    raise CohortError(f"{root}: {what}; found {shown}; {EXPECTED}")


def counted(words: Iterable[str]) -> str:
    """Return how often each word occurs, the most frequent first.

    Example:
        >>> counted(["a repeat", "accelerated", "a repeat"])
        '2 a repeat, 1 accelerated'
    """
    return ", ".join(f"{count} {word}" for word, count in Counter(words).most_common())


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
