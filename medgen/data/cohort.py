"""A cohort: one table plus images, read from any of the layouts people have, as a MONAI datalist."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from medgen.covariates import Covariates
from medgen.data.layouts import read_layout
from medgen.data.records import (
    Record,
    check_folds,
    make_records,
    read_ground_truth,
    record_paths,
    stated_terms,
    stored_bytes,
    subject_strata,
    subjects_of_sites,
)
from medgen.data.scan_rule import ScanRule
from medgen.data.splits import Splits, check_fractions, divide_subjects, read_splits, write_splits
from medgen.data.tables import CohortError
from medgen.data.values import UNKNOWN_LABEL, read_values

__all__ = ["Cohort"]

FRACTIONS: Mapping[str, float] = {"train": 0.7, "validation": 0.1, "test": 0.2}
NOT_STATED = "not stated: treat images, weights and latents as derived from participants, do not share"
SIMULATED_TERMS = "simulated: free to share"


class Cohort:
    """The images of a study with their covariates.

    ``records`` is a MONAI datalist with one dict per image: "image" (path of a file, or of the folder of one DICOM
    series; or one path per channel), "subject", "scan" (session, visit or image id, may be empty), "site" where it is
    known, every declared covariate ("n/a" or NaN where unknown), and for slice files "slice_index" and "slice", the
    position from 0 (lowest index of the data set) to 1; pictures of planes have their "plane". Labels are compared
    with the declared ones by name; their order is the declared one. "female" means "F", and case does not matter.

    Of ADNI's downloads and of DICOM folders one T1-weighted scan per subject and visit is taken, see
    :class:`medgen.data.ScanRule`. ADNI's diagnosis is that of the scan's visit; NC is CN, AD is dementia; MCI and SMC
    are dropped and counted unless they are declared, or mapped (``label_map={"SMC": "NC"}``).

    The course archive's own ``train`` and ``test`` folders are kept as such (``folders="keep"``): "test" is the test
    split, and the other splits share "train".

    Args:
        root: folder of the data set, or its table.
        covariates: the declared covariates, or the mapping they are declared by.
        layout: "auto", "bids", "adni", "oasis", "ixi", "slices", "planes", "table" or "dicom".
        suffix: BIDS suffix of the images; several make channels, for example ``["T1w", "FLAIR"]``.
        path_columns: in a table, the column of image paths; several make channels.
        columns: covariate ("subject", "session" and "site" too) to column, where its name does not say it.
        label_map: found label to declared label, ``{"CN": "NC"}`` or ``{"diagnosis": {"CN": "NC"}}``.
        exclude_labels: found labels whose images are dropped and counted.
        required: covariates whose column must be there; single values may be unknown.
        subject_map: CSV with the columns image_id and subject, for slice folders that name images.
        missing: "error" or "drop", for images that are listed but not there.
        folders: "keep" or "merge" the data set's own train and test folders.
        data_terms: the terms of use, kept beside whatever is trained on the cohort; by default what a BIDS folder
            states as its license.
        check: read every image now, see :meth:`check`.
        clinical_table: for ADNI, ADNIMERGE or DXSUM as CSV, or several; a name alone is looked for beside the images.
            By default those beside the images.
        scan_rule: which of the scans of a visit is taken, a :class:`medgen.data.ScanRule` or its arguments.

    Attributes:
        records: the datalist.
        columns: for each record, its row of the table, declared columns or not: ``columns[0]["ventricle_ml"]`` (text).
        discards: the scans set aside, each with "subject", "scan", "description", "image" and "reason"; private.
        clinical_table: file names of the clinical tables that were joined, None for none.
        notices: what the reader of any result should know, for example "split by scan, not by subject".
        layout: the one found.
        split_unit: "subject", or "scan" when nothing says which scans are of one subject.
        simulated: whether these people do not exist; ``ground_truth`` then holds the true effects.
        data_terms: the terms of use.

    Raises:
        CohortError: when the data set is not what it should be: which file, what was found, what was expected.
        ValueError: when an argument is none of its choices.

    Example:
        >>> covariates = Covariates(diagnosis=["NC", "AD"])
        >>> cohort = Cohort("oasis_slices", covariates)  # doctest: +SKIP
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        covariates: Covariates | Mapping[str, Any],
        layout: str = "auto",
        suffix: str | Sequence[str] = "T1w",
        path_columns: str | Sequence[str] | None = None,
        columns: Mapping[str, str] | None = None,
        label_map: Mapping[str, Any] | None = None,
        exclude_labels: Sequence[str] = (),
        required: Sequence[str] = (),
        subject_map: str | os.PathLike[str] | None = None,
        missing: str = "error",
        folders: str = "keep",
        data_terms: str | None = None,
        check: bool = False,
        clinical_table: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
        scan_rule: ScanRule | Mapping[str, Any] | None = None,
    ) -> None:
        if folders not in ("keep", "merge"):
            raise ValueError(f'folders: found {folders!r}, expected "keep" or "merge"')
        self.root = Path(root).expanduser()
        self.covariates = covariates if isinstance(covariates, Covariates) else Covariates.from_dict(covariates)
        mapped = Path(subject_map).expanduser() if subject_map is not None else None
        tables = _listed(clinical_table)
        rule = ScanRule.of(scan_rule)
        source = read_layout(self.root, layout, suffix, path_columns, columns, mapped, missing, tables, rule)
        exclude = [exclude_labels] if isinstance(exclude_labels, str) else list(exclude_labels)
        items = read_values(source, self.covariates, columns or {}, label_map or {}, exclude, required)
        if not items:
            raise CohortError(f"{self.root}: no image is left; notices: {source.notices}")
        self.layout, self.folder, self.notices = source.layout, source.folder, source.notices
        self.discards, self.clinical_table = source.discards, source.clinical_tables or None
        self.split_unit = "scan" if source.by_scan else "subject"
        self.records = make_records(items)
        self.columns: list[Mapping[str, str]] = [dict(item.row) for item, _ in items]
        self.simulated, self.ground_truth = read_ground_truth(self.folder)
        self.data_terms = data_terms or (SIMULATED_TERMS if self.simulated else stated_terms(self.folder) or NOT_STATED)
        self._folds = {r["subject"]: r["fold"] for r in self.records if r.get("fold")} if folders == "keep" else {}
        if folders == "keep":
            check_folds(self.records, self.root)
        if check:
            self.check()

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        return f"Cohort({str(self.root)!r}, {len(self.subjects)} {self.split_unit}s, {len(self)} images, {self.layout})"

    @property
    def subjects(self) -> list[str]:
        """The subjects, sorted."""
        return sorted({record["subject"] for record in self.records})

    @property
    def share(self) -> bool:
        """Whether what is made from the cohort may be passed on without asking: only when it is simulated."""
        return self.simulated

    def summary(self) -> dict[str, Any]:
        """Return counts, labels, ranges and notices; plain JSON without subjects' names, real ages top-coded at 90."""
        first = {record["subject"]: record for record in reversed(self.records)}
        known: dict[str, Any] = {}
        for name in self.covariates.names:
            values = [r[name] for r in (self.records if name in ("slice", "plane") else first.values()) if name in r]
            declared = self.covariates[name]
            if isinstance(declared, tuple):
                counts = Counter(values)
                known[name] = {label: counts[label] for label in (*declared, UNKNOWN_LABEL)}
            else:
                numbers = [v for v in values if not math.isnan(v)]
                if name == "age" and not self.simulated:
                    numbers = [min(v, 90.0) for v in numbers]
                mean = sum(numbers) / len(numbers) if numbers else None
                known[name] = {
                    "known": len(numbers),
                    "mean": mean,
                    "low": min(numbers, default=None),
                    "high": max(numbers, default=None),
                }
        return {
            "layout": self.layout,
            "simulated": self.simulated,
            f"{self.split_unit}s": len(first),
            "images": len(self.records),
            "covariates": known,
            "data_terms": self.data_terms,
            "notices": list(self.notices),
        }

    def fingerprint(self) -> str:
        """Return what a model was trained on, for its manifest: 16 hex digits of SHA-256 of records and file sizes."""
        digest = hashlib.sha256(json.dumps(self.covariates.to_dict(), sort_keys=True).encode())
        for record in self.records:
            paths = record_paths(record)
            names = [os.path.relpath(path, self.folder) for path in paths]
            sizes = [stored_bytes(path) for path in paths]
            values = {key: value for key, value in record.items() if key != "image"}
            digest.update(json.dumps([names, sizes, values], sort_keys=True).encode())
        return digest.hexdigest()[:16]

    def check(self, workers: int = 4) -> None:
        """Read every image and name all that cannot be read.

        Args:
            workers: threads.

        Raises:
            CohortError: listing the files, each with its reason.
        """
        from medgen.data.images import read_image

        def problem(path: str) -> str | None:
            try:
                read_image(path)
            except CohortError as error:
                return str(error)
            return None

        paths = [path for record in self.records for path in record_paths(record)]
        with ThreadPoolExecutor(workers) as pool:
            problems = [text for text in pool.map(problem, paths) if text]
        if problems:
            shown = "\n  ".join(problems[:20]) + (f"\n  and {len(problems) - 20} more" if len(problems) > 20 else "")
            raise CohortError(f"{self.root}: {len(problems)} of {len(paths)} image file(s) cannot be read:\n  {shown}")

    def split(
        self,
        fractions: Mapping[str, float] | None = None,
        seed: int = 0,
        file: str | os.PathLike[str] | None = None,
        leave_site_out: str | Sequence[str] | None = None,
    ) -> dict[str, list[Record]]:
        """Divide the records by subject, stratified by the categorical covariates and bands of ten years of age.

        Args:
            fractions: split name to share; by default train 0.7, validation 0.1, test 0.2.
            seed: of the division.
            file: where the division is kept. When it exists it decides, and must list the subjects of this cohort.
            leave_site_out: sites whose subjects are the test split, and nobody else; the others are divided among the
                other splits in proportion to their fractions.

        Returns:
            Split name to records.

        Raises:
            ValueError: when the fractions are no shares of 1, there are too few subjects, or a site is none of the
                cohort's.
            CohortError: when ``file`` does not match the cohort.
        """
        fractions = dict(FRACTIONS if fractions is None else fractions)
        check_fractions(fractions)
        sites = [str(site) for site in _listed(leave_site_out)]
        if file is not None and Path(file).exists():
            members = read_splits(file, self.subjects, list(fractions), seed, self.fingerprint(), sites)
        else:
            fixed = self._folds | subjects_of_sites(self.records, sites)
            members = divide_subjects(
                subject_strata(self.records, self.covariates), fractions, seed, fixed, bool(sites)
            )
            if file is not None:
                about = {"seed": seed, "fractions": fractions, "cohort": self.fingerprint(), "leave_site_out": sites}
                write_splits(file, members, self.split_unit, **about)
        home = {subject: name for name, subjects in members.items() for subject in subjects}
        result = Splits({name: [] for name in fractions})
        for record in self.records:
            result[home[record["subject"]]].append(dict(record))
        return result


def _listed(value: Any) -> list[Any]:
    """Return one thing, several, or None as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
