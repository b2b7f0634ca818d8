from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from monai.handlers import ValidationHandler
from monai.optimizers import WarmupCosineSchedule
from toy import ToyData, ToyLoader, ToyNetwork, differing, snapshot, toy_trainer

from medgen.data import BatchLoader
from medgen.engines import GenerativeEvaluator, read_checkpoint
from medgen.engines.run_directory import checkpoints
from medgen.handlers import EMA, CheckpointHandler, CsvLogger
from medgen.handlers.csv_logger import read_csv
from medgen.networks import IdentityCodec
from medgen.processes import RectifiedFlow

ITERATIONS = 18  # three epochs of six, an optimizer step every two


class Killed(Exception):
    pass


def kill_at(iteration):
    class Killer:
        def attach(self, engine):
            engine.add_event_handler(Events.ITERATION_COMPLETED(once=iteration), self.kill)

        def kill(self, engine):
            raise Killed

    return Killer()


@pytest.fixture(scope="module")
def uninterrupted():
    trainer = toy_trainer()
    trainer.run()
    assert trainer.state.iteration == ITERATIONS
    return snapshot(trainer)


# at an epoch's end, in its middle, between two micro-batches of a step, and before the first checkpoint
@pytest.mark.parametrize(("killed", "interval"), [(12, 6), (11, 4), (10, 5), (3, 4), (17, 1)])
def test_a_killed_run_ends_bitwise_as_the_uninterrupted_one(killed, interval, tmp_path, uninterrupted):
    with pytest.raises(Killed):
        toy_trainer(tmp_path, interval=interval, handlers=[kill_at(killed)]).run()
    resumed = toy_trainer(tmp_path, interval=interval, network=ToyNetwork(seed=99))
    first = []
    resumed.add_event_handler(Events.ITERATION_STARTED(once=1), lambda _: None)
    resumed.add_event_handler(Events.STARTED, lambda engine: first.append(engine.state.iteration))
    resumed.run()
    written = [i for i in range(killed) if i and i % interval == 0]  # saved when the next batch is fetched
    assert first == [max(written, default=0) // 2 * 2]
    if first != [0]:
        assert differing(snapshot(resumed), uninterrupted) == []


def test_a_run_killed_again_and_again_is_still_bitwise_the_same(tmp_path, uninterrupted):
    for iteration in (4, 7, 8, 15):
        with pytest.raises(Killed):
            toy_trainer(tmp_path, interval=3, handlers=[kill_at(iteration)]).run()
    last = toy_trainer(tmp_path, interval=3)
    last.run()
    assert differing(snapshot(last), uninterrupted) == []


@pytest.mark.slow
def test_a_process_killed_by_the_system_can_be_resumed(tmp_path, uninterrupted):
    script = textwrap.dedent("""
        import sys
        from ignite.engine import Events
        from toy import toy_trainer

        trainer = toy_trainer(sys.argv[1], interval=3)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: print(e.state.iteration, flush=True))
        trainer.add_event_handler(Events.ITERATION_COMPLETED(once=11), lambda e: sys.stdin.read())
        trainer.run()
    """)
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[2]}"}
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        for line in process.stdout:
            if line.strip() == "11":
                break
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=60) == -signal.SIGKILL
    finally:
        process.kill()
        process.stdin.close()
        process.stdout.close()
    resumed = toy_trainer(tmp_path, interval=3)
    resumed.run()
    assert differing(snapshot(resumed), uninterrupted) == []


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped bit", "other content"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(damage, tmp_path, caplog, uninterrupted):
    with pytest.raises(Killed):
        toy_trainer(tmp_path, interval=4, handlers=[kill_at(13)]).run()
    older, newest = checkpoints(tmp_path)
    assert (older.name, newest.name) == ("checkpoint_00000008.pt", "checkpoint_00000012.pt")
    content = newest.read_bytes()
    if damage == "truncated":
        newest.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        newest.write_bytes(b"")
    elif damage == "flipped bit":
        name = read_checkpoint(newest)["network"]["first.weight"].numpy().tobytes()
        place = content.index(name)
        newest.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    else:
        torch.save({"weights": torch.zeros(3)}, newest)
    resumed = toy_trainer(tmp_path, interval=4)
    assert resumed.resume()
    assert resumed.state.iteration == 8
    assert newest.name in caplog.text
    resumed.run()
    assert differing(snapshot(resumed), uninterrupted) == []


