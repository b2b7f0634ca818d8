"""Where each scan of a cohort goes: names that BIDS allows, and the files of one scan."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["DERIVATIVES", "ScanPlace", "places_of"]

DERIVATIVES = Path("derivatives") / "medgen"


@dataclass(frozen=True)
class ScanPlace:
    """The names of one scan, and its files relative to the output folder.

    Attributes:
        subject: with its prefix, ``sub-941S9001``.
        session: with its prefix, ``ses-m12``; empty when the subject has one scan without a visit.
        suffix: BIDS suffix of the image.
    """

    subject: str
    session: str = ""
    suffix: str = "T1w"

    @property
    def name(self) -> str:
        """Subject and session, as file names start."""
        return "_".join(filter(None, (self.subject, self.session)))

    @property
    def image(self) -> Path:
        """The preprocessed image."""
        return self._folder(Path()) / f"{self.name}_{self.suffix}.nii.gz"

    @property
    def sidecar(self) -> Path:
        """What is known of the image, beside it."""
        return self.image.with_name(f"{self.name}_{self.suffix}.json")

    @property
    def mask(self) -> Path:
        """The brain mask, on the grid of the image."""
        return self._folder(DERIVATIVES) / f"{self.name}_desc-brain_mask.nii.gz"

    @property
    def picture(self) -> Path:
        """Three planes with the template's outline, for the page of quality control."""
        return self._folder(DERIVATIVES) / f"{self.name}_desc-qc_{self.suffix}.png"

    @property
    def record(self) -> Path:
        """What was done and measured; it is written last, and so says that the scan is finished."""
        return self._folder(DERIVATIVES) / f"{self.name}_desc-qc_{self.suffix}.json"

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that is written for the scan, the record first."""
        mask_sidecar = self.mask.with_name(self.mask.name.replace(".nii.gz", ".json"))
        return (self.record, self.image, self.sidecar, self.mask, mask_sidecar, self.picture)

    def _folder(self, below: Path) -> Path:
        return below / self.subject / self.session / "anat"


def places_of(records: Sequence[Mapping[str, Any]], suffix: str = "T1w") -> list[ScanPlace]:
    """Name the scans of a cohort as BIDS allows: letters and digits alone.

    Subjects whose names differ in other characters only get a few digits of a hash; several scans of one subject
    without, or with the same, visit are numbered in the cohort's order.

    Args:
        records: of a :class:`medgen.data.Cohort`.
        suffix: BIDS suffix of the images.

    Example:
        >>> places_of([{"subject": "941_S_9001", "scan": "m12"}])[0].name
        'sub-941S9001_ses-m12'
    """
    subjects = _labels({str(record["subject"]) for record in records}, "sub-")
    visits = _labels({str(record.get("scan") or "") for record in records} - {""}, "ses-") | {"": ""}
    pairs = [(subjects[str(record["subject"])], visits[str(record.get("scan") or "")]) for record in records]
    total, seen = Counter(pairs), Counter[tuple[str, str]]()
    places = []
    for subject, session in pairs:
        seen[subject, session] += 1
        if total[subject, session] > 1:
            places.append(ScanPlace(subject, f"{session or 'ses-'}scan{seen[subject, session]:02d}", suffix))
        else:
            places.append(ScanPlace(subject, session, suffix))
    return places


def _labels(names: Iterable[str], prefix: str) -> dict[str, str]:
    """Map each name to its prefix and the letters and digits of the name, told apart where these are the same."""
    plain = {name: re.sub(r"[^A-Za-z0-9]", "", name.removeprefix(prefix)) for name in names}
    # some file systems do not tell upper from lower case
    count = Counter(label.lower() for label in plain.values())
    return {
        name: prefix + (label if label and count[label.lower()] == 1 else f"{label}x{_hash(name)}")
        for name, label in plain.items()
    }


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:6]
