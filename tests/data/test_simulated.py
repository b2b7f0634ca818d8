"""The simulated cohort: its effects, its files, its reproducibility."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
from monai.utils import OptionalImportError

from medgen.data import cache_dir, simulated, simulated_cohort
from medgen.data.simulated_anatomy import load_template
from medgen.data.simulated_people import VentricleModel, draw_subjects


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "participants.tsv", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def columns(people: list) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    volume = np.array([p.anatomy.ventricle_ml for p in people])
    age = np.array([p.age for p in people])
    return volume, age, np.array([p.diagnosis == "AD" for p in people]), np.array([p.sex == "M" for p in people])


def auc(volume: np.ndarray, ill: np.ndarray) -> float:
    return float((volume[ill][:, None] > volume[~ill][None]).mean())


def adjusted(volume: np.ndarray, age: np.ndarray, ill: np.ndarray, male: np.ndarray) -> np.ndarray:
    """Least squares for [intercept, age, diagnosis, sex]."""
    design = np.stack([np.ones(len(age)), age - 75.0, ill, male - 0.5], axis=1)
    return np.linalg.lstsq(design, volume, rcond=None)[0]


@pytest.mark.parametrize("subjects", [40, 120])
def test_classes_overlap_as_promised_for_every_seed(subjects: int) -> None:
    found = [auc(*[columns(draw_subjects(subjects, seed))[i] for i in (0, 2)]) for seed in range(12)]
    assert min(found) > 0.80
    assert max(found) < 0.90


@pytest.mark.parametrize("confounded", [False, True])
def test_adjustment_recovers_the_direct_effects(confounded: bool) -> None:
    model = VentricleModel()
    for seed in range(5):
        volume, age, ill, male = columns(draw_subjects(120, seed, confounded))
        _, slope, diagnosis, sex = adjusted(volume, age, ill, male)
        assert diagnosis == pytest.approx(model.diagnosis, abs=1.0)
        assert slope == pytest.approx(model.age_slope, abs=0.08)
        assert sex == pytest.approx(model.sex, abs=1.2)
        gap = age[ill].mean() - age[~ill].mean()
        assert gap == pytest.approx(10.0 if confounded else 0.0, abs=0.3)
        crude = volume[ill].mean() - volume[~ill].mean()
        assert crude == pytest.approx(model.diagnosis + gap * slope, abs=1.0)


def test_ages_sexes_and_identifiers() -> None:
    people = draw_subjects(60, seed=3)
    _, age, ill, male = columns(people)
    assert 55 <= age.min() < 60
    assert 90 < age.max() <= 95
    assert ill.sum() == 30
    assert male[ill].sum() == male[~ill].sum() == 15
    assert [p.participant_id for p in people[:2]] == ["sub-SIM001", "sub-SIM002"]
    assert 5 < ill[:30].sum() < 25  # the order of the identifiers does not sort the groups


def test_images_hold_the_volumes_of_the_table(small_cohort: Path) -> None:
    people = {p.participant_id: p for p in draw_subjects(16)}
    dark, volumes = [], []
    for row in rows(small_cohort):
        subject = row["participant_id"]
        mask = nibabel.load(
            small_cohort / f"derivatives/ventricles/{subject}/anat/{subject}_label-ventricles_mask.nii.gz"
        )
        image = nibabel.load(small_cohort / f"{subject}/anat/{subject}_T1w.nii.gz")
        inside, intensity = np.asarray(mask.dataobj) > 0, np.asarray(image.dataobj)
        millilitres = inside.sum() * abs(np.linalg.det(mask.affine[:3, :3])) / 1000.0
        assert float(row["ventricle_ml"]) == pytest.approx(millilitres, abs=1e-3)
        assert millilitres == pytest.approx(people[subject].anatomy.ventricle_ml, abs=0.064)  # one voxel
        assert np.array_equal(mask.affine, image.affine)
        assert np.median(intensity[inside]) < 0.55 * np.percentile(intensity[intensity > 0], 90)  # fluid is dark
        assert (intensity == 0).mean() > 0.5  # skull-stripped: clean background
        # an independent reading of the image: dark voxels of the central box grow with the mask
        central = intensity[13:33, 17:42, 16:34]
        dark.append((central < 0.45 * np.percentile(intensity[intensity > 0], 90)).sum())
        volumes.append(millilitres)
    assert np.corrcoef(dark, volumes)[0, 1] > 0.7


def test_cohort_is_a_bids_folder_that_says_simulated(small_cohort: Path) -> None:
    description = json.loads((small_cohort / "dataset_description.json").read_text())
    truth = json.loads((small_cohort / "ground_truth.json").read_text())
    assert description["Simulated"] is True
    assert "simulated" in description["Name"].lower()
    assert description["BIDSVersion"]
    assert truth["simulated"] is True
    assert truth["direct_diagnosis_effect_ml"] == VentricleModel().diagnosis
    assert list(rows(small_cohort)[0]) == ["participant_id", "age", "sex", "diagnosis", "ventricle_ml"]
    assert set(json.loads((small_cohort / "participants.json").read_text())) == {
        *("age", "sex", "diagnosis", "ventricle_ml")
    }


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_bitwise_the_same_whatever_the_workers(tmp_path: Path) -> None:
    one = simulated_cohort(tmp_path / "a", subjects=4, spacing=5.0, workers=1, progress=False)
    three = simulated_cohort(tmp_path / "b", subjects=4, spacing=5.0, workers=3, progress=False)
    other = simulated_cohort(tmp_path / "b", subjects=4, spacing=5.0, seed=1, progress=False)
    assert one.name == three.name != other.name
    assert files(one) == files(three)
    image = "sub-SIM001/anat/sub-SIM001_T1w.nii.gz"
    assert files(one)[image] != files(other)[image]


def test_cache_is_used_and_damage_is_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    original = simulated._write
    monkeypatch.setattr(simulated, "_write", lambda *a: (written.append(a[0]), original(*a)))
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "cache"))
    arguments = {"subjects": 3, "spacing": 6.0, "progress": False}
    folder = simulated_cohort(**arguments)
    before = files(folder)
    assert folder.parent == tmp_path / "cache" / "cohorts"
    assert simulated_cohort(**arguments) == folder
    assert len(written) == 1
    (folder / "sub-SIM002" / "anat" / "sub-SIM002_T1w.nii.gz").unlink()
    assert simulated_cohort(**arguments) == folder
    assert len(written) == 2
    assert files(folder) == before


def test_calls_at_the_same_time_write_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    original = simulated._write
    monkeypatch.setattr(simulated, "_write", lambda *a: (written.append(a[0]), time.sleep(0.2), original(*a)))
    found: list[Path] = []

    def call() -> None:
        found.append(simulated_cohort(tmp_path, subjects=2, spacing=8.0, progress=False))

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1
    assert len(set(found)) == 1


def test_failed_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> float:
        raise OSError("disk full")

    monkeypatch.setattr(simulated, "_write_scan", fail)
    with pytest.raises(OSError, match="disk full"):
        simulated_cohort(tmp_path, subjects=2, spacing=8.0, progress=False)
    assert [p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")] == []


@pytest.mark.slow
def test_killed_run_leaves_nothing_half(tmp_path: Path) -> None:
    call = f"simulated_cohort({str(tmp_path)!r}, subjects=60, spacing=4.0, workers=1, progress=False)"
    process = subprocess.Popen([sys.executable, "-c", f"from medgen.data import simulated_cohort; {call}"])
    try:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob(".*.part-*/sub-*"))) < 3:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not list(tmp_path.glob("simulated-*"))
    assert list(tmp_path.glob(".*.part-*"))
    folder = simulated_cohort(tmp_path, subjects=60, spacing=4.0, progress=False)
    assert len(list(folder.glob("sub-*"))) == 60
    assert not list(tmp_path.glob(".*.part-*"))


def test_says_what_to_install_without_nilearn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "nilearn.datasets", None)
    load_template.cache_clear()
    with pytest.raises(OptionalImportError, match=r'pip install "medgen\[demo\]"'):
        simulated_cohort(tmp_path, subjects=2, spacing=8.0, progress=False)
    assert not list(tmp_path.glob("simulated-*"))


def test_no_diagnosis_effect_when_none_is_wanted() -> None:
    volume, age, ill, male = columns(draw_subjects(80, 0, model=VentricleModel(diagnosis=0.0)))
    assert adjusted(volume, age, ill, male)[2] == pytest.approx(0.0, abs=1.0)
    assert auc(volume, ill) == pytest.approx(0.5, abs=0.05)


def test_cache_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MEDGEN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "medgen"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "medgen"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"subjects": 1}, "subjects"),
        ({"spacing": 0.1}, "spacing"),
        ({"spacing": (2.0, 2.0)}, "spacing"),
        ({"seed": -1}, "seed"),
        ({"diagnosis_effect_ml": 50.0}, "diagnosis_effect_ml"),
    ],
)
def test_arguments_are_checked(tmp_path: Path, arguments: dict, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        simulated_cohort(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())
