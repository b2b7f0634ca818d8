from __future__ import annotations

import copy

import pytest
import torch
from monai.losses import PatchAdversarialLoss
from monai.utils.enums import AdversarialIterationEvents
from torch import nn
from toy import ToyData, differing, toy_loader
from toy_autoencoder import KINDS, both, toy_autoencoder, toy_autoencoder_trainer, toy_discriminator

from medgen.data import BatchLoader
from medgen.engines import NonFiniteError, OptimizerEvents, ReconstructionEvaluator
from medgen.engines.run_directory import checkpoints
from medgen.handlers import CsvLogger, ReconstructionGrid
from medgen.handlers.csv_logger import read_csv
from medgen.losses import AutoencoderLoss
from medgen.networks.codec import reconstruct
from medgen.randomness import seed_from


class Killed(Exception):
    pass


def killed_at(trainer, iteration):
    """Run until just before the given iteration, as if the process had died there."""

    def die(engine):
        if engine.state.iteration == iteration:
            raise Killed

    trainer.add_event_handler("ITERATION_STARTED", die)
    with pytest.raises(Killed):
        trainer.run()


def test_training_is_the_loop_that_one_would_write_by_hand():
    network, judge = toy_autoencoder(), toy_discriminator()
    by_hand, judge_by_hand = copy.deepcopy(network), copy.deepcopy(judge)
    # not Adam, which would magnify the rounding of gradients that are 0: those of biases before a norm
    descents = [torch.optim.SGD(module.parameters(), lr=0.05) for module in (network, judge)]
    trainer = toy_autoencoder_trainer(
        network=network, discriminator=judge, epochs=1, accumulation_steps=1, adversarial_start=1, max_grad_norm=None,
        lr_scheduler=None, discriminator_lr_scheduler=None, loss_function=AutoencoderLoss(1e-3), seed=5,
        optimizer=descents[0], discriminator_optimizer=descents[1],
    )  # fmt: skip
    trainer.run()

    loss, adversarial = nn.L1Loss(), PatchAdversarialLoss()
    optimizers = [torch.optim.SGD(module.parameters(), lr=0.05) for module in (by_hand, judge_by_hand)]
    for step, batch in zip(range(len(toy_loader())), toy_loader(), strict=False):
        image = batch["image"]
        with torch.random.fork_rng():
            torch.manual_seed(seed_from("network", 5, 0, step, 0))
            found, mean, std = by_hand(image)
        divergence = 0.5 * (mean**2 + std**2 - 1 - torch.log(std**2)).flatten(1).sum(1).mean()
        total = loss(found, image) + 1e-3 * divergence
        if step >= 1:
            total = total + 0.1 * adversarial(judge_by_hand(found)[-1], True, False)
        optimizers[0].zero_grad()
        total.backward()
        optimizers[0].step()
        if step >= 1:
            optimizers[1].zero_grad()
            real, fake = judge_by_hand(image)[-1], judge_by_hand(found.detach())[-1]
            (0.5 * (adversarial(real, True, True) + adversarial(fake, False, True))).backward()
            optimizers[1].step()
    for one, other in ((network, by_hand), (judge, judge_by_hand)):
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_the_discriminator_begins_late_and_learns_from_its_own_loss_alone():
    trainer = toy_autoencoder_trainer(epochs=1)  # 6 iterations, 3 optimizer steps, of which it takes part in one
    first = copy.deepcopy(trainer.adversary.network.state_dict())
    seen = []

    def look(engine):
        same = all(torch.equal(v, first[k]) for k, v in trainer.adversary.network.state_dict().items())
        seen.append(
            (same, bool(trainer.terms["adversarial"].isfinite()), bool(trainer.terms["discriminator"].isfinite()))
        )

    trainer.add_event_handler("ITERATION_COMPLETED", look)
    events = []
    trainer.add_event_handler(AdversarialIterationEvents.DISCRIMINATOR_LOSS_COMPLETED, lambda _: events.append(1))
    trainer.run()
    assert seen == [(True, False, False)] * 4 + [(True, True, True), (False, True, True)]
    assert len(events) == 2
    assert (trainer.step.completed, trainer.adversary.step.completed) == (3, 1)
    # the autoencoder's gradient passes through the discriminator and leaves nothing in it
    trainer.adversary.step.optimizer.zero_grad()
    image = torch.zeros(1, 1, 8, 8, requires_grad=True)
    trainer.adversary.term(image).backward()
    assert image.grad.any()
    assert all(parameter.grad is None for parameter in trainer.adversary.network.parameters())


