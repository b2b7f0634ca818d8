"""What ADNI calls visits and diagnoses, in its image archive, ADNIMERGE and DXSUM, brought to one spelling each."""

from __future__ import annotations

import re
from collections.abc import Mapping

from medgen.data.sources import Labels
from medgen.data.tables import parse_number

__all__ = ["ADNI_LABELS", "DIAGNOSIS_COLUMNS", "diagnosis_of", "label_of", "visit_code"]

# NC is CN alone. SMC (no impairment but a complaint) and MCI stay apart, and are dropped unless declared or mapped.
ADNI_LABELS = Labels(
    means={
        "CN": ("CN", "NC", "NL", "HC", "control"),
        "AD": ("AD", "Dementia", "DEM"),
        "MCI": ("MCI",),
        "EMCI": ("EMCI", "MCI"),
        "LMCI": ("LMCI", "MCI"),
        "SMC": ("SMC",),
    },
    optional=("MCI", "EMCI", "LMCI", "SMC"),
)
# the diagnosis made at a visit, in order of preference; DX is ADNIMERGE's, the others are DXSUM's
DIAGNOSIS_COLUMNS = ("DX", "DIAGNOSIS", "DXCURREN", "DXCHANGE")
_NUMBERED = {1: "CN", 2: "MCI", 3: "AD"}
_CHANGES = {4: "MCI", 5: "AD", 6: "AD", 7: "CN", 8: "MCI", 9: "CN"}  # DXCHANGE: conversions and reversions
_NAMED = {"nl": "CN", "nc": "CN", "normal": "CN", "dementia": "AD", "cn": "CN", "ad": "AD"}
_SAME_VISIT = {"sc": "bl", "scmri": "bl", "f": "bl", "v01": "bl", "v02": "bl", "v03": "bl", "4_sc": "bl", "4_bl": "bl"}
_SAME_VISIT |= {"v04": "m03", "v05": "m06"}
_NO_VISIT = {"nv", "no visit defined", "unknown", "n/a"}


def visit_code(text: str) -> str:
    """Return ``bl``, ``m12`` and the like for a visit as any of ADNI's tables calls it.

    Screening, screening MRI and baseline are one visit, ``bl``, as in ADNIMERGE. A visit that is counted from the start
    of a later phase ("ADNI3 Year 1 Visit", "v11", "y1") keeps a code of its own: how long it is after the baseline
    depends on the person.

    Returns:
        Lower-case letters and digits; "" when the visit is not stated.

    Example:
        >>> [visit_code(v) for v in ("sc", "ADNI2 Screening MRI-New Pt", "m6", "ADNI1/GO Month 12", "v11")]
        ['bl', 'bl', 'm06', 'm12', 'v11']
    """
    word = text.strip().lower()
    word = _SAME_VISIT.get(word, word)
    if word in _NO_VISIT:
        return ""
    if match := re.fullmatch(r"m(\d+)", word) or re.search(r"\bmonth (\d+)", word):
        return f"m{int(match[1]):02d}" if int(match[1]) else "bl"
    if re.search(r"screening|baseline", word):
        return "bl"
    return re.sub(r"[^a-z0-9]+", "", word)


def label_of(text: str) -> str:
    """Return ``CN``, ``SMC``, ``EMCI``, ``LMCI``, ``MCI`` or ``AD`` for a group or diagnosis in words.

    Of a change, such as ADNIMERGE's old "MCI to Dementia", it is what the person has now. Other text stays as it is.

    Example:
        >>> label_of("Dementia"), label_of("NL"), label_of("MCI to Dementia"), label_of("LMCI")
        ('AD', 'CN', 'AD', 'LMCI')
    """
    word = re.split(r"\s+to\s+", text.strip())[-1]
    same = next((label for label in ADNI_LABELS.means if label.lower() == word.lower()), word)
    return _NAMED.get(word.lower(), same)


def diagnosis_of(row: Mapping[str, str]) -> str:
    """Return the diagnosis of a row of ADNIMERGE (DX) or DXSUM (DIAGNOSIS, DXCURREN, DXCHANGE); "" when it has none.

    DXSUM's numbers are 1 = CN, 2 = MCI, 3 = dementia; DXCHANGE's 4 to 9 are changes, of which the new state counts.

    Example:
        >>> diagnosis_of({"DXCHANGE": "5"}), diagnosis_of({"DX": "CN"}), diagnosis_of({"DIAGNOSIS": "-4"})
        ('AD', 'CN', '')
    """
    for name in DIAGNOSIS_COLUMNS:
        text = row.get(name, "").strip()
        number = parse_number(text)
        if number is None:
            if text:
                return label_of(text)
        elif label := (_NUMBERED | (_CHANGES if name == "DXCHANGE" else {})).get(int(number)):
            return label
    return ""
