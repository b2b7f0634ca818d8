"""The discriminator that an autoencoder learns against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from medgen.engines.checkpoint import restore_optimizer, restore_schedule
from medgen.engines.distributed import unwrap, wrap_network
from medgen.engines.forward_state import ForwardState
from medgen.engines.step import TrainingStep

__all__ = ["Adversary"]


class Adversary:
    """A discriminator, its optimizer's :class:`TrainingStep`, and when it begins.

    Args:
        discriminator: MONAI's ``PatchDiscriminator`` or ``MultiScalePatchDiscriminator``, bare.
        optimizer: over its parameters.
        loss: ``loss(logits, target_is_real, for_discriminator)``, as MONAI's ``PatchAdversarialLoss``.
        weight: of the term that the autoencoder learns from.
        start: optimizer steps before it takes part; None = never.
        device: where to train.
        lr_scheduler: of its optimizer.
        options: further arguments of its :class:`TrainingStep`.

    Attributes:
        network: the discriminator without wrappers.
        step: its training step.
        before: what its forward pass changes, as it was before the current group of micro-batches.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Callable[..., Any],
        weight: float,
        start: int | None,
        device: torch.device,
        lr_scheduler: Any = None,
        **options: Any,
    ) -> None:
        self.network = unwrap(discriminator).to(device)
        self.step = TrainingStep(
            wrap_network(self.network, device), optimizer, device, lr_scheduler, main=False, **options
        )
        self.before = ForwardState(self.network)
        self._loss, self._weight, self._start = loss, weight, start

    def takes_part(self, iteration: int) -> bool:
        """Whether it does in an iteration (from 1)."""
        if self._start is None or not self._weight:
            return False
        return self.step.place(max(iteration, 1))[0] >= self._start

    def term(self, images: torch.Tensor) -> torch.Tensor:
        """Return what reconstructions ``(B, C, *spatial)`` lose by being recognised; its weights get no gradient."""
        # not through the wrapper, whose hooks would wait for gradients; nor by switching requires_grad off and on
        frozen = {name: parameter.detach() for name, parameter in self.network.named_parameters()}
        with self.step.precision():
            logits = _last_layer(functional_call(self.network, frozen, (images,)))
        return self._weight * self._loss(logits, True, False)

    def judge(self, images: torch.Tensor, fakes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return its own loss, and its logits of images and of reconstructions (of several scales, the last).

        Both go through it together, since a wrapped network takes one forward pass per backward pass.
        """
        with self.step.precision():
            logits = _last_layer(self.step.network(torch.cat((images, fakes.to(images.dtype)))))
        real, fake = ([part.chunk(2)[which] for part in logits] for which in (0, 1))
        return 0.5 * (self._loss(real, True, True) + self._loss(fake, False, True)), real[-1], fake[-1]

    def state_dict(self, now: bool) -> dict[str, Any]:
        """Its part of a checkpoint; see :meth:`ForwardState.state_dict`."""
        schedule = self.step.lr_scheduler
        return {
            "network": self.before.state_dict(now),
            "optimizer": self.step.optimizer.state_dict(),
            "lr_scheduler": None if schedule is None else schedule.state_dict(),
            "step": self.step.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any], where: str) -> None:
        """Restore :meth:`state_dict`; ``where`` is the file, named in errors.

        Raises:
            ValueError: when the state is of another discriminator.
        """
        try:
            self.network.load_state_dict(state["network"])
        except RuntimeError as error:
            raise ValueError(f"{where} is of another discriminator than this run's: {error}") from error
        restore_optimizer(self.step.optimizer, state["optimizer"], where)
        if self.step.lr_scheduler is not None and state["lr_scheduler"] is not None:
            restore_schedule(self.step.lr_scheduler, state["lr_scheduler"], where)
        self.step.load_state_dict(state["step"])


def _last_layer(output: Any) -> list[torch.Tensor]:
    """Return a discriminator's last layer in float32; of one at several scales, that of each."""
    last = output[-1:] if isinstance(output, list) else output[0]
    return [logits.float() for logits in last]
