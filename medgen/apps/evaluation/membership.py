"""Does the model know its training images better than others? A membership test by denoising loss."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen.apps.evaluation.cache import StageCache
from medgen.apps.evaluation.figures import figure_of
from medgen.apps.evaluation.real import RealImages, draw_profiles
from medgen.engines.draws import fixed_noise, fixed_times
from medgen.files import key_of
from medgen.inferers.denoising import DenoisingInferer
from medgen.metrics import SubjectResampler
from medgen.metrics.roc import roc_auc_replicates, subject_means
from medgen.precision import Precision
from medgen.processes import GenerativeLoss
from medgen.samplers.network import device_of, sampling_mode

__all__ = ["denoising_losses", "membership"]

logger = logging.getLogger("medgen.evaluation")
Array = NDArray[np.float64]


def denoising_losses(
    network: Any,
    process: Any,
    images: Tensor,
    covariates: Tensor,
    draws: int = 8,
    codec: Any = None,
    seed: int = 0,
    amp: bool | str = False,
    batch_size: int = 32,
) -> Array:
    """Loss of each image at several noise levels, the same for all images, with the same noise.

    Args:
        network: trained.
        process: the process it was trained with.
        images: ``(N, C, *spatial)`` in [-1, 1].
        covariates: ``(N, K)``, all shown to the network.
        draws: noise levels D, spread over those of training as in validation.
        codec: encodes images to latents, their posterior's mean; None for pixel models.
        seed: of levels and noise.
        amp: see :class:`medgen.precision.Precision`.
        batch_size: images at once.

    Returns:
        ``(N, D)``.
    """
    device = device_of(network)
    inferer, loss, precision = DenoisingInferer(process), GenerativeLoss(), Precision(device, amp)
    times = fixed_times(process, range(draws), seed)
    noise: Tensor | None = None
    rows = []

    def run(*args: Any, **kwargs: Any) -> Tensor:
        with precision():
            return network(*args, **kwargs)

    with sampling_mode(network):
        for part, known in zip(images.split(batch_size), covariates.split(batch_size), strict=True):
            clean = part.to(device, torch.float32)
            clean = clean if codec is None else codec.encode(clean)
            noise = fixed_noise(clean.shape[1:], range(draws), seed).to(clean) if noise is None else noise
            columns = []
            for draw in range(draws):
                t = times[draw].expand(len(clean)).to(device, torch.float32)
                drawn = noise[draw].expand_as(clean)
                predicted = inferer(clean, run, noise=drawn, t=t, covariates=known.to(device))
                columns.append(loss(predicted, process.target(clean, drawn, t), process, t))
            rows.append(torch.stack(columns, dim=1).cpu().double())
    found: Array = torch.cat(rows).numpy()
    return found


def membership(
    network: Any,
    process: Any,
    train: RealImages,
    test: RealImages,
    groups: Sequence[Array],
    resampler: SubjectResampler,
    cache: StageCache,
    model_hash: str,
    images: int = 128,
    codec: Any = None,
    seed: int = 0,
    amp: bool | str = False,
) -> dict[str, Any]:
    """Tell training images from held-out ones by the model's loss (Carlini et al. 2301.13188, section 5.1).

    The logarithm of each image's loss, less the mean over all images of its group at that noise level, is averaged over
    levels; how well its negative tells training from held-out images is an AUC. 0.5 means that the model denoises
    people it was trained on no better than others. This is the simplest of such attacks: stronger ones, with models
    trained on other subsets, tell more.

    Args:
        network: trained.
        process: the process it was trained with.
        train: training images.
        test: held-out images.
        groups: of each training and each held-out image, such as its plane.
        resampler: draws of subjects.
        cache: where losses are kept.
        model_hash: of the weights.
        images: of each side, from as many subjects as there are.
        codec: of a latent model.
        seed: of the choice, and of noise.
        amp: see :class:`medgen.precision.Precision`.

    Returns:
        "images" and "subjects" of each side; "auc" of images and "auc_subject" of subjects' means, by drawing subjects;
        "loss_ratio", geometric mean loss of training over held-out images.
    """
    losses, subjects, group = [], [], []
    for real, codes in zip((train, test), groups, strict=True):
        chosen = draw_profiles(real.subjects, min(images, len(real.subjects)), seed)
        part = real.subset(chosen)
        key = key_of(model_hash, part.digest(), process.to_dict() if hasattr(process, "to_dict") else repr(process),
                     getattr(codec, "sha256", None), seed, str(amp))  # fmt: skip
        logger.info("membership: losses of %d images", len(chosen))

        def make(part: RealImages = part) -> dict[str, Array]:
            found = denoising_losses(network, process, part.images, part.covariates, codec=codec, seed=seed, amp=amp)
            return {"losses": found}

        losses.append(cache.arrays("membership", key, make)["losses"])
        subjects.append(part.subjects)
        group.append(codes[chosen])
    inside = np.repeat([True, False], [len(one) for one in losses])
    values, codes = np.log(np.concatenate(losses).clip(min=1e-12)), np.concatenate(group)
    names = [name for side in subjects for name in side]
    for code in np.unique(codes):
        values[codes == code] -= values[codes == code].mean(0)
    score = values.mean(1)
    weights = np.concatenate([np.ones((1, len(names))), resampler.weights(names)])
    people, means = subject_means(score, names)
    member = np.isin(people, subjects[0])
    by_subject = np.concatenate([np.ones((1, len(people))), resampler.weights(people)])
    shares = [(weights * side * score).sum(1) / (weights * side).sum(1) for side in (inside, ~inside)]
    return {
        "images": {"train": len(subjects[0]), "held_out": len(subjects[1])},
        "subjects": {"train": len(set(subjects[0])), "held_out": len(set(subjects[1]))},
        "auc": figure_of(roc_auc_replicates(inside, -score, weights)),
        "auc_subject": figure_of(roc_auc_replicates(member, -means, by_subject)),
        "loss_ratio": figure_of(np.exp(shares[0] - shares[1])),
    }
