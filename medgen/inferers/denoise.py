"""Restoring an image to which Gaussian noise of a known amount was added."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from medgen.data.requests import image_seeds
from medgen.inferers.inversion import ImageInferer
from medgen.networks.codec import IdentityCodec
from medgen.processes.process import Process
from medgen.samplers.sampler import Sampler

__all__ = ["Denoise", "time_of_noise"]


def time_of_noise(process: Process, sd: float) -> float:
    """Return the time at which ``sigma / alpha`` is a noise's standard deviation in the units of the clean image.

    Args:
        process: whose time it is.
        sd: standard deviation of the noise in an image in [-1, 1], positive.

    Raises:
        ValueError: for a deviation that is not positive, or above what the process has a time for.

    Example:
        >>> from medgen.processes import RectifiedFlow
        >>> round(time_of_noise(RectifiedFlow(), 0.25), 6)
        0.2
    """
    if isinstance(sd, bool) or not isinstance(sd, (int, float)) or not 0 < sd < math.inf:
        raise ValueError(f"sd: expected a positive standard deviation, in units of images in [-1, 1], found {sd!r}")
    alpha, sigma = float(process.alpha(process.start)), float(process.sigma(process.start))
    t = float(process.time_at(-2 * math.log(sd)))
    if sd * alpha > sigma:
        ratio = sigma / alpha
        raise ValueError(f"sd: found {sd:g}, expected at most {ratio:.4g}, where sampling starts")
    return t


class Denoise(ImageInferer):
    """Restore noisy images: sampling that starts at the time whose noise is theirs.

    An image with white Gaussian noise of standard deviation ``sd`` is, times alpha(t), what the process knows at the
    time t where ``sigma(t) / alpha(t) = sd``; an image that the process itself corrupted is given with its ``t``. Other
    noise (Rician near the background, correlated, of unknown size) is not what the network learned to remove.

    A sample is one of the images that the noisy one could have come from, sharp and with invented detail. With ``mean``
    it is the average of all of them, from one evaluation (Tweedie's formula), which has the lowest squared error and is
    smoother than any.

    Args:
        process: the process the network was trained with; of a pixel model, since noise in an image is none in latents.
        sampler: any solver, stochastic ones included.
        sd: standard deviation of the noise in units of images in [-1, 1]; or
        t: in (0, 1], time of images that the process corrupted.
        mean: return the mean instead of a sample.
        seed: of a stochastic sampler.
        codec: refused unless it leaves the image as it is.
        progress: show a progress bar.

    Raises:
        ValueError: unless exactly one of sd and t is given, or when it is out of range.

    Attributes:
        t: the time that restoring starts from.
        evaluations: network evaluations per image of the latest call.
    """

    def __init__(
        self,
        process: Process,
        sampler: Sampler,
        sd: float | None = None,
        t: float | None = None,
        mean: bool = False,
        seed: int = 0,
        codec: Any = None,
        progress: bool = False,
    ) -> None:
        super().__init__(process, sampler, codec, progress)
        if (sd is None) == (t is None):
            raise ValueError(f"expected one of sd and t, found sd = {sd!r} and t = {t!r}")
        if t is not None and not 0 < t <= process.start:
            raise ValueError(f"t: expected a time in (0, {process.start:g}], found {t!r}")
        if codec is not None and not isinstance(codec, IdentityCodec):
            raise ValueError(
                f"codec: found {type(codec).__name__}; noise in an image is no Gaussian noise in its latents, so only "
                "a pixel model can remove it"
            )
        self.scaled = t is None
        self.t = time_of_noise(process, sd) if sd is not None else float(t or 0.0)
        self.mean, self.seed = mean, seed

    def __call__(  # type: ignore[override]
        self,
        inputs: Tensor,
        network: Any,
        covariates: Tensor | None = None,
        context: Tensor | None = None,
        image: Tensor | None = None,
    ) -> Tensor:
        """Restore.

        Args:
            inputs: ``(N, C, *spatial)`` noisy images.
            network: on the device to compute on.
            covariates: ``(N, K)``, NaN where unknown.
            context: ``(N, L, D)`` text tokens.
            image: ``(N, C', *spatial)`` conditioning images.

        Returns:
            ``(N, C, *spatial)`` float32 on the CPU.
        """
        noisy = inputs.float() * (float(self.process.alpha(self.t)) if self.scaled else 1.0)
        if self.mean:
            rows = {"inputs": noisy, "covariates": covariates, "context": context, "image_condition": image}
            return self.batched(
                network, rows, 1, lambda part, make: make(part.get("covariates"))(part["inputs"], self.t).clean
            )
        samples = self.sampler(
            network,
            self.process,
            tuple(inputs.shape[1:]),
            image_seeds(self.seed, len(inputs)),
            covariates=covariates,
            context=context,
            image=image,
            progress=self.progress,
            start=noisy,
            start_t=self.t,
        )
        self.evaluations = samples.evaluations
        return torch.as_tensor(samples.images)
