"""Every bundle, without training: metadata, network, MONAI's properties, strictness, overlays, TorchScript."""

import json

import pytest
import torch
from cifar_files import write_cifar
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, create_workflow, verify_metadata, verify_net_in_out
from sweep import OVERLAYS, REPOSITORY

from medgen.bundles.cli import bundle_problems

pytestmark = pytest.mark.xdist_group("bundle_configs")
LATENT = ("train_latent.json", "train_autoencoder.json")
CODEC = ("autoencoder", "codec", "network_def")
SCHEMA = REPOSITORY / "tests" / "metadata.schema.json"


def workflow(bundle, name, kind, **overrides):
    created = ConfigWorkflow(str(bundle / "configs" / name), workflow_type=kind, logging_file=False, **overrides)
    created.initialize()
    return created


def refusal(bundle, name="train.json", **overrides):
    """Return the text of the error that stops a workflow before anything is read."""
    with pytest.raises(RuntimeError) as caught:
        workflow(bundle, name, None, dataset_dir="nowhere", **overrides)
    assert isinstance(caught.value.__cause__, ValueError)
    return str(caught.value.__cause__)


def test_there_is_a_bundle_and_an_overlay(bundle):
    assert bundle.is_dir()
    assert {path.name for path in OVERLAYS} >= {"cpu.json", "demo.json", "multi_gpu.json", "paper_adni.json"}


def test_it_is_whole_and_strictly_read(bundle):
    assert bundle_problems(bundle) == []
    assert (bundle / "LICENSE").read_text() == (REPOSITORY / "LICENSE").read_text()


def test_metadata_fit_the_schema_and_nothing_is_downloaded(bundle, monkeypatch):
    def refuse(*arguments, **keywords):
        raise AssertionError("verify_metadata went to the network")

    monkeypatch.setattr("monai.apps.utils.urlretrieve", refuse)
    verify_metadata(meta_file=str(bundle / "configs" / "metadata.json"), filepath=str(SCHEMA))
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]
    assert metadata["name"] == bundle.name


def test_the_schema_refuses_incomplete_metadata(bundle, tmp_path):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    del metadata["network_data_format"]["inputs"]["image"]["dtype"]
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="Failed validating"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(SCHEMA))


@pytest.mark.parametrize("name", ["train.json", "inference.json"])
def test_network_keeps_what_the_metadata_promise(bundle, name):
    verify_net_in_out(
        "network_def",
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / name),
        device="cpu",
        extra_forward_args={"t": 0.5},
    )


def test_training_has_every_property_of_monai(bundle, tiny, tmp_path):
    found = workflow(bundle, "train.json", "train", output_dir=str(tmp_path), **tiny)
    assert found.check_properties() == []
    assert found.bundle_root == str(bundle)
    iterations = found.parser.get_parsed_content("max_iterations")
    assert found.max_epochs * found.parser.get_parsed_content("epoch_length") == iterations
    assert found.train_dataset.images.shape[1:] == (1, 32, 32)
    assert found.val_dataset.field_of_view == found.train_dataset.field_of_view
    assert not set(found.train_dataset.subjects) & set(found.val_dataset.subjects)


def test_inference_has_every_property_of_monai_without_weights(copied):
    found = workflow(copied, "inference.json", "infer")
    assert found.check_properties() == []
    assert found.bundle_root == str(copied)


def test_all_configurations_describe_the_same_model(bundle):
    train = ConfigParser.load_config_file(bundle / "configs" / "train.json")
    latent = ConfigParser.load_config_file(bundle / "configs" / "train_latent.json")
    for path in sorted((bundle / "configs").glob("*.json")):
        other = ConfigParser.load_config_file(path)
        for key in ("covariates", "process", "network_def", "image_size", *({"plane"} & set(train))):
            same = latent if path.name in LATENT and key == "network_def" else train
            assert other.get(key, train[key]) == same[key], (path.name, key)
    codecs = [{key: ConfigParser.load_config_file(bundle / "configs" / name)[key] for key in CODEC} for name in LATENT]
    assert codecs[0] == codecs[1]


