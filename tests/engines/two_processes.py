"""Run under torchrun by test_distributed.py: each process writes what it saw to <folder>/rank<r>.pt."""

from __future__ import annotations

import sys
from pathlib import Path

import ignite.distributed as idist
import torch
from toy import COVARIATES, ToyData, ToyLoader, ToyNetwork, toy_trainer
from toy_autoencoder import both, toy_autoencoder, toy_autoencoder_trainer, toy_discriminator

from medgen.covariates import Covariates, Range
from medgen.data import BatchLoader, LatentDataset
from medgen.data.requests import GenerationRequests
from medgen.engines import (
    GenerativeEvaluator,
    GenerativeTrainer,
    NonFiniteError,
    finalize_distributed,
    run_directory,
    setup_distributed,
)
from medgen.engines.distributed import wrap_network
from medgen.engines.draws import fixed_noise, fixed_times
from medgen.inferers import GenerateInferer
from medgen.networks import CovariateEmbedding, VQCodec
from medgen.processes import RectifiedFlow
from medgen.samplers import Sampler


class SampleDraws(GenerativeTrainer):
    """Draws times and noise by sample, so that it does not matter how samples are spread over processes."""

    def draw(self, clean, conditions):
        indices = self.state.batch["index"].tolist()
        noise = fixed_noise(clean.shape[1:], indices, self.seed + self.state.iteration)
        return noise, fixed_times(self.process, indices, self.seed), conditions


def train(world, rank, **changes):
    loader = ToyLoader(8 // world, rank, world)
    network = ToyNetwork(dropout=0.0, seed=rank)  # only the first process's weights may count
    changes = {"condition_dropout": None, "trainer_class": SampleDraws, "network": network} | changes
    trainer = toy_trainer(train_data_loader=loader, epochs=4, **changes)
    return trainer


def train_autoencoder(world, rank):
    """A quantised autoencoder, which draws nothing, and its discriminator; the codebook is one of all processes."""
    network = toy_autoencoder("vq", seed=rank)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    loader = ToyLoader(8 // world, rank, world)
    judge = toy_discriminator(seed=rank)
    return toy_autoencoder_trainer(network=network, discriminator=judge, train_data_loader=loader, epochs=4)


def generated(network):
    """Return five images that the processes make together."""
    requests = GenerationRequests(COVARIATES, n=5, seed=5, diagnosis="AD")
    inferer = GenerateInferer(RectifiedFlow(), Sampler("euler", steps=2), (1, 8, 8))
    loader = torch.utils.data.DataLoader(requests, batch_size=5)
    evaluator = GenerativeEvaluator("cpu", loader, network, inferer, share_batches=True)
    evaluator.run()
    return evaluator.state.output["pred"]


def measured(trainer):
    """Return the codec of a trained autoencoder."""
    codec = VQCodec(trainer.inference_network)
    codec.measure(BatchLoader(ToyData(), 5, shuffle=False))
    return codec


EMBEDDED = torch.tensor([[1.0, 50.0, torch.nan], [torch.nan, torch.nan, 1.0]])


def embedding_gradients(rows, device="cpu"):
    """Return the gradients of an embedding whose processes see different covariates unknown."""
    torch.manual_seed(0)
    covariates = Covariates(diagnosis=["NC", "AD"], age=Range(18, 100, "years"), sex=["F", "M"])
    module = CovariateEmbedding(covariates, 16)
    wrapped = wrap_network(module, torch.device(device))  # kept until gradients are averaged
    wrapped(rows).square().mean().backward()
    return {name: parameter.grad for name, parameter in module.named_parameters()}


class BrokenImage(ToyLoader):
    """One process meets images that are not finite, in its second and third batch."""

    def batch(self, indices, images):
        if self.rank == 1 and int(indices[0]) in (12, 20):
            images = images * torch.nan
        return super().batch(indices, images)


def main(folder: Path) -> None:
    device = setup_distributed("cpu")
    rank, world = idist.get_rank(), idist.get_world_size()
    seen = {"world": world, "backend": idist.backend()}

    trainer = train(world, rank)
    trainer.run()
    seen["weights"] = trainer.unwrapped_network.state_dict()
    seen["average"] = trainer.ema.ema_model.state_dict()
    seen["loss"] = trainer.state.step_loss
    seen["wrapped"] = type(trainer.network).__name__

    loader = ToyLoader(4, rank, world)
    evaluator = GenerativeEvaluator(device, loader, trainer.inference_network, process=RectifiedFlow(), amp=False)
    evaluator.run()
    seen["validation"] = evaluator.state.metrics["val_loss"]

    seen["generated"] = {"images": generated(trainer.inference_network)}

    first = run_directory(folder / "runs")
    seen["run"] = str(first)
    run = train(world, rank, run_dir=first, interval=2)
    run.run()
    seen["resume"] = str(run_directory(folder / "runs", resume=True))
    resumed = train(world, rank, run_dir=first, interval=2, network=ToyNetwork(dropout=0.0, seed=7 + rank))
    seen["resumed at"] = resumed.resume() and resumed.state.iteration
    seen["resumed weights"] = resumed.unwrapped_network.state_dict()

    broken = BrokenImage(4, rank, world)
    guarded = toy_trainer(
        train_data_loader=broken, epochs=1, network=ToyNetwork(dropout=0.0), accumulation_steps=1, max_skipped=3,
        run_dir=folder / "guarded", interval=None,
    )  # fmt: skip
    guarded.run()
    seen["guarded"] = (guarded.state.optimizer_steps, guarded.state.skipped)
    seen["guarded weights"] = guarded.unwrapped_network.state_dict()
    stopped = toy_trainer(
        train_data_loader=broken, epochs=1, network=ToyNetwork(dropout=0.0), accumulation_steps=1, max_skipped=1
    )
    try:
        stopped.run()
    except NonFiniteError:
        seen["stopped"] = (stopped.state.optimizer_steps, stopped.state.skipped)

    seen["gradients"] = embedding_gradients(EMBEDDED[rank : rank + 1])

    coder = train_autoencoder(world, rank)
    coder.run()
    seen["autoencoder"] = both(coder)
    codec = measured(coder)
    seen["codec"] = codec.state_dict()
    seen["latents"] = {"moments": LatentDataset(ToyData(), codec, folder=folder / "private", progress=False).images}

    torch.save(seen, folder / f"rank{rank}.pt")
    finalize_distributed()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
