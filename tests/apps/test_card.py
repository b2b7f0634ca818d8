"""The model card says what the weights are and what was measured, and a stale one is told."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from example_metrics import changed, example_metrics, figure
from monai.bundle import verify_metadata

from medgen.apps.report.card import card_stamp, eval_metrics, model_card
from medgen.bundles import write_card
from medgen.bundles.card import card_problems
from medgen.bundles.cli import bundle_problems, main
from medgen.files import file_sha256
from medgen.handlers import write_model

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLE = REPOSITORY / "bundles" / "adni_ddim"
METADATA = {
    "name": "a_bundle",
    "version": "1.2.3",
    "task": "A task",
    "description": "A model.",
    "intended_use": "Study.",
}


@pytest.fixture
def bundle(tmp_path):
    """A bundle with weights and an evaluation of them."""
    root = tmp_path / "adni_ddim"
    shutil.copytree(BUNDLE, root, ignore=shutil.ignore_patterns("runs", "models", "output", "eval"))
    train(root, 0.0)
    evaluate(root)
    return root


def train(root, value):
    (root / "models").mkdir(exist_ok=True)
    write_model({"weight": torch.full((1,), value)}, root / "models" / "model.pt", {"share": "yes", "config": {}})


def evaluate(root, **change):
    (root / "eval").mkdir(exist_ok=True)
    metrics = changed(example_metrics(), model__sha256=file_sha256(root / "models" / "model.pt"), **change)
    (root / "eval" / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")


@pytest.mark.parametrize("of_label", [True, False])
@pytest.mark.parametrize("simulated", [True, False])
def test_the_card_says_what_it_must(of_label, simulated):
    metrics = example_metrics(of_label, simulated=simulated)
    metrics["model"]["config"]["observed"] = {"age": [55.2, 93.5], "sex": ["F", "M"]}
    metrics["notices"] = ["Split by hand."]
    card = model_card(metrics, METADATA, {"share": "no", "codec_sha256": "c" * 64}, "d" * 64)
    assert card_stamp(card) == ("ab" * 32, "d" * 64)
    assert ("SIMULATED DATA" in card) == simulated
    for said in (
        "# a_bundle: model card", "A task", "A model.", "Study.", "Bundle version 1.2.3", "ab" * 32, "c" * 64,
        "free to share", "passed on: no", "0123456789abcdef", "fedcba9876543210", "age: 55 to 90+", "sex: F, M",
        "Split by hand.", "95 % intervals", "0.80 (0.70 to 0.90)", "No copies found among 256 images by a detector",
        "does not mean that the model holds nothing", "Peak memory", "Network evaluations", "synthetic: PNG and NIfTI",
        "training 0, evaluation 0", "nothing that it makes is for diagnosis",
    ):  # fmt: skip
        assert said in card, said
    assert "93.5" not in card
    assert "the ceiling" in card
    assert "floor, training to held-out images" in card
    assert "private" not in card.replace("stays private", "").lower()
    assert "safe" not in card.lower()


def test_where_nobody_looked_for_copies_the_card_does_not_say_that_there_are_none():
    metrics = changed(example_metrics(), memorisation=None, row__originality=None)
    card = model_card(metrics, METADATA)
    assert "No copies found" not in card
    assert "## Are the images new?" in card
    assert not any(name.startswith("copies") for name in eval_metrics(metrics))


def test_eval_metrics_are_flat_numbers_with_their_intervals():
    metrics = changed(example_metrics(), row__label__ratio=figure(0.94712, 0.7, 1.2))
    found = eval_metrics(metrics)
    assert (found["label_ratio"], found["label_ratio_low"], found["label_ratio_high"]) == (0.9471, 0.7, 1.2)
    assert {"auc", "auc_real", "frechet_distance", "frechet_distance_real", "membership_auc", "copies_found"} <= set(
        found
    )
    assert all(type(value) in (int, float) for value in found.values())
    assert all(name.isidentifier() and name.isascii() for name in found)
    nothing = changed(metrics, row__label__ratio={"value": None, "low": None, "high": None})
    assert "label_ratio" not in eval_metrics(nothing)
    assert {"correlation", "correlation_real", "slope_ratio"} <= set(eval_metrics(example_metrics(of_label=False)))


def test_the_command_writes_the_card_beside_the_weights(bundle, capsys):
    assert main(["card", str(bundle)]) == 0
    card = bundle / "models" / "MODEL_CARD.md"
    assert capsys.readouterr().out.strip() == str(card)
    assert "# adni_ddim: model card" in card.read_text(encoding="utf-8")
    assert card_problems(bundle) == []
    assert str(bundle) not in card.read_text(encoding="utf-8")


def test_a_card_and_figures_of_other_weights_are_told(bundle, capsys):
    assert main(["card", str(bundle)]) == 0
    write_card(bundle / "models" / "model.pt", bundle / "eval", METADATA)
    evaluate(bundle, settings__seed=1)  # the same weights, other figures
    problems = bundle_problems(bundle)
    assert [text.split(":")[0] for text in problems] == ["models/MODEL_CARD.md", "eval/MODEL_CARD.md"]
    assert "was written from other figures than eval/metrics.json" in problems[0]
    train(bundle, 1.0)
    problems = bundle_problems(bundle)
    assert [text.split(":")[0] for text in problems] == [
        "eval/metrics.json", "models/MODEL_CARD.md", "eval/MODEL_CARD.md",
    ]  # fmt: skip
    assert all("is of the weights" in text for text in problems)
    capsys.readouterr()
    assert main(["card", str(bundle)]) == 1
    assert "evaluate again" in capsys.readouterr().err
    evaluate(bundle)
    assert main(["card", str(bundle)]) == 0
    write_card(bundle / "models" / "model.pt", bundle / "eval", METADATA)
    assert bundle_problems(bundle) == []


def test_without_figures_or_weights_it_says_what_to_do(bundle, capsys):
    (bundle / "eval" / "metrics.json").unlink()
    assert main(["card", str(bundle)]) == 1
    assert "found no figures; evaluate the weights first" in capsys.readouterr().err
    (bundle / "models" / "model.pt").unlink()
    assert main(["card", str(bundle)]) == 1
    assert "found no weights" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["adni_ddim", "mri_age_flow"])
def test_metadata_are_filled_stay_as_they_were_written_and_pass_monai(name, bundle, capsys):
    target = bundle / "configs" / "metadata.json"
    shutil.copy(REPOSITORY / "bundles" / name / "configs" / "metadata.json", target)
    before = json.loads(target.read_text(encoding="utf-8"))
    assert main(["card", str(bundle), "--metadata"]) == 0
    text = target.read_text(encoding="utf-8")
    after = json.loads(text)
    assert after["eval_metrics"]["label_ratio"] == 1.0
    assert after["eval_metrics_of"]["model_sha256"] == file_sha256(bundle / "models" / "model.pt")
    assert after["eval_metrics_of"]["simulated"] is True
    assert {k: v for k, v in after.items() if "eval_metrics" not in k} == {
        k: v for k, v in before.items() if "eval_metrics" not in k
    }
    assert '"spatial_shape": [128, 128]' in text  # not written anew
    verify_metadata(meta_file=str(target), filepath=str(REPOSITORY / "tests" / "metadata.schema.json"))
    assert main(["card", str(bundle), "--metadata"]) == 0
    assert target.read_text(encoding="utf-8") == text
    capsys.readouterr()
    assert main(["check", str(bundle)]) == 0
    assert "note" not in capsys.readouterr().out
    train(bundle, 1.0)
    (bundle / "eval" / "metrics.json").unlink()
    assert main(["check", str(bundle)]) == 0
    assert "note: configs/metadata.json: eval_metrics are of the weights" in capsys.readouterr().out


@pytest.mark.parametrize("indent", [None, 1, 4, "\t"])
@pytest.mark.parametrize("known", [True, False])
def test_metadata_written_otherwise_hold_the_figures_once_and_keep_their_indent(indent, known, bundle):
    target = bundle / "configs" / "metadata.json"
    before = json.loads(target.read_text(encoding="utf-8")) | {"note": "ä"}
    if not known:
        del before["eval_metrics"], before["eval_metrics_of"]
    target.write_text(json.dumps(before, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
    assert main(["card", str(bundle), "--metadata"]) == 0
    text = target.read_text(encoding="utf-8")
    after = json.loads(text)
    assert after["eval_metrics"]["label_ratio"] == 1.0
    assert after["eval_metrics_of"]["model_sha256"] == file_sha256(bundle / "models" / "model.pt")
    assert text.count('"eval_metrics"') == text.count('"eval_metrics_of"') == 1
    assert text == json.dumps(after, indent=indent, ensure_ascii=False) + "\n"
    assert {k: v for k, v in after.items() if "eval_metrics" not in k} == {
        k: v for k, v in before.items() if "eval_metrics" not in k
    }


def test_figures_that_are_there_twice_are_there_once_afterwards(bundle):
    target = bundle / "configs" / "metadata.json"
    text = target.read_text(encoding="utf-8")
    target.write_text(text.replace("{", '{\n  "eval_metrics": {"label_ratio": 7},', 1), encoding="utf-8")
    assert main(["card", str(bundle), "--metadata"]) == 0
    text = target.read_text(encoding="utf-8")
    assert text.count('"eval_metrics"') == 1
    assert json.loads(text)["eval_metrics"]["label_ratio"] == 1.0


@pytest.mark.parametrize("options", [[], ["--metadata"]])
def test_figures_that_lack_some_are_refused_by_name(options, bundle, capsys):
    file = bundle / "eval" / "metrics.json"
    metrics = json.loads(file.read_text(encoding="utf-8"))
    del metrics["generated"][0]["likeness"]["floor_kernel"]
    file.write_text(json.dumps(metrics), encoding="utf-8")
    assert main(["card", str(bundle), *options]) == 1
    told = capsys.readouterr().err
    assert "generated[0].likeness lacks 'floor_kernel'" in told
    assert "evaluate again" in told


def test_figures_that_are_cut_off_are_told_as_such(bundle):
    file = bundle / "eval" / "metrics.json"
    file.write_text(file.read_text(encoding="utf-8")[:300], encoding="utf-8")
    assert [text for text in bundle_problems(bundle) if "cannot be read" in text and "unknown" not in text] == [
        "eval/metrics.json: cannot be read, expected the figures of an evaluation; evaluate again"
    ]


def test_the_card_says_which_intervals_are_by_leaving_out():
    assert "of distances, precision, recall, density and coverage by leaving out groups of subjects" in model_card(
        example_metrics(), METADATA
    )
