from __future__ import annotations

import hashlib
import json
import math
from types import SimpleNamespace

import pytest
import torch
from monai.handlers import ValidationHandler
from toy import COVARIATES, ToyLoader, ToyNetwork, toy_trainer

from medgen.engines import GenerativeEvaluator
from medgen.engines.run_directory import checkpoints
from medgen.handlers import EMA, CheckpointHandler, read_manifest
from medgen.networks.loading import load_weights
from medgen.processes import RectifiedFlow


def build(folder, metrics=None, epochs=3, every=6, handlers=(), **arguments):
    """A run that validates every 6 of its 18 iterations; ``metrics`` replaces what validation finds."""
    network = ToyNetwork()
    ema = EMA(network, decay=0.9)
    validator = GenerativeEvaluator("cpu", ToyLoader(), ema.ema_model, process=RectifiedFlow(), amp=False)
    if metrics is not None:
        values = iter(metrics)
        validator.add_event_handler("EPOCH_COMPLETED", lambda e: e.state.metrics.update(val_loss=next(values)))
    handler = CheckpointHandler(arguments.pop("interval", 6), validator=validator, **arguments)
    handlers = [ValidationHandler(every, validator, epoch_level=False), handler, *handlers]
    trainer = toy_trainer(folder, epochs=epochs, interval=None, network=network, ema=ema, handlers=handlers)
    return trainer, handler


def weights_over_time(trainer):
    seen = {}

    def note(engine):
        seen[engine.state.iteration] = {k: v.clone() for k, v in engine.ema.ema_model.state_dict().items()}

    trainer.add_event_handler("ITERATION_COMPLETED", note)
    return seen


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_model_holds_the_averaged_weights_by_the_networks_own_names(tmp_path):
    trainer, _ = build(tmp_path)
    trainer.run()
    for name in ("model.pt", "model_last.pt"):
        assert list(load_weights(tmp_path / name)) == list(ToyNetwork().state_dict())
    assert equal(load_weights(tmp_path / "model_last.pt"), trainer.ema.ema_model.state_dict())
    ToyNetwork().load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))


def test_names_are_bare_in_spite_of_wrappers(tmp_path):
    network = ToyNetwork(dropout=0.0)
    toy_trainer(tmp_path, network=network, ema=None, compile=True, compile_kwargs={"backend": "eager"}, epochs=1).run()
    assert list(load_weights(tmp_path / "model.pt")) == list(ToyNetwork().state_dict())
    assert list(torch.load(checkpoints(tmp_path)[-1], weights_only=True)["network"]) == list(network.state_dict())


@pytest.mark.parametrize(("publish", "chosen", "kept"), [("best", 12, "model_last.pt"), ("last", 18, "model_best.pt")])
def test_the_key_metric_or_the_clock_selects(publish, chosen, kept, tmp_path):
    trainer, handler = build(tmp_path / "run", [3.0, 1.0, 2.0], publish=publish, publish_dir=tmp_path / "models")
    seen = weights_over_time(trainer)
    trainer.run()
    assert handler.best == {"name": "val_loss", "value": 1.0, "iteration": 12}
    assert equal(load_weights(tmp_path / "models" / "model.pt"), seen[chosen])
    assert equal(load_weights(tmp_path / "run" / kept), seen[18 if publish == "best" else 12])
    manifest = read_manifest(tmp_path / "models" / "model.pt")
    assert (manifest["iteration"], manifest["selected"]) == (chosen, publish)
    assert manifest["metric"]["value"] == (1.0 if publish == "best" else 2.0)


def test_until_something_was_validated_the_newest_weights_are_the_model(tmp_path):
    trainer, _ = build(tmp_path, every=100, interval=4)
    trainer.run()
    assert equal(load_weights(tmp_path / "model.pt"), trainer.ema.ema_model.state_dict())
    assert read_manifest(tmp_path / "model.pt")["iteration"] == 18


def test_a_metric_that_is_not_a_number_is_never_best(tmp_path):
    trainer, handler = build(tmp_path, [math.nan, 2.0, math.nan])
    trainer.run()
    assert handler.best["iteration"] == 12


def test_manifest_says_what_the_weights_are(tmp_path):
    cohort = SimpleNamespace(data_terms="data use agreement", simulated=False, fingerprint=lambda: "f00d")
    config = {"seed": 0, "process": RectifiedFlow()}
    build(tmp_path, cohort=cohort, config=config)[0].run()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["sha256"] == hashlib.sha256((tmp_path / "model.pt").read_bytes()).hexdigest()
    assert manifest["covariates"] == COVARIATES.to_dict()
    assert manifest["process"] == RectifiedFlow().to_dict()
    assert manifest["config"]["seed"] == 0
    assert (manifest["data_terms"], manifest["data_fingerprint"]) == ("data use agreement", "f00d")
    assert manifest["weights"] == "average"
    assert set(manifest["software"]) >= {"medgen", "commit", "torch", "monai", "pytorch-ignite"}
    assert read_manifest(tmp_path / "model.pt") == manifest


