"""Splits: nobody in two, alike in what is known, the same again from seed or file."""

from __future__ import annotations

import json
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from cohort_files import people, write_rows

from medgen.covariates import Covariates
from medgen.data import Cohort, CohortError, check_disjoint
from medgen.data.splits import split_subjects

FRACTIONS = {"train": 0.7, "validation": 0.1, "test": 0.2}


def strata(count: int) -> dict[str, list[str]]:
    return {f"s{i:03d}": ["NA"[i % 2], "FM"[i // 2 % 2], str(50 + 10 * (i // 4 % 4))] for i in range(count)}


@pytest.mark.parametrize("count", [3, 7, 10, 64, 121])
def test_every_subject_once_and_sizes_as_asked(count: int) -> None:
    splits = split_subjects(strata(count), FRACTIONS, seed=1)
    assert sorted(s for members in splits.values() for s in members) == sorted(strata(count))
    for name, members in splits.items():
        assert len(members) >= 1
        assert abs(len(members) - count * FRACTIONS[name]) < (1.0 if count > 20 else 2.0)


def test_strata_are_alike() -> None:
    keys = strata(160)
    splits = split_subjects(keys, FRACTIONS, seed=0)
    for depth, tolerance in ((1, 1.0), (2, 1.5), (3, 1.5)):
        whole = Counter(tuple(k[:depth]) for k in keys.values())
        for name, members in splits.items():
            found = Counter(tuple(keys[s][:depth]) for s in members)
            for stratum, count in whole.items():
                assert abs(found[stratum] - FRACTIONS[name] * count) <= tolerance


def test_seeds_differ_and_repeat() -> None:
    first, again, other = (split_subjects(strata(60), FRACTIONS, seed) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(
    ("fractions", "message"),
    [({"train": 0.7, "test": 0.2}, "add up to 1"), ({"train": 1.5, "test": -0.5}, "positive"), ({}, "positive")],
)
def test_fractions_are_shares(fractions: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_subjects(strata(10), fractions)


def test_too_few_subjects() -> None:
    with pytest.raises(ValueError, match=r"2 subject\(s\) cannot fill 3 splits"):
        split_subjects(strata(2), FRACTIONS)


def test_subject_in_two_splits_is_refused() -> None:
    check_disjoint({"train": ["a", "a", "b"], "test": ["c"]})
    with pytest.raises(CohortError, match="'b' in train and test"):
        check_disjoint({"train": ["a", "b"], "test": ["b"]}, "mine.json")


Writer = Callable[..., Path]


def test_all_visits_of_a_subject_stay_together(bids: Writer, covariates: Covariates) -> None:
    cohort = Cohort(bids(12, sessions=("ses-1", "ses-2")), covariates)
    splits = cohort.split(seed=2)
    assert sum(len(records) for records in splits.values()) == 24
    check_disjoint({name: [r["subject"] for r in records] for name, records in splits.items()})
    assert all(count == 2 for records in splits.values() for count in Counter(r["subject"] for r in records).values())


def test_file_decides(bids: Writer, covariates: Covariates, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cohort, file = Cohort(bids(12), covariates), tmp_path / "runs" / "splits.json"
    first = cohort.split(seed=0, file=file)
    assert json.loads(file.read_text())["unit"] == "subject"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600  # it names participants
    assert cohort.split(seed=5) != first
    assert cohort.split(seed=5, file=file) == first
    assert "it decides" in caplog.text


def test_a_file_made_for_other_data_of_the_same_subjects_is_announced(
    bids: Writer, covariates: Covariates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, file = bids(12), tmp_path / "splits.json"
    Cohort(root, covariates).split(file=file)
    Cohort(root, covariates).split(file=file)
    assert caplog.text == ""
    rows = people(12)
    rows[3]["Age"] = 91
    write_rows(root / "participants.tsv", rows)
    Cohort(root, covariates).split(file=file)
    assert "other images or values of these subjects" in caplog.text


def test_a_split_that_is_not_there_names_those_that_are(bids: Writer, covariates: Covariates) -> None:
    splits = Cohort(bids(12), covariates).split({"train": 0.5, "test": 0.5})
    with pytest.raises(CohortError, match=r"no split 'validation'.*\['train', 'test'\]"):
        splits["validation"]
    assert "validation" not in splits
    assert splits.get("validation") is None


def test_file_that_does_not_match_the_cohort(bids: Writer, covariates: Covariates, tmp_path: Path) -> None:
    file = tmp_path / "splits.json"
    Cohort(bids(12), covariates).split(file=file)
    rows = [*people(11), {**people(1)[0], "participant_id": "sub-new"}]
    import shutil

    shutil.rmtree(tmp_path / "bids")
    cohort = Cohort(bids(rows=rows), covariates)
    with pytest.raises(CohortError, match=r"1 subject\(s\) only in the file \(sub-11\); 1 .* only in the cohort"):
        cohort.split(file=file)
    with pytest.raises(CohortError, match=r"holds the splits \['train', 'validation', 'test'\], expected"):
        cohort.split({"train": 0.5, "test": 0.5}, file=file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected a split file"),
        ('{"train": []}', "expected a split file"),
        (json.dumps({"splits": {"train": ["sub-00", "sub-01"], "test": ["sub-01"]}}), "'sub-01' in train and test"),
    ],
)
def test_bad_split_files(bids: Writer, covariates: Covariates, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "own.json").write_text(content)
    with pytest.raises(CohortError, match=message):
        Cohort(bids(2), covariates).split({"train": 0.5, "test": 0.5}, file=tmp_path / "own.json")
