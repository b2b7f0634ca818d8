"""Every bundle, run as its users run it: from everywhere, killed and resumed, in two processes, and for images."""

import csv
import json
import signal
import time

import monai.bundle
import nibabel
import numpy as np
import pydicom
import pytest
import torch
from monai.bundle import ConfigWorkflow
from PIL import Image
from sweep import REPOSITORY, finish, start

import medgen
from medgen.dicom.verify import check_synthetic

pytestmark = pytest.mark.xdist_group("bundle_runs")  # they share the runs
LAST = "checkpoint_00000030.pt"


def train(bundle, tiny, where, **overrides):
    """Start a run of 30 iterations from the repository's root."""
    config = str(bundle.relative_to(REPOSITORY) / "configs" / "train.json")
    places = {"output_dir": where / "runs", "ckpt_dir": where / "models"}
    return start("run", cwd=REPOSITORY, config_file=config, max_iterations=30, **tiny, **places, **overrides)


@pytest.fixture(scope="session")
def whole(bundle, tiny, tmp_path_factory):
    """A run that nobody interrupted: its folder, and what it said."""
    where = tmp_path_factory.mktemp("whole")
    return where, finish(train(bundle, tiny, where))


@pytest.fixture(scope="session")
def trained(copied, tiny):
    """The bundle copied elsewhere, trained from inside itself to its own ``models``."""
    text = finish(start("run", cwd=copied, config_file="configs/train.json", max_iterations=30, **tiny))
    return copied, text


def test_it_trains_from_the_repositorys_root_and_says_that_the_cohort_is_simulated(whole):
    where, text = whole
    assert "SIMULATED DATA" in text
    run = where / "runs" / "run_001"
    assert {path.name for path in (where / "models").iterdir()} == {"model.pt", "manifest.json"}
    assert {path.name for path in run.iterdir()} >= {
        "metrics.csv", "validation.csv", "loss_curve.png", "loss_by_noise_level.png", "model.pt", "splits.json", LAST,
    }  # fmt: skip
    assert {path.name for path in (run / "samples").iterdir()} == {
        "grid_00000030.png", "noising.png", "noising.gif", "denoising.png", "denoising.gif",
    }  # fmt: skip
    for picture in (run / "samples").glob("*.png"):
        with Image.open(picture) as png:
            assert png.text["Synthetic"] == "YES", picture
    manifest = json.loads((where / "models" / "manifest.json").read_text())
    assert manifest["config"]["image_size"] == 32
    assert manifest["config"]["split_fractions"]["test"] == 0.2
    assert manifest["data_simulated"] is True
    assert manifest["training"]["images"] == 4 * manifest["iteration"]
    assert manifest["training"]["seconds"] > 0
    assert str(where) not in json.dumps(manifest)


def test_it_trains_from_inside_a_copy_elsewhere_to_the_same_weights(trained, whole):
    root, _ = trained
    weights = torch.load(root / "models" / "model.pt", weights_only=True)
    expected = torch.load(whole[0] / "models" / "model.pt", weights_only=True)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert (root / "runs" / "run_001" / LAST).is_file()


def test_a_killed_run_goes_on_to_bitwise_the_same_weights(bundle, tiny, whole, tmp_path):
    killed = train(bundle, tiny, tmp_path, resume="false")
    first = tmp_path / "runs" / "run_001" / "checkpoint_00000010.pt"
    deadline = time.monotonic() + 180
    while not first.exists() and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    finish(killed, code=-signal.SIGKILL)
    assert not (tmp_path / "runs" / "run_001" / LAST).exists()

    text = finish(train(bundle, tiny, tmp_path, resume="true"))
    assert "resumed from" in text
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["run_001"]
    resumed, expected = (
        torch.load(folder / "runs" / "run_001" / LAST, weights_only=True) for folder in (tmp_path, whole[0])
    )
    for part in ("network", "ema"):
        got, wanted = (state[part].get("network", state[part]) for state in (resumed, expected))
        assert got.keys() == wanted.keys()
        assert all(torch.equal(got[name], wanted[name]) for name in wanted), part


def test_resume_false_starts_anew_in_a_new_folder(bundle, tiny, whole):
    where, _ = whole
    config = str(bundle / "configs" / "train.json")
    for value, expected in (("false", "run_002"), ("true", "run_001")):
        found = ConfigWorkflow(config, logging_file=False, **tiny, output_dir=str(where / "runs"), resume=value)
        found.initialize()
        assert found.parser.get_parsed_content("run_dir").name == expected


