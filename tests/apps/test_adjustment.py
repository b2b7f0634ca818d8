"""Both sides of a ratio are adjusted for the same covariates, whatever is unknown on one of them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medgen.apps.evaluation.adjustment import shared_columns
from medgen.apps.evaluation.contrast import LabelContrast
from medgen.apps.evaluation.number import NumberAgreement
from medgen.apps.evaluation.real import RealImages
from medgen.apps.evaluation.tissues import _compared
from medgen.apps.evaluation.ventricles import ventricle_figures
from medgen.apps.report.of_fidelity import tissue_words
from medgen.covariates import Covariates, Range
from medgen.metrics import SubjectResampler
from medgen.metrics.ventricles import ventricle_area

COVARIATES = Covariates(age=Range(18, 100, "years"), diagnosis=["NC", "AD"])


def _images(values, areas, names):
    """A square brain with a dark square of the wanted area in pixels."""
    images = np.full((len(areas), 1, 48, 48), -1.0, np.float32)
    images[:, :, 4:44, 4:44] = 0.6
    for image, area in zip(images[:, 0], areas, strict=True):
        side = round(np.sqrt(area))
        image[24 - side // 2 : 24 - side // 2 + side, 24 - side // 2 : 24 - side // 2 + side] = -0.9
    covariates = torch.tensor(values, dtype=torch.float32)
    return RealImages(torch.from_numpy(images), covariates, names, values[:, 0], 0)


def test_one_unknown_covariate_of_many_does_not_change_the_ratio():
    random = np.random.default_rng(0)
    ill = np.arange(120) % 2.0
    age = 70 + 8 * ill + 5 * random.standard_normal(120)
    area = 40 + 2 * (age - 60) + 60 * ill  # age and disease both widen the ventricles, and go together
    values, names = np.stack([age, ill], 1), [f"person {place}" for place in range(120)]
    cohort = _images(values, area, names)
    cohort.covariates[0, 1] = torch.nan
    made = _images(values[80:], area[80:], names[80:])
    question = NumberAgreement(COVARIATES, "age", judge=SimpleNamespace(epochs=1))
    rows = [{"main": True}]
    figures, _ = ventricle_figures(
        question, SimpleNamespace(), {"test": cohort}, {1.0: made}, rows, 1.0, SubjectResampler(names, 50)
    )  # fmt: skip
    assert figures["adjusted_for"] == rows[0]["ventricles"]["adjusted_for"] == ["diagnosis"]
    assert (figures["images"], rows[0]["ventricles"]["images"]) == (119, 40)
    assert rows[0]["ventricles"]["slope_ratio"]["value"] == pytest.approx(1, abs=0.15)  # 0.4 where only one is adjusted
    assert ventricle_area(cohort.images.numpy()).max() > 100


def test_columns_are_shared_by_all_sides():
    random = np.random.default_rng(1)
    full, half = random.standard_normal(10), np.where(np.arange(10) < 6, np.nan, random.standard_normal(10))
    assert shared_columns({"a": full, "b": full}, {"a": full, "b": half}) == ["a"]
    assert shared_columns({"a": full, "b": np.ones(10)}) == ["a"]  # does not vary
    assert shared_columns({"a": full}, {}) == []


def test_tissues_leave_out_images_of_unknown_covariates():
    random = np.random.default_rng(2)
    age, group = random.uniform(60, 90, 80), np.repeat([0.0, 1.0], 40)
    outcome = age + 5 * group
    design = np.stack([np.ones(80), age], 1)
    design[::7, 1] = np.nan  # as the average they would add an error of years
    found = _compared(outcome, group, design, np.ones((3, 80)))
    assert found["difference"]["value"] == pytest.approx(5, abs=1e-9)


def test_columns_that_nobody_has_together_are_not_taken_together(caplog):
    random = np.random.default_rng(3)
    first, second = np.arange(80) < 40, np.arange(80) >= 40
    values = random.standard_normal((4, 80))
    age, full = values[0], values[3]
    mmse, weight = np.where(first, values[1], np.nan), np.where(second, values[2], np.nan)
    with caplog.at_level("INFO", logger="medgen.evaluation"):
        assert shared_columns({"mmse": mmse, "weight": weight, "age": age, "full": full}) == ["mmse", "age", "full"]
    assert "not adjusted for weight" in caplog.text
    some = np.where(np.arange(80) < 45, age, np.nan)  # fewer than know the other, yet age is what must not be left out
    other = np.where(np.arange(80) >= 30, full, np.nan)
    assert shared_columns({"other": other, "age": some}) == ["age"]
    assert shared_columns({"mmse": mmse}, targets=[first * 1.0]) == []  # one label alone would stay
    assert shared_columns({"mmse": mmse, "flag": np.where(first, 0.0, full)}) in (["mmse"], ["flag"])  # constant there


def _merged(diagnosis, sites):
    """Images of two sites, of which each knows another covariate."""
    random = np.random.default_rng(4)
    count = len(diagnosis)
    values = np.full((count, 4), np.nan)
    values[:, 0], values[:, 1] = random.uniform(60, 90, count), diagnosis
    values[sites == 0, 2], values[sites == 1, 3] = random.uniform(15, 30, (sites == 0).sum()), 70
    values[sites == 1, 3] += 10 * random.standard_normal((sites == 1).sum())
    area = 100 + 60 * diagnosis + 10 * random.standard_normal(count)
    images = _images(values, area, [f"person {place}" for place in range(count)])
    return replace(images, target=diagnosis.astype(float))


def test_sites_that_know_different_covariates_can_be_merged():
    covariates = Covariates(
        age=Range(18, 100, "years"), diagnosis=["NC", "AD"], mmse=Range(0, 30), weight=Range(30, 200)
    )
    diagnosis, sites = np.arange(120) % 2, np.arange(120) // 2 % 2
    cohort, made = _merged(diagnosis, sites), _merged(diagnosis[:60], sites[:60])
    question = LabelContrast(covariates, "diagnosis", judge=SimpleNamespace(epochs=1))
    resampler, rows = SubjectResampler(cohort.subjects, 50), [{"main": True}]
    figures, _ = ventricle_figures(
        question, SimpleNamespace(), {"test": cohort}, {1.0: made}, rows, 1.0, resampler
    )  # fmt: skip
    assert figures["adjusted_for"] == rows[0]["ventricles"]["adjusted_for"] == ["age", "mmse"]
    assert (figures["images"], rows[0]["ventricles"]["images"]) == (60, 30)
    scores = np.random.default_rng(5).standard_normal(120) + diagnosis
    reference = question.reference(scores, cohort, cohort, resampler)
    found = reference.compare(scores[:60], made)
    assert found["ratio_adjusted"]["value"] == pytest.approx(1, abs=0.6)


def test_label_ratio_is_adjusted_alike_where_generated_images_lack_a_covariate():
    covariates = Covariates(age=Range(18, 100, "years"), diagnosis=["NC", "AD"], mmse=Range(0, 30))
    diagnosis, nowhere = np.arange(120) % 2, np.zeros(120)
    cohort = _merged(diagnosis, nowhere)
    cohort = replace(cohort, covariates=cohort.covariates[:, :3])
    made = replace(cohort, covariates=cohort.covariates * torch.tensor([1, 1, torch.nan]))
    question = LabelContrast(covariates, "diagnosis", judge=SimpleNamespace(epochs=1))
    scores = np.random.default_rng(6).standard_normal(120) + diagnosis + cohort.covariates[:, 2].numpy() / 5
    reference = question.reference(scores, cohort, cohort, SubjectResampler(cohort.subjects, 50))
    assert reference.adjusted_for == ["age", "mmse"]
    assert reference.compare(scores, made)["ratio_adjusted"]["value"] == pytest.approx(1, abs=1e-9)


def test_unknown_covariates_are_not_told_as_missing_brains():
    group = np.repeat([0.0, 1.0], 20)
    outcome, weights = 100 + np.arange(40.0), np.ones((3, 40))
    design = np.stack([np.ones(40), np.full(40, np.nan)], 1)
    found = _compared(outcome, group, design, weights)
    assert found["generated"]["value"] == pytest.approx(129.5)
    assert tissue_words("brain", found)[0].startswith("Not determined: too few images of which the covariates")
    found = _compared(np.where(group == 1, np.nan, outcome), group, design, weights)
    assert "hardly any brain" in tissue_words("brain", found)[0]
