"""``evaluate.json`` of every bundle on MONAI's command line, with a small untrained network."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from monai.bundle import ConfigParser, ConfigWorkflow

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = sorted((REPOSITORY / "bundles").glob("*/configs/evaluate.json"))
TINY = {
    "channels": [8, 16],
    "attention_levels": [False, False],
    "num_res_blocks": 1,
    "num_head_channels": 8,
    "norm_num_groups": 4,
}


@pytest.fixture(scope="module", params=CONFIGS, ids=lambda path: path.parents[1].name)
def config(request):
    return request.param


@pytest.fixture(scope="module")
def trained(config, tmp_path_factory):
    """What a training run leaves: cohort, split file, weights and manifest."""
    pytest.importorskip("nilearn", reason="nilearn carries the template of the simulated cohort")
    from medgen.data import Cohort, simulated_cohort
    from medgen.handlers.manifest import write_model

    folder = tmp_path_factory.mktemp("trained")
    config = ConfigParser.load_config_file(config)
    covariates = {key: value for key, value in config["covariates"].items() if key != "_target_"}
    cohort = Cohort(simulated_cohort(folder / "cohorts", subjects=32, spacing=4.0, progress=False), covariates)
    fractions = {"train": 0.5, "validation": 0.25, "test": 0.25}
    cohort.split(fractions, file=folder / "runs" / "run_001" / "splits.json")
    network = config["network_def"] | TINY
    parser = ConfigParser({"covariates": config["covariates"], "network_def": network})
    weights = parser.get_parsed_content("network_def").state_dict()
    facts = {
        "run": "runs/run_001",
        "data_fingerprint": cohort.fingerprint(),
        "config": {
            "covariates": config["covariates"], "process": config["process"], "network_def": network,
            "image_size": 32, "simulated_subjects": 32, "slices": 4, "slice_range": [0.4, 0.6],
        },
    }  # fmt: skip
    (folder / "models").mkdir()
    write_model(weights, folder / "models" / "model.pt", facts)
    return folder


def _start(config, trained, output):
    words = {
        "output_dir": trained / "runs", "ckpt_dir": trained / "models", "eval_dir": output, "device": "cpu",
        "cohort#simulated#root": trained / "cohorts", "cohort#simulated#spacing": 4.0, "steps": 2,
        "n_per_class": 12, "n_sweep": 8, "guidances": "[2.0]", "replicates": 100, "n_planted": 8,
    }  # fmt: skip
    listed = [text for key, value in words.items() for text in (f"--{key}", str(value))]
    files = f"['{config}','{REPOSITORY / 'configs' / 'cpu.json'}']"
    return subprocess.Popen(
        [sys.executable, "-m", "monai.bundle", "run", "--config_file", files, *listed],
        cwd=output.parent,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _kill_when_images_are_kept(process, output):
    """Kill an evaluation as soon as it has kept generated images; returns what it left, and when that was written."""
    deadline = time.monotonic() + 180
    while not list(output.glob("private/generated-*.npz")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, text[-4000:]
    assert not (output / "metrics.json").exists()
    return {path: path.stat().st_mtime_ns for path in (output / "private").iterdir() if path.name[0] != "."}


@pytest.mark.slow
def test_evaluates_what_was_trained(config, trained, tmp_path):
    output = tmp_path / "eval"
    kept = {}
    if config == CONFIGS[0]:  # one that is killed goes on
        kept = _kill_when_images_are_kept(_start(config, trained, output), output)
        assert len(kept) >= 2  # the judge, and images
    done = _start(config, trained, output)
    text, _ = done.communicate(timeout=240)
    assert done.returncode == 0, text[-4000:]
    assert "SIMULATED DATA" in text
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["data"]["image_size"] == [32, 32]  # of the model, not the bundle's default
    planes = len(ConfigParser.load_config_file(config.with_name("train.json")).get("planes", ["axial"]))
    assert metrics["data"]["splits"]["test"] == {"subjects": 8, "images": 32 * planes}
    assert ("likeness_by_plane" in metrics["generated"][0]) == (planes > 1)
    assert [row["guidance"] for row in metrics["generated"]] == [1.0, 2.0]
    assert (output / "report.html").is_file()
    card = (output / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.startswith(f"<!-- medgen.card/1 weights {metrics['model']['sha256']}")
    assert f"# {config.parents[1].name}: model card" in card
    assert (output / "report_private.html").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("label", "labels"), [("sex", ["F", "M"]), ("age", None)])
def test_any_covariate_can_be_asked_about(config, trained, tmp_path, label, labels):
    overrides = {
        "output_dir": str(trained / "runs"), "ckpt_dir": str(trained / "models"), "eval_dir": str(tmp_path),
        "cohort#simulated#root": str(trained / "cohorts"), "cohort#simulated#spacing": 4.0, "device": "cpu",
        "label": label, "memorisation": "false",
    }  # fmt: skip
    workflow = ConfigWorkflow(str(config), logging_file=False, **overrides)
    workflow.initialize()
    evaluation = workflow.parser.get_parsed_content("evaluation")
    assert evaluation.question.settings()["label"] == label
    assert evaluation.question.settings()["labels"] == labels
    assert not evaluation.memorisation


def test_a_misspelt_override_is_refused_before_anything_is_read(tmp_path):
    workflow = ConfigWorkflow(str(CONFIGS[0]), logging_file=False, ckpt_dir=str(tmp_path), n_per_clas=4)
    with pytest.raises(RuntimeError) as caught:
        workflow.initialize()
    assert "n_per_clas: nothing reads this key (nearest: 'n_per_class')" in str(caught.value.__cause__)


@pytest.mark.parametrize("overlay", ["cpu", "demo", "multi_gpu"])
def test_every_overlay_lies_on_top(overlay, tmp_path):
    files = [str(CONFIGS[0]), str(REPOSITORY / "configs" / f"{overlay}.json")]
    workflow = ConfigWorkflow(files, logging_file=False, ckpt_dir=str(tmp_path))
    workflow.initialize()
    assert workflow.parser.get_parsed_content("sampler").steps > 0
