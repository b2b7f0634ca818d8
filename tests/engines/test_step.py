from __future__ import annotations

import copy
import json
import math
import stat

import pytest
import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from torch import nn

from medgen.engines import NonFiniteError, OptimizerEvents, TrainingStep
from medgen.engines.events import EVENT_TO_ATTRIBUTE
from medgen.handlers import EMA


def problem(seed=0):
    source = torch.Generator().manual_seed(seed)
    network = nn.Linear(3, 1)
    with torch.no_grad():
        network.weight.copy_(torch.randn(1, 3, generator=source))
        network.bias.zero_()
    return network, torch.randn(8, 3, generator=source), torch.randn(8, 1, generator=source)


class Bench:
    """An engine that runs one training step on whatever loss it is handed."""

    def __init__(self, network, optimizer, **arguments):
        self.step = TrainingStep(network, optimizer, torch.device("cpu"), amp=False, **arguments)
        self.engine = Engine(lambda engine, loss: self.step(engine, {"subject": ["secret-name"]}, loss))
        self.engine.register_events(*IterationEvents)
        self.engine.register_events(*OptimizerEvents, event_to_attr=EVENT_TO_ATTRIBUTE)
        self.fired = []
        for event in (*OptimizerEvents, IterationEvents.BACKWARD_COMPLETED):
            self.engine.add_event_handler(event, lambda _, event=event: self.fired.append(event))

    def run(self, *losses):
        self.engine.run(list(losses), max_epochs=1)


def squared(network, x, y):
    return lambda: ((network(x) - y) ** 2).mean()


def test_accumulated_micro_batches_equal_one_big_batch():
    network, x, y = problem()
    other = copy.deepcopy(network)
    big = Bench(network, torch.optim.SGD(network.parameters(), 0.1), max_grad_norm=None)
    big.run(squared(network, x, y))
    small = Bench(other, torch.optim.SGD(other.parameters(), 0.1), max_grad_norm=None, accumulation_steps=4)
    small.run(*(squared(other, x[i : i + 2], y[i : i + 2]) for i in range(0, 8, 2)))
    torch.testing.assert_close(network.weight, other.weight, rtol=1e-6, atol=1e-7)
    assert small.step.completed == big.step.completed == 1
    assert small.step.loss == pytest.approx(big.step.loss, rel=1e-6)
    assert small.step.grad_norm == pytest.approx(big.step.grad_norm, rel=1e-5)
    assert small.fired.count(IterationEvents.BACKWARD_COMPLETED) == 4


def test_gradient_is_clipped_to_the_norm_and_the_norm_before_is_told():
    network, _, _ = problem()
    before = network.weight.detach().clone()
    direction = torch.tensor([[3.0, 4.0, 12.0]])  # gradient of this length: 13
    bench = Bench(network, torch.optim.SGD(network.parameters(), 1.0), max_grad_norm=0.5)
    bench.run(lambda: (network.weight * direction).sum())
    torch.testing.assert_close(before - network.weight, 0.5 * direction / 13, rtol=1e-5, atol=1e-6)
    assert bench.step.grad_norm == pytest.approx(13.0)


