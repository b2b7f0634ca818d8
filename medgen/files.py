"""Write files whole or not at all.

A file is written to a temporary name, flushed to the disk and renamed, so that a reader, or a run killed at the wrong
moment, never meets half of one.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = [
    "atomic_write",
    "file_sha256",
    "key_of",
    "plain",
    "private_directory",
    "remove_leftovers",
    "write_json",
    "write_rows",
    "write_text",
]


@contextmanager
def atomic_write(path: str | os.PathLike[str], permissions: int | None = None) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to; on success flush it to the disk and rename it to ``path``.

    The temporary name ends with the same suffixes, so that writers which look at them (nibabel, PIL) work. After an
    exception ``path`` is untouched and the temporary file is gone.

    Args:
        path: the final file; missing parent folders are made.
        permissions: file mode such as ``0o600``; by default what the process's umask leaves of ``0o666``.

    Example:
        >>> with atomic_write("note.txt") as temporary:
        ...     _ = temporary.write_text("whole or not at all")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    # made with its final mode: a private file must never be readable, not even before it is renamed
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if permissions is None else permissions))
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def private_directory(path: str | os.PathLike[str]) -> Path:
    """Return the folder ``path``, made with mode 0700, or given it where it is there already."""
    folder = Path(path)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)  # from the start: nobody may look in before the mode is set
    folder.chmod(0o700)
    return folder


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove what an :func:`atomic_write` to ``path`` left beside it when its process was killed."""
    path = Path(path)
    own = re.compile(rf"\.\d+-[0-9a-f]{{8}}-{re.escape(path.name)}")
    for file in path.parent.iterdir() if path.parent.is_dir() else ():
        if own.fullmatch(file.name):
            file.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Ask the operating system to put a file (or a folder's entries) on the disk."""
    if path.is_dir() and os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: str | os.PathLike[str], text: str, permissions: int | None = None) -> Path:
    """Write ``text`` (UTF-8) atomically; see :func:`atomic_write`."""
    with atomic_write(path, permissions) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: str | os.PathLike[str], content: Any, permissions: int | None = None) -> Path:
    """Write ``content`` as indented, strict JSON (no NaN) atomically; see :func:`atomic_write`."""
    return write_text(path, json.dumps(content, indent=2, allow_nan=False, default=plain) + "\n", permissions)


def write_rows(
    path: str | os.PathLike[str],
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    permissions: int | None = None,
) -> Path:
    """Write a table with a header atomically, with tabs where the name ends with ``.tsv``, else with commas.

    Args:
        path: the file.
        columns: their names, in order.
        rows: a mapping each; what is absent stays empty, what is no column is left out.
        permissions: see :func:`atomic_write`.
    """
    text = io.StringIO()
    delimiter = "\t" if Path(path).suffix == ".tsv" else ","
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_text(path, text.getvalue(), permissions)


def key_of(*settings: Any) -> str:
    """Return a short hash (16 hexadecimal digits) of anything JSON can hold: the name of what depends on it."""
    text = json.dumps(settings, sort_keys=True, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def plain(value: Any) -> Any:
    """Turn numpy and torch scalars and arrays, paths and the like into what JSON knows."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "to_dict"):
        return value.to_dict()
    return str(value)
