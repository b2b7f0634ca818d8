"""The table of series: what it says, and what it must not say."""

from __future__ import annotations

import csv
import io
import os
import stat
from pathlib import Path

import pytest
from dicom_series import KEY, SAGITTAL, new_uids, oblique, picture, write_enhanced, write_series
from pydicom.dataset import Dataset

import medgen.data
from medgen.data import CohortError
from medgen.dicom import scan_dicom
from medgen.dicom.__main__ import main
from medgen.dicom.files import is_dicom
from medgen.dicom.header import HEADER_KEYS
from medgen.dicom.keys import keyed_name, secret_key


def test_a_series_is_described(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "deep" / "folder", picture(), oblique())
    (tmp_path / "notes.txt").write_text("no DICOM")
    table = scan_dicom(tmp_path, progress=False, key=KEY)
    (series,) = table
    assert series.readable
    assert series.problems == series.notes == []
    assert (series.kind, series.modality, series.description, series.number) == ("volume", "MR", "T1 MPRAGE", 2)
    assert (series.columns, series.rows, series.slices) == (4, 6, 5)
    assert series.spacing == pytest.approx((1.1, 0.9, 1.5))
    assert series.orientation == "oblique axial"
    assert series.files == tuple(sorted(map(str, paths)))
    assert series.folder == str(tmp_path / "deep" / "folder")
    assert set(series.header) == {*HEADER_KEYS, "synthetic"}
    assert (series.header["age"], series.header["sex"], series.header["field_strength"]) == (73.0, "F", 3.0)
    assert table.other_files == 1
    assert table.broken == {}


def test_a_multi_frame_image_is_described(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "a", picture(), SAGITTAL)
    (series,) = scan_dicom(tmp_path, progress=False, key=KEY)
    assert (series.kind, series.multi_frame, series.slices, series.orientation) == ("volume", True, 5, "sagittal")
    assert series.spacing == pytest.approx((1.1, 0.9, 1.5))
    header = series.header
    assert (header["repetition_time"], header["echo_time"], header["inversion_time"]) == (2300, 3, 900)


def test_nothing_that_identifies_is_in_the_table(tmp_path: Path) -> None:
    write_series(tmp_path, picture())
    table = scan_dicom(tmp_path, progress=False, key=KEY)
    for text in (repr(table), str(table), table.to_csv()):
        for secret in ("Secret", "12345", "1940", "20130304", "101112", "Hidden"):
            assert secret not in text.replace(str(tmp_path), "").replace(table[0].uid, "")


def test_patients_visits_and_sites_have_keyed_names(tmp_path: Path) -> None:
    def scan(name: str, patient: str, date: str, uids: dict[str, str]) -> None:
        def person(i: int, ds: Dataset) -> Dataset:
            ds.PatientID, ds.StudyDate = patient, date
            return ds

        write_series(tmp_path / name, picture(), change=person, uids=uids)

    first = new_uids()
    scan("a", "P1", "20100101", first)
    scan("b", "P1", "20100101", {**first, "series": new_uids()["series"]})
    scan("c", "P1", "20120101", new_uids())
    scan("d", "P1", "20110101", new_uids())
    scan("e", "P2", "20110101", new_uids())
    table = scan_dicom(tmp_path, progress=False, key=KEY)
    by_folder = {Path(s.folder).name: s for s in table}
    assert {name: s.visit for name, s in by_folder.items()} == {"a": 1, "b": 1, "c": 3, "d": 2, "e": 1}
    assert len({by_folder[name].patient_key for name in "abcd"}) == 1
    assert by_folder["e"].patient_key == keyed_name("patient", "P2", KEY)
    assert by_folder["a"].study_key == by_folder["b"].study_key != by_folder["c"].study_key
    assert {s.header["site"] for s in table} == {keyed_name("site", "hidden hospital", KEY, length=6)}
    other = scan_dicom(tmp_path, progress=False, key=b"another key of the tests")
    assert not {s.patient_key for s in other} & {s.patient_key for s in table}


def test_without_a_patient_id_nobody_is_taken_for_another(tmp_path: Path) -> None:
    def nobody(i: int, ds: Dataset) -> Dataset:
        ds.PatientID = ""
        return ds

    write_series(tmp_path / "a", picture(), change=nobody)
    write_series(tmp_path / "b", picture(), change=nobody)
    table = scan_dicom(tmp_path, progress=False, key=KEY)
    assert len({s.patient_key for s in table}) == 2
    assert table[0].notes == ["no Patient ID: each study counts as a person"]


