"""Writers of small volumes, pictures and tables."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image


def write_volume(path: Path, array: np.ndarray, spacing: Sequence[float] = (1, 1, 1)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array.astype(np.float32), np.diag([*spacing, 1.0])), path)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        table.writeheader()
        table.writerows(rows)


def write_picture(path: Path, value: int = 128, size: tuple[int, int] = (20, 24)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros(size, dtype=np.uint8)
    array[4:-4, 4:-4] = value
    Image.fromarray(array).save(path, quality=95)


def people(count: int) -> list[dict[str, Any]]:
    return [
        {
            "participant_id": f"sub-{i:02d}",
            "Age": 60 + i,
            "Gender": "Female" if i % 2 else "male",
            "Group": "AD" if i % 4 > 1 else "NC",
        }
        for i in range(count)
    ]
