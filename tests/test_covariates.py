from __future__ import annotations

import math

import pytest
import torch

from medgen.covariates import Covariates, Range


@pytest.fixture
def covariates() -> Covariates:
    return Covariates(diagnosis=["NC", "AD"], age=Range(18, 100, "years"), sex=["F", "M"])


def test_label_order_is_the_declared_one(covariates):
    assert covariates.encode({"diagnosis": "AD", "age": 72.3, "sex": "F"}).tolist() == [1.0, pytest.approx(72.3), 0.0]
    swapped = Covariates(diagnosis=["AD", "NC"])
    assert swapped.encode({"diagnosis": "AD"}).tolist() == [0.0]


@pytest.mark.parametrize("missing", [None, "", "n/a", "NaN", float("nan"), " unknown "])
def test_missing_values_are_nan(covariates, missing):
    encoded = covariates.encode({"diagnosis": missing, "age": missing})
    assert encoded.isnan().tolist() == [True, True, True]
    assert covariates.decode(encoded) == {"diagnosis": None, "age": None, "sex": None}


def test_a_label_that_reads_like_missing_is_kept_when_declared():
    covariates = Covariates(contrast=["none", "Gd"])
    assert covariates.encode({"contrast": "none"}).tolist() == [0.0]


def test_decode_inverts_encode(covariates):
    row = {"diagnosis": "NC", "age": 64.0, "sex": "M"}
    assert covariates.decode(covariates.encode(row)) == row
    assert Covariates.from_dict(covariates.to_dict()) == covariates


def test_a_sequence_gives_rows_and_an_empty_one_no_rows(covariates):
    rows = covariates.encode([{"age": 20}, {"age": 30}])
    assert rows.shape == (2, 3)
    assert rows.dtype == torch.float32
    assert covariates.encode([]).shape == (0, 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"diagnosys": "AD"}, "nearest: 'diagnosis'"),
        ({"diagnosis": "ad"}, "nearest: 'AD'"),
        ({"age": 101}, "18 to 100 years"),
        ({"age": math.inf}, "outside"),
        ({"age": "seventy"}, "expected a number"),
    ],
)
def test_bad_values_name_what_was_found_and_expected(covariates, values, message):
    with pytest.raises(ValueError, match=message):
        covariates.encode(values, where="row 3")


def test_records_may_carry_more_than_covariates(covariates):
    encoded = covariates.encode({"image": "a.nii.gz", "age": 50}, unknown_keys="ignore")
    assert encoded[1] == 50


@pytest.mark.parametrize("declared", ["AD", ["AD"], ["AD", "AD"], 3, {"low": 1}])
def test_bad_declarations_are_refused(declared):
    with pytest.raises(ValueError, match="diagnosis"):
        Covariates(diagnosis=declared)


@pytest.mark.parametrize("bounds", [(1, 1), (2, 1), (math.nan, 1), (0, math.inf)])
def test_bad_ranges_are_refused(bounds):
    with pytest.raises(ValueError, match="low"):
        Range(*bounds)
