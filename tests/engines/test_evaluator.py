from __future__ import annotations

import pytest
import torch
from monai.handlers import ValidationHandler
from toy import COVARIATES, ToyLoader, ToyNetwork, toy_trainer

from medgen.data.requests import GenerationRequests
from medgen.engines import GenerativeEvaluator
from medgen.engines.draws import fixed_noise, fixed_times
from medgen.inferers.generate import GenerateInferer
from medgen.processes import RectifiedFlow
from medgen.samplers import Sampler


def evaluate(network, batch_size=4, seed=0, loader=None, **arguments):
    loader = loader or ToyLoader(batch_size)
    arguments = {"process": RectifiedFlow(), "amp": False, "seed": seed} | arguments
    evaluator = GenerativeEvaluator("cpu", loader, network, **arguments)
    evaluator.run()
    return evaluator


def test_validation_loss_is_the_mean_over_samples_of_a_fixed_task():
    network, loader, process = ToyNetwork().eval(), ToyLoader(), RectifiedFlow()
    indices = range(24)
    noise, t = fixed_noise((1, 8, 8), indices, 0), fixed_times(process, indices, 0)
    level = t.float().reshape(-1, 1, 1, 1)
    noisy = (1 - level) * loader.images + level * noise
    with torch.no_grad():
        prediction = network(noisy, (1000 * t).float(), loader.covariates)
    expected = ((prediction - (noise - loader.images)) ** 2).mean().item()
    for batch_size in (4, 8, 24):
        assert evaluate(network, batch_size).state.metrics["val_loss"] == pytest.approx(expected, rel=1e-5)


def test_validation_repeats_bitwise_whatever_the_global_generator_and_the_mode():
    network = ToyNetwork(dropout=0.5).train()
    torch.manual_seed(1)
    first = evaluate(network).state.metrics
    torch.manual_seed(2)
    assert evaluate(network).state.metrics == first
    assert network.training  # as it was found
    assert evaluate(network, seed=1).state.metrics != first


def test_without_indices_samples_are_counted():
    class Unnamed(ToyLoader):
        def batch(self, indices, images):
            return {"image": images, "covariates": self.covariates[indices]}

    network = ToyNetwork()
    assert evaluate(network, loader=Unnamed()).state.metrics == evaluate(network).state.metrics


def test_lower_is_better_and_the_trainer_runs_it():
    network = ToyNetwork()
    trainer = toy_trainer(network=network, epochs=6)
    evaluator = GenerativeEvaluator("cpu", ToyLoader(), trainer.ema.ema_model, process=trainer.process, amp=False)
    values = []
    evaluator.add_event_handler("COMPLETED", lambda engine: values.append(engine.state.metrics["val_loss"]))
    ValidationHandler(1, evaluator).attach(trainer)
    trainer.run()
    assert len(values) == 6
    assert evaluator.state.best_metric == min(values)
    assert min(values) < values[0]


def test_processes_generate_a_batch_together(monkeypatch):
    requests = GenerationRequests(COVARIATES, n=5, seed=5, diagnosis="AD", age=[60, 80])
    network, process = ToyNetwork().eval(), RectifiedFlow()

    def images(**arguments):
        loader = torch.utils.data.DataLoader(requests, batch_size=4)
        inferer = GenerateInferer(process, Sampler("euler", steps=2), (1, 8, 8))
        made = []
        evaluator = GenerativeEvaluator("cpu", loader, network, inferer, **arguments)
        evaluator.add_event_handler("ITERATION_COMPLETED", lambda engine: made.append(engine.state.output["pred"]))
        evaluator.run()
        return made

    alone = images()
    assert [len(batch) for batch in alone] == [4, 4, 2]
    parts, together = {}, []
    monkeypatch.setattr("ignite.distributed.get_world_size", lambda: 3)
    monkeypatch.setattr("ignite.distributed.all_gather", lambda part: parts.setdefault(rank, []).append(part) or part)
    for rank in range(3):
        monkeypatch.setattr("ignite.distributed.get_rank", lambda rank=rank: rank)
        images(share_batches=True)
    for batch, whole in enumerate(alone):
        together = torch.cat([parts[rank][batch] for rank in range(3)])[: len(whole)]
        torch.testing.assert_close(together, whole)
    assert [len(part) for part in parts[2]] == [2, 2, 1]


def test_it_generates_what_is_asked_for_with_the_conditions_asked_for():
    seen = []

    class Spy(ToyNetwork):
        def forward(self, noisy, t, covariates=None):
            seen.append((covariates, self.training))
            return super().forward(noisy, t, covariates)

    process, network = RectifiedFlow(), Spy().train()
    requests = GenerationRequests(COVARIATES, n=3, seed=5, diagnosis=["NC", "AD"], age=70)
    loader = torch.utils.data.DataLoader(requests, batch_size=4)
    inferer = GenerateInferer(process, Sampler("euler", steps=2), (1, 8, 8))
    evaluator = GenerativeEvaluator("cpu", loader, network, inferer)
    images = []
    evaluator.add_event_handler("ITERATION_COMPLETED", lambda engine: images.append(engine.state.output["pred"]))
    evaluator.run()
    direct = Sampler("euler", steps=2)(
        network, process, (1, 8, 8), requests.seeds * 2, covariates=requests.encoded.repeat_interleave(3, 0)
    )
    torch.testing.assert_close(torch.cat(images), direct.images, rtol=1e-4, atol=1e-5)
    assert not any(training for _, training in seen)
    assert evaluator.state.metrics == {}
    assert {tuple(row.tolist()) for covariates, _ in seen for row in covariates} == {(0.0, 70.0), (1.0, 70.0)}


def test_neither_inferer_nor_process_is_an_error():
    with pytest.raises(ValueError, match="inferer or a process"):
        GenerativeEvaluator("cpu", ToyLoader(), ToyNetwork())


def test_a_batch_with_neither_image_nor_seed_is_an_error():
    with pytest.raises(KeyError, match="picture"):
        evaluate(ToyNetwork(), loader=[{"picture": torch.zeros(1, 1, 8, 8)}])
