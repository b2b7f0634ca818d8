"""Hints for a name that is not among the valid ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

__all__ = ["nearest", "one_of"]


def nearest(name: str, candidates: Iterable[str], count: int = 1) -> str:
    """Return `` (nearest: 'x')`` with the candidates spelt most like ``name``, or "" when none is near.

    Candidates may be nested ids (``train::trainer::max_epochs``): both the whole id and its last part are compared.

    Args:
        name: what was found.
        candidates: the valid names.
        count: how many to name at most, of those that are about as near as the nearest.

    Example:
        >>> nearest("diagnosys", ["age", "diagnosis"])
        " (nearest: 'diagnosis')"
    """
    scores: dict[str, float] = {}
    for candidate in candidates:
        pairs = {(name, candidate), (name.rsplit("::", 1)[-1], candidate.rsplit("::", 1)[-1])}
        scores[candidate] = max(difflib.SequenceMatcher(None, a.lower(), b.lower()).ratio() for a, b in pairs)
    best = sorted((item for item in scores if scores[item] >= 0.55), key=lambda item: (-scores[item], len(item)))
    close = [item for item in best if scores[item] >= scores[best[0]] - 0.05][:count]
    return f" (nearest: {', '.join(map(repr, close))})" if close else ""


def one_of(argument: str, value: str, valid: Sequence[str]) -> str:
    """Return ``value`` when it is valid.

    Args:
        argument: the argument's name, for the message.
        value: what was given.
        valid: the names that are accepted.

    Raises:
        ValueError: names the argument, what was found, the nearest valid name and all of them.
    """
    if value in valid:
        return value
    hint = nearest(str(value), valid)
    raise ValueError(f"{argument} is {value!r}, expected one of {', '.join(map(repr, valid))}{hint}")
