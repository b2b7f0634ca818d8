"""Validation of autoencoders: how well images come back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from ignite.metrics import Metric
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys as Keys
from torch import nn

from medgen.engines.prepare_batch import PrepareConditions
from medgen.handlers.mean_loss import MeanLoss, lower_is_better
from medgen.handlers.reconstruction_metrics import PSNR, SSIM
from medgen.networks.codec import reconstruct
from medgen.precision import Precision

__all__ = ["ReconstructionEvaluator"]


class ReconstructionEvaluator(SupervisedEvaluator):
    """MONAI's ``SupervisedEvaluator`` for autoencoders: nothing is drawn, the posterior's mean is decoded.

    ``engine.state.output`` holds ``image``, ``pred`` and ``sample_loss``, the mean absolute difference of each image;
    its mean, ``val_loss``, is the key metric unless another is given, and ``psnr`` and ``ssim`` stand beside it.

    Args:
        device: where to evaluate.
        val_data_loader: batches with ``image``.
        network: the autoencoder, usually the averaged one, ``ema.ema_model``; never wrapped.
        amp: "auto" = bfloat16 autocast where the hardware has it; true or false to insist. Codecs compute in float32.
        epoch_length: batches; by default the loader's length.
        prepare_batch: picks the image out of a batch.
        non_blocking: of copies to the device.
        key_val_metric: by default ``{"val_loss": MeanLoss()}``.
        additional_metrics: by default ``{"psnr": PSNR(), "ssim": SSIM()}``.
        metric_cmp_fn: which of two metric values is the better; by default the lower.
        val_handlers: attached to this engine.
        to_kwargs: of ``Tensor.to`` in ``prepare_batch``.
    """

    def __init__(
        self,
        device: str | torch.device,
        val_data_loader: Iterable,
        network: nn.Module,
        amp: bool | str = False,
        epoch_length: int | None = None,
        prepare_batch: Callable | None = None,
        non_blocking: bool = True,
        key_val_metric: dict[str, Metric] | None = None,
        additional_metrics: dict[str, Metric] | None = None,
        metric_cmp_fn: Callable[[float, float], bool] = lower_is_better,
        val_handlers: Sequence[Any] | None = None,
        to_kwargs: dict[str, Any] | None = None,
    ) -> None:
        device = torch.device(device)
        super().__init__(
            device=device,
            val_data_loader=val_data_loader,
            network=network.to(device),
            epoch_length=epoch_length,
            non_blocking=non_blocking,
            prepare_batch=PrepareConditions() if prepare_batch is None else prepare_batch,
            key_val_metric={"val_loss": MeanLoss()} if key_val_metric is None else key_val_metric,
            additional_metrics={"psnr": PSNR(), "ssim": SSIM()} if additional_metrics is None else additional_metrics,
            metric_cmp_fn=metric_cmp_fn,
            val_handlers=val_handlers,
            amp=False,
            decollate=False,
            to_kwargs=to_kwargs,
        )
        self.precision = Precision(device, amp)

    def _iteration(self, engine: SupervisedEvaluator, batchdata: Any) -> dict[str, Any]:
        if batchdata is None:
            raise ValueError("batch: the loader gave None")
        image = self.prepare_batch(batchdata, self.state.device, self.non_blocking, **self.to_kwargs)[0]
        with self.mode(self.network), self.precision():
            prediction = reconstruct(self.network, image).float()
        losses = (prediction - image).abs().flatten(1).mean(1)
        self.state.output = {Keys.IMAGE: image, Keys.PRED: prediction, "sample_loss": losses}
        self.fire_event(IterationEvents.FORWARD_COMPLETED)
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return self.state.output