def test_broken_files_are_listed_and_the_rest_goes_on(tmp_path: Path) -> None:
    write_series(tmp_path / "good", picture())
    (tmp_path / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\x08\x00\x05\x00SQ\x00\x00\xff\xff\xff\xff" * 3000)
    (tmp_path / "short.dcm").write_bytes(bytes(128) + b"DICM")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    table = scan_dicom(tmp_path, progress=False, key=KEY)
    assert [s.readable for s in table] == [True]
    assert set(table.broken) <= {str(tmp_path / "broken.dcm"), str(tmp_path / "short.dcm")}
    assert len(table.broken) + table.other_files == 4


def test_old_files_without_a_preamble_are_found(tmp_path: Path) -> None:
    for path in write_series(tmp_path, picture()):
        path.write_bytes(path.read_bytes()[132:])
        assert is_dicom(path)
    assert scan_dicom(tmp_path, progress=False, key=KEY)[0].readable
    (tmp_path / "text.txt").write_text("some words that are no DICOM at all")
    assert not is_dicom(tmp_path / "text.txt")


def test_an_empty_folder_gives_an_empty_table(tmp_path: Path) -> None:
    table = medgen.data.scan_dicom(tmp_path, progress=False, key=KEY)
    assert list(table) == []
    assert table.to_csv().strip() == "patient_key"


def test_derived_images_are_noted(tmp_path: Path) -> None:
    def derived(i: int, ds: Dataset) -> Dataset:
        ds.ImageType, ds.BurnedInAnnotation = ["DERIVED", "SECONDARY", "MPR"], "YES"
        return ds

    write_series(tmp_path, picture(), change=derived)
    (series,) = scan_dicom(tmp_path, progress=False, key=KEY)
    assert series.derived
    assert series.readable
    assert series.notes == ["derived from other images", "text is burned into the pixels"]


def test_slices_that_may_be_missing_at_an_end_are_noted(tmp_path: Path) -> None:
    def number(i: int, ds: Dataset) -> Dataset | None:
        ds.InstanceNumber = i + 1
        return None if i < 2 else ds

    def stated(i: int, ds: Dataset) -> Dataset:
        ds.ImagesInAcquisition = 8
        return ds

    write_series(tmp_path / "a", picture(), change=number)
    write_series(tmp_path / "b", picture(), change=stated)
    notes = {Path(s.folder).name: s.notes for s in scan_dicom(tmp_path, progress=False, key=KEY)}
    assert notes == {
        "a": ["instance numbers run from 3 to 5 in 3 images: slices may be missing at an end"],
        "b": ["5 of 8 images of the acquisition: slices may be missing at an end"],
    }


def test_pydicom_is_quiet_while_scanning_and_as_before_after(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    import pydicom.config

    before = pydicom.config.settings.reading_validation_mode
    for path in write_series(tmp_path, picture()):
        path.write_bytes(path.read_bytes().replace(b"073Y", b"ab c"))
    recwarn.clear()
    (series,) = scan_dicom(tmp_path, progress=False, key=KEY)
    assert series.header["age"] == 73.0  # from birth and study
    assert pydicom.config.settings.reading_validation_mode == before
    assert not [w for w in recwarn if "ab c" in str(w.message)]


def test_the_command_prints_and_writes_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDGEN_PATIENT_KEY", KEY.decode())
    write_series(tmp_path / "in", picture(), change=lambda i, ds: None if i == 2 else ds)
    assert main(["scan", str(tmp_path / "in"), "--csv", str(tmp_path / "out.csv"), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "'T1 MPRAGE': volume, 4 x 6 x 4" in printed
    assert "! 1 uneven step(s)" in printed
    assert "1 series in 4 DICOM files, 0 of them can be read as a volume" in printed
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == 0o600
    (row,) = csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text()))
    assert (row["kind"], row["slices"], row["age"], row["spacing_x"]) == ("volume", "4", "73.0", "1.1")
    assert row["patient_key"] == keyed_name("patient", "ID-12345", KEY)
    assert main(["scan", str(tmp_path / "gone")]) == 2
    assert "gone: no such folder" in capsys.readouterr().err


def test_the_key_is_kept_for_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDGEN_PATIENT_KEY", raising=False)
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "cache"))
    key = secret_key()
    file = tmp_path / "cache" / "patient-key"
    assert file.read_bytes() == key
    assert len(key) >= 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret_key() == key
    monkeypatch.setenv("MEDGEN_PATIENT_KEY", "short")
    with pytest.raises(ValueError, match="has 5 characters, expected 16 or more"):
        secret_key()


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="no such folder"):
        scan_dicom(tmp_path / "gone", key=KEY)
