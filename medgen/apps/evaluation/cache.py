"""Results of stages on disk, so that an interrupted evaluation goes on where it stopped."""

from __future__ import annotations

import logging
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError  # what torch.load raises of a damaged file
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.files import atomic_write, private_directory

__all__ = ["DAMAGED", "StageCache"]

logger = logging.getLogger(__name__)
Arrays = dict[str, NDArray[Any]]
# what a file that was cut short, or in which a bit was flipped, raises when numpy or torch reads it
DAMAGED = (OSError, ValueError, EOFError, KeyError, RuntimeError, UnpicklingError, zipfile.BadZipFile, zlib.error)


class StageCache:
    """A private folder of results, one file each, named by stage and key.

    Args:
        folder: made with mode 0700: features and classifiers come from participants.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = private_directory(folder)

    def path(self, stage: str, key: str, suffix: str) -> Path:
        """Where the result of a stage stands."""
        return self.folder / f"{stage}-{key}{suffix}"

    def arrays(self, stage: str, key: str, make: Callable[[], Arrays]) -> Arrays:
        """Read the arrays of a stage, or make and keep them; a damaged file is made anew."""
        path = self.path(stage, key, ".npz")
        if path.is_file():
            try:
                with np.load(path, allow_pickle=False) as stored:
                    return {name: stored[name] for name in stored.files}
            except DAMAGED as error:
                logger.warning("%s cannot be read (%s); it is made anew", path, error)
        result = make()
        with atomic_write(path, permissions=0o600) as temporary:
            np.savez(temporary, **result)  # type: ignore[arg-type]
        return result
