"""Training of diffusion and flow models."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from ignite.metrics import Metric
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys as Keys
from torch import nn

from medgen.covariates import Covariates
from medgen.engines.condition_dropout import ConditionDropout, Conditions
from medgen.engines.distributed import wrap_network
from medgen.engines.draws import COUPLINGS, couple, training_noise, training_times
from medgen.engines.encoding import encode, image_shape, posterior_generator
from medgen.engines.events import EVENT_TO_ATTRIBUTE, OptimizerEvents
from medgen.engines.prepare_batch import PrepareConditions
from medgen.engines.resumable import Resumable
from medgen.engines.step import TrainingStep
from medgen.handlers.ema import EMA
from medgen.handlers.mean_loss import lower_is_better
from medgen.inferers.denoising import DenoisingInferer
from medgen.processes import GenerativeLoss, Process
from medgen.randomness import generator
from medgen.spelling import one_of

__all__ = ["GenerativeTrainer"]


class GenerativeTrainer(Resumable, SupervisedTrainer):
    """MONAI's ``SupervisedTrainer`` for generative models, on medgen's :class:`TrainingStep`.

    Every draw (times, noise, dropped conditions, the network's dropout) is a function of (seed, rank, step,
    micro-batch), and a run whose ``run_dir`` holds a checkpoint goes on from the latest whole one: on the CPU it ends
    with bitwise the weights of a run that was never interrupted.

    ``engine.state.output`` holds ``image`` (the clean image, or latent), ``pred``, ``loss`` (the mean), ``sample_loss``
    and ``t``, both ``(B,)``. ``engine.state`` gains ``optimizer_steps``, ``skipped``, ``step_loss`` and ``grad_norm``
    (plain numbers of the last optimizer step) and ``ema_momentum``.

    Args:
        device: where to train; see :func:`medgen.engines.setup_distributed`.
        max_epochs: epochs to run in all, those before a resume included.
        train_data_loader: batches with ``image`` and, as they apply, ``covariates``, ``context`` and
            ``condition_image``. Its attribute ``position``, if it has one, is set to the number of micro-batches done
            (:class:`medgen.data.BatchLoader`), which makes a resume exact.
        network: the bare network; it is moved, compiled and wrapped for several processes here.
        optimizer: over ``network.parameters()``.
        process: what noise is and what the network learns.
        loss_function: ``loss(prediction, target, process, t) -> (B,)``; by default the plain mean squared error.
        inferer: by default ``DenoisingInferer(process)``.
        epoch_length: iterations (micro-batches) per epoch; by default the loader's length.
        covariates: the declaration, for handlers and manifest.
        condition_dropout: which conditions to hide from the network; None = none.
        codec: encodes images to latents, drawn from its posterior; None = the process works on pixels. It stays outside
            DDP and optimizer. Batches may bring cached ``moments`` of latents (:class:`medgen.data.LatentDataset`).
        lr_scheduler: PyTorch schedule that counts completed optimizer steps.
        ema: average of the weights, advanced on completed optimizer steps; None = none.
        accumulation_steps: micro-batches per optimizer step.
        max_grad_norm: limit of the gradient's norm; None = no clipping.
        max_skipped: the run stops after this many steps in a row whose loss or gradient was not finite.
        seed: of all draws.
        coupling: "independent", or "optimal_transport"; see :func:`medgen.engines.draws.couple`.
        stratified_times: spread each batch's times evenly; see :func:`medgen.engines.draws.training_times`.
        amp: "auto" = bfloat16 autocast where the hardware has it; true or false to insist.
        compile: ``torch.compile`` the network (pays on GPUs).
        compile_kwargs: arguments of ``torch.compile``.
        channels_last: memory format of weights and images.
        find_unused_parameters: of ``DistributedDataParallel``.
        run_dir: folder of the run, for checkpoints, logs and the private list of skipped samples; None = nothing is
            kept. See :func:`medgen.engines.run_directory`.
        prepare_batch: picks image and conditions out of a batch.
        non_blocking: of copies to the device.
        postprocessing: MONAI transforms of ``engine.state.output``.
        key_train_metric: MONAI's metric of training.
        additional_metrics: further ones.
        metric_cmp_fn: which of two metric values is the better; by default the lower.
        train_handlers: attached after the weight average.
        event_names: further events to register.
        event_to_attr: their counters in ``engine.state``.
        decollate: split ``engine.state.output`` by samples, for MONAI's postprocessing; slow.
        to_kwargs: of ``Tensor.to`` in ``prepare_batch``.

    Attributes:
        ema: the average, or None.
        inference_network: what generates: the averaged network, or the trained one without average; never wrapped.
        unwrapped_network: the trained network, without wrappers.
        step: the :class:`TrainingStep`.
        image_shape: ``(C, *spatial)`` of the training images; None before the first batch.
        batch_size: of the latest batch.
        stateful: handlers by name whose ``state_dict`` belongs into a checkpoint.

    Raises:
        ValueError: when an argument is out of range.
    """

    def __init__(
        self,
        device: str | torch.device,
        max_epochs: int,
        train_data_loader: Iterable,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        process: Process,
        loss_function: Callable[..., torch.Tensor] | None = None,
        inferer: DenoisingInferer | None = None,
        epoch_length: int | None = None,
        covariates: Covariates | None = None,
        condition_dropout: ConditionDropout | None = None,
        codec: Any = None,
        lr_scheduler: Any = None,
        ema: EMA | None = None,
        accumulation_steps: int = 1,
        max_grad_norm: float | None = 1.0,
        max_skipped: int = 20,
        seed: int = 0,
        coupling: str = "independent",
        stratified_times: bool = True,
        amp: bool | str = "auto",
        compile: bool = False,
        compile_kwargs: dict[str, Any] | None = None,
        channels_last: bool = False,
        find_unused_parameters: bool = False,
        run_dir: str | os.PathLike[str] | None = None,
        prepare_batch: Callable | None = None,
        non_blocking: bool = True,
        postprocessing: Any = None,
        key_train_metric: dict[str, Metric] | None = None,
        additional_metrics: dict[str, Metric] | None = None,
        metric_cmp_fn: Callable[[float, float], bool] = lower_is_better,
        train_handlers: Sequence[Any] | None = None,
        event_names: list[Any] | None = None,
        event_to_attr: dict[Any, str] | None = None,
        decollate: bool = False,
        to_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self._prepare(run_dir, ema)
        self.process = process
        self.covariates = covariates
        self.codec = codec
        self.seed = seed
        device = torch.device(device)
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            network=network,
            optimizer=optimizer,
            loss_function=GenerativeLoss() if loss_function is None else loss_function,
            epoch_length=epoch_length,
            non_blocking=non_blocking,
            prepare_batch=PrepareConditions() if prepare_batch is None else prepare_batch,
            inferer=DenoisingInferer(process) if inferer is None else inferer,
            postprocessing=postprocessing,
            key_train_metric=key_train_metric,
            additional_metrics=additional_metrics,
            metric_cmp_fn=metric_cmp_fn,
            train_handlers=[*([] if ema is None else [ema]), *(train_handlers or ())],
            amp=False,  # precision is the step's affair
            event_names=[OptimizerEvents, *(event_names or ())],
            event_to_attr=EVENT_TO_ATTRIBUTE | (event_to_attr or {}),
            decollate=decollate,
            optim_set_to_none=True,
            to_kwargs=to_kwargs,
        )
        self.condition_dropout = condition_dropout
        self.lr_scheduler = lr_scheduler
        self.coupling, self.stratified_times = one_of("coupling", coupling, COUPLINGS), stratified_times
        self.memory_format = _memory_format(network) if channels_last else torch.preserve_format
        self._place(network, device, codec)
        if channels_last:
            for module in (self.unwrapped_network, self.inference_network):
                module.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        if network is self.unwrapped_network:
            network = wrap_network(network, device, find_unused_parameters=find_unused_parameters)
        wrapped: Any = torch.compile(network, **(compile_kwargs or {})) if compile else network
        self.network = wrapped
        self.step = TrainingStep(
            wrapped,
            optimizer,
            device,
            lr_scheduler=lr_scheduler,
            accumulation_steps=accumulation_steps,
            max_grad_norm=max_grad_norm,
            max_skipped=max_skipped,
            seed=seed,
            amp=amp,
            run_dir=run_dir,
        )
        self.accumulation_steps = accumulation_steps
        self.step.publish(self)

    def run_facts(self) -> dict[str, Any]:
        """What must stay the same for a resumed run to be the uninterrupted one."""
        own = {"process": repr(self.process), "coupling": self.coupling, "codec": getattr(self.codec, "sha256", None)}
        return super().run_facts() | own

    def _iteration(self, engine: SupervisedTrainer, batchdata: Any) -> dict[str, Any]:
        if batchdata is None:
            raise ValueError("batch: the loader gave None")
        images, _, _, conditions = self.prepare_batch(batchdata, self.state.device, self.non_blocking, **self.to_kwargs)
        self.batch_size = images.shape[0]
        self.image_shape = image_shape(self.codec, images, batchdata)
        if not self.unwrapped_network.training:
            self.network.train()

        def compute_loss() -> torch.Tensor:
            with torch.no_grad():
                clean = encode(self.codec, images, batchdata, self._posterior())
            if self.memory_format is not torch.preserve_format:
                clean = clean.contiguous(memory_format=self.memory_format)
            noise, t, given = self.draw(clean, Conditions(**conditions))
            self.state.output = {Keys.IMAGE: clean, "t": t}
            self.state.output[Keys.PRED] = self.inferer(clean, self._in_precision, noise=noise, t=t, **given.given())
            self.fire_event(IterationEvents.FORWARD_COMPLETED)
            target = self.process.target(clean, noise, t)
            losses = self.loss_function(self.state.output[Keys.PRED], target, self.process, t)
            self.state.output["sample_loss"] = losses.detach()
            self.state.output[Keys.LOSS] = losses.mean()
            self.fire_event(IterationEvents.LOSS_COMPLETED)
            return self.state.output[Keys.LOSS]

        self.step(self, batchdata, compute_loss)
        for key in (Keys.PRED, Keys.LOSS):
            self.state.output[key] = self.state.output[key].detach()
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return self.state.output

    def draw(self, clean: torch.Tensor, conditions: Conditions) -> tuple[torch.Tensor, torch.Tensor, Conditions]:
        """Draw noise, times ``(B,)`` and the conditions left, of the current micro-batch."""
        key = (self.seed, self.step.rank, *self.step.place(self.state.iteration))
        t = training_times(self.process, clean.shape[0], self.stratified_times, *key)
        t = t.to(clean.device, torch.float32 if clean.device.type == "mps" else t.dtype, non_blocking=True)
        if self.condition_dropout is not None:
            conditions = self.condition_dropout(conditions, generator("conditions", *key))
        return couple(clean, training_noise(clean, *key), self.coupling), t, conditions

    def _posterior(self) -> torch.Generator:
        """What draws the latents of the current micro-batch."""
        key = (self.seed, self.step.rank, *self.step.place(self.state.iteration))
        return posterior_generator(self.state.device, *key)

    def _in_precision(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        with self.step.precision():
            return self.network(*args, **kwargs)


def _memory_format(network: nn.Module) -> torch.memory_format:
    volumetric = any(parameter.ndim == 5 for parameter in network.parameters())
    return torch.channels_last_3d if volumetric else torch.channels_last
