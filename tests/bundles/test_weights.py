"""A model's weights and its codec's: found, whole, and of each other."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import AutoencoderKL

from medgen.bundles import adopt_trained, check_codec_people, inlined, load_codec, load_trained
from medgen.bundles.check import runnable_parts
from medgen.handlers import write_model
from medgen.networks import IdentityCodec, KLCodec

AUTOENCODER = {
    "_target_": "monai.networks.nets.AutoencoderKL", "spatial_dims": 2, "channels": [4, 8], "num_res_blocks": 1,
    "attention_levels": [False, False], "latent_channels": 2, "norm_num_groups": 4,
    "with_encoder_nonlocal_attn": False, "with_decoder_nonlocal_attn": False,
}  # fmt: skip
KL = {"_target_": "medgen.networks.KLCodec", "autoencoder": AUTOENCODER}


def codec(seed=0, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = KLCodec(AutoencoderKL(**{key: value for key, value in (AUTOENCODER | changes).items() if key[0] != "_"}))
        made.shift.normal_()
    return made


@pytest.fixture
def models(tmp_path):
    """A latent model and its codec, as training leaves them."""
    written = write_model(codec().state_dict(), tmp_path / "codec.pt", {"config": {"codec": KL}})
    sha256 = load_codec(codec(1), written).sha256
    facts = {"config": {"codec": KL, "network_def": {}}, "codec_sha256": sha256}
    write_model(torch.nn.Linear(2, 2).state_dict(), tmp_path / "model.pt", facts)
    return tmp_path


def test_a_model_brings_its_codec(models):
    filled = codec(1)
    load_trained(torch.nn.Linear(2, 2), models / "model.pt", "cpu", filled)
    assert all(torch.equal(value, filled.state_dict()[name]) for name, value in codec().state_dict().items())
    assert filled.source == models / "codec.pt"
    assert not any(parameter.requires_grad for parameter in filled.parameters())


def test_another_codec_than_the_models_own_is_refused(models):
    write_model(codec(2).state_dict(), models / "codec.pt", {})
    with pytest.raises(ValueError, match="was trained behind the codec"):
        load_trained(torch.nn.Linear(2, 2), models / "model.pt", "cpu", codec())


def test_a_codec_that_is_missing_damaged_or_of_another_size_is_named(models):
    with pytest.raises(ValueError, match="needs its codec; found IdentityCodec"):
        load_trained(torch.nn.Linear(2, 2), models / "model.pt", "cpu", IdentityCodec())
    with pytest.raises(ValueError, match=r"codec\.pt was trained as .*AutoencoderKL.*not the one described here"):
        load_codec(codec(channels=[8, 8]), models / "codec.pt")
    torch.save(codec(3).state_dict(), models / "codec.pt")
    with pytest.raises(ValueError, match="found SHA-256"):
        load_codec(codec(), models / "codec.pt")
    (models / "codec.pt").unlink()
    with pytest.raises(FileNotFoundError, match=r"found no trained codec. Make it with train_autoencoder\.json"):
        load_trained(torch.nn.Linear(2, 2), models / "model.pt", "cpu", codec())


def test_a_codec_that_may_have_seen_people_held_out_here_is_refused_unless_allowed(tmp_path, caplog, monkeypatch):
    config = {"splits": "$...", "seed": 0, "exclude_labels": [], "covariates": {"diagnosis": ["NC", "AD"]}}
    cohort = SimpleNamespace(fingerprint=lambda: "abc")
    here: dict = {}
    workflow = SimpleNamespace(parser=SimpleNamespace(get=lambda: here))
    monkeypatch.setattr("medgen.bundles.weights.calling_workflow", lambda: workflow)

    def check(trained, asked, fingerprint="abc", **allowed):
        path = write_model({}, tmp_path / "codec.pt", {"config": trained, "data_fingerprint": fingerprint})
        here.clear(), here.update(asked), caplog.clear()
        check_codec_people(path, cohort, **allowed)

    check(config, config)
    with pytest.raises(
        ValueError, match=r"seed=1, this run has 0; exclude_labels=\['MCI'\].* --allow_other_splits true"
    ):
        check(config | {"exclude_labels": ["MCI"], "seed": 1}, config)
    with pytest.raises(ValueError, match=r"covariates=.*may have seen people that are held out here"):
        check(config, config | {"covariates": {"diagnosis": ["NC", "MCI", "AD"]}})
    with pytest.raises(ValueError, match="the fingerprint xyz, this one has abc"):
        check(config, config, fingerprint="xyz")
    assert not caplog.records
    check(config, config | {"seed": 3}, fingerprint="xyz", allow_other_splits=True)
    assert "seed=0, this run has 3; a cohort with the fingerprint xyz" in caplog.text
    check_codec_people(tmp_path / "other.pt", cohort)
    assert "has no manifest: it may have seen people" in caplog.text


def test_a_pixel_model_has_no_codec_to_load(tmp_path):
    write_model(torch.nn.Linear(2, 2).state_dict(), tmp_path / "model.pt", {})
    for none in (None, IdentityCodec()):
        load_trained(torch.nn.Linear(2, 2), tmp_path / "model.pt", "cpu", none)


def test_inference_takes_the_codec_from_the_manifest(models, tmp_path):
    parser = ConfigParser({"codec": {"_target_": "medgen.networks.IdentityCodec"}, "network_def": {}})
    folder = tmp_path / "configs"
    folder.mkdir()
    ConfigParser.export_config_file(parser.get(), folder / "inference.json")
    adopt_trained(parser, models / "model.pt", folder)
    assert isinstance(parser.get_parsed_content("codec"), KLCodec)


def test_a_manifest_writes_out_what_the_codec_refers_to_and_runs_nothing_else():
    config = {"autoencoder": AUTOENCODER, "codec": {"_target_": KL["_target_"], "autoencoder": "@autoencoder"}}
    assert inlined(config, config["codec"]) == KL
    assert inlined({"covariates": {}}, {"covariates": "@covariates"}) == {"covariates": "@covariates"}
    assert runnable_parts(KL) == []
    assert runnable_parts(KL | {"autoencoder": {"_target_": "monai.networks.nets.UNet"}}) == [
        "monai.networks.nets.UNet"
    ]
