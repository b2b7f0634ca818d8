"""Every bundle with a codec: an autoencoder, the model behind it, its images, and what evaluates them."""

import csv
import json

import monai.bundle
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from PIL import Image
from sweep import OVERLAYS, REPOSITORY

import medgen
from medgen.networks import KLCodec

pytestmark = pytest.mark.xdist_group("bundle_latents")
AUTOENCODER = {"autoencoder#channels": [4, 8], "autoencoder#num_res_blocks": 1, "autoencoder#norm_num_groups": 4}
AUTOENCODER["autoencoder#attention_levels"] = [False, False]
# as many as an evaluation wants
PEOPLE = {"simulated_subjects": 32, "split_fractions": {"train": 0.5, "validation": 0.25, "test": 0.25}}
SHORT = {"max_iterations": 4, "val_interval": 2, "log_interval": 2, "sample_interval": 4}


def run(root, name, **overrides):
    """Run a configuration in this process."""
    monai.bundle.run(config_file=str(root / "configs" / name), logging_file=False, **overrides)


@pytest.fixture(scope="session")
def latent(copied, tiny, tmp_path_factory):
    """The folder of a codec and a latent model trained behind it, and the settings of both runs."""
    where = tmp_path_factory.mktemp("latent")
    places = {"output_dir": str(where / "runs"), "ckpt_dir": str(where / "models")}
    settings = {key: value for key, value in tiny.items() if key != "sampler#steps"} | SHORT | AUTOENCODER | places
    settings |= PEOPLE
    run(copied, "train_autoencoder.json", **settings, **{"discriminator#channels": 4})
    run(copied, "train_latent.json", **settings, **{"sampler#steps": 2, "latent_copies": 2})
    return where, settings


def test_the_codec_is_published_with_what_it_measured(latent):
    where, _ = latent
    first, manifest = where / "runs" / "run_001", json.loads((where / "models" / "codec.json").read_text())
    assert {path.name for path in first.iterdir()} >= {
        "autoencoder.pt", "autoencoder.json", "codec.pt", "codec.json", "metrics.csv", "validation.csv",
        "reconstructions", "splits.json", "checkpoint_00000004.pt",
    }  # fmt: skip
    assert manifest["codec"] == "KLCodec"
    assert manifest["config"]["codec"]["autoencoder"]["channels"] == [4, 8]
    assert manifest["data_simulated"] is True
    assert set(manifest["reconstruction"]) == {"val_loss", "psnr", "ssim"}
    assert str(where) not in json.dumps(manifest)
    weights = torch.load(where / "models" / "codec.pt", weights_only=True)
    assert weights["shift"].tolist() == pytest.approx(manifest["latent"]["shift"])
    with open(first / "validation.csv", newline="") as file:
        assert set(csv.DictReader(file).fieldnames) == {"iteration", "epoch", "val_loss", "psnr", "ssim"}


def test_the_model_names_its_codec_and_the_latents_stay_private(latent):
    where, _ = latent
    second = where / "runs" / "run_002"
    model, codec = (json.loads((where / "models" / name).read_text()) for name in ("manifest.json", "codec.json"))
    assert model["codec_sha256"] == codec["sha256"]
    assert model["config"]["codec"]["_target_"] == "medgen.networks.KLCodec"
    assert (second / "codec.pt").is_file()
    caches = list((second / "private").glob("latents_*.pt"))
    assert len(caches) == 2
    assert {path.stat().st_mode & 0o777 for path in caches} == {0o600}
    with Image.open(second / "samples" / "grid_00000004.png") as grid:
        assert grid.text["Synthetic"] == "YES"


def test_a_longer_run_does_not_encode_again(latent, copied, monkeypatch, tmp_path):
    _, settings = latent

    def refuse(*arguments, **keywords):
        raise AssertionError("images were encoded again")

    monkeypatch.setattr("medgen.data.LatentDataset._encode", refuse)
    changes = {"max_iterations": 6, "resume": "true", "sampler#steps": 2, "latent_copies": 2}
    found = ConfigWorkflow(str(copied / "configs" / "train_latent.json"), logging_file=False, **settings | changes)
    found.initialize()
    assert found.trainer.resume()
    assert found.trainer.state.iteration == 4


