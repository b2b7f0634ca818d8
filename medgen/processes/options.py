"""One message for a name that is not among the valid ones."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

__all__ = ["one_of"]


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
    near = difflib.get_close_matches(str(value), valid, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{argument} is {value!r}, expected one of {', '.join(map(repr, valid))}{hint}")
