"""medgen.load: from weights and a manifest to images."""

import json
import shutil

import pytest
import torch
from monai.bundle import ConfigParser

import medgen
from medgen.bundles import adopt_trained
from medgen.bundles.cli import bundle_problems, main
from medgen.handlers.manifest import write_model

pytestmark = pytest.mark.xdist_group("bundle_loaded")
SMALL = {"channels": [8, 16], "attention_levels": [False, True], "num_res_blocks": 1, "num_head_channels": 8}


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory, repository):
    """A copy of adni_ddim with weights of a small network at 16 x 16, as training leaves them."""
    root = tmp_path_factory.mktemp("loaded") / "adni_ddim"
    shutil.copytree(
        repository / "bundles" / "adni_ddim", root, ignore=shutil.ignore_patterns("runs", "models", "output")
    )
    config = ConfigParser.load_config_file(root / "configs" / "train.json")
    definition = config["network_def"] | SMALL | {"norm_num_groups": 4}
    parser = ConfigParser({"covariates": config["covariates"], "network_def": definition})
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def")
    for parameter in network.parameters():  # MONAI's last layer starts at zero: every image would be the same
        torch.nn.init.normal_(parameter, std=0.05)
    facts = {"config": {"image_size": 16, "network_def": definition}, "data_terms": "made up", "share": "no"}
    write_model(network.state_dict(), root / "models" / "model.pt", facts)
    return root


@pytest.fixture(scope="module")
def loaded(small_bundle):
    return medgen.load(small_bundle, device="cpu")


def test_the_manifest_decides_network_and_size(loaded):
    assert loaded.network.multiple == 2  # two levels; the bundle's own network has four
    assert loaded.generate(n=1, steps=1).shape == (1, 1, 16, 16)
    assert loaded.covariates.names == ("diagnosis", "age", "sex", "slice")
    assert loaded.manifest["data_terms"] == "made up"
    assert not loaded.network.training


def test_the_same_seed_gives_the_same_image_whatever_n_and_batch(loaded):
    settings = {"diagnosis": "AD", "age": 75, "seed": 3, "steps": 2}
    three = loaded.generate(n=3, **settings)
    one = loaded.generate(n=1, **settings)
    torch.testing.assert_close(three[:1], one, atol=1e-4, rtol=0)
    torch.testing.assert_close(loaded.generate(n=3, batch_size=1, **settings), three, atol=1e-4, rtol=0)
    assert not torch.allclose(loaded.generate(n=1, **settings | {"seed": 4}), one, atol=1e-2)


def test_conditions_share_their_noise_and_differ(loaded):
    images = loaded.generate(diagnosis=["NC", "AD"], n=2, steps=2)
    assert images.shape[0] == 4
    assert images.abs().max() <= 1
    torch.testing.assert_close(images[2:], loaded.generate(diagnosis="AD", n=2, steps=2), atol=1e-4, rtol=0)
    assert not torch.equal(images[:2], images[2:])


def test_settings_change_the_sampling(loaded):
    plain = loaded.generate(diagnosis="AD", n=1, steps=2)
    assert not torch.equal(loaded.generate(diagnosis="AD", n=1, steps=2, guidance=3.0), plain)
    assert not torch.equal(loaded.generate(diagnosis="AD", n=1, steps=2, solver="ddpm"), plain)
    assert loaded.generate(n=1, steps=1, image_size=20).shape == (1, 1, 20, 20)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"diagnosis": "MCI"}, "undeclared label 'MCI'"),
        ({"diagnosys": "AD"}, "diagnosys: is neither a covariate .*nearest: 'diagnosis'"),
        ({"stepps": 3}, "stepps: is neither.*nearest: 'steps'"),
        ({"network_def": {}}, "network_def: is neither"),
        ({"age": 10}, "outside 18 to 100 years"),
    ],
)
def test_what_it_does_not_know_is_named(loaded, values, message):
    with pytest.raises(ValueError, match=message):
        loaded.generate(n=1, **values)


def test_info_and_check_on_the_command_line(small_bundle, capsys):
    assert bundle_problems(small_bundle) == []
    assert main(["check", str(small_bundle)]) == 0
    assert main(["info", str(small_bundle)]) == 0
    text = capsys.readouterr().out
    assert "nothing to complain about" in text
    assert "diagnosis NC/AD, age 18-100 years" in text
    assert "image size: 16" in text
    assert "data_terms: made up" in text


