"""The whole state of a training run, enough to go on as if nothing had happened."""

from __future__ import annotations

import inspect
import logging
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from medgen import __version__
from medgen.engines.run_directory import checkpoints
from medgen.files import atomic_write

if TYPE_CHECKING:
    from medgen.engines.resumable import Resumable

__all__ = [
    "capture",
    "latest_checkpoint",
    "non_finite_names",
    "read_checkpoint",
    "restore",
    "restore_optimizer",
    "restore_schedule",
    "write_checkpoint",
]

logger = logging.getLogger(__name__)
_FORMAT = 1
_REQUIRED = ("format", "iteration", "network", "optimizer", "lr_scheduler", "ema", "step", "run", "handlers")


def capture(trainer: Resumable) -> dict[str, Any]:
    """Return the state of ``trainer`` as tensors and plain values.

    The iteration recorded is that of the last complete group of micro-batches, since the weights are of that moment:
    a resumed run repeats the micro-batches after it, and draws the same noise for them.
    """
    iteration = trainer.step.boundary(trainer.state.iteration)
    return {
        "format": _FORMAT,
        "medgen": __version__,
        "iteration": iteration,
        "loader_position": iteration,
        "network": trainer.network_state(),
        "optimizer": trainer.optimizer.state_dict(),
        "lr_scheduler": None if trainer.lr_scheduler is None else trainer.lr_scheduler.state_dict(),
        "ema": None if trainer.ema is None else trainer.ema.state_dict(),
        "step": trainer.step.state_dict(),
        "run": trainer.run_facts(),
        "handlers": {name: handler.state_dict() for name, handler in trainer.stateful.items()},
        "extra": trainer.extra_state(),
    }


def restore(trainer: Resumable, state: Mapping[str, Any], where: str = "checkpoint") -> None:
    """Put ``state``, from :func:`capture`, into ``trainer``.

    Args:
        trainer: built as the one that wrote the state.
        state: of :func:`capture`.
        where: the file, named in errors.

    Raises:
        ValueError: when the trainer has another network, or a weight average or schedule where the state has none.
    """
    for name, part in (("ema", trainer.ema), ("lr_scheduler", trainer.lr_scheduler)):
        if (part is None) != (state[name] is None):
            has, had = ("no" if part is None else "an", "none" if state[name] is None else "one")
            raise ValueError(f"{where}: this run has {has} {name}, the one that wrote the file had {had}")
    for name, value in trainer.run_facts().items():
        if name in state["run"] and state["run"][name] != value:
            logger.warning(
                "%s was written with %s=%r, this run has %r: it goes on, but not as the uninterrupted run would",
                where, name, state["run"][name], value,
            )  # fmt: skip
    try:
        trainer.unwrapped_network.load_state_dict(state["network"])
    except RuntimeError as error:
        raise ValueError(f"{where} is of another network than this run's: {error}") from error
    restore_optimizer(trainer.optimizer, state["optimizer"], where)
    if trainer.lr_scheduler is not None:
        restore_schedule(trainer.lr_scheduler, state["lr_scheduler"], where)
    if trainer.ema is not None:
        trainer.ema.load_state_dict(state["ema"])
    trainer.load_extra_state(state.get("extra") or {}, where)
    trainer.step.load_state_dict(state["step"])
    trainer.step.publish(trainer)
    for name, handler in trainer.stateful.items():
        if name in state["handlers"]:
            handler.load_state_dict(state["handlers"][name])
    trainer.state.iteration = int(state["iteration"])
    length = trainer.state.epoch_length
    trainer.state.epoch = trainer.state.iteration // length if length else 0


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any], where: str) -> None:
    """Put ``state`` into ``optimizer``, and say so where the run had another learning rate."""
    rates = _rates(optimizer)
    optimizer.load_state_dict(dict(state))
    if _rates(optimizer) != rates:
        kept = _rates(optimizer)
        logger.warning("%s: goes on with its learning rate %s, that of this run, %s, is not used", where, kept, rates)


def _rates(optimizer: torch.optim.Optimizer) -> list[float]:
    """Return the learning rates as they were set, before any schedule changed them."""
    return [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]


def restore_schedule(schedule: Any, state: Mapping[str, Any], where: str) -> None:
    """Put ``state`` into ``schedule``, but let a schedule in closed form keep what it was made with.

    A longer run's cosine would otherwise turn at the end of the shorter one, and the learning rate rise again.
    """
    arguments = set(inspect.signature(type(schedule)).parameters) - {"optimizer", "last_epoch"}
    own = {name: value for name, value in vars(schedule).items() if name in arguments and name in state}
    schedule.load_state_dict(dict(state))
    if not isinstance(schedule, torch.optim.lr_scheduler.LambdaLR):
        return
    for name, value in own.items():
        if name != "lr_lambda" and state[name] != value:
            logger.warning("%s: its schedule had %s=%r, this run goes on with %r", where, name, state[name], value)
            setattr(schedule, name, value)


def write_checkpoint(trainer: Resumable, folder: str | os.PathLike[str]) -> Path:
    """Write ``checkpoint_<iteration>.pt`` whole or not at all, and return its path."""
    state = capture(trainer)
    path = Path(folder) / f"checkpoint_{state['iteration']:08d}.pt"
    with atomic_write(path) as temporary:
        torch.save(state, temporary)
    return path


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint onto the CPU and check that it is whole.

    Raises:
        ValueError: when it is truncated, damaged or no checkpoint of medgen.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"{path} is damaged: its part {damaged} does not match its checksum")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is truncated or damaged: {error}") from error
    missing = [name for name in _REQUIRED if not isinstance(state, Mapping) or name not in state]
    if missing or state["format"] != _FORMAT:
        raise ValueError(f"{path} is no checkpoint of this version of medgen: it lacks {missing or 'the right format'}")
    return dict(state)


def latest_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """Return the newest whole checkpoint of ``folder``; newer ones that are damaged are passed over with a warning."""
    for path in reversed(checkpoints(folder)):
        try:
            read_checkpoint(path)
        except ValueError as error:
            logger.warning("%s; trying the one before it", error)
        else:
            return path
    return None


def non_finite_names(network: nn.Module) -> list[str]:
    """Return the names of parameters and buffers that hold NaN or infinity (one transfer from the device)."""
    named = [(name, value) for name, value in network.state_dict().items() if value.is_floating_point()]
    if not named:
        return []
    finite = torch.stack([torch.isfinite(value).all() for _, value in named]).tolist()
    return [name for (name, _), fine in zip(named, finite, strict=True) if not fine]
