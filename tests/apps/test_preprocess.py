"""The preprocess command with a quick pipeline: resumed, killed, with broken scans, on a scheduler; then as it is."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import toy_pipeline
from monai.bundle import ConfigParser, ConfigWorkflow

from medgen.apps import Preprocess
from medgen.apps.preprocess.cluster import run_jobs
from medgen.covariates import Covariates, Range
from medgen.data import Cohort, SliceDataset

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = REPOSITORY / "bundles" / "adni_ddim" / "configs" / "preprocess.json"
COVARIATES = Covariates(diagnosis=["NC", "AD"], age=Range(18, 100, "years"), sex=["F", "M"])
PEOPLE = 6


def write_study(folder: Path, people: int = PEOPLE, simulated: bool = False) -> Path:
    """A BIDS folder of small balls, the first of them seen twice."""
    random = np.random.default_rng(0)
    x, y, z = np.ogrid[:24, :24, :24]
    radius = np.sqrt((x - 12) ** 2 + (y - 12) ** 2 + (z - 12) ** 2)
    rows = ["participant_id\tage\tsex\tdiagnosis\tmmse"]
    for k in range(people):
        subject = f"sub-{k:02d}"
        rows.append(f"{subject}\t{60 + k}.5\t{'FM'[k % 2]}\t{('NC', 'AD')[k % 2]}\t{30 - k}")
        for session in ("ses-bl", "ses-m12") if k == 0 else ("",):
            name = "_".join(filter(None, (subject, session, "T1w.nii.gz")))
            path = folder / subject / session / "anat" / name
            path.parent.mkdir(parents=True)
            ball = np.where(radius < 7 + 0.2 * k, 100 + random.normal(size=radius.shape), 0).astype(np.float32)
            nibabel.save(nibabel.Nifti1Image(ball, np.diag([4.0, 4.0, 4.0, 1.0])), path)
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
    if simulated:
        (folder / "ground_truth.json").write_text('{"simulated": true}')
    return folder


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path / "in")


@pytest.fixture
def log(tmp_path, monkeypatch):
    """What the pipeline was called for, by subject."""
    path = tmp_path / "log"
    monkeypatch.setenv("TOY_LOG", str(path))

    def read() -> Counter:
        counted = Counter(path.read_text().split() if path.exists() else ())
        path.unlink(missing_ok=True)
        return counted

    return read


def preprocess(study: Path, out: Path, settings: int = 1, **arguments) -> Preprocess:
    options = {"workers": 0, "progress": False} | arguments
    return Preprocess(Cohort(study, COVARIATES), toy_pipeline.pipeline(), out, {"v": settings}, **options)


def test_the_output_is_a_cohort_with_everything_that_was_known(study, tmp_path):
    out = tmp_path / "out"
    found = preprocess(study, out, keep_columns=["mmse"]).run()
    assert (found["finished"], found["failed"], found["skipped"]) == (PEOPLE + 1, 0, 0)
    before, after = Cohort(study, COVARIATES), Cohort(out, COVARIATES, required=["diagnosis"])
    known = lambda cohort: [{k: v for k, v in r.items() if k != "image"} for r in cohort.records]  # noqa: E731
    assert known(after) == known(before)
    assert [row["mmse"] for row in after.columns] == [row["mmse"] for row in before.columns]
    assert not after.simulated
    assert out.stat().st_mode & 0o777 == 0o700
    for name in ("qc_private.html", "scans.csv", "failures.csv", "discards.csv"):
        assert (out / name).stat().st_mode & 0o777 == 0o600
    with open(out / "scans.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    image = nibabel.load(after.records[0]["image"])
    mask = nibabel.load(out / "derivatives/medgen/sub-00/ses-bl/anat/sub-00_ses-bl_desc-brain_mask.nii.gz")
    native_ml = np.asarray(mask.dataobj).sum() * 0.064 / 2.0  # the toy registration doubled it
    assert float(rows[0]["brain_ml"]) == pytest.approx(native_ml, abs=0.1)
    assert (image.shape, rows[0]["similarity"], rows[0]["determinant"]) == ((24, 24, 24), "0.9", "2.0")
    assert json.loads((out / "sub-00/ses-bl/anat/sub-00_ses-bl_T1w.json").read_text())["Synthetic"] is False
    dataset = SliceDataset(after.records, covariates=COVARIATES, image_size=32, slices=2, progress=False)
    assert dataset.images.shape == (2 * (PEOPLE + 1), 1, 32, 32)
    assert dataset.images.amax() == 1


def test_people_who_do_not_exist_still_do_not(tmp_path):
    study = write_study(tmp_path / "in", simulated=True)
    preprocess(study, tmp_path / "out").run()
    assert Cohort(tmp_path / "out", COVARIATES).simulated
    assert "SIMULATED" in (tmp_path / "out" / "qc_private.html").read_text()
    assert json.loads((tmp_path / "out/sub-01/anat/sub-01_T1w.json").read_text())["Synthetic"] is True


def test_only_what_changed_is_made_anew(study, tmp_path, log):
    out = tmp_path / "out"
    preprocess(study, out).run()
    assert log() == {"sub-00": 2} | {f"sub-{k:02d}": 1 for k in range(1, PEOPLE)}
    assert preprocess(study, out).run()["skipped"] == PEOPLE + 1
    assert not log()
    os.utime(study / "sub-01" / "anat" / "sub-01_T1w.nii.gz", ns=(1, 1))  # a copy has other times
    (out / "sub-02" / "anat" / "sub-02_T1w.nii.gz").unlink()
    (out / "derivatives/medgen/sub-03/anat/sub-03_desc-qc_T1w.json").write_text("{half")
    source = study / "sub-04" / "anat" / "sub-04_T1w.nii.gz"
    nibabel.save(nibabel.Nifti1Image(2 * nibabel.load(source).get_fdata(), np.diag([4.0, 4, 4, 1])), source)
    assert preprocess(study, out).run()["skipped"] == PEOPLE + 1 - 3
    assert log() == {"sub-02": 1, "sub-03": 1, "sub-04": 1}


def test_what_other_settings_made_is_replaced_only_when_asked(study, tmp_path, log, caplog):
    out = tmp_path / "out"
    preprocess(study, out).run()
    log()
    with pytest.raises(ValueError, match=r"holds 7 scan\(s\) .*pipeline::v: 1 there, 2 now\).* --redo true"):
        preprocess(study, out, settings=2).run()
    assert not log()
    assert preprocess(study, out).run()["skipped"] == PEOPLE + 1  # the refused settings left no trace
    assert preprocess(study, out, settings=2, redo=True).run()["skipped"] == 0
    assert sum(log().values()) == PEOPLE + 1
    assert "made anew, with other settings: pipeline::v: 1 there, 2 now" in caplog.text


def test_labels_may_change_without_the_images_being_made_anew(study, tmp_path, log):
    out = tmp_path / "out"
    preprocess(study, out).run()
    table = (study / "participants.tsv").read_text().replace("sub-03\t63.5\tM\tAD", "sub-03\t63.5\tM\tNC")
    (study / "participants.tsv").write_text(table)
    log()
    preprocess(study, out).run()
    assert not log()
    assert {r["subject"]: r["diagnosis"] for r in Cohort(out, COVARIATES).records}["sub-03"] == "NC"


def test_a_broken_scan_is_listed_and_the_rest_goes_on(study, tmp_path, caplog):
    out = tmp_path / "out"
    preprocess(study, out).run()
    visit = study / "sub-00" / "ses-m12" / "anat" / "sub-00_ses-m12_T1w.nii.gz"
    for broken in (visit, study / "sub-03" / "anat" / "sub-03_T1w.nii.gz"):
        broken.write_bytes(broken.read_bytes()[:2000])
    found = preprocess(study, out).run()
    assert (found["finished"], found["failed"], found["skipped"]) == (PEOPLE - 1, 2, PEOPLE - 1)
    with open(out / "failures.csv", newline="") as file:
        _, row = csv.DictReader(file)
    assert row["scan"] == "sub-03"
    assert "sub-03_T1w.nii.gz" in row["error"]
    assert "Traceback" not in row["error"]
    assert not (out / "sub-03").exists()  # what was made from the file as it was is gone
    left = [(r["subject"], r["scan"]) for r in Cohort(out, COVARIATES).records]
    assert left == [("sub-00", "ses-bl"), ("sub-01", ""), ("sub-02", ""), ("sub-04", ""), ("sub-05", "")]
    assert "2 OF 7 SCANS FAILED" in caplog.text
    page = (out / "qc_private.html").read_text()
    assert "PRIVATE" in page
    assert "sub-03" in page


def test_all_scans_failing_is_an_error(study, tmp_path):
    for path in study.rglob("*.nii.gz"):
        path.write_bytes(b"nothing")
    with pytest.raises(RuntimeError, match=r"all 7 scans failed; sub-00_ses-bl: .*failures\.csv"):
        preprocess(study, tmp_path / "out").run()


def test_folders_that_would_mix_cohorts_are_refused(study, tmp_path):
    with pytest.raises(ValueError, match="output_dir: found none"):
        preprocess(study, "")
    with pytest.raises(ValueError, match="lies in the cohort's folder"):
        preprocess(study, study / "derivatives" / "out")
    other = write_study(tmp_path / "other", people=8)
    preprocess(other, tmp_path / "out").run()
    with pytest.raises(ValueError, match=r"holds 2 scan\(s\) that are not in this cohort"):
        preprocess(study, tmp_path / "out").run()


def test_arguments_that_name_nothing_are_refused(study, tmp_path):
    with pytest.raises(ValueError, match=r"keep_columns: found no column 'mmsse' \(nearest: 'mmse'\)"):
        preprocess(study, tmp_path / "out", keep_columns=["mmsse"])
    with pytest.raises(ValueError, match="label: 'age' is no categorical covariate"):
        preprocess(study, tmp_path / "out", label="age")
    with pytest.raises(ValueError, match="mask_files: found no file such as"):
        preprocess(study, tmp_path / "out", mask_files=str(tmp_path / "{subject}.nii.gz"))
    with pytest.raises(ValueError, match=r"workers: .*found -1"):
        preprocess(study, tmp_path / "out", workers=-1).run()


def test_masks_of_ones_own_reach_the_pipeline(study, tmp_path):
    (tmp_path / "sub-02.nii.gz").write_bytes(b"mask")
    job = preprocess(study, tmp_path / "out", mask_files=str(tmp_path / "{subject}.nii.gz"))
    assert [r.get("mask_file") for r in job.records if r["subject"] == "sub-02"] == [str(tmp_path / "sub-02.nii.gz")]
    assert sum("mask_file" in r for r in job.records) == 1


def test_without_a_scheduler_there_is_an_error_that_says_so(free_port, monkeypatch):
    monkeypatch.setattr("medgen.apps.preprocess.cluster.CONNECT_SECONDS", 1)
    with pytest.raises(ConnectionError, match="no Dask scheduler answers at tcp://127"):
        next(run_jobs(print, [1], scheduler=f"tcp://127.0.0.1:{free_port}"))


# --- processes: one command line is started by each test, the pipeline in place of the real one ---


def start(study: Path, out: Path, overlay: Path, environment: dict | None = None, **keys) -> subprocess.Popen:
    """Start the command with the toy pipeline."""
    overlay.write_text(json.dumps({"pipeline": {"_target_": "toy_pipeline.pipeline"}}))
    words = {"dataset_dir": study, "output_dir": out, "progress": "false"} | keys
    paths = os.pathsep.join([str(REPOSITORY), str(Path(__file__).parent)])
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, "-m", "monai.bundle", "run", "--config_file", f"['{CONFIG}','{overlay}']"]
        + [text for key, value in words.items() for text in (f"--{key}", str(value))],
        env=os.environ | own | (environment or {}),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=heed_interrupts,
    )  # fmt: skip


def heed_interrupts() -> None:
    """What a shell starts in the background, tests included, ignores Ctrl-C, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finished(out: Path) -> int:
    return sum(1 for _ in (out / "derivatives").rglob("*_desc-qc_T1w.json"))


