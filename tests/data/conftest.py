"""Small cohorts in every layout, written where each test may change them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cohort_files import people, write_picture, write_rows, write_volume

from medgen.covariates import Covariates, Range
from medgen.data import simulated_cohort
from medgen.data.simulated_download import simulated_download


@pytest.fixture(scope="session")
def small_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen simulated subjects at 4 mm; read only."""
    return simulated_cohort(tmp_path_factory.mktemp("cohorts"), subjects=16, spacing=4.0, progress=False)


@pytest.fixture
def covariates() -> Covariates:
    return Covariates(
        diagnosis=["NC", "AD"], age=Range(18, 100, "years"), sex=["F", "M"], slice=Range(0, 1, "fraction")
    )


@pytest.fixture
def bids(tmp_path: Path) -> Callable[..., Path]:
    """Write a BIDS folder of small volumes with a bright box."""

    def write(
        count: int = 8, suffixes: Sequence[str] = ("T1w",), sessions: Sequence[str] = (), rows: Any = None
    ) -> Path:
        root = tmp_path / "bids"
        table = people(count) if rows is None else rows
        write_rows(root / "participants.tsv", table)
        for k, row in enumerate(table):
            subject = row["participant_id"]
            for session in sessions or [""]:
                for suffix in suffixes:
                    volume = np.zeros((12, 14, 10))
                    volume[2:-2, 2:-2, 2:-2] = 50 + k + 100 * suffixes.index(suffix)
                    name = "_".join(filter(None, [subject, session, suffix]))
                    write_volume(root / subject / session / "anat" / f"{name}.nii.gz", volume)
        return root

    return write


@pytest.fixture
def slice_folders(tmp_path: Path) -> Callable[..., Path]:
    """Write class folders; ``names`` maps a folder below AD_NC to subject (or image) names."""

    def write(names: Mapping[str, Sequence[str]] | None = None, slices: Sequence[int] = (3, 4, 5, 7)) -> Path:
        root = tmp_path / "slices"
        for folder, members in (names or {"AD": ["dem1", "dem2"], "NC": ["con1", "con2", "con3"]}).items():
            for member in members:
                for k in slices:
                    write_picture(root / "AD_NC" / folder / f"{member}_{k}.jpeg", 60 + 10 * k)
        return root

    return write


@pytest.fixture(scope="session")
def small_download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated ADNI download of twelve subjects at 8 mm; read only."""
    return simulated_download(tmp_path_factory.mktemp("downloads") / "adni", subjects=12, spacing=8.0, progress=False)
