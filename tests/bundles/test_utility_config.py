"""``utility.json`` on top of every bundle, run whole: its own trainer, class folders, a page, and resuming."""

import json

import monai.bundle
import pytest
import torch
from cifar_files import write_cifar
from sweep import REPOSITORY

from medgen.bundles import manifest_of

pytestmark = pytest.mark.xdist_group("bundle_configs")
SMALL = {
    "max_iterations": 4,
    "val_interval": 4,
    "sample_interval": 4,
    "classifier_seeds": 2,
    "replicates": 50,
    "classifier#iterations": 2,
    "classifier#checks": 1,
    "classifier#batch_size": 4,
}


def run(bundle, output_dir, *overlays, **overrides):
    files = [bundle / "configs" / "train.json", *(REPOSITORY / "configs" / f"{name}.json" for name in overlays)]
    monai.bundle.run(
        config_file=[str(file) for file in files], logging_file=False, output_dir=str(output_dir), **overrides
    )
    return json.loads((output_dir / "utility" / "utility.json").read_text())


def test_it_runs_on_the_bundles_own_training_and_finds_what_is_finished(bundle, tiny, tmp_path):
    data = {"simulated_subjects": 24, "split_fractions": {"train": 0.5, "validation": 0.2, "test": 0.3}}
    settings = tiny | SMALL | data | {"sizes": [1.0], "slices": 1}
    metrics = run(bundle, tmp_path, "utility", **settings)
    assert metrics["failures"] == []
    assert metrics["simulated"] is True
    assert (metrics["name"], metrics["settings"]["label"]) == (bundle.name, "diagnosis")
    (size,) = metrics["sizes"]
    assert set(size["arms"]) == {"real", "real_augmented", "synthetic", "real_synthetic", "real_repeated"}
    private = tmp_path / "utility" / "private"
    (generator,) = private.glob("generator-*")
    manifest = manifest_of(generator / "model.pt")
    assert (manifest["sha256"], manifest["iteration"]) == (size["generator"]["sha256"], 4)
    splits = json.loads((private / "splits.json").read_text())["splits"]
    assert not set(splits["train"]) & set(splits["test"])
    assert len(list((tmp_path / "utility" / "synthetic").glob("*/*/SYN*.png"))) == size["synthetic"]["images"]
    page = (tmp_path / "utility" / "utility.html").read_text()
    assert not any(subject in page for members in splits.values() for subject in members)

    before = torch.load(generator / "model.pt", weights_only=True)
    (generator / "generator.json").unlink()  # as if it had been killed before its record was written
    again = run(bundle, tmp_path, "utility", **settings)
    assert again["sizes"][0]["arms"] == size["arms"]
    after = torch.load(generator / "model.pt", weights_only=True)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_it_runs_on_pictures_with_a_class(bundle, tiny, tmp_path):
    network = {key: value for key, value in tiny.items() if not key.startswith(("cohort", "simulated", "image_size"))}
    data = {"dataset_dir": str(write_cifar(tmp_path / "cifar", 24, 12)), "sizes": [0.5]}
    metrics = run(bundle, tmp_path, "cifar10", "utility", **network | SMALL | data)
    assert metrics["failures"] == []
    assert metrics["settings"]["labels"] == ["automobile", "truck"]
    assert metrics["data"]["image_shape"] == [3, 32, 32]
    assert metrics["data"]["splits"]["test"] == {
        "subjects": 12,
        "images": 12,
        "by_label": {"automobile": 6, "truck": 6},
    }


def test_weights_from_elsewhere_are_refused(bundle, tiny, tmp_path):
    torch.save({}, tmp_path / "model.pt")
    with pytest.raises(RuntimeError) as caught:
        run(bundle, tmp_path, "utility", **tiny | SMALL, pretrained=str(tmp_path / "model.pt"))
    causes, error = [], caught.value
    while error is not None:
        causes.append(str(error))
        error = error.__cause__
    assert any("pretrained" in cause or "model.pt" in cause for cause in causes)
