"""Autoencoders that train in a second, with everything random that a real run has."""

from __future__ import annotations

import torch
from monai.networks.nets import VQVAE, AutoencoderKL, PatchDiscriminator
from toy import snapshot, toy_loader

from medgen.engines import AutoencoderTrainer
from medgen.handlers import EMA, CheckpointHandler
from medgen.losses import AutoencoderLoss, PyramidLoss

KINDS = ("kl", "vq")


def toy_autoencoder(kind="kl", seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "kl":
            return AutoencoderKL(
                2, 1, 1, 1, (4, 8), (False, False), 2, 4,
                with_encoder_nonlocal_attn=False, with_decoder_nonlocal_attn=False,
            )  # fmt: skip
        return VQVAE(
            2, 1, 1, (4,), 1, (4,), (2, 4, 1, 1), (2, 4, 1, 1, 0), num_embeddings=8, embedding_dim=2, dropout=0.1
        )


def toy_discriminator(seed=0, norm="INSTANCE"):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return PatchDiscriminator(2, 4, 1, num_layers_d=1, kernel_size=3, norm=norm)


def toy_autoencoder_trainer(
    run_dir=None, kind="kl", epochs=2, handlers=(), interval=5, norm="INSTANCE", judged=True, **changes
):
    """A trainer with a discriminator that begins late, accumulation, average, schedules and checkpoints."""
    network = changes.pop("network", None) or toy_autoencoder(kind)
    judge = changes.pop("discriminator", None) or toy_discriminator(norm=norm)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    judge_optimizer = torch.optim.Adam(judge.parameters(), lr=1e-2)
    checkpoint = [CheckpointHandler(interval=interval, name="autoencoder")] if run_dir is not None else []
    arguments = {
        "device": "cpu",
        "max_epochs": epochs,
        "train_data_loader": toy_loader(),
        "network": network,
        "optimizer": optimizer,
        "loss_function": AutoencoderLoss(perceptual=PyramidLoss()),
        "discriminator": judge,
        "discriminator_optimizer": judge_optimizer,
        "adversarial_weight": 0.1,
        "adversarial_start": 2,
        "lr_scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50),
        "discriminator_lr_scheduler": torch.optim.lr_scheduler.CosineAnnealingLR(judge_optimizer, 30),
        "ema": EMA(network, decay=0.9),
        "accumulation_steps": 2,
        "amp": False,
        "run_dir": run_dir,
        "train_handlers": [*checkpoint, *handlers],
    }
    if not judged:
        arguments |= {"discriminator": None, "discriminator_optimizer": None}
    return AutoencoderTrainer(**(arguments | changes))


def both(trainer):
    """Everything of both networks that a resumed run must share with the uninterrupted one."""
    state, step = snapshot(trainer), trainer.adversary.step
    state |= {f"judge.{k}": v.clone() for k, v in trainer.adversary.network.state_dict().items()}
    for number, values in step.optimizer.state_dict()["state"].items():
        state |= {f"judge optimizer.{number}.{k}": torch.as_tensor(v).clone() for k, v in values.items()}
    numbers = (step.completed, step.skipped, step.optimizer.param_groups[0]["lr"])
    return state | {"judge numbers": torch.tensor(numbers, dtype=torch.float64)}
