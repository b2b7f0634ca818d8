"""Names that stand for a patient, a study or a site, and do not lead back to one without a secret key."""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from filelock import FileLock

from medgen.files import write_text

__all__ = ["KEY_VARIABLE", "keyed_name", "secret_key"]

KEY_VARIABLE = "MEDGEN_PATIENT_KEY"
_LEAST_BYTES = 16


def secret_key() -> bytes:
    """Return the key of this user, the same in every run.

    It is the text of the environment variable ``MEDGEN_PATIENT_KEY`` (16 characters or more; set it where several
    machines must give a patient the same name), or else a random one, made at first use and kept readable to this
    user only as ``patient-key`` in :func:`medgen.data.cache_dir`.

    Raises:
        ValueError: when the variable's text, or the file, is too short.
    """
    if given := os.environ.get(KEY_VARIABLE):
        if len(given.encode()) < _LEAST_BYTES:
            raise ValueError(
                f"the environment variable {KEY_VARIABLE} has {len(given)} characters, expected {_LEAST_BYTES} or more"
            )
        return given.encode()
    from medgen.data.simulated import cache_dir  # here, since medgen.data imports medgen.dicom

    return _kept_key(cache_dir() / "patient-key")


@functools.cache
def _kept_key(path: Path) -> bytes:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):  # two processes at once must end with one key
            if not path.exists():
                write_text(path, secrets.token_hex(32), permissions=0o600)
    except OSError as error:
        raise ValueError(
            f"{path}: the key for patients' names cannot be kept there ({error}); set {KEY_VARIABLE}"
        ) from error
    key = path.read_bytes().strip()
    if len(key) < _LEAST_BYTES:
        raise ValueError(f"{path}: found a key of {len(key)} bytes, expected {_LEAST_BYTES} or more; delete the file")
    return key


def keyed_name(prefix: str, value: str, key: bytes | None = None, length: int = 12) -> str:
    """Return ``prefix-`` and hexadecimal digits that stand for ``value`` (HMAC-SHA-256 under a secret key).

    Without the key the value cannot be guessed by trying, as it could from a plain hash of a short ID.

    Args:
        prefix: what the value is of, for example "patient"; part of what is hashed.
        value: the original.
        key: None for :func:`secret_key`.
        length: number of digits; 12 of them clash once in 10^5 for 75,000 patients.

    Example:
        >>> keyed_name("patient", "123-45", key=b"0123456789abcdef")
        'patient-9df281c23016'
    """
    digest = hmac.new(secret_key() if key is None else key, f"{prefix}\0{value}".encode(), hashlib.sha256)
    return f"{prefix}-{digest.hexdigest()[:length]}"
