"""One code for one process and for many: start with ``torchrun`` and nothing else changes."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

import ignite.distributed as idist
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

__all__ = [
    "finalize_distributed",
    "from_first_rank",
    "is_first_rank",
    "setup_distributed",
    "share_rows",
    "unwrap",
    "wrap_network",
]


def setup_distributed(device: str | torch.device | None = None, backend: str | None = None) -> torch.device:
    """Join the process group that ``torchrun`` announces, if it did, and return the device of this process.

    Args:
        device: "cpu", "cuda" or "cuda:1"; by default CUDA where there is one. Under ``torchrun`` a process takes the
            CUDA device of its local rank.
        backend: by default "nccl" on CUDA and "gloo" on the CPU.

    Returns:
        The device to put the network on.

    Raises:
        RuntimeError: when there are fewer CUDA devices than processes on this machine.

    Example:
        >>> setup_distributed("cpu")
        device(type='cpu')
    """
    chosen = (
        torch.device(device) if device is not None else torch.device("cuda" if torch.cuda.is_available() else "cpu")
    )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "LOCAL_RANK" in os.environ:
        local = int(os.environ["LOCAL_RANK"])
        if chosen.type == "cuda":
            if local >= torch.cuda.device_count():
                raise RuntimeError(
                    f"local rank {local} needs a CUDA device of its own, found {torch.cuda.device_count()} devices; "
                    'start fewer processes, or use device="cpu"'
                )
            chosen = torch.device("cuda", local)
            torch.cuda.set_device(chosen)
        if idist.get_world_size() == 1:
            idist.initialize(backend or ("nccl" if chosen.type == "cuda" else "gloo"))
    return chosen


def finalize_distributed() -> None:
    """Leave the process group; nothing happens where there is none."""
    if idist.get_world_size() > 1:
        idist.finalize()


def is_first_rank() -> bool:
    """Whether this process is the one that writes files and talks."""
    return idist.get_rank() == 0


def from_first_rank(text: str | None) -> str | None:
    """Return the first rank's ``text`` in every process."""
    if idist.get_world_size() == 1:
        return text
    return str(idist.broadcast(text or "", src=0, safe_mode=True)) or None


def wrap_network(network: nn.Module, device: torch.device, **kwargs: Any) -> nn.Module:
    """Return ``network`` in ``DistributedDataParallel`` when there are several processes, else as it is.

    Args:
        network: on ``device``; the weights of rank 0 are copied to all.
        device: of this process.
        kwargs: further arguments of ``DistributedDataParallel``, for example ``find_unused_parameters``.
    """
    if idist.get_world_size() == 1:
        return network
    # newer PyTorch renamed the option
    known = inspect.signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options = {buffers: False, "gradient_as_bucket_view": True} | kwargs
    return DistributedDataParallel(network, device_ids=[device.index] if device.type == "cuda" else None, **options)


def share_rows(make: Callable[[list[int]], torch.Tensor], count: int, device: torch.device) -> torch.Tensor:
    """Make the rows of one tensor by all processes together, each an equal part; all of them must call.

    Args:
        make: given row numbers, returns these rows, ``(len(rows), ...)``.
        count: of rows in all. What is left over is filled up with the first rows, so that the parts are of one length.
        device: of this process, through which the parts are exchanged.

    Returns:
        ``(count, ...)`` on the CPU, the same in every process.

    Example:
        >>> share_rows(lambda rows: torch.tensor(rows) ** 2, 4, torch.device("cpu")).tolist()
        [0, 1, 4, 9]
    """
    processes = idist.get_world_size()
    if processes == 1:
        return make(list(range(count))).cpu()
    part = -(-count // processes)
    own = make([(idist.get_rank() * part + i) % count for i in range(part)])
    gathered: Any = idist.all_gather(own.to(device))
    whole: torch.Tensor = gathered[:count].cpu()
    return whole


def unwrap(network: nn.Module) -> nn.Module:
    """Return the network inside ``torch.compile`` and ``DistributedDataParallel``, whose keys have no prefix."""
    while True:
        inner = getattr(network, "_orig_mod", None)
        if inner is None and isinstance(network, (DistributedDataParallel, nn.DataParallel)):
            inner = network.module
        if inner is None:
            return network
        network = inner