def test_check_names_what_is_wrong(small_bundle, tmp_path, capsys):
    root = tmp_path / "broken"
    shutil.copytree(small_bundle, root)
    (root / "LICENSE").unlink()
    with open(root / "models" / "model.pt", "r+b") as file:
        file.seek(1000)
        file.write(b"\0\1\2\3")
    overlay = tmp_path / "overlay.json"
    overlay.write_text(json.dumps({"max_iteration": 5}))
    assert main(["check", str(root), str(overlay)]) == 1
    text = capsys.readouterr().out
    assert "LICENSE: missing" in text
    assert "SHA-256" in text
    assert "max_iteration: nothing reads this key (nearest: 'max_iterations')" in text
    with pytest.raises(ValueError, match="SHA-256"):
        medgen.load(root)


def test_a_bundle_without_weights_says_how_to_train_it(small_bundle, tmp_path):
    root = tmp_path / "untrained"
    shutil.copytree(small_bundle, root, ignore=shutil.ignore_patterns("models"))
    with pytest.raises(FileNotFoundError, match=r"found no trained weights.*monai.bundle run --config_file"):
        medgen.load(root)


def test_weights_of_another_network_are_refused(small_bundle, tmp_path):
    root = tmp_path / "other"
    shutil.copytree(small_bundle, root)
    write_model({"weight": torch.zeros(3)}, root / "models" / "model.pt", {})
    with pytest.raises(ValueError, match="does not fit network_def"):
        medgen.load(root)


def test_a_folder_that_is_no_bundle_names_the_nearest(small_bundle):
    with pytest.raises(FileNotFoundError, match=r"so no bundle \(nearest: 'adni_ddim'\)"):
        medgen.load(small_bundle.parent / "adni_dim")


def test_a_covariate_that_training_never_saw_is_left_unknown_with_a_warning(small_bundle, tmp_path, caplog):
    root = tmp_path / "adni_ddim"
    shutil.copytree(small_bundle, root)
    manifest = json.loads((root / "models" / "manifest.json").read_text())
    manifest["config"]["unobserved"] = ["age", "sex"]
    (root / "models" / "manifest.json").write_text(json.dumps(manifest))
    bundle = medgen.load(root, device="cpu")
    with caplog.at_level("WARNING"):
        asked = bundle.generate(n=1, steps=1, diagnosis="AD", age=75)
    assert "age was unknown for every training image" in caplog.text
    assert torch.equal(asked, bundle.generate(n=1, steps=1, diagnosis="AD"))
    parser = ConfigParser.load_config_file(root / "configs" / "inference.json")
    parser = ConfigParser(parser | {"age": 75, "sex": "F"})
    adopt_trained(parser, root / "models" / "model.pt", root / "configs")
    assert (parser["age"], parser["sex"], parser["diagnosis"]) == (None, None, ["NC", "AD"])


def test_what_an_overlay_says_gives_way_to_the_manifest_and_what_was_set_by_hand_does_not(small_bundle):
    weights, configs = small_bundle / "models" / "model.pt", small_bundle / "configs"
    trained = json.loads((small_bundle / "models" / "manifest.json").read_text())["config"]["network_def"]
    own = ConfigParser.load_config_file(configs / "inference.json")
    other = own | {"network_def": own["network_def"] | {"num_res_blocks": 5}, "image_size": None}
    for by_hand in (None, {"network_def"}):
        with pytest.raises(ValueError, match="network_def: was overridden"):
            adopt_trained(ConfigParser(other), weights, configs, by_hand)
    parser = ConfigParser(other)
    adopt_trained(parser, weights, configs, by_hand={"age"})
    assert parser["network_def"] == trained
    assert parser["image_size"] is not None


@pytest.mark.parametrize(("setting", "message"), [({"steps": 0}, "steps"), ({"guidance": "x"}, "guidance")])
def test_a_bad_setting_says_what_is_wrong_with_it(loaded, setting, message):
    with pytest.raises(ValueError, match=message):
        loaded.generate(n=1, **setting)
