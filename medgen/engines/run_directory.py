"""Folders of runs."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from medgen.engines.distributed import from_first_rank, is_first_rank
from medgen.files import private_directory

__all__ = ["checkpoints", "private_folder", "run_directory"]

logger = logging.getLogger(__name__)
_RUN = re.compile(r"run_(\d+)$")
_CHECKPOINT = re.compile(r"checkpoint_(\d+)\.pt$")


def run_directory(root: str | os.PathLike[str], resume: bool = False) -> Path:
    """Return the folder that a run writes to; all processes get the same one.

    Args:
        root: folder of runs, ``run_001``, ``run_002``, ...; made when absent.
        resume: False makes the next folder; True takes the latest one that holds a checkpoint, and makes one (and
            says so) when none does. A trainer continues whatever run its folder holds.

    Raises:
        TypeError: when ``resume`` is not a bool ("false" is a true text).
    """
    if not isinstance(resume, bool):
        raise TypeError(f"resume: expected true or false, found {resume!r}")
    chosen = str(_choose(Path(root), resume)) if is_first_rank() else None
    return Path(str(from_first_rank(chosen)))


def _choose(root: Path, resume: bool) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    runs = sorted((int(match[1]), path) for path in root.iterdir() if (match := _RUN.match(path.name)))
    if resume:
        for _, path in reversed(runs):
            if checkpoints(path):
                logger.info("resuming the run in %s", path)
                return path
        logger.warning("resume: no run in %s holds a checkpoint, so a new one begins", root)
    number = runs[-1][0] + 1 if runs else 1
    while True:
        path = root / f"run_{number:03d}"
        try:
            path.mkdir()
        except FileExistsError:  # another process was faster
            number += 1
            continue
        logger.info("new run in %s", path)
        return path


def checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the ``checkpoint_<iteration>.pt`` files of a folder, oldest first."""
    found = [(int(match[1]), path) for path in Path(folder).glob("*.pt") if (match := _CHECKPOINT.match(path.name))]
    return [path for _, path in sorted(found)]


def private_folder(run_dir: str | os.PathLike[str]) -> Path:
    """Return ``run_dir/private``, made with mode 0700: what shows or names participants goes there."""
    return private_directory(Path(run_dir) / "private")
