from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine
from torch import nn
from toy import COVARIATES

from medgen.engines import OptimizerEvents
from medgen.engines.events import EVENT_TO_ATTRIBUTE
from medgen.handlers import EMA
from medgen.networks import ConditionalUNet


def follow(ema, weights, network):
    """Give the average one optimizer step per value of ``weights``; return what it was after each."""
    engine = Engine(lambda engine, batch: None)
    engine.register_events(*OptimizerEvents, event_to_attr=EVENT_TO_ATTRIBUTE)
    engine.state.optimizer_steps = 0
    ema.attach(engine)
    seen = []
    for value in weights:
        with torch.no_grad():
            network.weight.fill_(value)
        engine.state.optimizer_steps += 1
        engine.fire_event(OptimizerEvents.OPTIMIZER_STEP_COMPLETED)
        seen.append((ema.ema_model.weight.item(), engine.state.ema_momentum))
    return seen


def scalar(value=0.0):
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, value)
    return network


def test_average_with_warm_up_is_the_weighted_sum_of_its_formula():
    network, decay = scalar(5.0), 0.5
    weights = [1.0, -2.0, 4.0, 0.5, 3.0, 7.0, -1.0, 2.0, 9.0, 1.5]
    seen = follow(EMA(network, decay), weights, network)
    decays = [min(decay, (1 + n) / (10 + n)) for n in range(len(weights))]
    assert decays[3] == 4 / 13 < decays[7] < decay == decays[8] == decays[9]  # warming up, then warm
    for last in range(len(weights)):
        expected = 5.0 * torch.tensor(decays[: last + 1]).prod().item()
        for k in range(last + 1):
            expected += (1 - decays[k]) * weights[k] * torch.tensor(decays[k + 1 : last + 1]).prod().item()
        assert seen[last][0] == pytest.approx(expected, rel=1e-5)
        assert seen[last][1] == pytest.approx(1 - decays[last])


def test_without_warm_up_a_step_response_is_geometric():
    network = scalar(0.0)
    seen = follow(EMA(network, 0.9, warmup=False), [1.0] * 20, network)
    assert [value for value, _ in seen] == pytest.approx([1 - 0.9**n for n in range(1, 21)], rel=1e-5)


def test_updates_come_every_few_steps_and_begin_after_the_start():
    network = scalar(0.0)
    seen = follow(EMA(network, 0.5, warmup=False, every=2, start=4), [1, 2, 3, 4, 5, 6, 7, 8], network)
    # copies at steps 2 and 4, averages at 6 and 8
    assert [value for value, _ in seen] == [0, 2, 2, 4, 4, 5, 5, 6.5]


def test_state_makes_the_average_go_on():
    network = scalar(1.0)
    ema = EMA(network, 0.9)
    follow(ema, [2.0] * 5, network)
    other = EMA(network, 0.9)
    other.load_state_dict(ema.state_dict())
    assert follow(ema, [3.0], network) == follow(other, [3.0], network)


@pytest.mark.parametrize("handling", ["copy", "update"])
def test_buffers_follow_and_are_not_shared(handling):
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    trainer = Engine(lambda engine, batch: None)
    trainer.register_events(*OptimizerEvents, event_to_attr=EVENT_TO_ATTRIBUTE)
    trainer.state.optimizer_steps = 1
    ema = EMA(network, 0.75, warmup=False, handle_buffers=handling)
    ema.attach(trainer)
    network[1].running_mean.fill_(4.0)
    network[1].num_batches_tracked.fill_(3)
    trainer.fire_event(OptimizerEvents.OPTIMIZER_STEP_COMPLETED)
    average = ema.ema_model[1]
    assert average.running_mean.tolist() == [4.0 if handling == "copy" else 1.0] * 2
    assert average.num_batches_tracked.item() == 3
    network[1].running_mean.fill_(9.0)
    assert average.running_mean.tolist() != [9.0, 9.0]


def test_average_of_a_checkpointed_network_runs_its_own_weights():
    network = ConditionalUNet(
        2, 1, 1, (8, 16), (False, True), 1, 8, 8, covariates=COVARIATES, activation_checkpointing=True
    )
    nn.init.normal_(network.unet.out[-1].conv.weight)
    ema = EMA(network, 0.9)
    noisy, t = torch.randn(1, 1, 8, 8), torch.tensor([0.5])
    with torch.no_grad():
        before = ema.ema_model(noisy, t)
        for parameter in network.parameters():
            parameter.add_(1.0)
        assert torch.equal(ema.ema_model(noisy, t), before)
        assert not torch.equal(network(noisy, t), before)
    assert not any(parameter.requires_grad for parameter in ema.ema_model.parameters())


@pytest.mark.parametrize("arguments", [{"decay": 1.0}, {"decay": 0.0}, {"every": 0}, {"start": -1}])
def test_arguments_out_of_range_are_named(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        EMA(scalar(), **arguments)
