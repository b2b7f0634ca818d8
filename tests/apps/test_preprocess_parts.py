"""The parts of the preprocess command: names, identities of files, flags, the rim's test, tables, measurements."""

from __future__ import annotations

import csv
import os
import types

import numpy as np
import pytest
from scipy import ndimage

from medgen.apps.preprocess.measure import Measured
from medgen.apps.preprocess.places import ScanPlace, places_of
from medgen.apps.preprocess.quality import flags_of, robust_z
from medgen.apps.preprocess.rim import rim_features, rim_test
from medgen.apps.preprocess.source import content_key, source_files, status_key
from medgen.apps.preprocess.tables import Finished, write_cohort, write_owner_tables
from medgen.covariates import Covariates, Range
from medgen.data import Cohort
from medgen.files import remove_leftovers, write_rows


def test_names_are_those_that_bids_allows():
    records = [
        {"subject": "941_S_9001", "scan": "bl"},
        {"subject": "941_S_9001", "scan": "m12"},
        {"subject": "sub-01", "scan": "ses-2"},
        {"subject": "OAS1_0901", "scan": ""},
    ]
    assert [place.name for place in places_of(records)] == [
        "sub-941S9001_ses-bl", "sub-941S9001_ses-m12", "sub-01_ses-2", "sub-OAS10901",
    ]  # fmt: skip
    place = places_of(records)[0]
    assert place.image.as_posix() == "sub-941S9001/ses-bl/anat/sub-941S9001_ses-bl_T1w.nii.gz"
    assert len({*place.files}) == 6


def test_names_that_would_fall_together_are_told_apart():
    records = [{"subject": name, "scan": ""} for name in ("a-b", "a_b", "AB", "é", "a/b")]
    names = [place.subject for place in places_of(records)]
    assert len({name.lower() for name in names}) == 5
    assert all(name.removeprefix("sub-").isalnum() for name in names)
    twice = [{"subject": "s", "scan": ""}, {"subject": "s", "scan": ""}, {"subject": "s", "scan": "v1"}]
    assert [place.session for place in places_of(twice)] == ["ses-scan01", "ses-scan02", "ses-v1"]


