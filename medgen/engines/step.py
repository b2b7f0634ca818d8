"""The one training step that every medgen trainer takes."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from monai.engines.utils import IterationEvents
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from medgen.engines.events import OptimizerEvents
from medgen.engines.prepare_batch import batch_names
from medgen.engines.run_directory import private_folder
from medgen.files import plain
from medgen.precision import Precision
from medgen.randomness import seed_from

__all__ = ["NonFiniteError", "TrainingStep"]

logger = logging.getLogger(__name__)


class NonFiniteError(RuntimeError):
    """Training stopped, since loss or gradient was not finite in too many steps one after the other."""


class TrainingStep:
    """Forward, backward and, when a group of micro-batches is complete, one guarded optimizer step.

    Loss and gradient norm of the whole group are examined before the optimizer moves. If either is not finite in any
    process, all processes skip the step: weights, optimizer, schedule and weight average stay as they are. The names of
    the group's samples go to ``run_dir/private/skipped_rank<r>.jsonl`` (mode 0600), never to a log.

    Micro-batches are grouped by the engine's iteration counter, across epochs. A run whose number of iterations is no
    multiple of ``accumulation_steps`` makes no step of the rest.

    Args:
        network: as it is called, possibly wrapped by ``DistributedDataParallel`` or ``torch.compile``.
        optimizer: of the network's parameters.
        device: where the network runs.
        lr_scheduler: PyTorch schedule that counts optimizer steps.
        accumulation_steps: micro-batches per optimizer step; the gradient is their mean.
        max_grad_norm: the gradient's Euclidean norm is clipped to this; None = no clipping.
        max_skipped: after this many skipped steps one after the other the run stops.
        seed: of the network's own randomness (dropout), which is a function of (seed, rank, step, micro-batch).
        amp: see :class:`medgen.engines.Precision`.
        random_network: whether to seed the forward pass; None = when the network has active dropout.
        run_dir: where the private file goes; None = names are not kept.
        main: whether this step is the engine's own: it keeps ``engine.state`` up to date and fires
            :class:`medgen.engines.OptimizerEvents`. A second optimizer's step (a discriminator's) does neither.

    Attributes:
        completed: optimizer steps made.
        skipped: optimizer steps skipped.
        skipped_in_a_row: skipped since the last one made.
        loss: mean loss of the last group over micro-batches and processes.
        grad_norm: gradient norm of the last group, before clipping.

    Raises:
        ValueError: when an argument is out of range, or the optimizer holds none of the network's parameters.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        lr_scheduler: Any = None,
        accumulation_steps: int = 1,
        max_grad_norm: float | None = 1.0,
        max_skipped: int = 20,
        seed: int = 0,
        amp: bool | str = "auto",
        random_network: bool | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        main: bool = True,
    ) -> None:
        for name, value in (("accumulation_steps", accumulation_steps), ("max_skipped", max_skipped)):
            if value < 1:
                raise ValueError(f"{name}: expected 1 or more, found {value!r}")
        if max_grad_norm is not None and not max_grad_norm > 0:
            raise ValueError(
                f"max_grad_norm: expected a number above 0, or null for no clipping, found {max_grad_norm!r}"
            )
        if isinstance(lr_scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            raise ValueError("lr_scheduler: expected a schedule that counts steps, found ReduceLROnPlateau")
        own = {id(p) for p in network.parameters()}
        self.parameters = [p for group in optimizer.param_groups for p in group["params"] if id(p) in own]
        if not self.parameters:
            raise ValueError("optimizer: expected one over the network's parameters, found none of them in it")
        self.network = network
        self.optimizer = optimizer
        self.device = device
        self.lr_scheduler = lr_scheduler
        self.accumulation_steps = accumulation_steps
        self.max_grad_norm = max_grad_norm
        self.max_skipped = max_skipped
        self.seed = seed
        self.precision = Precision(device, amp)
        self.random_network = _has_dropout(network) if random_network is None else random_network
        self.run_dir = None if run_dir is None else Path(run_dir)
        self.main = main
        self.rank, self.world_size = idist.get_rank(), idist.get_world_size()
        self.completed = self.skipped = self.skipped_in_a_row = 0
        self.loss = self.grad_norm = math.nan
        self._loss_sum = torch.zeros((), device=device)
        self._names: list[dict[str, Any]] = []

    def place(self, iteration: int) -> tuple[int, int]:
        """Return (optimizer step, micro-batch within it), both from 0, of the engine's ``iteration`` (from 1)."""
        return divmod(iteration - 1, self.accumulation_steps)

    def boundary(self, iteration: int) -> int:
        """Return the last iteration, up to ``iteration``, that completed a group: weights are of that moment."""
        return iteration - iteration % self.accumulation_steps

    def __call__(self, engine: Any, batchdata: Any, compute_loss: Callable[[], torch.Tensor]) -> None:
        """Train on one micro-batch.

        Args:
            engine: whose ``state.iteration`` counts micro-batches; its ``BACKWARD_COMPLETED`` is fired.
            batchdata: as it came from the loader, to name the samples of a skipped step.
            compute_loss: runs the network and returns the mean loss.

        Raises:
            NonFiniteError: after ``max_skipped`` skipped steps one after the other.
        """
        step, micro = self.place(engine.state.iteration)
        if micro == 0:
            self.optimizer.zero_grad(set_to_none=True)
            self._loss_sum.zero_()
            self._names.clear()
        self._names.append(batch_names(batchdata))
        last = micro == self.accumulation_steps - 1
        with nullcontext() if last else self._no_sync():
            with self._seeded(step, micro):
                loss = compute_loss()
            (loss if self.accumulation_steps == 1 else loss / self.accumulation_steps).backward()
        self._loss_sum += loss.detach()
        if self.main:
            engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if last:
            self._complete(engine)

    def state_dict(self) -> dict[str, int]:
        """Counters of the step."""
        return {"completed": self.completed, "skipped": self.skipped, "skipped_in_a_row": self.skipped_in_a_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore :meth:`state_dict`."""
        self.completed = int(state["completed"])
        self.skipped = int(state["skipped"])
        self.skipped_in_a_row = int(state["skipped_in_a_row"])

    def publish(self, engine: Any) -> None:
        """Copy the counters to ``engine.state``, where handlers and event filters read them."""
        engine.state.optimizer_steps = self.completed
        engine.state.skipped = self.skipped
        engine.state.step_loss = self.loss
        engine.state.grad_norm = self.grad_norm

    def _complete(self, engine: Any) -> None:
        finite = self._measure()
        if finite:
            self.optimizer.step()
            if self.lr_scheduler is not None:
                self.lr_scheduler.step()
            self.completed += 1
            self.skipped_in_a_row = 0
        else:
            self.optimizer.zero_grad(set_to_none=True)
            self.skipped += 1
            self.skipped_in_a_row += 1
            self._report(engine)
        if self.main:
            self.publish(engine)
            events = OptimizerEvents
            engine.fire_event(events.OPTIMIZER_STEP_COMPLETED if finite else events.OPTIMIZER_STEP_SKIPPED)
        if self.skipped_in_a_row >= self.max_skipped:
            raise NonFiniteError(
                f"loss or gradient was not finite in {self.skipped_in_a_row} optimizer steps one after the other, the "
                f"last at iteration {engine.state.iteration}; the weights are those before them. "
                + (f"The samples are named in {self._private_file()}. " if self.run_dir is not None else "")
                + "Look for broken images there, or lower the learning rate"
            )

    def _measure(self) -> bool:
        """Clip, read loss and norm in one transfer from the device, and agree among processes on their finiteness."""
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.max_grad_norm, norm)
        found = torch.stack((self._loss_sum / self.accumulation_steps, norm.to(self._loss_sum)))
        if self.world_size > 1:
            wrong = (~torch.isfinite(found)).any().to(found)
            agreed: Any = idist.all_reduce(torch.stack((found[0] / self.world_size, wrong)), op="SUM")
            found = torch.stack((agreed[0], found[1], agreed[1]))
        self.loss, self.grad_norm, *wrong_ranks = found.tolist()
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm) and not any(wrong_ranks)

    def _report(self, engine: Any) -> None:
        logger.warning(
            "iteration %d: loss %g, gradient norm %g; the optimizer step is skipped (%d in a row, %d in all)",
            engine.state.iteration, self.loss, self.grad_norm, self.skipped_in_a_row, self.skipped,
        )  # fmt: skip
        if self.run_dir is None:
            return
        line = json.dumps(
            {"iteration": engine.state.iteration, "loss": repr(self.loss), "grad_norm": repr(self.grad_norm)}
            | {"samples": self._names},
            default=plain,
        )
        private_folder(self.run_dir)
        descriptor = os.open(self._private_file(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _private_file(self) -> Path:
        return Path(self.run_dir or ".") / "private" / f"skipped_rank{self.rank}.jsonl"

    def _no_sync(self) -> AbstractContextManager:
        network = getattr(self.network, "_orig_mod", self.network)
        return network.no_sync() if isinstance(network, DistributedDataParallel) else nullcontext()

    @contextmanager
    def _seeded(self, step: int, micro: int) -> Iterator[None]:
        if not self.random_network:
            yield
            return
        seed = seed_from("network", self.seed, self.rank, step, micro)
        cuda = [self.device.index or 0] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.random.default_generator.manual_seed(seed)
            if cuda:
                torch.cuda.manual_seed(seed)
            yield


def _has_dropout(network: nn.Module) -> bool:
    """Whether a module of ``network`` drops with a probability above 0, by its type or by the name of its attribute."""
    for module in network.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            return True
        for name in ("dropout", "dropout_p", "dropout_rate", "attn_drop", "drop_prob"):
            value = getattr(module, name, None)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
                return True
    return False