def test_what_the_commands_on_peoples_images_repeat_is_the_same(bundle):
    # each is one file, since MONAI reads "%other.json::part" from the working directory and resolves it before a bundle
    # is asked anything: a reference would work from one folder alone
    own = {"n", "solver", "steps", "eta", "strengths", "seed", "sampler", "people", "inferer", "output_dir", "run"}
    files = sorted((bundle / "configs").glob("inference_*.json"))
    found: dict = {}
    for path in files:
        for key, value in ConfigParser.load_config_file(path).items():
            if key not in own and key != "cohort":  # its _disabled_ is where an image of one's own is taken
                assert found.setdefault(key, value) == value, (path.name, key)
    cohorts = [ConfigParser.load_config_file(path)["cohort"] for path in files]
    without = [{key: value for key, value in cohort.items() if key != "_disabled_"} for cohort in cohorts]
    assert all(cohort == without[0] for cohort in without)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"max_epoks": 1}, "max_epoks: nothing reads this key (nearest: 'train::trainer::max_epochs')"),
        ({"imagesize": 64}, "imagesize: nothing reads this key (nearest: 'image_size')"),
        ({"train#trainer#max_epoks": 1}, "has no argument 'max_epoks' (nearest: 'max_epochs')"),
        (
            {"network_def#chanels": [8]},
            "network_def::chanels: medgen.networks.ConditionalUNet has no argument 'chanels'",
        ),
        ({"train#lossfunction": 1}, "train::lossfunction: nothing reads this key"),
        (
            {"learning_rate": "@learning_rte"},
            "refers to @learning_rte, which is not defined (nearest: 'learning_rate')",
        ),
    ],
)
def test_a_misspelt_override_names_the_nearest_key_before_data_are_touched(bundle, overrides, expected):
    assert expected in refusal(bundle, **overrides)


def test_inference_refuses_what_it_does_not_read(bundle):
    assert "diagnosys: nothing reads this key (nearest: 'diagnosis')" in refusal(
        bundle, "inference.json", diagnosys="AD"
    )


@pytest.mark.parametrize("key", ["resume", "amp", "compile"])
def test_booleans_that_are_neither_true_nor_false_are_refused(bundle, tiny, tmp_path, key):
    found = workflow(bundle, "train.json", "train", output_dir=str(tmp_path), **{**tiny, key: "flase"})
    with pytest.raises(RuntimeError) as caught:
        _ = found.trainer
    cause = caught.value
    while cause.__cause__ is not None:
        cause = cause.__cause__
    assert f"{key}: found 'flase', expected true or false" in str(cause)


def test_the_text_false_is_false(bundle, tiny, tmp_path):
    texts = {"amp": "false", "compile": "False", "resume": "no"}
    found = workflow(bundle, "train.json", "train", output_dir=str(tmp_path), **tiny, **texts)
    assert found.trainer.step.precision.enabled is False
    assert not hasattr(found.trainer.network, "_orig_mod")
    assert found.trainer.run_dir.name == "run_001"


@pytest.mark.parametrize(("iterations", "epochs"), [(100_000, 100), (1500, 3), (7, 7)])
def test_epochs_divide_any_number_of_iterations(bundle, tmp_path, iterations, epochs):
    found = workflow(bundle, "train.json", "train", output_dir=str(tmp_path), max_iterations=iterations)
    assert found.max_epochs == epochs
    assert found.max_epochs * found.parser.get_parsed_content("epoch_length") == iterations


@pytest.mark.parametrize("overlay", OVERLAYS, ids=[path.stem for path in OVERLAYS])
def test_overlays_lie_on_top_of_training(bundle, overlay, tiny, tmp_path):
    assert bundle_problems(bundle, [overlay]) == []
    files = [str(bundle / "configs" / "train.json"), str(overlay)]
    data = {key: value for key, value in tiny.items() if key.startswith(("cohort", "simulated"))}
    if overlay.stem == "cifar10":
        data = {"dataset_dir": str(write_cifar(tmp_path))}
    found = ConfigWorkflow(files, logging_file=False, output_dir=str(tmp_path), image_size=32, **data)
    found.initialize()
    assert found.bundle_root == str(bundle)
    assert found.trainer.network is not None
    assert found.check_properties() == []


@pytest.mark.parametrize("overlay", ["cpu", "demo", "multi_gpu"])
def test_overlays_of_top_level_keys_lie_on_top_of_inference_too(copied, overlay):
    files = [str(copied / "configs" / "inference.json"), str(REPOSITORY / "configs" / f"{overlay}.json")]
    found = ConfigWorkflow(files, workflow_type="infer", logging_file=False)
    found.initialize()
    assert found.check_properties() == []


