from __future__ import annotations

import copy
import shutil

import pytest
import torch
from monai.engines.utils import IterationEvents
from torch import nn
from toy import COVARIATES, ToyNetwork, differing, snapshot, toy_loader, toy_trainer

from medgen.engines import Conditions, OptimizerEvents, unwrap
from medgen.engines.draws import training_noise, training_times
from medgen.handlers import EMA
from medgen.networks import ConditionalUNet
from medgen.processes import GenerativeLoss, RectifiedFlow, VariancePreserving
from medgen.randomness import generator, seed_from


def test_training_is_bitwise_the_loop_that_one_would_write_by_hand():
    network = ToyNetwork()
    by_hand = copy.deepcopy(network)
    trainer = toy_trainer(network=network, epochs=2, seed=5)
    trainer.run()

    process, loader = RectifiedFlow(), toy_loader()
    optimizer = torch.optim.AdamW(by_hand.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50)
    batches = iter(loader)
    for step in range(len(loader) * 2 // 2):
        optimizer.zero_grad()
        for micro in range(2):
            batch = next(batches)
            key = (5, 0, step, micro)
            clean, noise = batch["image"], training_noise(batch["image"], *key)
            t = training_times(process, 4, True, *key)
            conditions = trainer.condition_dropout(Conditions(batch["covariates"]), generator("conditions", *key))
            level = t.float().reshape(-1, 1, 1, 1)
            with torch.random.fork_rng():
                torch.manual_seed(seed_from("network", *key))
                prediction = by_hand((1 - level) * clean + level * noise, (1000 * t).float(), conditions.covariates)
            (((prediction - (noise - clean)) ** 2).flatten(1).mean(1).mean() / 2).backward()
        nn.utils.clip_grad_norm_(by_hand.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    for one, other in zip(network.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert trainer.optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


def test_the_global_generator_neither_matters_nor_moves():
    torch.manual_seed(1)
    one = toy_trainer()
    one.run()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    other = toy_trainer()
    other.run()
    assert torch.equal(torch.get_rng_state(), before)
    assert differing(snapshot(one), snapshot(other)) == []


def test_output_holds_what_handlers_need_and_events_come_in_monais_order():
    trainer = toy_trainer(epochs=1, accumulation_steps=1)
    seen = []
    for event in (*list(IterationEvents)[:4], *OptimizerEvents):
        trainer.add_event_handler(event, lambda _, event=event: seen.append(event))
    trainer.run()
    output = trainer.state.output
    assert output["image"].shape == output["pred"].shape == (4, 1, 8, 8)
    assert output["t"].shape == output["sample_loss"].shape == (4,)
    assert output["loss"].item() == pytest.approx(output["sample_loss"].mean().item())
    assert not any(value.requires_grad for value in output.values())
    completed = OptimizerEvents.OPTIMIZER_STEP_COMPLETED
    order = [IterationEvents.FORWARD_COMPLETED, IterationEvents.LOSS_COMPLETED, IterationEvents.BACKWARD_COMPLETED]
    assert seen == [*order, completed, IterationEvents.MODEL_COMPLETED] * len(toy_loader())
    assert trainer.state.step_loss == pytest.approx(output["loss"].item())


def test_filters_of_the_optimizer_events_count_optimizer_steps():
    trainer = toy_trainer(epochs=2)
    seen = []
    every = OptimizerEvents.OPTIMIZER_STEP_COMPLETED(every=2)
    trainer.add_event_handler(every, lambda engine: seen.append((engine.state.optimizer_steps, engine.state.iteration)))
    trainer.run()
    assert seen == [(2, 4), (4, 8), (6, 12)]


def test_the_loss_function_decides():
    plain, weighted = (
        toy_trainer(epochs=1, process=VariancePreserving(), loss_function=loss)
        for loss in (GenerativeLoss(), GenerativeLoss(weighting="min_snr"))
    )
    for trainer in (plain, weighted):
        trainer.optimizer.param_groups[0]["lr"] = 0.0
        trainer.lr_scheduler = trainer.step.lr_scheduler = None
        trainer.run()
    t = plain.state.output["t"]
    assert torch.equal(t, weighted.state.output["t"])
    ratio = weighted.state.output["sample_loss"] / plain.state.output["sample_loss"]
    snr = torch.exp(plain.process.log_snr(t))
    torch.testing.assert_close(ratio.double(), snr.clamp(max=5.0) / (snr + 1), rtol=1e-4, atol=1e-6)


def test_a_codec_puts_the_process_into_its_space():
    class Halving(nn.Module):
        def encode(self, image, generator=None):
            return nn.functional.avg_pool2d(image, 2)

    trainer = toy_trainer(epochs=1, codec=Halving())
    trainer.run()
    assert trainer.state.output["image"].shape == (4, 1, 4, 4)
    assert trainer.image_shape == (1, 8, 8)


def test_bfloat16_surrounds_the_network_only():
    seen = []

    class Spy(ToyNetwork):
        def forward(self, noisy, t, covariates=None):
            seen.append((noisy.dtype, t.dtype, torch.is_autocast_enabled("cpu")))
            return super().forward(noisy, t, covariates)

    trainer = toy_trainer(network=Spy(), epochs=1, amp=True)
    trainer.run()
    assert set(seen) == {(torch.float32, torch.float32, True)}
    assert trainer.state.output["pred"].dtype == torch.bfloat16
    assert trainer.state.output["sample_loss"].dtype == torch.float32


def test_channels_last_trains_the_same_model():
    # without dropout, which draws in the order of the memory
    one, other = (toy_trainer(network=ToyNetwork(dropout=0.0), channels_last=flag) for flag in (False, True))
    one.run()
    other.run()
    assert other.unwrapped_network.last.weight.is_contiguous(memory_format=torch.channels_last)
    for a, b in zip(one.unwrapped_network.parameters(), other.unwrapped_network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="no C++ compiler")
@pytest.mark.slow
def test_a_compiled_network_trains_the_same_model_under_the_same_names():
    plain, compiled = (toy_trainer(network=ToyNetwork(dropout=0.0), epochs=1, compile=flag) for flag in (False, True))
    plain.run()
    compiled.run()
    assert unwrap(compiled.network) is compiled.unwrapped_network is not compiled.network
    assert plain.inference_network.state_dict().keys() == compiled.inference_network.state_dict().keys()
    for a, b in zip(plain.unwrapped_network.parameters(), compiled.unwrapped_network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_the_unet_trains_with_unknown_covariates():
    network = ConditionalUNet(2, 1, 1, (8, 16), (False, True), 1, 8, 8, covariates=COVARIATES)
    trainer = toy_trainer(network=network, epochs=1)
    trainer.data_loader.dataset.covariates[::3, 0] = torch.nan
    trainer.run()
    assert trainer.state.skipped == 0
    assert all(torch.isfinite(p).all() for p in network.parameters())


def test_the_average_starts_from_weights_that_were_loaded_after_it_was_made():
    network = ToyNetwork(seed=1)
    ema = EMA(network, decay=0.9)
    network.load_state_dict(ToyNetwork(seed=2).state_dict())
    trainer = toy_trainer(network=network, ema=ema, max_skipped=1, epochs=1)
    trainer.optimizer.param_groups[0]["lr"] = 0.0
    trainer.lr_scheduler = trainer.step.lr_scheduler = None
    trainer.run()
    for average, current in zip(ema.ema_model.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(average, current)


def test_micro_batches_that_complete_no_step_are_announced(caplog):
    trainer = toy_trainer(epochs=1, accumulation_steps=4)  # 6 iterations
    trainer.run()
    assert trainer.state.optimizer_steps == 1
    assert "last 2 micro-batches" in caplog.text


def test_coupled_noise_is_another_run_and_the_same_each_time():
    runs = []
    for coupling in ("independent", "optimal_transport", "optimal_transport"):
        trainer = toy_trainer(epochs=1, coupling=coupling)
        trainer.run()
        runs.append(snapshot(trainer))
    assert differing(runs[0], runs[1])
    assert not differing(runs[1], runs[2])
    with pytest.raises(ValueError, match="coupling"):
        toy_trainer(coupling="best")
