"""Stateless randomness: every draw is a function of a key, never of how many draws came before it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["generator", "numpy_generator", "seed_from"]


def seed_from(*key: int | str) -> int:
    """Return a 63-bit seed that depends on every element of ``key`` and on their order.

    Args:
        key: integers and strings, for example ``("noise", seed, rank, step)``.

    Returns:
        An integer in [0, 2**63).

    Raises:
        TypeError: when an element is neither an integer nor a string.

    Example:
        >>> seed_from("noise", 0, 1) == seed_from("noise", 0, 1)
        True
        >>> seed_from("noise", 0, 1) == seed_from("noise", 1, 0)
        False
    """
    for element in key:
        if isinstance(element, bool) or not isinstance(element, (int, str)):
            raise TypeError(f"a random key takes int and str, found {type(element).__name__}: {element!r}")
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(*key: int | str) -> torch.Generator:
    """Return a CPU ``torch.Generator`` seeded from ``key`` (see :func:`seed_from`)."""
    import torch

    return torch.Generator().manual_seed(seed_from(*key))


def numpy_generator(*key: int | str) -> np.random.Generator:
    """Return a ``numpy.random.Generator`` (PCG64) seeded from ``key`` (see :func:`seed_from`)."""
    import numpy as np

    return np.random.default_rng(seed_from(*key))