def test_images_of_the_right_size_come_out_everywhere(latent, copied, tmp_path):
    where, _ = latent
    asked = {"ckpt_dir": str(where / "models"), "output_dir": str(tmp_path), "device": "cpu", "steps": 2}
    run(copied, "inference.json", **asked, n=2, diagnosis="AD", progress="false")
    with open(tmp_path / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = ConfigWorkflow(
        str(copied / "configs" / "inference.json"), workflow_type="infer", logging_file=False, **asked
    )
    found.initialize()
    assert isinstance(found.parser.get_parsed_content("codec"), KLCodec)
    models = copied / "models"
    models.symlink_to(where / "models") if not models.exists() else None
    bundle = medgen.load(copied, device="cpu")
    if not isinstance(bundle.codec, KLCodec):
        pytest.skip("another test trained a pixel model there")
    images = bundle.generate(diagnosis="AD", n=2, steps=2)
    assert images.shape == (2, 1, 32, 32)
    for image, row in zip(images, rows, strict=True):
        written = np.asarray(Image.open(tmp_path / row["png"])).astype(float)
        assert np.abs((image[0].numpy() + 1) * 127.5 - written).max() <= 1.0


@pytest.mark.slow
def test_it_is_evaluated_as_any_model(latent, copied, tmp_path):
    _, settings = latent
    data = {key: value for key, value in settings.items() if key.startswith(("cohort", "device", "output", "ckpt"))}
    few = {"steps": 1, "n_per_class": 8, "n_sweep": 4, "guidances": [], "replicates": 20, "ventricles": "false"}
    run(copied, "evaluate.json", **data, **few, eval_dir=str(tmp_path))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["data"]["image_size"] == [32, 32]
    assert (tmp_path / "report.html").is_file()


def test_a_codec_that_is_missing_or_another_is_refused(latent, copied, tmp_path):
    where, settings = latent

    def refusal(**overrides):
        config = str(copied / "configs" / "train_latent.json")
        with pytest.raises(RuntimeError) as caught:
            ConfigWorkflow(config, logging_file=False, **settings | overrides).initialize()
        return str(caught.value.__cause__)

    missing = refusal(ckpt_dir=str(tmp_path), output_dir=str(tmp_path))
    assert "found no trained codec" in missing
    assert "train_autoencoder.json" in missing
    assert "was trained as" in refusal(**{"autoencoder#channels": [8, 8]})
    assert "works on 4 channels, the codec's latents have 3" in refusal(**{"network_def#in_channels": 4})
    target = {"codec#_target_": "medgen.networks.VQCodec"}
    assert "expected MONAI's VQVAE" in refusal(**target) or "was trained as" in refusal(**target)
    assert "seed=0, this run has 1" in refusal(seed=1)
    assert "covariates" in refusal(**{"covariates#sex": ["M", "F"], "allow_other_splits": "false"})
    assert (where / "models" / "codec.pt").is_file()


@pytest.mark.parametrize(
    "overlay", [p for p in OVERLAYS if p.stem in ("cpu", "demo", "multi_gpu")], ids=lambda p: p.stem
)
def test_overlays_lie_on_top_of_training_a_codec(bundle, overlay, tiny, tmp_path):
    files = [str(bundle / "configs" / "train_autoencoder.json"), str(REPOSITORY / overlay)]
    data = {key: value for key, value in tiny.items() if key.startswith(("cohort", "simulated"))}
    found = ConfigWorkflow(files, logging_file=False, output_dir=str(tmp_path), image_size=32, **data)
    found.initialize()
    assert found.check_properties() == []
    assert found.trainer.adversary.network is not None