def test_metrics_and_tables_survive(tmp_path):
    def build(folder, *more):
        network = ToyNetwork()
        ema = EMA(network, decay=0.9)
        validator = GenerativeEvaluator("cpu", ToyLoader(), ema.ema_model, process=RectifiedFlow())
        handlers = [
            CsvLogger(3, validator),
            ValidationHandler(4, validator, epoch_level=False),
            CheckpointHandler(4, validator=validator),
            *more,
        ]
        return toy_trainer(folder, interval=None, handlers=handlers, network=network, ema=ema), validator

    whole, validator = build(tmp_path / "whole")
    whole.run()
    with pytest.raises(Killed):
        build(tmp_path / "killed", kill_at(11))[0].run()
    resumed, other = build(tmp_path / "killed")
    resumed.run()
    assert differing(snapshot(whole), snapshot(resumed)) == []
    assert validator.state.best_metric == other.state.best_metric
    assert validator.state.best_metric_epoch == other.state.best_metric_epoch
    assert whole.stateful["checkpoint"].best == resumed.stateful["checkpoint"].best
    tables = [read_csv(tmp_path / name / "validation.csv") for name in ("whole", "killed")]
    assert tables[0] == tables[1]
    assert tables[0]["iteration"] == [4, 8, 12, 16]
    rows = read_csv(tmp_path / "killed" / "metrics.csv")
    assert rows["iteration"] == [3, 6, 9, 12, 15, 18]


def test_a_complete_run_is_not_trained_again_but_can_be_made_longer(tmp_path):
    toy_trainer(tmp_path, epochs=2).run()
    again = toy_trainer(tmp_path, epochs=2)
    finished = []
    again.add_event_handler(Events.ITERATION_STARTED, lambda _: finished.append("an iteration"))
    again.add_event_handler(Events.COMPLETED, lambda _: finished.append("completed"))
    again.run()
    assert finished == ["completed"]
    longer, whole = toy_trainer(tmp_path, epochs=3), toy_trainer(epochs=3)
    longer.run()
    whole.run()
    assert differing(snapshot(longer), snapshot(whole)) == []


def test_a_longer_run_repeats_the_micro_batches_that_completed_no_step(tmp_path):
    toy_trainer(tmp_path, epochs=1, accumulation_steps=4).run()  # 6 iterations, 2 of them left over
    longer, whole = (toy_trainer(folder, epochs=2, accumulation_steps=4) for folder in (tmp_path, None))
    longer.run()
    whole.run()
    assert differing(snapshot(longer), snapshot(whole)) == []


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path):
    toy_trainer(tmp_path).run()
    with pytest.raises(ValueError, match="another network"):
        toy_trainer(network=ToyNetwork(width=4)).resume(tmp_path)
    with pytest.raises(ValueError, match="ema"):
        toy_trainer(ema=None).resume(tmp_path)


def test_what_makes_the_resume_inexact_is_announced(tmp_path, caplog):
    toy_trainer(tmp_path, epochs=1).run()
    toy_trainer(seed=1).resume(tmp_path)
    assert "seed=0" in caplog.text


def test_another_codec_is_announced(tmp_path, caplog):
    def trainer(sha256, **place):
        codec = IdentityCodec()
        codec.sha256 = sha256  # as of one that was read from a file
        return toy_trainer(codec=codec, **place)

    trainer("a" * 64, run_dir=tmp_path, epochs=1).run()
    trainer("b" * 64).resume(tmp_path)
    assert f"codec='{'a' * 64}'" in caplog.text


@pytest.mark.parametrize("change", ["batch size", "learning rate"])
def test_another_batch_size_or_learning_rate_is_announced(change, tmp_path, caplog):
    toy_trainer(tmp_path, epochs=1).run()
    network = ToyNetwork()
    if change == "batch size":
        toy_trainer(network=network, train_data_loader=BatchLoader(ToyData(), 3)).resume(tmp_path)
        assert "batch_size=4, this run has 3" in caplog.text
    else:
        toy_trainer(network=network, optimizer=torch.optim.AdamW(network.parameters(), lr=1e-3)).resume(tmp_path)
        assert "goes on with its learning rate [0.01]" in caplog.text


def test_a_longer_run_has_a_longer_cosine(tmp_path, caplog):
    def run(epochs, steps, **changes):
        network = ToyNetwork()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
        schedule = WarmupCosineSchedule(optimizer, warmup_steps=2, t_total=steps)
        trainer = toy_trainer(epochs=epochs, network=network, optimizer=optimizer, lr_scheduler=schedule, **changes)
        rates = []
        trainer.add_event_handler("ITERATION_COMPLETED", lambda _: rates.append(optimizer.param_groups[0]["lr"]))
        trainer.run()
        return rates

    assert run(2, 6, run_dir=tmp_path)[-1] == 0
    longer = run(6, 18, run_dir=tmp_path)
    assert longer[1:] == pytest.approx(run(6, 18)[13:])  # the rate of the first step is still the checkpoint's
    assert "t_total=6, this run goes on with 18" in caplog.text


def test_nothing_to_resume(tmp_path):
    assert not toy_trainer().resume(tmp_path)


def test_a_checkpoint_holds_tensors_and_plain_values_alone(tmp_path):
    toy_trainer(tmp_path).run()
    state = torch.load(checkpoints(tmp_path)[-1], weights_only=True)
    assert state["iteration"] == state["loader_position"] == ITERATIONS
    assert state["step"]["completed"] == ITERATIONS // 2
    assert list(state["network"]) == list(ToyNetwork().state_dict())
