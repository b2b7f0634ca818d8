"""Unique identifiers: random ones, and ones that are a function of what they name.

All are of the form ``2.25.<UUID as an integer>`` (PS3.5 B.2), which needs no registered root.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid

from pydicom.uid import UID

__all__ = ["IMPLEMENTATION_UID", "hashed_uid", "keyed_uid", "new_uid"]

IMPLEMENTATION_UID = UID("2.25.92766430184475239155061374938126071743")


def new_uid() -> UID:
    """Return a UID that nothing else has, from a random UUID."""
    return UID(f"2.25.{uuid.uuid4().int}")


def hashed_uid(*key: int | str) -> UID:
    """Return the UID that belongs to ``key``: the same for the same key, on any machine.

    Whoever knows the key can work the UID out: for UIDs that must not lead back to others, see :func:`keyed_uid`.

    Example:
        >>> hashed_uid("simulated", 7, "study") == hashed_uid("simulated", 7, "study")
        True
        >>> len(hashed_uid("simulated", 7, "study")) <= 64
        True
    """
    return _from_digest(hashlib.sha256(repr(key).encode()).digest())


def keyed_uid(uid: str, key: bytes) -> UID:
    """Return what ``uid`` becomes under ``key`` (HMAC-SHA-256): consistent, and not to be undone without the key.

    Args:
        uid: the original.
        key: secret, 16 bytes or more.

    Raises:
        ValueError: when the key is shorter.

    Example:
        >>> keyed_uid("1.2.3", b"0123456789abcdef") == keyed_uid("1.2.3", b"0123456789abcdef")
        True
        >>> keyed_uid("1.2.3", b"0123456789abcdef") == keyed_uid("1.2.3", b"another key of 24 bytes.")
        False
    """
    if len(key) < 16:
        raise ValueError(f"key: found {len(key)} bytes, expected 16 or more")
    return _from_digest(hmac.new(key, uid.encode(), hashlib.sha256).digest())


def _from_digest(digest: bytes) -> UID:
    return UID(f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}")
