"""The identity of a scan's files: when they change, what was made from them is made anew."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from medgen.files import file_sha256, key_of

__all__ = ["content_key", "source_files", "status_key"]

_PAIRS = {".hdr": ".img", ".img": ".hdr"}


def source_files(image: str | Sequence[str], mask: str | None = None) -> list[Path]:
    """Return every file that a scan is read from: both of an Analyze pair, all in a folder of DICOM, its mask."""
    files: list[Path] = []
    names = [image] if isinstance(image, str) else [*image]
    for path in map(Path, [*names, mask] if mask else names):
        if path.is_dir():
            files += sorted(file for file in path.rglob("*") if file.is_file())
        else:
            files.append(path)
            pair = path.with_suffix(_PAIRS.get(path.suffix.lower(), path.suffix))
            files += [pair] if pair != path and pair.is_file() else []
    return files


def status_key(files: Sequence[Path]) -> str:
    """Hash names, sizes and times of change: read in no time, but another one for a mere copy.

    Raises:
        OSError: when a file cannot be looked at.
    """
    status = [(file, file.stat()) for file in files]
    return key_of([[file.name, found.st_size, found.st_mtime_ns] for file, found in status])


def content_key(files: Sequence[Path]) -> str:
    """Hash what the files hold, in their order.

    Raises:
        OSError: when a file cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        digest.update(bytes.fromhex(file_sha256(file)))
    return digest.hexdigest()