def test_the_manifest_says_what_training_cost_and_a_resume_adds_to_it(tmp_path):
    trainer, handler = build(tmp_path)
    trainer.run()
    took = read_manifest(tmp_path / "model.pt")["training"]
    assert took["processes"] == 1
    assert took["images"] == read_manifest(tmp_path / "model.pt")["iteration"] * trainer.batch_size
    assert 0 <= took["seconds"] <= handler.seconds + 0.05  # the manifest holds tenths of a second
    assert "thread" in took["device"]
    before = handler.seconds
    assert handler.seconds == before  # the clock stands when training is over
    resumed = CheckpointHandler(run_dir=tmp_path)
    resumed.load_state_dict(handler.state_dict() | {"seconds": 1000.0})
    assert resumed.seconds == 1000.0
    old = {name: value for name, value in handler.state_dict().items() if name != "seconds"}
    resumed.load_state_dict(old)
    assert resumed.seconds == 0.0


@pytest.mark.parametrize(
    ("simulated", "share", "said"),
    [(False, None, "no"), (True, None, "yes"), (False, True, "yes"), (True, False, "no")],
)
def test_weights_are_not_to_be_shared_unless_simulated_or_said_so(simulated, share, said, tmp_path):
    build(tmp_path, cohort=SimpleNamespace(simulated=simulated), share=share, epochs=1)[0].run()
    assert read_manifest(tmp_path / "model.pt")["share"] == said


def test_weights_without_a_stated_source_are_not_to_be_shared(tmp_path):
    build(tmp_path, epochs=1)[0].run()
    manifest = read_manifest(tmp_path / "model.pt")
    assert (manifest["share"], manifest["data_terms"]) == ("no", "not stated")


def test_changed_weights_do_not_match_their_manifest(tmp_path):
    build(tmp_path, epochs=1)[0].run()
    weights = load_weights(tmp_path / "model.pt")
    torch.save({name: value + 1 for name, value in weights.items()}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="SHA-256"):
        read_manifest(tmp_path / "model.pt")


def test_only_the_newest_checkpoints_stay_and_no_temporary_file(tmp_path):
    build(tmp_path, interval=2, keep=3)[0].run()
    assert [path.name for path in checkpoints(tmp_path)] == [f"checkpoint_{i:08d}.pt" for i in (14, 16, 18)]
    assert not list(tmp_path.glob(".*"))


def test_weights_that_are_not_finite_are_never_written(tmp_path, caplog):
    def spoil(engine):
        with torch.no_grad():
            engine.unwrapped_network.last.bias.fill_(math.inf)
            engine.ema.ema_model.last.bias.fill_(math.nan)

    trainer, _ = build(tmp_path, interval=3)
    trainer.add_event_handler("ITERATION_COMPLETED", lambda e: spoil(e) if e.state.iteration == 7 else None)
    trainer.run()
    assert trainer.state.skipped > 0
    assert [path.name for path in checkpoints(tmp_path)][-1] == "checkpoint_00000006.pt"
    for path in (*checkpoints(tmp_path), *tmp_path.glob("model*.pt")):
        state = torch.load(path, weights_only=True)
        values = [*state["network"].values(), *state["ema"]["network"].values()] if "ema" in state else state.values()
        assert all(torch.isfinite(value).all() for value in values)
    assert "not finite" in caplog.text


def test_a_new_run_replaces_published_weights_only_when_it_is_complete(tmp_path):
    models = tmp_path / "models"
    build(tmp_path / "run_001", publish_dir=models)[0].run()
    first = read_manifest(models / "model.pt")
    assert first["run"].endswith("run_001")

    seen = []
    trainer, _ = build(tmp_path / "run_002", publish_dir=models)
    trainer.add_event_handler("ITERATION_COMPLETED", lambda _: seen.append(read_manifest(models / "model.pt")["run"]))
    trainer.run()
    assert set(seen) == {first["run"]}
    assert read_manifest(models / "model.pt")["run"].endswith("run_002")


def test_a_first_run_publishes_as_it_goes(tmp_path):
    seen = []
    trainer, _ = build(tmp_path / "run", [3.0, 2.0, 1.0], publish_dir=tmp_path / "models")
    model = tmp_path / "models" / "model.pt"
    trainer.add_event_handler(
        "ITERATION_COMPLETED", lambda _: seen.append(read_manifest(model)["iteration"] if model.exists() else None)
    )
    trainer.run()
    assert (seen[4], seen[6], seen[12]) == (None, 6, 12)


@pytest.mark.parametrize("arguments", [{"interval": 0}, {"keep": 0}, {"publish": "newest"}, {"share": "no"}])
def test_arguments_out_of_range_are_named(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        CheckpointHandler(**arguments)


def test_a_folder_is_needed():
    with pytest.raises(ValueError, match="run_dir"):
        toy_trainer(handlers=[CheckpointHandler()])