def test_pretrained_weights_are_where_training_starts(bundle, tiny, whole, tmp_path):
    weights = whole[0] / "models" / "model.pt"
    config = str(bundle / "configs" / "train.json")
    found = ConfigWorkflow(config, logging_file=False, **tiny, output_dir=str(tmp_path), pretrained=str(weights))
    found.initialize()
    state = found.network_def.state_dict()
    assert all(torch.equal(state[name], value) for name, value in torch.load(weights, weights_only=True).items())


def test_two_processes_train_one_model(bundle, tiny, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    overrides = {key: value for key, value in tiny.items() if key != "device"}
    config = [f"{bundle}/configs/train.json", "configs/multi_gpu.json"]
    places = {"output_dir": tmp_path / "runs", "ckpt_dir": tmp_path / "models"}
    process = start(
        "run", cwd=REPOSITORY, launcher=launcher, config_file=config, max_iterations=4, **overrides, **places
    )
    finish(process)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["run_001"]
    state = torch.load(tmp_path / "runs" / "run_001" / "checkpoint_00000004.pt", weights_only=True)
    assert state["run"]["processes"] == 2
    manifest = json.loads((tmp_path / "models" / "manifest.json").read_text())
    assert (manifest["training"]["processes"], manifest["training"]["images"]) == (2, 2 * 4 * manifest["iteration"])
    assert (tmp_path / "models" / "model.pt").is_file()


def test_a_misspelt_flag_ends_the_command_with_the_nearest_key(bundle, tiny, tmp_path):
    places = {"output_dir": tmp_path / "runs", "max_epoks": 1}
    text = finish(start("run", cwd=bundle, config_file="configs/train.json", **tiny, **places), code=1)
    assert (
        text.strip()
        .splitlines()[-1]
        .endswith("max_epoks: nothing reads this key (nearest: 'train::trainer::max_epochs')")
    )
    assert "Traceback" not in text
    assert not (tmp_path / "runs").exists()


def infer(root, **overrides):
    """Run inference.json in this process; return the rows of its manifest."""
    config = str(root / "configs" / "inference.json")
    monai.bundle.run(config_file=config, logging_file=False, device="cpu", steps=2, progress="false", **overrides)
    with open(root / "output" / "manifest.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_inference_needs_the_weights_alone(trained, whole):
    root, _ = trained
    command = {
        "diagnosis": "AD",
        "age": 75,
        "sex": "F",
        "n": 3,
        "seed": 0,
        "steps": 2,
        "solver": "ddim",
        "guidance": 1.5,
    }
    finish(start("run", cwd=root.parent, config_file=f"{root.name}/configs/inference.json", device="cpu", **command))
    with open(root / "output" / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    sha256 = json.loads((root / "models" / "manifest.json").read_text())["sha256"]
    assert [(row["diagnosis"], row["age"], row["sex"], row["guidance"]) for row in rows] == [
        ("AD", "75.0", "F", "1.5")
    ] * 3
    for row in rows:
        assert row["model_sha256"] == sha256
        assert (root / "output" / row["nifti"]).is_file()
        with Image.open(root / "output" / row["png"]) as png:
            assert png.size == (32, 32)
            assert png.text["Synthetic"] == "YES"
            assert json.loads(png.text["covariates"])["age"] == 75.0
    with Image.open(root / "output" / "grid.png") as grid:
        assert grid.text["Description"] == "SYNTHETIC - NOT FOR DIAGNOSIS"


def test_the_same_seed_gives_the_same_image_whatever_n(trained):
    root, _ = trained

    def first(**overrides):
        row = infer(root, save_nifti="false", **overrides)[0]
        return np.asarray(Image.open(root / "output" / row["png"])).astype(int)

    alone = first(diagnosis="AD", n=1, seed=3)
    among = first(diagnosis="AD", n=5, seed=3, batch_size=2)
    assert np.abs(alone - among).max() <= 1
    assert np.abs(alone - first(diagnosis="AD", n=1, seed=4)).max() > 1
    assert not (root / "output" / "nifti").exists() or not any((root / "output" / "nifti").iterdir())


def test_images_come_as_dicom_too(trained):
    root, _ = trained
    (row,) = infer(root, diagnosis="AD", age=75, n=1, save_dicom="true", burned_in="false")
    (path,) = (root / "output" / row["dicom"]).iterdir()
    dataset = pydicom.dcmread(path)
    check_synthetic(dataset)
    assert (dataset.Rows, dataset.PatientAge, dataset.BurnedInAnnotation) == (32, "075Y", "NO")
    assert row["model_sha256"] in dataset.DerivationDescription


def test_the_same_images_come_out_in_python(trained):
    root, _ = trained
    images = medgen.load(root, device="cpu").generate(diagnosis=["NC", "AD"], age=75, n=2, seed=0, steps=2)
    assert images.shape == (4, 1, 32, 32)
    rows = infer(root, diagnosis=["NC", "AD"], age=75, n=2, seed=0)
    for image, row in zip(images, rows, strict=True):
        written = np.asarray(Image.open(root / "output" / row["png"])).astype(float)
        assert np.abs((image[0].numpy() + 1) * 127.5 - written).max() <= 1.0


def test_what_it_cannot_generate_is_named_at_the_end(trained):
    root, _ = trained
    text = finish(start("run", cwd=root, config_file="configs/inference.json", diagnosis="MCI"), code=1)
    assert (
        text.strip().splitlines()[-1] == "error: diagnosis: undeclared label 'MCI' in request; declared: ['NC', 'AD']"
    )


def test_a_trained_network_cannot_be_overridden(trained):
    root, _ = trained
    with pytest.raises(RuntimeError) as caught:
        infer(root, **{"network_def#num_res_blocks": 3})
    assert "network_def: was overridden" in str(caught.value.__cause__)


def change(root, name, tiny, **overrides):
    """Run an inference_*.json in this process; return its output folder."""
    cohort = {key: value for key, value in tiny.items() if key.startswith("cohort")}
    config = str(root / "configs" / f"inference_{name}.json")
    settings = {"steps": 2, "n": 2, "progress": "false", "output_dir": str(root / "output" / name)}
    monai.bundle.run(config_file=config, logging_file=False, device="cpu", **settings | cohort | overrides)
    return root / "output" / name


def test_peoples_images_are_changed_and_the_results_say_what_they_are(trained, tiny):
    root, _ = trained
    names = sorted(path.stem.removeprefix("inference_") for path in (root / "configs").glob("inference_*.json"))
    assert "translate" in names
    few = {"translate": {"strengths": [0.5]}, "inpaint": {"seeds": [0], "resamplings": 1}, "denoise": {"sd": 0.3}}
    for name in names:
        folder = change(root, name, tiny, **few.get(name, {}))
        with open(folder / "manifest.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows
        assert all((row["synthetic"], row["derived"]) == ("YES", "YES") for row in rows)
        assert all((folder / row["png"]).is_file() and (folder / row["nifti"]).is_file() for row in rows)
        for picture in [*folder.glob("*.png"), folder / rows[0]["png"]]:
            with Image.open(picture) as png:
                assert png.text["Description"] == "SYNTHETIC - NOT FOR DIAGNOSIS"
                assert "simulated person" in png.text["Derived"]


def test_a_real_image_of_ones_own_stays_private(trained, tiny, tmp_path):
    root, _ = trained
    volume = nibabel.Nifti1Image(np.pad(np.random.default_rng(0).random((30, 36, 30)), 6), np.diag([4.0, 4, 4, 1]))
    nibabel.save(volume, tmp_path / "brain.nii.gz")
    change(
        root, "translate", tiny, image=str(tmp_path / "brain.nii.gz"), source={"age": 70, "diagnosis": "NC"},
        diagnosis="AD", strengths=[], output_dir=str(tmp_path / "out"),
    )  # fmt: skip
    private = tmp_path / "out" / "private"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["private"]
    assert private.stat().st_mode & 0o777 == 0o700
    files = [path for path in private.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    with Image.open(private / "translation.png") as png:
        assert png.text["Synthetic"] == "NO"
        assert png.text["Derived"].startswith("DERIVED from an image of a person")


def test_the_evidence_of_translation_is_written(trained, tiny, tmp_path):
    root, _ = trained
    config = root / "configs" / "evaluate_translation.json"
    if not config.is_file():
        pytest.skip("the bundle translates without evidence of its own")
    cohort = {key: value for key, value in tiny.items() if key.startswith("cohort")}
    again = {f"again#{key}": cohort[f"cohort#simulated#{key}"] for key in ("root", "spacing")}
    few = {
        # one of the twelve subjects validates: too few for a regressor
        "datasets#validation": "$@dataset_def(data=@splits['test'], slices=3, like=@datasets::train)",
        "evidence#regressor": {"_target_": "medgen.metrics.FeatureRegressor", "epochs": 1},
        **{"eval_dir": str(tmp_path), "people": 4, "control": 2, "steps": 1, "settings": [], "replicates": 20},
    }
    monai.bundle.run(config_file=str(config), logging_file=False, device="cpu", **few, **cohort, **again)
    found = json.loads((tmp_path / "translation.json").read_text())
    assert found["simulated"] is True
    assert found["data"]["with_two_visits"] == 4
    assert found["settings"]["years"] == [5, 10, 15]
    assert (tmp_path / "translation.html").is_file()
    assert (tmp_path / "translation_private.html").stat().st_mode & 0o777 == 0o600