def test_all_files_of_a_scan_are_its_identity(tmp_path):
    for name in ("a.hdr", "a.img", "mask.nii", "series/2.dcm", "series/1.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    names = lambda *arguments: [path.name for path in source_files(*arguments)]  # noqa: E731
    assert names(str(tmp_path / "a.hdr")) == ["a.hdr", "a.img"]
    assert names(str(tmp_path / "series"), str(tmp_path / "mask.nii")) == ["1.dcm", "2.dcm", "mask.nii"]
    files = source_files(str(tmp_path / "series"))
    status, content = status_key(files), content_key(files)
    os.utime(files[0], ns=(1, 1))
    assert status_key(files) != status
    assert content_key(files) == content
    files[0].write_text("other")
    assert content_key(files) != content


def test_outliers_are_found_by_median_and_its_deviation():
    z = robust_z([10.0, 11, 12, 13, 14, 15, 16, 99, None])
    assert np.isnan(z[-1])
    assert z[7] > 20
    assert abs(z[3]) < 0.5
    assert robust_z([1.0] * 9) == [0.0] * 9
    assert all(np.isnan(robust_z([1.0, 2.0, 3.0])))


def test_flags_say_what_stands_out():
    random = np.random.default_rng(0)
    records = [
        {"similarity": 0.6 + 0.01 * z, "determinant": 1.3 + 0.05 * z, "brain_ml": 1300 + 60 * z, "warnings": []}
        for z in random.normal(size=30)
    ]
    assert not any(flags_of(records))
    records[3] |= {"similarity": 0.2, "warnings": ["similarity 0.20 to the template"]}
    records[4] |= {"similarity": 0.9}  # better than the others is no fault
    records[5] |= {"brain_ml": 300.0, "determinant": None}
    flags = flags_of(records)
    assert [i for i, found in enumerate(flags) if found] == [3, 5]
    assert flags[3][0] == "similarity 0.20 to the template"
    assert "far below the others" in flags[3][1]
    assert any(text == "brain volume 300 outside 600 to 2200" for text in flags[5])


def head_with_rim(brightness: float) -> tuple[np.ndarray, np.ndarray]:
    """A ball of brightness 100 in a shell of another brightness, at 2 mm."""
    x, y, z = np.ogrid[:40, :40, :40]
    radius = np.sqrt((x - 20) ** 2 + (y - 20) ** 2 + (z - 20) ** 2)
    return np.where(radius < 12, 100.0, np.where(radius < 18, brightness, 0.0)), radius < 12


def test_the_rim_is_what_surrounds_the_mask():
    head, mask = head_with_rim(30.0)
    np.testing.assert_allclose(rim_features(head, mask, (2.0, 2.0, 2.0)), [0.3] * 8, atol=1e-5)
    head[21:] *= np.where(mask[21:], 1.0, 2.0)  # the right half of the rim
    values = np.array(rim_features(head, mask, (2.0, 2.0, 2.0)))
    np.testing.assert_allclose(values[1::2], 0.6, atol=0.02)
    np.testing.assert_allclose(values[::2], 0.3, atol=0.02)
    stripped = np.where(mask, 100.0, 0.0)
    assert rim_features(stripped, mask, (2.0, 2.0, 2.0)) == [0.0] * 8
    thick = ndimage.binary_dilation(mask, iterations=20)  # to the edge of the image
    assert np.isfinite(rim_features(head, thick, (2.0, 2.0, 2.0))).all()


def world(leak: float, count: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Two visits each of people whose rim differs by ``leak`` standard deviations with the label."""
    random = np.random.default_rng(seed)
    label = np.repeat(np.arange(count) % 2 == 1, 2)
    features = np.repeat(random.normal(size=(count, 8)), 2, axis=0) + 0.1 * random.normal(size=(2 * count, 8))
    features[:, 2] += leak * label
    return features, label, [f"s{k // 2}" for k in range(2 * count)]


def test_a_rim_that_tells_the_label_is_found_and_one_that_does_not_is_not():
    found = rim_test(*world(2.5), replicates=300)
    # a difference of d standard deviations in one of the features gives an AUC of Phi(d / sqrt 2)
    assert found["low"] > 0.8
    assert found["auc"] == pytest.approx(0.961, abs=0.06)
    assert found["subjects"] == [40, 40]
    free = [rim_test(*world(0.0, seed=seed), replicates=200) for seed in range(5)]
    assert sum(one["low"] > 0.5 for one in free) <= 1
    assert rim_test(*world(2.5), replicates=300) == found


def test_the_rim_is_not_asked_where_it_cannot_answer():
    features, label, subjects = world(2.0, count=18)
    assert "not enough subjects" in rim_test(features, label, subjects)["reason"]
    features, label, subjects = world(2.0)
    assert "stripped" in rim_test(np.zeros_like(features), label, subjects)["reason"]
    nothing = rim_test(np.zeros((0, 8)), np.zeros(0, dtype=bool), [])
    assert nothing["subjects"] == [0, 0]


def test_measured_sees_time_and_memory_of_its_block_alone():
    with Measured() as large:
        block = np.ones(40_000_000)  # 305 MiB
        del block
    with Measured() as small:
        pass
    assert large.peak_mib - small.peak_mib > 200 or small.peak_mib == large.peak_mib  # no reset on this system
    assert 0 < small.seconds < large.seconds
    assert large.cpu_seconds > 0


def test_what_a_killed_writer_left_is_removed(tmp_path):
    for name in (".12-0123abcd-x.json", ".12-0123abcd-y.json", ".x.json", "x.json"):
        (tmp_path / name).write_text("")
    remove_leftovers(tmp_path / "x.json")
    assert {path.name for path in tmp_path.iterdir()} == {".12-0123abcd-y.json", ".x.json", "x.json"}
    remove_leftovers(tmp_path / "absent" / "x.json")


def test_tables_keep_commas_and_tabs_apart(tmp_path):
    rows = [{"a": 'one, "two"', "b": "3\t4", "c": "left out"}, {"a": "", "b": 1.5}]
    for name, separator in (("t.csv", ","), ("t.tsv", "\t")):
        with open(write_rows(tmp_path / name, ["a", "b"], rows, 0o600), newline="") as file:
            read = list(csv.DictReader(file, delimiter=separator))
        assert read == [{"a": 'one, "two"', "b": "3\t4"}, {"a": "", "b": "1.5"}]
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


@pytest.fixture
def study(tmp_path):
    """A cohort as the tables need it: someone seen twice, someone once, someone of whom little is known."""
    covariates = Covariates(diagnosis=["NC", "AD"], age=Range(18, 100, "years"), sex=["F", "M"], slice=Range(0, 1))
    rows = [
        ("sub-1", "ses-bl", {"diagnosis": "NC", "age": 70.04, "sex": "F", "site": "941"}),
        ("sub-1", "ses-m12", {"diagnosis": "AD", "age": 71.123456789, "sex": "F", "site": "941"}),
        ("sub-2", "ses-bl", {"diagnosis": "AD", "age": 80.0, "sex": "n/a", "site": "942"}),
        ("sub-3", "", {"diagnosis": "n/a", "age": float("nan"), "sex": "M", "site": ""}),
    ]
    scans = [
        Finished(ScanPlace(subject, session), record | {"image": str(tmp_path / "in" / "x.nii")}, {"mmse": "29"}, {})
        for subject, session, record in rows
    ]
    cohort = types.SimpleNamespace(
        covariates=covariates, simulated=False, data_terms="ask first", ground_truth=None, folder=tmp_path / "in",
        discards=[{"subject": "x", "reason": "a repeat"}],
    )  # fmt: skip
    return scans, cohort


def test_what_changes_between_visits_stands_with_the_visit(study, tmp_path):
    scans, cohort = study
    folder = tmp_path / "out"
    for scan in scans:
        (folder / scan.place.image).parent.mkdir(parents=True)
        (folder / scan.place.image).touch()
    write_cohort(folder, cohort, scans, {"pipeline": 1}, ["mmse"])
    with open(folder / "participants.tsv") as file:
        people = list(csv.DictReader(file, delimiter="\t"))
    assert people[0] == {"participant_id": "sub-1", "sex": "F", "site": "941", "mmse": "29"}
    with open(folder / "sub-1" / "sub-1_sessions.tsv") as file:
        assert list(csv.DictReader(file, delimiter="\t")) == [
            {"session_id": "ses-bl", "diagnosis": "NC", "age": "70.04"},
            {"session_id": "ses-m12", "diagnosis": "AD", "age": "71.1235"},
        ]
    assert not (folder / "sub-3" / "sub-3_sessions.tsv").exists()
    read = Cohort(folder, cohort.covariates)
    for record, scan in zip(read.records, scans, strict=True):
        for name in ("diagnosis", "age", "sex"):
            assert str(record[name]) == str(scan.record[name]) or record[name] == pytest.approx(scan.record[name], 1e-5)
        assert (record.get("site") or "") == scan.record["site"]
    assert not read.simulated
    assert "ask first" in (folder / "README").read_text()


def test_tables_that_name_files_are_for_their_owner(study, tmp_path):
    scans, cohort = study
    failures = [(scans[0].place, scans[0].record, "ValueError: two\nlines")]
    write_owner_tables(tmp_path, cohort, scans[1:], failures)
    for name in ("scans.csv", "failures.csv", "discards.csv"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    with open(tmp_path / "failures.csv", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"scan": "sub-1_ses-bl", "error": "ValueError: two lines", "source": "x.nii"}
        ]
    with open(tmp_path / "discards.csv", newline="") as file:
        assert next(csv.DictReader(file))["reason"] == "a repeat"
