"""Validation of generative models, and generation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ignite.distributed as idist
import torch
from ignite.metrics import Metric
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer
from monai.utils import ForwardMode
from monai.utils.enums import CommonKeys as Keys
from torch import nn

from medgen.engines.distributed import share_rows
from medgen.engines.draws import fixed_noise, fixed_times
from medgen.engines.encoding import encode
from medgen.engines.prepare_batch import PrepareConditions
from medgen.handlers.mean_loss import MeanLoss, lower_is_better
from medgen.inferers.denoising import DenoisingInferer
from medgen.precision import Precision
from medgen.processes import GenerativeLoss, Process

__all__ = ["GenerativeEvaluator"]


class GenerativeEvaluator(SupervisedEvaluator):
    """MONAI's ``SupervisedEvaluator`` for generative models; which of two things it does, its inferer says.

    With a :class:`medgen.inferers.DenoisingInferer` it validates: times and noise are a function of (seed, sample
    index), all conditions are shown, so that two networks, or two moments of one, meet the same task.
    ``engine.state.output`` holds ``image``, ``pred``, ``sample_loss`` and ``t``, and ``val_loss``, the mean over
    samples, is the key metric unless another is given.

    With any other inferer it generates: the inferer is called as ``inferer(seeds, network, **conditions)`` for batches
    of requests (``seed`` (B,), ``covariates`` (B, K), ...), or with the clean image instead of seeds where the batch
    has one, and ``engine.state.output`` holds ``pred``. It does its own autocast. With ``share_batches``, of several
    processes that meet the same batches each generates a part, and all get the whole.

    Args:
        device: where to evaluate.
        val_data_loader: batches of samples, or of requests.
        network: usually the averaged one, ``ema.ema_model``; never wrapped.
        inferer: what to do; by default ``DenoisingInferer(process)``.
        process: by default the inferer's.
        loss_function: ``loss(prediction, target, process, t) -> (B,)``; by default the mean squared error.
        codec: encodes images to latents, their posterior's mean, before validation; None = none.
        seed: of times and noise.
        amp: "auto" = bfloat16 autocast where the hardware has it; true or false to insist.
        epoch_length: batches; by default the loader's length.
        prepare_batch: picks image or seeds, and conditions, out of a batch.
        non_blocking: of copies to the device.
        postprocessing: MONAI transforms of ``engine.state.output``.
        key_val_metric: by default ``{"val_loss": MeanLoss()}`` in validation, none in generation.
        additional_metrics: further ones.
        metric_cmp_fn: which of two metric values is the better; by default the lower.
        val_handlers: attached to this engine.
        mode: "eval" or "train", the network's mode.
        event_names: further events to register.
        event_to_attr: their counters in ``engine.state``.
        decollate: split ``engine.state.output`` by samples, for MONAI's postprocessing.
        to_kwargs: of ``Tensor.to`` in ``prepare_batch``.
        share_batches: generate each batch by all processes together; all must have the same batches.

    Raises:
        ValueError: when there is neither an inferer nor a process.
    """

    def __init__(
        self,
        device: str | torch.device,
        val_data_loader: Iterable,
        network: nn.Module,
        inferer: Inferer | None = None,
        process: Process | None = None,
        loss_function: Callable[..., torch.Tensor] | None = None,
        codec: Any = None,
        seed: int = 0,
        amp: bool | str = "auto",
        epoch_length: int | None = None,
        prepare_batch: Callable | None = None,
        non_blocking: bool = True,
        postprocessing: Any = None,
        key_val_metric: dict[str, Metric] | None = None,
        additional_metrics: dict[str, Metric] | None = None,
        metric_cmp_fn: Callable[[float, float], bool] = lower_is_better,
        val_handlers: Sequence[Any] | None = None,
        mode: ForwardMode | str = ForwardMode.EVAL,
        event_names: list[Any] | None = None,
        event_to_attr: dict[Any, str] | None = None,
        decollate: bool = False,
        to_kwargs: dict[str, Any] | None = None,
        share_batches: bool = False,
    ) -> None:
        if inferer is None:
            if process is None:
                raise ValueError("expected an inferer or a process, found neither")
            inferer = DenoisingInferer(process)
        self.validates = isinstance(inferer, DenoisingInferer)
        if self.validates and key_val_metric is None:
            key_val_metric = {"val_loss": MeanLoss()}
        device = torch.device(device)
        super().__init__(
            device=device,
            val_data_loader=val_data_loader,
            network=network.to(device),
            epoch_length=epoch_length,
            non_blocking=non_blocking,
            prepare_batch=PrepareConditions() if prepare_batch is None else prepare_batch,
            inferer=inferer,
            postprocessing=postprocessing,
            key_val_metric=key_val_metric,
            additional_metrics=additional_metrics,
            metric_cmp_fn=metric_cmp_fn,
            val_handlers=val_handlers,
            amp=False,
            mode=mode,
            event_names=event_names,
            event_to_attr=event_to_attr,
            decollate=decollate,
            to_kwargs=to_kwargs,
        )
        self.process: Any = process if process is not None else getattr(inferer, "process", None)
        self.loss_function = GenerativeLoss() if loss_function is None else loss_function
        self.codec = codec
        self.seed = seed
        self.share_batches = share_batches
        self.precision = Precision(device, amp)

    def _iteration(self, engine: SupervisedEvaluator, batchdata: Any) -> dict[str, Any]:
        if batchdata is None:
            raise ValueError("batch: the loader gave None")
        inputs, _, args, conditions = self.prepare_batch(
            batchdata, self.state.device, self.non_blocking, **self.to_kwargs
        )
        self.state.output = {}
        with self.mode(self.network):
            if self.validates:
                self._validate(batchdata, inputs, conditions)
            else:
                self.state.output[Keys.PRED] = self._generate(inputs, *args, **conditions)
        self.fire_event(IterationEvents.FORWARD_COMPLETED)
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return self.state.output

    def _generate(self, inputs: Any, *args: Any, **conditions: Any) -> torch.Tensor:
        if not self.share_batches:
            images: torch.Tensor = self.inferer(inputs, self.network, *args, **conditions)
            return images

        def make(rows: list[int]) -> torch.Tensor:
            mine: Any = inputs[rows] if isinstance(inputs, torch.Tensor) else [inputs[row] for row in rows]
            given = {name: value[rows] for name, value in conditions.items()}
            part: torch.Tensor = self.inferer(mine, self.network, *args, **given)
            return part

        return share_rows(make, len(inputs), self.state.device)

    def _validate(self, batchdata: Any, images: torch.Tensor, conditions: dict[str, torch.Tensor]) -> None:
        clean = encode(self.codec, images, batchdata)
        indices = self._indices(batchdata, clean.shape[0])
        noise = fixed_noise(clean.shape[1:], indices, self.seed).to(clean)
        t = fixed_times(self.process, indices, self.seed)
        t = t.to(clean.device, torch.float32 if clean.device.type == "mps" else t.dtype)
        prediction = self.inferer(clean, self._in_precision, noise=noise, t=t, **conditions)
        losses = self.loss_function(prediction, self.process.target(clean, noise, t), self.process, t)
        self.state.output |= {Keys.IMAGE: clean, Keys.PRED: prediction, "sample_loss": losses, "t": t}

    def _indices(self, batchdata: Any, count: int) -> list[int]:
        if "index" in batchdata:
            return [int(i) for i in batchdata["index"]]
        first = ((self.state.iteration - 1) * idist.get_world_size() + idist.get_rank()) * count
        return list(range(first, first + count))

    def _in_precision(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        with self.precision():
            return self.network(*args, **kwargs)
