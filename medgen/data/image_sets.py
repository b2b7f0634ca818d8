"""Sets of pictures that are no cohort: CIFAR-10 in its binary layout, each picture a subject with its class."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medgen.covariates import Covariates
from medgen.data.cohort import NOT_STATED, Cohort
from medgen.data.in_memory import ImagesInMemory
from medgen.data.tables import CohortError
from medgen.data.values import UNKNOWN_LABEL

__all__ = ["CIFAR10_CLASSES", "Cifar10", "PictureDataset"]

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SIDE, CHANNELS = 32, 3
ROW = 1 + CHANNELS * SIDE * SIDE  # a label, then red, green and blue, row by row


class Cifar10(Cohort):
    """CIFAR-10's binary files as a cohort: one record a picture, "class" its covariate, and itself its subject.

    Each row of ``data_batch_*.bin`` and ``test_batch.bin`` is a byte for the class and 3,072 for the pixels, red before
    green before blue (Krizhevsky, "Learning multiple layers of features from tiny images", 2009). ``test_batch.bin`` is
    the test split; the other splits share the rest. Of the classes those that the covariates declare are taken.

    Args:
        root: folder of the files, or the one that holds ``cifar-10-batches-bin``.
        covariates: their declaration; "class" lists the wanted classes, and is the only covariate that is known.
        data_terms: the terms of use.

    Raises:
        CohortError: when files are missing or have another size, or no picture is of a declared class.
        ValueError: when no "class" is declared, or one that CIFAR-10 has not.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        covariates: Covariates | Mapping[str, Any],
        data_terms: str | None = None,
    ) -> None:
        self.root = Path(root).expanduser()
        self.covariates = covariates if isinstance(covariates, Covariates) else Covariates.from_dict(covariates)
        if "class" not in self.covariates or not self.covariates.is_categorical("class"):
            raise ValueError(f'covariates: expected a categorical "class", found {self.covariates.names}')
        wanted: tuple[str, ...] = self.covariates["class"]  # type: ignore[assignment]
        if strange := [name for name in wanted if name not in CIFAR10_CLASSES]:
            raise ValueError(f"covariates: CIFAR-10 has no class {strange[0]!r}; its classes are {CIFAR10_CLASSES}")
        inner = self.root / "cifar-10-batches-bin"
        self.folder = inner if inner.is_dir() else self.root
        files = sorted(self.folder.glob("data_batch_*.bin")) + sorted(self.folder.glob("test_batch.bin"))
        if {path.stem.split("_")[0] for path in files} != {"data", "test"}:
            raise CohortError(f"{self.folder}: expected data_batch_1.bin (and on) and test_batch.bin, found {files}")
        others = [name for name in self.covariates.names if name != "class"]
        unknown = {name: UNKNOWN_LABEL if self.covariates.is_categorical(name) else math.nan for name in others}
        self.records = [unknown | record for path in files for record in _records(path, wanted)]
        if not self.records:
            raise CohortError(f"{self.folder}: found no picture of {list(wanted)}")
        self.notices = [f"{name} is unknown for every image: CIFAR-10 has classes only" for name in others]
        self.layout, self.split_unit = "cifar10", "subject"
        self.discards, self.clinical_table = [], None
        self.columns = [{} for _ in self.records]
        self.simulated, self.ground_truth = False, None
        self.data_terms = data_terms or NOT_STATED
        self._folds = {record["subject"]: record["fold"] for record in self.records}

    def fingerprint(self) -> str:
        """16 hex digits of SHA-256 of the files and of what is taken from them."""
        digest = hashlib.sha256(json.dumps(self.covariates.to_dict(), sort_keys=True).encode())
        for path in sorted({record["image"] for record in self.records}):
            digest.update(Path(path).read_bytes())
        return digest.hexdigest()[:16]


def _records(path: Path, wanted: Sequence[str]) -> list[dict[str, Any]]:
    rows = _rows(path)
    fold = "test" if path.stem == "test_batch" else "train"
    labels = [CIFAR10_CLASSES[code] if code < len(CIFAR10_CLASSES) else None for code in rows[:, 0].tolist()]
    if None in labels:
        raise CohortError(f"{path}: row {labels.index(None)} has no class from 0 to {len(CIFAR10_CLASSES) - 1}")
    return [
        {"image": str(path), "row": row, "subject": f"{path.stem}/{row}", "scan": "", "class": label, "fold": fold}
        for row, label in enumerate(labels)
        if label in wanted
    ]


def _rows(path: Path) -> np.ndarray:
    if path.stat().st_size % ROW or not path.stat().st_size:
        raise CohortError(f"{path}: expected rows of {ROW} bytes, found {path.stat().st_size} bytes")
    return np.memmap(path, dtype=np.uint8, mode="r").reshape(-1, ROW)


class PictureDataset(ImagesInMemory):
    """Pictures of :class:`Cifar10` in memory, as they are: 0 becomes -1 and 255 becomes 1.

    Args:
        data: records of a :class:`Cifar10`.
        covariates: the declared covariates.
        like: the data set of another split; pictures have one size, so that nothing is taken from it.

    Raises:
        CohortError: when a file is not what it was.
        ValueError: when there are no records.

    Example:
        >>> cohort = Cifar10("cifar10", Covariates(**{"class": ["automobile", "truck"]}))  # doctest: +SKIP
        >>> PictureDataset(cohort.split()["test"], cohort.covariates).images.shape  # doctest: +SKIP
        torch.Size([2000, 3, 32, 32])
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        covariates: Covariates | Mapping[str, Any] | None = None,
        like: PictureDataset | None = None,
    ) -> None:
        super().__init__(data, None, covariates, CHANNELS, "none", None, False)
        self.pictures, self.pixel_mm = True, None
        places: dict[str, list[int]] = defaultdict(list)
        for place, record in enumerate(data):
            places[record["image"]].append(place)
        images = torch.empty(len(data), CHANNELS, SIDE, SIDE, dtype=torch.float16)
        for path, members in places.items():
            rows = np.array(_rows(Path(path))[[int(data[place]["row"]) for place in members], 1:])
            pixels = torch.from_numpy(rows).reshape(-1, CHANNELS, SIDE, SIDE).float()
            images[torch.tensor(members)] = (pixels / 127.5 - 1.0).half()
        self.fill([images], data, {})
