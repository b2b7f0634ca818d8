"""How well images come back from an autoencoder: MONAI's PSNR and SSIM as metrics of an engine."""

from __future__ import annotations

from typing import Any

import torch
from monai.metrics import PSNRMetric, SSIMMetric

from medgen.handlers.mean_loss import MeanLoss

__all__ = ["PSNR", "SSIM"]


class PSNR(MeanLoss):
    r"""Mean over images of :math:`20 \log_{10}(range / RMSE)`, in decibels, by MONAI's ``PSNRMetric``.

    Args:
        data_range: from the darkest to the brightest possible value; 2 for images in [-1, 1].
    """

    def __init__(self, data_range: float = 2.0) -> None:
        super().__init__("psnr")
        self.data_range = data_range

    def _pick(self, output: Any) -> torch.Tensor:
        metric = PSNRMetric(max_val=self.data_range, reduction="none")
        values: Any = metric(output["pred"].float(), output["image"].float())
        return values.flatten(1).mean(1)


class SSIM(MeanLoss):
    """Mean structural similarity (Wang et al., doi 10.1109/TIP.2003.819861) of images, by MONAI's ``SSIMMetric``.

    Args:
        data_range: from the darkest to the brightest possible value; 2 for images in [-1, 1].
        window: side of the Gaussian window in pixels; that of the image where this is smaller.
    """

    def __init__(self, data_range: float = 2.0, window: int = 7) -> None:
        super().__init__("ssim")
        self.data_range, self.window = data_range, window

    def _pick(self, output: Any) -> torch.Tensor:
        prediction, image = output["pred"].float(), output["image"].float()
        window = min(self.window, *image.shape[2:])
        metric = SSIMMetric(
            image.ndim - 2, data_range=self.data_range, win_size=window - (window + 1) % 2, reduction="none"
        )
        values: Any = metric(prediction, image)
        return values.flatten(1).mean(1)