def wait_for(process: subprocess.Popen, out: Path, count: int) -> None:
    deadline = time.monotonic() + 150
    while finished(out) < count and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()[0][-3000:]


def ended(process: subprocess.Popen) -> str:
    try:
        return process.communicate(timeout=200)[0]
    finally:
        process.kill()


@pytest.mark.slow
@pytest.mark.xdist_group("preprocess_processes")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on(how, study, tmp_path, log):
    out, overlay = tmp_path / "out", tmp_path / "toy.json"
    process = start(study, out, overlay, {"TOY_SECONDS": "0.5"}, workers=1)
    wait_for(process, out, 2)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)  # as a terminal does: to the workers too
    else:
        process.send_signal(how)
    text = ended(process)
    assert process.returncode == (130 if how == signal.SIGINT else -how), text[-3000:]
    assert ("the same command goes on" in text) == (how == signal.SIGINT)
    before = finished(out)
    assert 2 <= before < PEOPLE + 1
    assert not (out / "participants.tsv").exists()
    log()
    keys = {"dataset_dir": str(study), "output_dir": str(out), "progress": False, "workers": 0}
    workflow = ConfigWorkflow([str(CONFIG), str(overlay)], logging_file=False, **keys)
    workflow.initialize()
    (found,) = workflow.run()
    assert (found["finished"], found["skipped"]) == (PEOPLE + 1, before)
    assert sum(log().values()) == PEOPLE + 1 - before
    assert not [path for path in out.rglob(".*") if path.name != ".lock"]  # nothing half written is left
    assert len(Cohort(out, COVARIATES).records) == PEOPLE + 1


