"""Which perceptual loss that needs no download lets a small autoencoder learn most in the same number of steps.

python benchmarks/perceptual.py [iterations]

Slices of the simulated cohort (216 people, 64 x 64, three planes), an autoencoder of 8, 16 and 32 channels, no
discriminator, one seed. Measured on the validation people: PSNR, SSIM, and the energy of the reconstructions' Laplacian
over that of the images, which is 1 where nothing was blurred.
"""

from __future__ import annotations

import sys
import time

import torch
from monai.networks.nets import AutoencoderKL
from torch import nn

from medgen import Covariates
from medgen.data import BatchAugmentation, BatchLoader, SliceDataset, open_cohort
from medgen.engines import AutoencoderTrainer, ReconstructionEvaluator
from medgen.handlers import EMA
from medgen.losses import AutoencoderLoss, PyramidLoss, RandomFeatureLoss
from medgen.networks.codec import reconstruct

LOSSES = {
    "none": (None, 0.0),
    "pyramid, weight 1": (PyramidLoss(3), 1.0),
    "random features, weight 0.1": (RandomFeatureLoss(2), 0.1),
    "random features, weight 0.4": (RandomFeatureLoss(2), 0.4),
}
RANGES = {"axial": [0.45, 0.6], "coronal": [0.4, 0.55], "sagittal": [0.4, 0.6]}


def slices(data: list, field_of_view: float | None = None) -> SliceDataset:
    """Return the slices that the demo of mri_age_flow takes."""
    return SliceDataset(
        data, image_size=64, plane=list(RANGES), slice_range=RANGES, slices=3, field_of_view=field_of_view
    )


def sharpness(images: torch.Tensor) -> float:
    """Return the energy of the Laplacian."""
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None]
    return float(nn.functional.conv2d(images, kernel).square().mean())


def main(iterations: int = 400) -> None:
    """Train one autoencoder with each loss and print what it learned."""
    covariates = Covariates.from_dict({"age": {"low": 18, "high": 100, "unit": "years"}})
    cohort = open_cohort(dataset_dir="simulated", covariates=covariates, required=["age"], simulated={"subjects": 216})
    splits = cohort.split({"train": 0.6, "validation": 0.1, "test": 0.3}, seed=0)
    train = slices(splits["train"])
    held_out = slices(splits["validation"], train.field_of_view)
    for name, (perceptual, weight) in LOSSES.items():
        torch.manual_seed(0)
        network = AutoencoderKL(
            2, 1, 1, 1, (8, 16, 32), (False,) * 3, 3, 8,
            with_encoder_nonlocal_attn=False, with_decoder_nonlocal_attn=False,
        )  # fmt: skip
        optimizer = torch.optim.Adam(network.parameters(), 2e-3)
        trainer = AutoencoderTrainer(
            "cpu", 1, BatchLoader(train, 16, augment=BatchAugmentation()), network, optimizer,
            AutoencoderLoss(1e-6, perceptual, weight), epoch_length=iterations, ema=EMA(network, 0.99),
            lr_scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations),
        )  # fmt: skip
        began = time.process_time()
        trainer.run()
        seconds = time.process_time() - began
        evaluator = ReconstructionEvaluator("cpu", BatchLoader(held_out, 32, shuffle=False), trainer.inference_network)
        evaluator.run()
        images = held_out.images[::3].float()
        with torch.no_grad():
            kept = sharpness(reconstruct(trainer.inference_network, images)) / sharpness(images)
        found = evaluator.state.metrics
        print(
            f"{name:28s} PSNR {found['psnr']:.2f} dB, SSIM {found['ssim']:.3f}, sharpness {kept:.2f}, {seconds:.0f} s"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