def test_without_a_limit_the_gradient_stays():
    network, _, _ = problem()
    before = network.weight.detach().clone()
    bench = Bench(network, torch.optim.SGD(network.parameters(), 1.0), max_grad_norm=None)
    bench.run(lambda: (network.weight * torch.tensor([[3.0, 4.0, 12.0]])).sum())
    torch.testing.assert_close(before - network.weight, torch.tensor([[3.0, 4.0, 12.0]]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["nan loss", "infinite gradient", "nan in one micro-batch"])
def test_a_step_that_is_not_finite_leaves_everything_as_it_was(kind, tmp_path, caplog):
    network, x, y = problem()
    good = squared(network, x, y)

    def nan_loss():
        return good() * math.nan

    def infinite_gradient():  # sqrt at 0 has a finite value and an infinite slope
        return good() + torch.sqrt((network.weight * 0).sum())

    bad = infinite_gradient if kind == "infinite gradient" else nan_loss
    per_step = 2 if kind == "nan in one micro-batch" else 1
    optimizer = torch.optim.Adam(network.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    ema = EMA(network, 0.5)
    bench = Bench(network, optimizer, lr_scheduler=schedule, accumulation_steps=per_step, run_dir=tmp_path)
    ema.attach(bench.engine)
    bench.run(*[good] * per_step)

    def everything():
        moments = [v.clone() for s in optimizer.state.values() for v in s.values()]
        return [*map(torch.clone, network.parameters()), *map(torch.clone, ema.ema_model.parameters()), *moments]

    before, rate, updates = everything(), optimizer.param_groups[0]["lr"], ema.updates
    bench.engine.state.max_epochs = None
    bench.run(*([bad] if per_step == 1 else [bad, good]))
    assert all(torch.equal(a, b) for a, b in zip(before, everything(), strict=True))
    assert (optimizer.param_groups[0]["lr"], ema.updates) == (rate, updates)
    assert (bench.step.completed, bench.step.skipped, bench.step.skipped_in_a_row) == (1, 1, 1)
    assert bench.fired[-1] is OptimizerEvents.OPTIMIZER_STEP_SKIPPED

    file = tmp_path / "private" / "skipped_rank0.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert json.loads(file.read_text())["samples"] == [{"subject": ["secret-name"]}] * per_step
    assert "skipped" in caplog.text
    assert "secret-name" not in caplog.text

    bench.engine.state.max_epochs = None
    bench.run(*[good] * per_step)  # and the run goes on
    assert (bench.step.completed, bench.step.skipped, bench.step.skipped_in_a_row) == (2, 1, 0)
    assert not torch.equal(network.weight, before[0])


def test_the_run_stops_after_too_many_skipped_steps(tmp_path):
    network, x, y = problem()
    bench = Bench(network, torch.optim.SGD(network.parameters(), 0.1), max_skipped=3, run_dir=tmp_path)
    good = squared(network, x, y)
    bad = lambda: good() * math.inf  # noqa: E731
    with pytest.raises(NonFiniteError, match="3 optimizer steps") as raised:
        bench.run(bad, bad, good, bad, bad, bad, good)
    assert str(tmp_path) in str(raised.value)
    assert (bench.step.completed, bench.step.skipped) == (1, 5)
    assert len((tmp_path / "private" / "skipped_rank0.jsonl").read_text().splitlines()) == 5


def test_dropout_is_a_function_of_the_step_and_leaves_the_global_generator_alone():
    network = nn.Sequential(nn.Linear(3, 64), nn.Dropout(0.5), nn.Linear(64, 1))
    x = torch.ones(4, 3)
    seen = []

    def loss():
        output = network(x)
        seen.append(output.detach().clone())
        return output.mean() * 0.0  # the weights stay, so that outputs differ by dropout alone

    for disturbance in (1, 2):
        torch.manual_seed(disturbance)
        expected = torch.rand(3, generator=torch.Generator().manual_seed(disturbance))
        Bench(network, torch.optim.SGD(network.parameters(), 0.1), seed=7).run(loss, loss)
        assert torch.equal(torch.rand(3), expected)
    Bench(network, torch.optim.SGD(network.parameters(), 0.1), seed=8).run(loss, loss)
    first, second, first_again, second_again, other_seed, _ = seen
    assert torch.equal(first, first_again)
    assert torch.equal(second, second_again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other_seed)


def test_a_network_without_dropout_is_not_seeded():
    network, _, _ = problem()
    assert not TrainingStep(network, torch.optim.SGD(network.parameters(), 0.1), torch.device("cpu")).random_network


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"accumulation_steps": 0}, "accumulation_steps"),
        ({"max_grad_norm": 0.0}, "max_grad_norm"),
        ({"max_skipped": 0}, "max_skipped"),
        ({"amp": "yes"}, "amp"),
    ],
)
def test_arguments_out_of_range_are_named(arguments, message):
    network, _, _ = problem()
    with pytest.raises(ValueError, match=message):
        TrainingStep(network, torch.optim.SGD(network.parameters(), 0.1), torch.device("cpu"), **arguments)


def test_the_optimizer_must_hold_the_networks_parameters():
    network, _, _ = problem()
    with pytest.raises(ValueError, match="optimizer"):
        TrainingStep(network, torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.1), torch.device("cpu"))


def test_a_schedule_that_needs_a_metric_is_refused():
    network, _, _ = problem()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    with pytest.raises(ValueError, match="lr_scheduler"):
        TrainingStep(network, optimizer, torch.device("cpu"), lr_scheduler=schedule)


def test_a_second_optimizers_step_keeps_to_itself():
    network, x, y = problem()
    bench = Bench(network, torch.optim.SGD(network.parameters(), 0.1), main=False)
    bench.run(squared(network, x, y))
    assert (bench.step.completed, bench.fired) == (1, [])
    assert not hasattr(bench.engine.state, "step_loss")
