"""The training loss, per sample."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medgen.processes.process import Process, Time, solver_dtype
from medgen.spelling import one_of

__all__ = ["GenerativeLoss"]


class GenerativeLoss(nn.Module):
    """Distance between prediction and target, one number per sample, with an optional weight by noise level.

    "min_snr" (Hang et al. 2303.09556, eq. 8) weighs the squared error of the CLEAN image with min(SNR, gamma). The
    error of a prediction becomes that of the clean image by ``d clean / d prediction`` squared, so the weight on the
    prediction is ``min(SNR, gamma) / SNR`` for noise, ``min(SNR, gamma)`` for clean, ``min(SNR, gamma) / (SNR + 1)``
    for v, ``min(SNR, gamma) * t²`` for flow, and ``min(SNR, gamma) * c_out²`` for EDM. "none" leaves each process its
    own weight, which for EDM is the paper's lambda(sigma) = 1 / c_out² on the clean image.

    Args:
        kind: "mse", "l1" or "huber".
        weighting: "none" or "min_snr".
        gamma: cap on the signal-to-noise ratio, > 0.
        delta: where "huber" turns from quadratic to linear, > 0.

    Raises:
        ValueError: for an unknown kind or weighting, or a gamma or delta that is not positive.
    """

    def __init__(self, kind: str = "mse", weighting: str = "none", gamma: float = 5.0, delta: float = 1.0) -> None:
        super().__init__()
        self.kind = one_of("kind", kind, ("mse", "l1", "huber"))
        self.weighting = one_of("weighting", weighting, ("none", "min_snr"))
        for name, value in (("gamma", gamma), ("delta", delta)):
            if not value > 0:
                raise ValueError(f"{name} must be positive, found {value!r}")
        self.gamma, self.delta = float(gamma), float(delta)

    def weight(self, process: Process, t: Time) -> Tensor:
        """Return the weight on the prediction's error, float64, of ``t``'s shape, finite at both ends of time."""
        gain = process.relations(t).clean_prediction ** 2
        if self.weighting == "none":
            return torch.ones_like(gain)
        if process.prediction == "noise":
            # gain is 1 / SNR: at t = 0 the product would be gamma * 0, at t = 1 it is 1 without dividing by alpha
            return torch.exp(-process.log_snr(t)).mul(self.gamma).clamp(max=1.0)
        return torch.exp(process.log_snr(t)).clamp(max=self.gamma) * gain

    def forward(self, prediction: Tensor, target: Tensor, process: Process, t: Time) -> Tensor:
        """Return the loss of each sample.

        Args:
            prediction: the network's output, ``(B, C, *spatial)``, any floating dtype.
            target: ``process.target(clean, noise, t)``.
            process: the process that both belong to.
            t: ``(B,)`` tensor or float in [0, 1].

        Returns:
            ``(B,)`` float32 or float64: the mean over channels and pixels, weighted.

        Raises:
            ValueError: when prediction and target differ in shape.
        """
        if prediction.shape != target.shape:
            raise ValueError(f"prediction has shape {tuple(prediction.shape)}, target {tuple(target.shape)}")
        prediction = prediction.to(solver_dtype(prediction.dtype))
        target = target.to(prediction.dtype)
        if self.kind == "mse":
            error = F.mse_loss(prediction, target, reduction="none")
        elif self.kind == "l1":
            error = F.l1_loss(prediction, target, reduction="none")
        else:
            error = F.huber_loss(prediction, target, reduction="none", delta=self.delta)
        per_sample = error.flatten(1).mean(1)
        return per_sample * self.weight(process, t).to(per_sample)
