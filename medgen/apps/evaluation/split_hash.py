"""A hash of who is in which split that tells equal splits apart from others, and nobody who was in them."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from medgen.data.simulated_writing import cache_dir
from medgen.files import private_directory

__all__ = ["split_hash", "split_secret"]

logger = logging.getLogger("medgen.evaluation")
FOLDER, LENGTH = "split_secret", 32  # of the key, bytes


def split_hash(subjects: Mapping[str, Sequence[str]], simulated: bool, secret: bytes | None = None) -> str:
    """Hash the subjects of each split (16 hexadecimal digits), in whatever order.

    A plain hash of names can be tried out: whoever has the cohort could confirm a guess of who took part. So it is
    keyed (HMAC, RFC 2104) by a secret of this computer's user, and only hashes of one secret can be compared. People of
    a simulated cohort do not exist: their hash has no key, and is the same everywhere.

    Args:
        subjects: by split.
        simulated: whether the people are invented.
        secret: the key; None takes :func:`split_secret`.
    """
    text = json.dumps({split: sorted(set(names)) for split, names in subjects.items()}, sort_keys=True).encode()
    if simulated:
        return hashlib.sha256(text).hexdigest()[:16]
    key = split_secret() if secret is None else secret
    return hmac.new(key, text, hashlib.sha256).hexdigest()[:16]


def split_secret(folder: str | os.PathLike[str] | None = None) -> bytes:
    """The key of this computer's user: made at random once, and kept (mode 0600) in medgen's folder of caches.

    Where it cannot be kept, a new one is made each time, and no two hashes can be compared.

    Args:
        folder: None takes the one of caches, see ``MEDGEN_CACHE``.
    """
    made = secrets.token_bytes(LENGTH)
    try:
        path = private_directory(cache_dir() / FOLDER if folder is None else Path(folder)) / "key"
        temporary = path.with_name(f".key-{secrets.token_hex(4)}")
        try:
            if not path.exists():
                with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                    file.write(made)
                os.link(temporary, path)  # whole, and whoever comes first
        except FileExistsError:
            pass
        finally:
            temporary.unlink(missing_ok=True)
        kept = path.read_bytes()
        if len(kept) == LENGTH:
            return kept
        raise OSError(f"{path}: expected {LENGTH} bytes, found {len(kept)}; remove it to have a new one made")
    except OSError as error:
        logger.warning("the hash of who is in which split cannot be compared with others: %s", error)
        return made