@pytest.mark.slow
@pytest.mark.xdist_group("preprocess_processes")
def test_a_scan_that_kills_its_worker_fails_alone(study, tmp_path, log):
    out = tmp_path / "out"
    process = start(study, out, tmp_path / "toy.json", {"TOY_KILLS": "sub-02"}, workers=2)
    text = ended(process)
    assert process.returncode == 0, text[-3000:]
    assert "1 OF 7 SCANS FAILED" in text
    with open(out / "failures.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["scan"] == "sub-02"
    assert "killed" in row["error"]
    assert log()["sub-02"] == 2
    assert len(Cohort(out, COVARIATES).records) == PEOPLE


@pytest.mark.slow
@pytest.mark.xdist_group("preprocess_processes")
def test_a_scheduler_that_is_there_already_is_used(study, tmp_path, log):
    where = tmp_path / "scheduler.json"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(Path(__file__).parent)])}
    del environment["TOY_LOG"]
    options = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    # port 0: the scheduler takes a free one and writes down which
    scheduler = ("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(where), "--no-dashboard")
    worker = (
        "worker",
        "--scheduler-file",
        str(where),
        "--host",
        "127.0.0.1",
        "--nthreads",
        "1",
        "--no-dashboard",
        "--no-nanny",
    )
    running = [subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_" + a[0], *a[1:]], **options)
               for a in (scheduler, worker)]  # fmt: skip
    try:
        import distributed

        with distributed.Client(scheduler_file=str(where), timeout=60, set_as_default=False) as client:
            address = client.scheduler.address
            client.wait_for_workers(1, timeout=60)
        found = preprocess(study, tmp_path / "out", workers=None, scheduler=address).run()
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(timeout=20)
    assert (found["finished"], found["failed"]) == (PEOPLE + 1, 0)
    assert sum(log().values()) == 0  # the worker, not this process, did it: it does not know the log


# --- the command as it is ---


def test_a_misspelt_override_is_refused_before_anything_is_read(tmp_path):
    workflow = ConfigWorkflow(str(CONFIG), logging_file=False, output_dir=str(tmp_path / "out"), spacin=2)
    with pytest.raises(RuntimeError) as caught:
        workflow.initialize()
    assert "spacin: nothing reads this key (nearest: 'spacing')" in str(caught.value.__cause__)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("overlay", ["cpu", "multi_gpu", "nc_mci_ad"])
def test_every_overlay_lies_on_top(overlay):
    files = [str(CONFIG), str(REPOSITORY / "configs" / f"{overlay}.json")]
    workflow = ConfigWorkflow(files, logging_file=False)
    workflow.initialize()
    assert "diagnosis" in workflow.parser.get_parsed_content("covariates")


def test_settings_are_the_pipeline_and_all_that_it_refers_to():
    from medgen.bundles.check import closure

    config = ConfigParser.load_config_file(CONFIG)
    assert set(closure(config, "pipeline")) == {
        "pipeline", "template", "mode", "spacing", "intensity", "percentiles", "clip",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.xdist_group("preprocess_processes")
def test_a_simulated_head_goes_through_the_real_pipeline(tmp_path):
    """Two simulated brains at 2 mm, through every transform of preprocess.json, into training slices."""
    pytest.importorskip("nilearn", reason="nilearn carries the template")
    workflow = ConfigWorkflow(
        str(CONFIG), logging_file=False, output_dir=str(tmp_path / "out"), workers=0, spacing=2.0, simulated_subjects=2,
        **{"cohort#simulated#root": str(tmp_path / "cohorts")},
    )  # fmt: skip
    workflow.initialize()
    (found,) = workflow.run()
    assert (found["finished"], found["failed"]) == (2, 0)
    out = Cohort(tmp_path / "out", COVARIATES, required=["diagnosis"])
    assert out.simulated
    assert [float(row["ventricle_ml"]) > 5 for row in out.columns] == [True, True]
    record = json.loads((tmp_path / "out/derivatives/medgen/sub-SIM001/anat/sub-SIM001_desc-qc_T1w.json").read_text())
    assert record["similarity"] > 0.8
    brain = np.asarray(nibabel.load(workflow.parser.get_parsed_content("cohort").records[0]["image"]).dataobj) > 0
    assert record["brain_ml"] == pytest.approx(brain.sum() * 8 / 1000, rel=0.12)  # of its own space, at 2 mm
    image = torch.from_numpy(np.asarray(nibabel.load(out.records[0]["image"]).dataobj))
    assert image.shape == (98, 116, 94) or image.shape == (99, 117, 95)
    assert (float(image.min()), float(image.max())) == (-1.0, 1.0)
    dataset = SliceDataset(out.records, covariates=COVARIATES, image_size=32, slices=2, progress=False)
    assert dataset.images.float().std() > 0.2
