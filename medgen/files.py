"""Write files whole or not at all.

A file is written to a temporary name, flushed to the disk and renamed, so that a reader, or a run killed at the wrong
moment, never meets half of one.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["atomic_write", "file_sha256", "plain", "write_json", "write_text"]


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