def test_without_a_weight_a_start_or_a_discriminator_the_autoencoder_learns_alone():
    changes = ({"adversarial_start": None}, {"adversarial_weight": 0.0}, {"judged": False})
    trainers = [toy_autoencoder_trainer(epochs=1, **change) for change in changes]
    for trainer in trainers:
        trainer.run()
        for one, other in zip(trainer.network.parameters(), trainers[0].network.parameters(), strict=True):
            assert torch.equal(one, other)
    assert trainers[0].adversary.step.completed == 0
    assert set(trainers[2].terms) == {"reconstruction", "kl", "perceptual"}
    with pytest.raises(ValueError, match="expected it and discriminator_optimizer, or neither"):
        toy_autoencoder_trainer(discriminator_optimizer=None)
    with pytest.raises(ValueError, match="of 0 or more"):
        toy_autoencoder_trainer(adversarial_start=-1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dies_at", "goes_on"), [(6, 4), (11, 10)])  # the checkpoint at 5 is within a group
def test_a_resumed_run_is_bitwise_the_uninterrupted_one(kind, dies_at, goes_on, tmp_path):
    whole = toy_autoencoder_trainer(kind=kind)
    whole.run()
    killed_at(toy_autoencoder_trainer(tmp_path, kind), dies_at)
    resumed = toy_autoencoder_trainer(
        tmp_path, kind, network=toy_autoencoder(kind, 1), discriminator=toy_discriminator(1)
    )
    reached = []
    resumed.add_event_handler("STARTED", lambda engine: reached.append(engine.state.iteration))
    resumed.run()
    assert reached == [goes_on]
    assert differing(both(resumed), both(whole)) == []
    assert whole.adversary.step.completed == 4


def test_a_checkpoint_of_another_discriminator_or_of_none_is_refused(tmp_path):
    toy_autoencoder_trainer(tmp_path, epochs=1).run()
    state = torch.load(checkpoints(tmp_path)[-1], weights_only=True)
    assert list(state["extra"]) == ["network", "optimizer", "lr_scheduler", "step"]
    with pytest.raises(ValueError, match="another discriminator"):
        toy_autoencoder_trainer(norm="BATCH").resume(tmp_path)
    with pytest.raises(ValueError, match="this run has no discriminator, the one that wrote the file had one"):
        toy_autoencoder_trainer(discriminator_optimizer=None, judged=False).resume(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_that_is_not_finite_changes_neither_weights_nor_codebook(kind, tmp_path):
    class Broken:
        batch_size = 4

        def __len__(self):
            return 6

        def __iter__(self):
            for number, batch in zip(range(6), toy_loader(), strict=False):
                if number == 4:
                    batch["image"] = batch["image"] * torch.nan
                yield batch

    trainer = toy_autoencoder_trainer(
        tmp_path, kind, epochs=1, train_data_loader=Broken(), adversarial_start=0, norm="BATCH"
    )
    before, seen = {}, []
    trainer.add_event_handler(
        OptimizerEvents.OPTIMIZER_STEP_SKIPPED, lambda engine: seen.append(engine.state.iteration)
    )

    @trainer.on("ITERATION_COMPLETED")
    def keep(engine):
        if engine.state.iteration == 4:
            before.update(both(engine))

    trainer.run()
    after = both(trainer)
    assert seen == [6]
    assert (trainer.step.skipped, trainer.adversary.step.skipped) == (1, 1)
    changed = set(differing(before, after))
    assert changed <= {"numbers", "judge numbers"}
    assert all(torch.isfinite(value).all() for value in trainer.unwrapped_network.state_dict().values())
    assert (tmp_path / "private" / "skipped_rank0.jsonl").exists()
    with pytest.raises(NonFiniteError):
        toy_autoencoder_trainer(kind=kind, epochs=1, train_data_loader=Broken(), max_skipped=1).run()


@pytest.mark.parametrize("kind", KINDS)
def test_recomputed_activations_train_the_same_model(kind):
    one, other = (toy_autoencoder_trainer(kind=kind, epochs=1, activation_checkpointing=flag) for flag in (False, True))
    one.run()
    other.run()
    for a, b in zip(one.unwrapped_network.parameters(), other.unwrapped_network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    assert one.unwrapped_network.state_dict().keys() == other.unwrapped_network.state_dict().keys()


def test_bfloat16_surrounds_the_networks_only():
    trainer = toy_autoencoder_trainer(epochs=1, amp=True, adversarial_start=0)
    trainer.run()
    assert trainer.state.output["pred"].dtype == torch.float32
    assert all(term.dtype == torch.float32 for term in trainer.terms.values())
    assert trainer.state.skipped == 0


def test_the_terms_of_the_loss_are_logged(tmp_path):
    toy_autoencoder_trainer(tmp_path, epochs=2, handlers=[CsvLogger(2)]).run()
    table = read_csv(tmp_path / "metrics.csv")
    assert len(table["reconstruction"]) == 6
    assert table["adversarial"][0] != table["adversarial"][0]  # not a number yet
    assert table["adversarial"][-1] > 0
    assert {path.name for path in tmp_path.iterdir()} >= {"autoencoder.pt", "autoencoder.json"}


def by_hand_psnr(one, other):
    return (10 * torch.log10(4.0 / (one - other).square().flatten(1).mean(1))).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluator_measures_what_comes_back(kind):
    network = toy_autoencoder(kind).eval()
    evaluator = ReconstructionEvaluator("cpu", BatchLoader(ToyData(), 5, shuffle=False), network)
    evaluator.run()
    images = ToyData().images
    with torch.no_grad():
        found = reconstruct(network, images)
    metrics = evaluator.state.metrics
    assert metrics["val_loss"] == pytest.approx(float((found - images).abs().mean()), rel=1e-5)
    assert metrics["psnr"] == pytest.approx(float(by_hand_psnr(found, images)), rel=1e-5)
    assert -1 < metrics["ssim"] < 1
    assert evaluator.state.key_metric_name == "val_loss"


@pytest.mark.parametrize("size", [(8, 8), (6, 7, 5)])
def test_an_image_that_comes_back_whole_is_wholly_similar(size):
    class Perfect(nn.Module):
        def forward(self, image):
            return image + 1e-6, None

    batches = [{"image": torch.randn(2, 1, *size)}]
    evaluator = ReconstructionEvaluator("cpu", batches, Perfect(), epoch_length=1)
    evaluator.run()
    assert evaluator.state.metrics["ssim"] == pytest.approx(1, abs=1e-4)
    assert evaluator.state.metrics["psnr"] > 100


@pytest.mark.parametrize("simulated", [True, False])
def test_pictures_of_people_stay_private(simulated, tmp_path):
    class Cohort:
        pass

    class Data(ToyData):
        def __getitem__(self, index):
            return {"image": self.images[index]}

    Cohort.simulated = simulated
    grid = ReconstructionGrid(Data(), interval=None, columns=3, cohort=Cohort())
    toy_autoencoder_trainer(tmp_path, epochs=1, handlers=[grid]).run()
    place = "reconstructions" if simulated else "private/reconstructions"
    assert (tmp_path / place / "grid_00000006.png").is_file()
    assert (tmp_path / "private").exists() is not simulated
