"""One code for one process and for many: start with ``torchrun`` and nothing else changes."""

from __future__ import annotations

import inspect
import os
from typing import Any

import ignite.distributed as idist
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["finalize_distributed", "from_first_rank", "is_first_rank", "setup_distributed", "unwrap", "wrap_network"]


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


def unwrap(network: nn.Module) -> nn.Module:
    """Return the network inside ``torch.compile`` and ``DistributedDataParallel``, whose keys have no prefix."""
    while True:
        inner = getattr(network, "_orig_mod", None)
        if inner is None and isinstance(network, (DistributedDataParallel, nn.DataParallel)):
            inner = network.module
        if inner is None:
            return network
        network = inner
