"""Both sides of a ratio are adjusted for the same covariates, whatever is unknown on one of them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medgen.apps.evaluation.adjustment import shared_columns
from medgen.apps.evaluation.number import NumberAgreement
from medgen.apps.evaluation.real import RealImages
from medgen.apps.evaluation.tissues import _compared
from medgen.apps.evaluation.ventricles import ventricle_figures
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
