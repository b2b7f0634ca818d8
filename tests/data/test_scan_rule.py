"""One T1-weighted scan per subject and visit."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

from medgen.data import ScanRule
from medgen.data.scan_rule import Candidate, choose_scans
from medgen.data.sources import Item

NUMBERS = itertools.count(1)


def candidate(description: str, visit: str = "bl", subject: str = "s", **more: object) -> Candidate:
    number = next(NUMBERS)
    return Candidate(Item((Path(f"{number}.nii"),), subject), visit, description, number=number, **more)  # type: ignore


def chosen(candidates: list[Candidate], rule: ScanRule | None = None) -> list[str]:
    return [c.description for c in choose_scans(candidates, rule or ScanRule())[0]]


T1_NAMES = """MP-RAGE;MP RAGE SAGITTAL;MPRAGE_Repeat;IR-FSPGR-Repeat;IR-SPGR w/acceleration;Accelerated SAG IR-SPGR
Accelerated Sagittal MPRAGE (MSV21);MPRAGE SENSE2;MPRAGE_GRAPPA2;Sag IR-SPGR;MPR____N3__Scaled;MT1__N3m;HS_MPRAGE
MPR__GradWarp__B1_Correction__N3__Scaled_2;ADNI3_t1_mprag_sag_p2_iso;t1_mpr_ns_sag_p2_iso_1mm;SAG T1 3D;T1 Repeat
FSPGR 3D;T1w_MPR;tfl3d1_16ns;WIP 3D_TFE;t1_MPRAGEcr_noGRAPPA"""
OTHER_NAMES = """3 Plane Localizer;Axial PD/T2 FSE;Axial T2-FLAIR;Axial T2 STAR;B1-calibration Head;Calibration Scan
AAHScout;AAHead_Scout_MPR_Cor;Axial DTI;ASL_PERFUSION;Resting State fMRI;Field Mapping;Brain Mask
Spatially Normalized, Masked and N3 corrected T1 image;Sagittal 3D FLAIR;MPRAGE SENSE localizer;MPRAGE Range;T1 map
HarP 135 final release 2015;Accelerated Sagittal MPRAGE_MPR_Cor;Coronal MPR;HighResHippocampus;relCBF"""


@pytest.mark.parametrize("description", T1_NAMES.replace("\n", ";").split(";"))
def test_t1_weighted_scans_are_known_by_name(description: str) -> None:
    assert ScanRule().why_not(description, "MRI") is None


@pytest.mark.parametrize("description", OTHER_NAMES.replace("\n", ";").split(";"))
def test_other_scans_are_set_aside(description: str) -> None:
    assert ScanRule().why_not(description, "MR") == "not a T1-weighted scan by its description"


def test_other_modalities_are_set_aside() -> None:
    assert ScanRule().why_not("MPRAGE", "PT") == "not MR but PT"


@pytest.mark.parametrize(
    ("better", "worse", "reason"),
    [
        ({"description": "MP-RAGE REPEAT"}, {"description": "MPR; GradWarp; N3"}, "a processed version of a scan"),
        ({"description": "MPRAGE"}, {"description": "MPRAGE", "processed": True}, "a processed version of a scan"),
        ({"description": "MPR; GradWarp"}, {"description": "MPR; GradWarp; N3"}, "a version with other corrections"),
        ({"description": "MPRAGE REPEAT"}, {"description": "MPRAGE GRAPPA2"}, "accelerated"),
        ({"description": "MPRAGE"}, {"description": "MPRAGE Repeat"}, "a repeat"),
        (
            {"description": "MPRAGE", "when": "10:00"},
            {"description": "MPRAGE", "when": "11:00"},
            "a later scan of the visit",
        ),
    ],
)
@pytest.mark.parametrize("swap", [False, True])
def test_the_order_of_preference(better: dict, worse: dict, reason: str, swap: bool) -> None:
    pair = [candidate(**better), candidate(**worse)]
    taken, discards = choose_scans(pair[::-1] if swap else pair, ScanRule())
    assert taken == pair[:1]
    assert [(d["image"], d["reason"]) for d in discards] == [(str(pair[1].item.images[0]), reason)]


def test_processed_versions_by_choice() -> None:
    names = ["MPRAGE", "MPR; GradWarp; N3", "MPR; GradWarp; B1 Correction; N3; Scaled"]
    assert chosen([candidate(name) for name in names], ScanRule(version="processed")) == names[2:]


def test_field_strength_stays_the_same_from_visit_to_visit() -> None:
    weak = [candidate("1.5 T MPRAGE", visit=v, field_strength=1.5) for v in ("bl", "m12", "m24")]
    strong = [candidate("3 T MPRAGE", visit=v, field_strength=3.0) for v in ("bl", "m12", "m24")]
    assert chosen([*weak, strong[0]]) == ["1.5 T MPRAGE"] * 3
    assert chosen([*weak, *strong]) == ["3 T MPRAGE"] * 3
    assert chosen([*weak, strong[0]], ScanRule(field_strength=3.0)) == ["1.5 T MPRAGE"] * 2 + ["3 T MPRAGE"]
    other = dataclasses.replace(strong[0], item=Item((Path("x"),), "other"))
    assert chosen([*weak, strong[0], other]) == ["1.5 T MPRAGE"] * 3 + ["3 T MPRAGE"]


def test_a_scan_with_a_flaw_makes_place_for_its_repeat() -> None:
    taken, discards = choose_scans([candidate("MPRAGE", flaw="no file"), candidate("MPRAGE Repeat")], ScanRule())
    assert [c.description for c in taken] == ["MPRAGE Repeat"]
    assert [d["reason"] for d in discards] == ["no file"]


def test_a_rule_from_json_is_checked() -> None:
    assert ScanRule.of({"field_strength": 1.5}).field_strength == 1.5
    with pytest.raises(ValueError, match=r"scan_rule: no argument 'fieldstrength' \(nearest: 'field_strength'\)"):
        ScanRule.of({"fieldstrength": 3})
    with pytest.raises(ValueError, match=r"scan_rule: version is 'orginal'.*nearest: 'original'"):
        ScanRule(version="orginal")
    with pytest.raises(ValueError, match="include is no regular expression"):
        ScanRule(include="(")
