"""Progress bars that suit a terminal and a log file alike."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

__all__ = ["progress_bar"]


def progress_bar(iterable: Iterable[Any] | None = None, show: bool = True, **kwargs: Any) -> tqdm:
    """Return a ``tqdm`` bar with rate and time left; one line in ten seconds where stderr is no terminal.

    Args:
        iterable: what to go through; None for a bar that is moved by hand.
        show: False for a silent bar.
        kwargs: of ``tqdm``, for example ``total``, ``desc`` and ``unit``.
    """
    return tqdm(iterable, disable=not show, mininterval=0.1 if sys.stderr.isatty() else 10.0, **kwargs)