def test_what_another_configuration_reads_may_come_in_an_overlay_not_by_hand(copied):
    arguments = {"config_file": str(copied / "configs" / "inference.json"), "logging_file": False}
    with pytest.raises(RuntimeError) as caught:
        create_workflow(**arguments, max_iterations=5)
    assert "max_iterations: nothing reads this key" in str(caught.value.__cause__)
    create_workflow(
        **arguments | {"config_file": [arguments["config_file"], str(REPOSITORY / "configs" / "demo.json")]}
    )


def test_the_paper_recipe_says_what_it_does(bundle, tiny, tmp_path):
    files = [str(bundle / "configs" / "train.json"), str(REPOSITORY / "configs" / "paper_adni.json")]
    data = {key: value for key, value in tiny.items() if key.startswith(("cohort", "simulated"))}
    found = ConfigWorkflow(files, logging_file=False, output_dir=str(tmp_path), image_size=32, **data)
    found.initialize()
    trainer = found.trainer
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    last = float(torch.cumprod(1 - betas, 0)[-1].sqrt())
    assert float(trainer.process.alpha(1.0)) == pytest.approx(last, rel=1e-9)
    assert trainer.process.prediction == "v"
    assert type(trainer.optimizer) is torch.optim.Adam
    assert trainer.optimizer.param_groups[0]["lr"] == 7e-5
    assert (trainer.ema.decay, trainer.ema.every, trainer.lr_scheduler) == (0.995, 2, None)
    sampler = found.parser.get_parsed_content("sampler")
    assert (sampler.solver, sampler.steps, sampler.eta) == ("ddim", 200, 0.0)
    assert trainer.state.max_epochs * trainer.state.epoch_length == 100_000


def test_the_age_recipe_says_what_it_does(bundle, tiny, tmp_path):
    files = [str(bundle / "configs" / "train.json"), str(REPOSITORY / "configs" / "paper_age.json")]
    data = {key: value for key, value in tiny.items() if key.startswith(("cohort", "simulated"))}
    found = ConfigWorkflow(files, logging_file=False, output_dir=str(tmp_path), image_size=32, **data)
    found.initialize()
    trainer, sampler = found.trainer, found.parser.get_parsed_content("sampler")
    assert (trainer.process.prediction, trainer.process.times) == ("flow", "uniform")
    assert type(trainer.optimizer) is torch.optim.Adam
    assert trainer.optimizer.param_groups[0]["lr"] == 1e-5
    dropout = found.parser.get_parsed_content("train::condition_dropout")
    assert (dropout.p_all, dropout.p_each) == (0.5, 0.0)
    assert (sampler.solver, sampler.guidance) == ("midpoint", 4.0)


def test_torchscript_of_the_network_is_the_network(bundle, tiny, tmp_path):
    network = {key: value for key, value in tiny.items() if key.startswith("network_def")}
    config = str(bundle / "configs" / "train.json")
    parser = ConfigParser()
    parser.read_config(config)
    parser.update(network)
    torch.manual_seed(0)
    original = parser.get_parsed_content("network_def").eval()
    for parameter in original.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    torch.save(original.state_dict(), tmp_path / "model.pt")
    arguments = {
        "config_file": config,
        "meta_file": str(bundle / "configs" / "metadata.json"),
        "ckpt_file": str(tmp_path / "model.pt"),
        "filepath": str(tmp_path / "model.ts"),
    }
    traced = {"_target_": "medgen.bundles.export.traced", "network": "@network_def"}
    ckpt_export(net_id="traced", traced=traced, **arguments, **network)
    exported = torch.jit.load(tmp_path / "model.ts")
    noisy, t = torch.randn(3, 1, 24, 40), torch.tensor([0.0, 480.0, 999.0])
    covariates = parser.get_parsed_content("covariates").encode([{"diagnosis": "AD", "age": 70}, {"sex": "M"}, {}])
    with torch.no_grad():
        torch.testing.assert_close(exported(noisy, t, covariates), original(noisy, t, covariates), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="Unknown type annotation"):  # what the bundle's page says of scripting
        ckpt_export(net_id="network_def", **arguments, **network)
