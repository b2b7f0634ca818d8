"""Training of autoencoders, whose latents a generative model may work on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from ignite.metrics import Metric
from monai.engines import AdversarialTrainer
from monai.inferers import Inferer
from monai.losses import PatchAdversarialLoss
from monai.utils.enums import AdversarialIterationEvents, AdversarialKeys
from monai.utils.enums import CommonKeys as Keys
from torch import nn
from torch.utils.checkpoint import checkpoint

from medgen.engines.adversary import Adversary
from medgen.engines.distributed import wrap_network
from medgen.engines.events import EVENT_TO_ATTRIBUTE, OptimizerEvents
from medgen.engines.forward_state import ForwardState
from medgen.engines.prepare_batch import PrepareConditions
from medgen.engines.resumable import Resumable
from medgen.engines.step import TrainingStep
from medgen.handlers.ema import EMA
from medgen.handlers.mean_loss import lower_is_better
from medgen.losses import AutoencoderLoss

__all__ = ["AutoencoderTrainer"]


class AutoencoderTrainer(Resumable, AdversarialTrainer):
    """MONAI's ``AdversarialTrainer`` for KL and VQ autoencoders, on medgen's :class:`TrainingStep`, one per network.

    The autoencoder learns ``loss_function`` and, from optimizer step ``adversarial_start`` on, to have its
    reconstructions taken for images by the discriminator, which learns to tell them apart from that step on (Esser et
    al., arXiv 2012.09841; Rombach et al., arXiv 2112.10752): before, its opinion would be of blurred pictures.

    Draws (the posterior's noise, dropout) are a function of (seed, rank, step, micro-batch), and a run whose
    ``run_dir`` holds a checkpoint goes on from the latest whole one: on the CPU with bitwise the weights, of both
    networks, of a run that was never interrupted. A step whose loss or gradient is not finite leaves weights and
    codebook as they were. A discriminator with batch norm sees statistics that differ by process; instance norm does
    not.

    ``engine.state.output`` holds ``image``, ``pred`` (the reconstruction) and ``loss``, and MONAI's ``reals`` and
    ``fakes``; ``engine.terms`` the terms of the loss.

    Args:
        device: where to train; see :func:`medgen.engines.setup_distributed`.
        max_epochs: epochs to run in all, those before a resume included.
        train_data_loader: batches with ``image``; see :class:`medgen.engines.GenerativeTrainer`.
        network: MONAI's ``AutoencoderKL`` or ``VQVAE``, bare.
        optimizer: over ``network.parameters()``.
        loss_function: gives the terms to add up; by default ``AutoencoderLoss()``.
        discriminator: MONAI's ``PatchDiscriminator`` or ``MultiScalePatchDiscriminator``, bare; None for none.
        discriminator_optimizer: over its parameters.
        adversarial_loss: by default MONAI's ``PatchAdversarialLoss`` with least squares.
        adversarial_weight: of the adversarial term.
        adversarial_start: optimizer steps before it begins; None = never.
        epoch_length: iterations (micro-batches) per epoch; by default the loader's length.
        lr_scheduler: PyTorch schedule that counts the autoencoder's completed optimizer steps.
        discriminator_lr_scheduler: the discriminator's.
        ema: average of the autoencoder's weights; None = none.
        accumulation_steps: micro-batches per optimizer step.
        max_grad_norm: limit of either gradient's norm; None = no clipping.
        max_skipped: the run stops after this many steps in a row whose loss or gradient was not finite.
        seed: of all draws.
        amp: "auto" = bfloat16 autocast where the hardware has it; true or false to insist.
        activation_checkpointing: recompute the activations of every block in the backward pass: volumes fit then.
        compile: ``torch.compile`` the autoencoder (pays on GPUs).
        run_dir: folder of the run; None = nothing is kept.
        inferer: how the network is called; by default MONAI's ``SimpleInferer``.
        prepare_batch: picks the image out of a batch.
        non_blocking: of copies to the device.
        key_train_metric: MONAI's metric of training.
        additional_metrics: further ones.
        metric_cmp_fn: which of two metric values is the better; by default the lower.
        train_handlers: attached after the weight average.
        to_kwargs: of ``Tensor.to`` in ``prepare_batch``.

    Attributes:
        terms: the terms of the latest loss by name, weighted; "adversarial" and "discriminator" NaN before they begin.
        adversary: the discriminator and its step (:class:`medgen.engines.adversary.Adversary`), or None.

    Raises:
        ValueError: when an argument is out of range, or the discriminator lacks an optimizer.
    """

    covariates = process = codec = None  # what handlers ask a trainer for

    def __init__(
        self,
        device: str | torch.device,
        max_epochs: int,
        train_data_loader: Iterable,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss_function: Callable[..., dict[str, torch.Tensor]] | None = None,
        discriminator: nn.Module | None = None,
        discriminator_optimizer: torch.optim.Optimizer | None = None,
        adversarial_loss: Callable[..., Any] | None = None,
        adversarial_weight: float = 0.01,
        adversarial_start: int | None = 0,
        epoch_length: int | None = None,
        lr_scheduler: Any = None,
        discriminator_lr_scheduler: Any = None,
        ema: EMA | None = None,
        accumulation_steps: int = 1,
        max_grad_norm: float | None = 1.0,
        max_skipped: int = 20,
        seed: int = 0,
        amp: bool | str = "auto",
        activation_checkpointing: bool = False,
        compile: bool = False,
        run_dir: str | os.PathLike[str] | None = None,
        inferer: Inferer | None = None,
        prepare_batch: Callable | None = None,
        non_blocking: bool = True,
        key_train_metric: dict[str, Metric] | None = None,
        additional_metrics: dict[str, Metric] | None = None,
        metric_cmp_fn: Callable[[float, float], bool] = lower_is_better,
        train_handlers: Sequence[Any] | None = None,
        to_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if (discriminator is None) != (discriminator_optimizer is None):
            raise ValueError("discriminator: expected it and discriminator_optimizer, or neither")
        if adversarial_weight < 0 or (adversarial_start is not None and adversarial_start < 0):
            raise ValueError(
                "expected adversarial_weight and adversarial_start of 0 or more, found "
                f"{adversarial_weight!r} and {adversarial_start!r}"
            )
        device = torch.device(device)
        self._prepare(run_dir, ema)
        self.loss_function = AutoencoderLoss() if loss_function is None else loss_function
        self.adversarial_loss = PatchAdversarialLoss() if adversarial_loss is None else adversarial_loss
        self.adversarial_weight, self.adversarial_start = adversarial_weight, adversarial_start
        self.terms: dict[str, torch.Tensor] = {}
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            g_network=network,
            g_optimizer=optimizer,
            g_loss_function=self.adversarial_loss,
            recon_loss_function=self.loss_function,
            d_network=discriminator,  # type: ignore[arg-type]
            d_optimizer=discriminator_optimizer,  # type: ignore[arg-type]
            d_loss_function=self.adversarial_loss,
            epoch_length=epoch_length,
            non_blocking=non_blocking,
            prepare_batch=PrepareConditions() if prepare_batch is None else prepare_batch,
            g_inferer=inferer,
            key_train_metric=key_train_metric,
            additional_metrics=additional_metrics,
            metric_cmp_fn=metric_cmp_fn,
            train_handlers=[*([] if ema is None else [ema]), *(train_handlers or ())],
            amp=False,  # precision is the step's affair
            event_names=[OptimizerEvents],
            event_to_attr=EVENT_TO_ATTRIBUTE,
            decollate=False,
            to_kwargs=to_kwargs,
        )
        self.optimizer, self.lr_scheduler, self.accumulation_steps = optimizer, lr_scheduler, accumulation_steps
        self._place(network, device, self.loss_function)
        if activation_checkpointing:
            _checkpoint_blocks(self.unwrapped_network)
        options: dict[str, Any] = {
            "accumulation_steps": accumulation_steps, "max_grad_norm": max_grad_norm, "max_skipped": max_skipped,
            "seed": seed, "amp": amp, "random_network": True, "run_dir": run_dir,
        }  # fmt: skip
        wrapped: Any = wrap_network(self.unwrapped_network, device)
        wrapped = torch.compile(wrapped) if compile else wrapped
        self.network: Any = wrapped
        self.step = TrainingStep(wrapped, optimizer, device, lr_scheduler, **options)
        self.adversary: Adversary | None = None
        if discriminator is not None and discriminator_optimizer is not None:
            self.adversary = Adversary(
                discriminator, discriminator_optimizer, self.adversarial_loss, adversarial_weight, adversarial_start,
                device, discriminator_lr_scheduler, **options,
            )  # fmt: skip
        self.state.g_network = self.network
        self.state.d_network = None if self.adversary is None else self.adversary.step.network
        self._before = ForwardState(self.unwrapped_network)
        self.step.publish(self)

    def run_facts(self) -> dict[str, Any]:
        """What must stay the same for a resumed run to be the uninterrupted one."""
        own = {"adversarial_weight": self.adversarial_weight, "adversarial_start": self.adversarial_start}
        return super().run_facts() | own

    def network_state(self) -> dict[str, torch.Tensor]:
        """The network's state at the last completed group; a codebook moves with every micro-batch."""
        return self._before.state_dict(now=self._at_boundary)

    def extra_state(self) -> dict[str, Any]:
        """The discriminator's part of a checkpoint."""
        return {} if self.adversary is None else self.adversary.state_dict(now=self._at_boundary)

    def load_extra_state(self, state: Mapping[str, Any], where: str) -> None:
        """Restore :meth:`extra_state`.

        Raises:
            ValueError: when one of both runs has no discriminator, or another one.
        """
        if (self.adversary is None) != (not state):
            has, had = ("no" if self.adversary is None else "a", "none" if not state else "one")
            raise ValueError(f"{where}: this run has {has} discriminator, the one that wrote the file had {had}")
        if self.adversary is not None:
            self.adversary.load_state_dict(state, where)

    @property
    def _at_boundary(self) -> bool:
        return self.state.iteration % self.accumulation_steps == 0

    def _iteration(self, engine: AdversarialTrainer, batchdata: Any) -> dict[str, Any]:
        if batchdata is None:
            raise ValueError("batch: the loader gave None")
        images = self.prepare_batch(batchdata, self.state.device, self.non_blocking, **self.to_kwargs)[0]
        self.batch_size, *shape = images.shape
        self.image_shape = tuple(shape)
        self.state.output = {Keys.IMAGE: images, Keys.LABEL: images, AdversarialKeys.REALS: images}
        if not self.unwrapped_network.training:
            self.network.train()
        if self.step.place(self.state.iteration)[1] == 0:
            self._before.remember()
            if self.adversary is not None:
                self.adversary.before.remember()
        self._guarded(self.step, batchdata, partial(self._autoencoder_loss, images), self._before)
        if self.adversary is not None and self.adversary.takes_part(self.state.iteration):
            loss = partial(self._discriminator_loss, self.adversary, images)
            self._guarded(self.adversary.step, batchdata, loss, self.adversary.before)
            self.fire_event(AdversarialIterationEvents.DISCRIMINATOR_LOSS_COMPLETED)
        return self.state.output

    def _autoencoder_loss(self, images: torch.Tensor) -> torch.Tensor:
        with self.step.precision():
            output = self.g_inferer(images, self.network)
        output = (output[0].float(), *output[1:])
        self.state.output |= {Keys.PRED: output[0].detach(), AdversarialKeys.FAKES: output[0].detach()}
        self.fire_event(AdversarialIterationEvents.GENERATOR_FORWARD_COMPLETED)
        terms = self.loss_function(output, images)
        if self.adversary is not None and self.adversary.takes_part(self.state.iteration):
            terms["adversarial"] = self.adversary.term(output[0])
            self.fire_event(AdversarialIterationEvents.GENERATOR_DISCRIMINATOR_FORWARD_COMPLETED)
        loss = torch.stack([term.float() for term in terms.values()]).sum()
        later = () if self.adversary is None else ("adversarial", "discriminator")
        terms = dict.fromkeys(later, loss * torch.nan) | terms
        self.terms = {name: term.detach() for name, term in terms.items()}
        self.state.output[Keys.LOSS] = loss.detach()
        self.fire_event(AdversarialIterationEvents.GENERATOR_LOSS_COMPLETED)
        return loss

    def _discriminator_loss(self, adversary: Adversary, images: torch.Tensor) -> torch.Tensor:
        loss, real, fake = adversary.judge(images, self.state.output[AdversarialKeys.FAKES])
        self.state.output |= {
            AdversarialKeys.REAL_LOGITS: real.detach(), AdversarialKeys.FAKE_LOGITS: fake.detach(),
        }  # fmt: skip
        self.terms["discriminator"] = loss.detach()
        return loss

    def _guarded(
        self, step: TrainingStep, batchdata: Any, loss: Callable[[], torch.Tensor], before: ForwardState
    ) -> None:
        """Take a step; one that is skipped takes back what the forward pass changed."""
        skipped = step.skipped
        try:
            step(self, batchdata, loss)
        finally:
            if step.skipped > skipped:
                before.restore()


def _checkpoint_blocks(network: Any) -> None:
    """Let every block of an autoencoder recompute its activations in the backward pass."""
    for half in (network.encoder, network.decoder):
        for block in half.blocks:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
