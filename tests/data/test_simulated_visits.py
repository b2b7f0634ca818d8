"""Simulated people with two visits: the same head, older ventricles, and a cohort that keeps them together."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from medgen.covariates import Covariates
from medgen.data import Cohort, SliceDataset, simulated_cohort
from medgen.data.simulated_followup import seen_again, younger_people
from medgen.data.simulated_people import VentricleModel, draw_subjects

COVARIATES = Covariates(age={"low": 18, "high": 100}, sex=["F", "M"], diagnosis=["NC", "AD"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("visits")
    return simulated_cohort(root, subjects=4, spacing=4.0, seed=3, visits=2, years=10.0, progress=False)


def load(folder: Path, name: str, session: str, kind: str) -> np.ndarray:
    base = folder if kind == "T1w" else folder / "derivatives" / "ventricles"
    return np.asarray(nibabel.load(base / name / session / "anat" / f"{name}_{session}_{kind}.nii.gz").dataobj)


def test_everyone_is_seen_twice_and_both_scans_are_in_one_split(folder):
    cohort = Cohort(folder, COVARIATES)
    assert (cohort.layout, len(cohort.subjects), len(cohort), cohort.simulated) == ("bids", 4, 8, True)
    ages = {}
    for record, row in zip(cohort.records, cohort.columns, strict=True):
        ages.setdefault(record["subject"], []).append((record["scan"], record["age"], float(row["ventricle_ml"])))
    for visits in ages.values():
        (first, young, small), (second, old, large) = sorted(visits)
        assert (first, second) == ("ses-01", "ses-02")
        assert old - young == pytest.approx(10, abs=0.06)
        assert large - small == pytest.approx(10 * VentricleModel.age_slope, abs=0.08)
    assert all(name.startswith("sub-SIML") for name in ages)
    splits = cohort.split({"train": 0.5, "test": 0.5})
    assert not {r["subject"] for r in splits["train"]} & {r["subject"] for r in splits["test"]}
    assert len(splits["train"]) == len(splits["test"]) == 4


def test_it_is_the_same_head_with_larger_ventricles_and_other_noise(folder):
    for name in ("sub-SIML001", "sub-SIML004"):
        young, old = (load(folder, name, f"ses-0{i}", "T1w").astype(float) for i in (1, 2))
        before, after = (load(folder, name, f"ses-0{i}", "label-ventricles_mask") > 0 for i in (1, 2))
        assert np.array_equal(young > 0, old > 0)
        assert (after & before).sum() == before.sum() < after.sum()
        brain = young > 0
        changed = np.abs(old - young)
        # where tissue became ventricle the image changed most; elsewhere noise and cortex
        assert changed[after & ~before].mean() > 1.3 * changed[brain & ~after].mean()
        assert np.median(changed[brain]) > 0
        assert np.corrcoef(young[brain], old[brain])[0, 1] > 0.9


def test_slices_of_both_visits_lie_at_the_same_place(folder):
    data = SliceDataset(Cohort(folder, COVARIATES).records, covariates=COVARIATES, image_size=32, slices=2,
                        slice_range=(0.45, 0.6), seed=None, progress=False)  # fmt: skip
    places = {}
    for record, place in zip(data.records, data.positions.tolist(), strict=True):
        places.setdefault(record["subject"], {}).setdefault(record["scan"], []).append(place)
    assert all(found["ses-01"] == found["ses-02"] for found in places.values())


def test_people_are_young_enough_for_the_last_visit_and_differ_as_before():
    people, model = draw_subjects(60, seed=1), VentricleModel()
    younger = younger_people(people, span=20.0)
    assert all(55 <= p.age <= 75.05 for p in younger)
    for person, before in zip(younger, people, strict=True):
        residual = [p.anatomy.ventricle_ml - model.volume(p.age, p.diagnosis, p.sex, 0.0) for p in (person, before)]
        assert residual[0] == pytest.approx(residual[1])
    visits = seen_again(younger[0], 3, 10.0)
    assert [v.session for v in visits] == ["ses-01", "ses-02", "ses-03"]
    assert visits[2].anatomy.ventricle_ml - visits[0].anatomy.ventricle_ml == pytest.approx(20 * model.age_slope)


def test_it_is_found_again_and_single_visits_keep_their_folders(folder):
    again = simulated_cohort(folder.parent, subjects=4, spacing=4.0, seed=3, visits=2, years=10, progress=False)
    assert again == folder
    (folder / "sub-SIML002" / "ses-02" / "anat" / "sub-SIML002_ses-02_T1w.nii.gz").unlink()
    mended = simulated_cohort(folder.parent, subjects=4, spacing=4.0, seed=3, visits=2, years=10.0, progress=False)
    assert (mended / "sub-SIML002" / "ses-02" / "anat" / "sub-SIML002_ses-02_T1w.nii.gz").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"visits": 0}, "visits"), ({"visits": 2, "years": 0.0}, "years"), ({"visits": 5, "years": 10.0}, "years")],
)
def test_arguments_are_checked(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=f"{message}: expected"):
        simulated_cohort(tmp_path, subjects=4, **arguments)
