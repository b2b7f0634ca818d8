"""What the simulated cohort and the simulated download share: arguments, threads, files, and folders made once."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

import nibabel
from filelock import FileLock

from medgen.progress import progress_bar

__all__ = ["GROUND_TRUTH", "TEMPLATE_NOTICE", "cache_dir", "check_request", "in_threads", "make_once", "save_volume"]

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

GROUND_TRUTH = "ground_truth.json"
TEMPLATE_NOTICE = (
    "Anatomy: ICBM 152 nonlinear symmetric 2009a template. Copyright (C) 1993-2009 Louis Collins, McConnell Brain "
    "Imaging Centre, Montreal Neurological Institute, McGill University. Fonov et al., NeuroImage 47 (2009) S102."
)


def cache_dir() -> Path:
    """Return the root of caches: ``MEDGEN_CACHE``, ``XDG_CACHE_HOME/medgen`` or ``~/.cache/medgen``."""
    if own := os.environ.get("MEDGEN_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "medgen"


def check_request(subjects: int, spacing: float | Sequence[float], seed: int) -> tuple[float, float, float]:
    """Check the arguments that all simulated data sets take; returns the voxel size along each axis in mm.

    Raises:
        ValueError: when there are fewer than 2 subjects, a spacing is outside 0.5-8 mm or the seed is negative.
    """
    sizes = tuple(float(s) for s in spacing) if isinstance(spacing, Sequence) else (float(spacing),) * 3
    if isinstance(subjects, bool) or not isinstance(subjects, int) or subjects < 2:
        raise ValueError(f"subjects: expected a whole number of at least 2, found {subjects!r}")
    if len(sizes) != 3 or not all(0.5 <= s <= 8.0 for s in sizes):
        raise ValueError(f"spacing: expected one number or three, in 0.5-8 mm, found {spacing!r}")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed: expected a whole number of at least 0, found {seed!r}")
    return sizes[0], sizes[1], sizes[2]


def in_threads(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int | None = None,
    progress: bool = True,
    description: str = "",
    unit: str = "",
) -> Iterator[tuple[Item, Result]]:
    """Give each item with its result as it comes; when something fails, what has not begun is left.

    Args:
        work: done once for each item.
        items: to work on.
        workers: threads; None is one per available processor.
        progress: show a bar with ``description`` and ``unit``.
        description: of the bar.
        unit: of the bar.
    """
    todo = list(items)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, min(workers or available, len(todo)))
    with (
        ThreadPoolExecutor(threads, thread_name_prefix=description.replace(" ", "-")) as pool,
        progress_bar(show=progress, total=len(todo), desc=description, unit=f" {unit}") as bar,
    ):
        jobs = {pool.submit(work, item): item for item in todo}
        try:
            for job in as_completed(jobs):
                result = job.result()
                bar.update()
                yield jobs[job], result
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def make_once(folder: Path, is_complete: Callable[[Path], bool], write: Callable[[Path], None]) -> Path:
    """Make a folder whole or not at all: written beside its final name and renamed when it is complete.

    Calls at the same time wait for the first. What a killed run left behind, and a folder that someone damaged since,
    are removed.

    Args:
        folder: to make; nothing happens when it is complete.
        is_complete: says whether a folder is whole.
        write: fills the empty folder it is given.

    Returns:
        ``folder``.
    """
    if is_complete(folder):
        return folder
    name = folder.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = folder.parent / f".{name}.lock"
    with FileLock(lock):
        if is_complete(folder):
            return folder
        for leftover in (*folder.parent.glob(f".{name}.part-*"), folder):  # of a run that was killed, or damaged since
            if leftover.exists():
                logger.warning("removing the incomplete folder %s", leftover)
                shutil.rmtree(leftover)
        part = Path(tempfile.mkdtemp(prefix=f".{name}.part-", dir=folder.parent))
        try:
            write(part)
            part.chmod(0o755)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        with contextlib.suppress(OSError):  # whoever waits, or comes, finds the folder complete
            lock.unlink()
    return folder


def save_volume(array: Any, affine: Any, path: Path, space: str) -> None:
    """Write a NIfTI that says it is simulated; missing folders are made.

    Args:
        array: (X, Y, Z).
        affine: (4, 4) voxel to mm (RAS).
        path: ends with ``.nii`` or ``.nii.gz``.
        space: what the affine leads to: "mni" or "scanner".
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    nifti = nibabel.Nifti1Image(array, affine)
    nifti.set_sform(affine, code=space)
    nifti.set_qform(affine, code=space)
    nifti.header.set_xyzt_units("mm")
    nifti.header["descrip"] = b"simulated by medgen"
    nibabel.save(nifti, path)
