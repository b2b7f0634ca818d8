from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

import medgen
from medgen.bundles.check import config_problems, runnable_parts
from medgen.handlers import write_model

BUNDLE = Path(__file__).parents[2] / "bundles" / "adni_ddim"


@pytest.mark.parametrize(
    "part",
    [
        "$__import__('os').system('true')",
        {"_target_": "os.system", "command": "true"},
        {"_target_": "medgen.networks.loading.os.system", "command": "true"},
        {"_target_": "medgen.files.write_text", "path": "x", "text": "y"},
        {"_target_": "medgen.networks.load_weights", "path": "x"},
        {"_target_": "medgen.networks.ConditionalUNet", "channels": [8, "$exit()"]},
        {"_target_": "medgen.networks.ConditionalUNet", "channels": [{"_target_": "builtins.exit"}]},
        "%/etc/passwd",
    ],
)
def test_what_would_run_code_is_found(part):
    assert runnable_parts(part)


def test_plain_settings_and_known_parts_are_data():
    config = json.loads((BUNDLE / "configs" / "train.json").read_text())
    assert runnable_parts({key: config[key] for key in ("covariates", "process", "network_def", "image_size")}) == []
    assert runnable_parts({"_target_": "my.Network"}) == ["my.Network"]
    assert runnable_parts({"_target_": "my.Network"}, trusted={"my.Network"}) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("network_def", {"_target_": "pathlib.Path.touch", "self": "$__import__('pathlib').Path('{mark}')"}),
        ("image_size", "$__import__('pathlib').Path('{mark}').touch() or 64"),
    ],
)
def test_a_manifest_cannot_run_code(key, value, tmp_path):
    root, mark = tmp_path / "bundle", tmp_path / "mark"
    shutil.copytree(BUNDLE, root, ignore=shutil.ignore_patterns("runs", "models", "output", "eval"))
    value = json.loads(json.dumps(value).replace("{mark}", str(mark)))
    write_model({"weight": torch.zeros(1)}, root / "models" / "model.pt", {"config": {key: value}})
    with pytest.raises(ValueError, match=f"{key}: the manifest"):
        medgen.load(root)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("item", "value", "wrong"),
    [
        ("network_def::activation_checkpointing", "false", True),
        ("network_def::activation_checkpointing", False, False),
        ("network_def::attention_levels", ["false", "false", "true", "true"], True),
        ("train::trainer::stratified_times", "False", True),
        ("train::trainer::amp", "false", False),  # reads the text itself
        ("train::dataloader::balance", "true", False),
        ("compile", "false", False),  # read by medgen.bundles.boolean
    ],
)
def test_a_text_where_a_truth_value_belongs_is_refused(item, value, wrong):
    parser = ConfigParser()
    parser.read_config(BUNDLE / "configs" / "train.json")
    parser[item] = value
    parser.parse()
    problems = config_problems(parser, known_elsewhere={"balance"})
    assert bool(problems) is wrong
    assert all(item in problem and "write " in problem for problem in problems)


def test_images_have_the_channels_of_the_network():
    parser = ConfigParser()
    parser.read_config(BUNDLE / "configs" / "inference.json")
    parser["bundle_root"], parser["image_size"] = ".", 16
    parser["network_def::in_channels"] = parser["network_def::out_channels"] = 2
    parser.parse()
    assert parser.get_parsed_content("inferer").shape == (2, 16, 16)
