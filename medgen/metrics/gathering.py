"""What the processes of a run hold, put together."""

from __future__ import annotations

import hashlib
from typing import Any

import ignite.distributed as idist
import torch
from torch import Tensor

__all__ = ["gathered", "number_of", "summed"]


def gathered(rows: Tensor | None) -> Tensor:
    """Return the rows ``(n, ...)`` of all processes in the order of their ranks.

    Processes may hold different n, or None.
    """
    if idist.get_world_size() == 1:
        return torch.empty(0) if rows is None else rows
    device = idist.device()
    described: Any = idist.all_gather(
        torch.tensor([[-1] * 8 if rows is None else [rows.ndim, *rows.shape, *[0] * (7 - rows.ndim)]], device=device)
    )
    held = [entry for entry in described.tolist() if entry[0] > 0]
    if not held:
        return torch.empty(0)
    trailing = held[0][2 : 1 + held[0][0]]
    most = max(entry[1] for entry in held)
    kind = torch.float64 if rows is None else rows.dtype
    # a process without rows does not know their type, and all must send the same
    kinds: Any = idist.all_gather(torch.tensor([int(kind == torch.float32)], device=device))
    kind = torch.float32 if int(kinds.sum()) else torch.float64
    padded = torch.zeros(most, *trailing, dtype=kind, device=device)
    if rows is not None:
        padded[: len(rows)] = rows.to(device)
    everything: Any = idist.all_gather(padded)
    parts = everything.cpu().split(most)
    return torch.cat([part[: max(entry[1], 0)] for part, entry in zip(parts, described.tolist(), strict=True)])


def number_of(name: str) -> float:
    """A whole number below 2**48, exact in float64, that stands for a name: processes exchange numbers."""
    return float(int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big"))


def summed(value: Tensor) -> Tensor:
    """Return the sum over all processes."""
    if idist.get_world_size() == 1:
        return value
    total: Any = idist.all_reduce(value.to(idist.device()))
    result: Tensor = total.cpu()
    return result
