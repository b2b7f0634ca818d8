"""ADNI's clinical tables: which visit is a scan's, and what was known then."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from adni_files import write_adnimerge, write_dxsum
from cohort_files import write_rows

from medgen.data import CohortError
from medgen.data.clinical import ClinicalTables, find_clinical_tables, nearby_clinical_tables

PERSON = "941_S_9001"


def day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    visits = [
        {},
        {"VISCODE": "m06", "EXAMDATE": "2011-11-08", "DX": "", "Years_bl": 0.5, "MMSE": -1},
        {"VISCODE": "m12", "EXAMDATE": "2012-05-15", "DX": "MCI", "Years_bl": 1.014, "MMSE": 27},
        {"VISCODE": "m24", "EXAMDATE": "2013-05-20", "DX": "Dementia", "Years_bl": 2.03, "MMSE": 22},
    ]
    return write_adnimerge(tmp_path / "ADNIMERGE.csv", visits)


@pytest.mark.parametrize(
    ("when", "diagnosis", "age", "visit"),
    [
        ("2011-05-18", "CN", "70.50", "bl"),
        ("2011-11-08", "CN", "71.00", "bl"),  # m06 has no diagnosis: bl is 182 days away, m12 189
        ("2012-05-20", "MCI", "71.51", "m12"),
        ("2013-04-01", "AD", "72.53", "m24"),
    ],
)
def test_the_nearest_visit_with_a_diagnosis(merged: Path, when: str, diagnosis: str, age: str, visit: str) -> None:
    known = ClinicalTables([merged]).at(PERSON, day(when), "")
    assert (known["diagnosis"], known["age"], known["visit"]) == (diagnosis, age, visit)
    assert (known["sex"], known["baseline"]) == ("Female", "CN")


def test_no_visit_within_half_a_year_is_unknown(merged: Path) -> None:
    tables = ClinicalTables([merged])
    assert tables.at(PERSON, day("2013-11-19"), "")["diagnosis"] == "AD"
    known = tables.at(PERSON, day("2013-11-20"), "m30")
    assert "diagnosis" not in known
    assert "age" not in known
    assert tables.at("941_S_9002", day("2011-05-18"), "bl") == {}


def test_without_dates_the_code_of_the_visit_counts(tmp_path: Path, merged: Path) -> None:
    assert ClinicalTables([merged]).at(PERSON, None, "m12")["diagnosis"] == "MCI"
    rows = [{"EXAMDATE": "", "DXCHANGE": 1}, {"EXAMDATE": "", "VISCODE2": "m12", "VISCODE": "v11", "DXCHANGE": 5}]
    tables = ClinicalTables([write_dxsum(tmp_path / "DXSUM.csv", rows)])
    assert tables.at(PERSON, day("2012-05-18"), "m12")["diagnosis"] == "AD"
    assert tables.at(PERSON, day("2012-05-18"), "v11")["diagnosis"] == "AD"
    assert "diagnosis" not in tables.at(PERSON, day("2012-05-18"), "")


def test_the_first_table_that_knows_decides(tmp_path: Path, merged: Path) -> None:
    dxsum = write_dxsum(tmp_path / "DXSUM.csv", [{"DIAGNOSIS": 2}, {"VISCODE2": "m12", "EXAMDATE": "2012-05-15"}])
    tables = ClinicalTables([dxsum, merged])
    assert tables.at(PERSON, day("2011-05-18"), "")["diagnosis"] == "MCI"  # DXSUM's
    assert tables.at(PERSON, day("2011-05-18"), "")["age"] == "70.50"  # only ADNIMERGE has it
    assert tables.at(PERSON, day("2012-05-15"), "")["diagnosis"] == "MCI"  # -4 in DXSUM: ADNIMERGE's
    assert tables.diagnosis_columns() == "DIAGNOSIS/DXCURREN/DXCHANGE of DXSUM.csv, DX of ADNIMERGE.csv"
    assert nearby_clinical_tables([tmp_path]) == [dxsum, merged]


def test_missing_codes_are_empty_and_dotted_names_are_known(tmp_path: Path, merged: Path) -> None:
    assert ClinicalTables([merged]).at(PERSON, day("2011-05-18"), "")["MMSE"] == "29"
    rows = [
        {"PTID": PERSON, "VISCODE": "bl", "EXAMDATE": "2011-05-10", "DX": "CN", "AGE": 70, "Years.bl": -4, "FAQ": -1}
    ]
    write_rows(tmp_path / "r.csv", rows)
    known = ClinicalTables([tmp_path / "r.csv"]).at(PERSON, day("2011-05-10"), "")
    assert "age" not in known
    assert "FAQ" not in known


def test_tables_that_are_not_there_or_no_clinical_ones(tmp_path: Path, merged: Path) -> None:
    assert find_clinical_tables(["ADNIMERGE.csv"], [tmp_path]) == [merged]
    with pytest.raises(CohortError, match=r"clinical_table: no such file: ADNIMERG.csv"):
        find_clinical_tables(["ADNIMERG.csv"], [tmp_path])
    write_rows(tmp_path / "other.csv", [{"RID": 9001, "VISCODE": "bl", "MMSE": 3}])
    with pytest.raises(CohortError, match=r"other.csv: expected ADNIMERGE or DXSUM, .* found \['RID'"):
        ClinicalTables([tmp_path / "other.csv"])
