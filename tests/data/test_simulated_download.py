"""The simulated download: real DICOM in ADNI's folders, tables that agree with the truth, people who progress."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK

from medgen.covariates import Covariates, Range
from medgen.data import Cohort
from medgen.data.simulated_download import main, simulated_download
from medgen.data.simulated_people import VentricleModel
from medgen.data.simulated_visits import draw_participants

SUBJECTS = 4
T1_KINDS = ("t1", "repeat", "accelerated", "second_field")


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated_download(
        tmp_path_factory.mktemp("adni") / "download", SUBJECTS, spacing=(5.0, 4.0, 4.0), broken=True, progress=False
    )


@pytest.fixture(scope="module")
def truth(download: Path) -> dict[str, Any]:
    return json.loads((download / "ground_truth.json").read_text())


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_row_of_the_search_has_its_files(download: Path, truth: dict[str, Any]) -> None:
    rows = table(download / "SIMULATED_COLLECTION.csv")
    assert [row["Image Data ID"] for row in rows] == list(truth["scans"])
    for row in rows:
        (folder,) = (download / "ADNI" / row["Subject"]).glob(f"*/*/{row['Image Data ID']}")
        files = list(folder.iterdir())
        assert len(files) == truth["scans"][row["Image Data ID"]]["files"]
        assert {f.suffix for f in files} == {".dcm" if row["Format"] == "DCM" else ".nii"}
        assert folder.parts[-3] == row["Description"].replace(" ", "_").replace(";", "_")
        month, day, year = row["Acq Date"].split("/")
        assert folder.parts[-2].startswith(f"{year}-{int(month):02d}-{day}_")
    assert sum(len(f) for _, _, f in os.walk(download / "ADNI")) == sum(s["files"] for s in truth["scans"].values())
    assert {"sc", "m12", "m24", "v02", "v11"} <= {row["Visit"] for row in rows}
    assert {s["kind"] for s in truth["scans"].values()} == {*T1_KINDS, "localizer", "t2", "processed"}


def test_every_instance_says_that_it_is_simulated(download: Path) -> None:
    instances = set()
    for path in (download / "ADNI").rglob("*.dcm"):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        assert header.SyntheticData == "YES"
        assert str(header.PatientName) == f"SIMULATED^{header.PatientID}"
        assert header.PatientID in path.parts
        assert "Simulated" in header.Manufacturer
        assert not header.PatientBirthDate
        instances.add((header.SOPInstanceUID, float(header.MagneticFieldStrength)))
    assert len({uid for uid, _ in instances}) == len(list((download / "ADNI").rglob("*.dcm")))
    assert {field for _, field in instances} == {1.5, 3.0}
    assert "do not exist" in (download / "README.txt").read_text()


def test_an_independent_reader_finds_the_landmarks(download: Path, truth: dict[str, Any]) -> None:
    broken = Path(truth["broken"]).parent.as_posix()
    seen = 0
    for image, scan in truth["scans"].items():
        if scan["kind"] not in T1_KINDS or scan["folder"] == broken:
            continue
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(download / scan["folder"])))
        volume = reader.Execute()
        assert sorted(volume.GetSize()) == sorted(scan["shape"])
        affine = np.array(scan["affine"])
        mask = nibabel.load(download / "derivatives" / "simulated_truth" / f"{image}_brain.nii.gz")
        assert np.allclose(mask.affine, affine, atol=1e-4)
        inside = np.argwhere(np.asarray(mask.dataobj))
        world = inside @ affine[:3, :3].T + affine[:3, 3]
        found = [volume.TransformPhysicalPointToContinuousIndex((-x, -y, z)) for x, y, z in world[::200].tolist()]
        assert np.abs(np.array(found) - np.rint(found)).max() < 1e-3  # voxels of one grid are voxels of the other
        values = SimpleITK.GetArrayFromImage(volume)
        brain = np.array([values[tuple(round(c) for c in reversed(index))] for index in found])
        assert np.median(brain) > 4 * np.median(values)
        x, y, z = scan["landmarks_mm"]["vertex"]
        at = volume.TransformPhysicalPointToIndex((-x, -y, z))
        assert all(0 <= a < n for a, n in zip(at, volume.GetSize(), strict=True))
        assert int(np.asarray(mask.dataobj).sum()) * 0.08 == pytest.approx(scan["brain_ml"])
        seen += 1
    assert seen >= 12


def test_diagnoses_of_the_tables_are_the_truth(download: Path, truth: dict[str, Any]) -> None:
    merged = {(r["PTID"], r["VISCODE"]): r for r in table(download / "ADNIMERGE.csv")}
    summary = {(r["RID"], r["VISCODE2"]): r for r in table(download / "DXSUM.csv")}
    column = {"ADNI1": "DXCURREN", "ADNI2": "DXCHANGE", "ADNI3": "DIAGNOSIS"}
    codes = {"CN": {"1"}, "MCI": {"2", "4"}, "Dementia": {"3", "5"}, None: {"-4"}}
    seen = set()
    for subject, person in truth["subjects"].items():
        for visit, entry in person["visits"].items():
            row = merged.pop((subject, visit))
            assert row["DX"] == (entry["diagnosis"] or "")
            assert float(row["AGE"]) + float(row["Years_bl"]) == pytest.approx(entry["age"], abs=0.01)
            assert row["PTGENDER"] == {"F": "Female", "M": "Male"}[person["sex"]]
            assert summary[row["RID"], visit][column[person["phase"]]] in codes[entry["diagnosis"]]
            assert bool(row["Ventricles"]) == entry["scanned"]
            seen.add(entry["diagnosis"])
    assert not merged
    assert seen == {"CN", "MCI", "Dementia", None}


def test_the_cohort_reads_what_was_written(download: Path, truth: dict[str, Any]) -> None:
    covariates = Covariates(diagnosis=["NC", "MCI", "AD"], age=Range(18, 100, "years"), sex=["F", "M"])
    cohort = Cohort(download, covariates, clinical_table=str(download / "DXSUM.csv"))
    assert cohort.simulated
    labels = {"CN": "NC", "MCI": "MCI", "Dementia": "AD", None: "n/a"}
    expected = {
        (s, v): labels[e["diagnosis"]]
        for s, p in truth["subjects"].items()
        if p["group"] != "SMC"
        for v, e in p["visits"].items()
        if e["scanned"]
    }
    assert {(r["subject"], r["scan"]): r["diagnosis"] for r in cohort.records} == expected


def test_one_file_is_broken_and_named(download: Path, truth: dict[str, Any]) -> None:
    path = download / truth["broken"]
    others = [f for f in path.parent.iterdir() if f != path]
    assert path.stat().st_size == others[0].stat().st_size // 2
    with pytest.raises((ValueError, EOFError, AttributeError)):
        pydicom.dcmread(path).pixel_array.sum()


def test_ventricles_grow_by_the_model_and_people_convert() -> None:
    model = VentricleModel()
    people = draw_participants(24, seed=5, model=model)
    courses = []
    for person in people:
        volumes = [visit.anatomy.ventricle_ml for visit in person.visits]
        assert np.all(np.diff(volumes) > 0)
        residuals = [
            v.anatomy.ventricle_ml - model.volume(v.age, "NC", person.sex, 0.0) - model.diagnosis * v.severity
            for v in person.visits
        ]
        assert np.ptp(residuals) < 1e-9
        assert max(volumes) < 75.0
        found = [v.diagnosis for v in person.visits if v.diagnosis]
        courses.append((person.group, found[0], found[-1]))
        assert all(abs((v.scan_date - v.exam_date).days) <= 31 for v in person.visits if v.scan_date is not None)
    assert courses.count(("LMCI", "MCI", "Dementia")) == 4
    assert courses.count(("CN", "CN", "MCI")) == 2
    assert {("SMC", "CN", "CN"), ("EMCI", "MCI", "MCI"), ("AD", "Dementia", "Dementia")} <= set(courses)
    assert len({person.ptid for person in people}) == 24
    assert {person.site for person in people} == {"991", "992", "993"}


def test_the_download_depends_on_its_arguments_alone(tmp_path: Path) -> None:
    def digest(folder: Path) -> str:
        total = hashlib.sha256()
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            total.update(str(path.relative_to(folder)).encode() + path.read_bytes())
        return total.hexdigest()

    (tmp_path / "empty").mkdir()
    one = simulated_download(tmp_path / "empty", 2, seed=7, spacing=8.0, workers=1, progress=False)
    two = simulated_download(tmp_path / "two", 2, seed=7, spacing=8.0, workers=3, progress=False)
    assert digest(one) == digest(two)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "two"]  # no lock, no half folder


def test_a_finished_download_is_found_and_nothing_else_is_overwritten(
    download: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (download / "ground_truth.json").stat().st_mtime_ns
    main([str(download), "--subjects", str(SUBJECTS), "--spacing", "5", "4", "4", "--broken"])
    assert capsys.readouterr().out.strip() == str(download)
    assert (download / "ground_truth.json").stat().st_mtime_ns == before
    with pytest.raises(FileExistsError, match="root: "):
        simulated_download(download, SUBJECTS + 1, spacing=5.0, progress=False)


def test_without_a_root_it_is_kept_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path))
    folder = simulated_download(subjects=2, spacing=8.0, progress=False)
    assert folder.parent == tmp_path / "downloads"
    victim = next((folder / "ADNI").rglob("*.dcm"))
    victim.unlink()
    assert simulated_download(subjects=2, spacing=8.0, progress=False) == folder  # mended
    assert victim.is_file()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"subjects": 1}, "subjects"),
        ({"spacing": 0.1}, "spacing"),
        ({"spacing": (2.0, 2.0)}, "spacing"),
        ({"seed": -1}, "seed"),
    ],
)
def test_arguments_are_checked(tmp_path: Path, arguments: dict, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        simulated_download(tmp_path / "new", **arguments)
    assert not list(tmp_path.iterdir())
