"""ADNI's spellings of visits and diagnoses."""

from __future__ import annotations

import pytest

from medgen.data.adni_codes import diagnosis_of, label_of, visit_code

CHANGES = ("CN", "MCI", "AD", "MCI", "AD", "AD", "CN", "MCI", "CN")  # to what DXCHANGE's 1 to 9 lead


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *(("sc", "bl"), ("scmri", "bl"), ("bl", "bl"), ("v03", "bl"), ("4_sc", "bl"), ("ADNI Screening", "bl")),
        *(("ADNI2 Screening MRI-New Pt", "bl"), ("ADNI2 Baseline-New Pt", "bl"), ("m0", "bl"), ("m06", "m06")),
        *(("M12", "m12"), ("ADNI1/GO Month 24", "m24"), ("ADNIGO Month 3 MRI", "m03"), ("m120", "m120")),
        *(
            ("v05", "m06"),
            ("v11", "v11"),
            ("y1", "y1"),
            ("ADNI2 Year 1 Visit", "adni2year1visit"),
            ("nv", ""),
            ("", ""),
        ),
        ("No Visit Defined", ""),
    ],
)
def test_visits(text: str, code: str) -> None:
    assert visit_code(text) == code


@pytest.mark.parametrize(
    ("text", "label"),
    [("CN", "CN"), ("NL", "CN"), ("nl to mci", "MCI"), ("MCI to NL", "CN"), ("Dementia", "AD"), ("EMCI", "EMCI")],
)
def test_groups(text: str, label: str) -> None:
    assert label_of(text) == label


@pytest.mark.parametrize(
    ("row", "label"),
    [
        *(({"DIAGNOSIS": str(n)}, label) for n, label in enumerate(("CN", "MCI", "AD"), start=1)),
        *(({"DXCURREN": str(n)}, label) for n, label in enumerate(("CN", "MCI", "AD"), start=1)),
        # stable 1-3, conversions 4-6, reversions 7-9
        *(
            ({"DXCHANGE": str(n)}, d)
            for n, d in enumerate(["CN", "MCI", "AD", "MCI", "AD", "AD", "CN", "MCI", "CN"], start=1)
        ),
        ({"DIAGNOSIS": "", "DXCURREN": "3.0"}, "AD"),
        ({"DIAGNOSIS": "Dementia"}, "AD"),
        ({"DX": "MCI to Dementia"}, "AD"),
        ({"DIAGNOSIS": "-4", "DXCURREN": "5", "DXCHANGE": ""}, ""),
    ],
)
def test_diagnoses(row: dict[str, str], label: str) -> None:
    assert diagnosis_of(row) == label
