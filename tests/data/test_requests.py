import pytest
import torch

from medgen import Covariates, Range
from medgen.data.requests import GenerationRequests, image_seeds

COVARIATES = Covariates(diagnosis=["NC", "AD"], age=Range(18, 100, "years"), slice=Range(0, 1, "fraction"))


def test_an_images_seed_depends_on_its_index_and_the_seed_only():
    assert image_seeds(0, 3) == image_seeds(0, 16)[:3]
    assert len(set(image_seeds(0, 100) + image_seeds(1, 100))) == 200


def test_lists_make_conditions_the_last_changing_fastest():
    requests = GenerationRequests(COVARIATES, n=2, seed=5, diagnosis=["NC", "AD"], age=[60, 80], slice=None)
    assert requests.titles() == ["NC, 60 years", "NC, 80 years", "AD, 60 years", "AD, 80 years"]
    assert len(requests) == 8
    assert [int(requests[i]["index"]) for i in range(8)] == list(range(8))
    assert [requests[i]["seed"] for i in range(8)] == image_seeds(5, 2) * 4
    encoded = torch.stack([requests[i]["covariates"] for i in range(8)])
    assert encoded[:, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert encoded[:, 1].tolist() == [60, 60, 80, 80, 60, 60, 80, 80]
    assert encoded[:, 2].isnan().all()
    batch = requests.batch()
    assert torch.equal(batch["covariates"].nan_to_num(-1), encoded.nan_to_num(-1))
    assert batch["seed"] == [requests[i]["seed"] for i in range(8)]


def test_rows_tell_every_image_apart_in_words():
    rows = GenerationRequests(COVARIATES, n=1, seed=0, diagnosis=["NC", "AD"]).rows()
    seed = image_seeds(0, 1)[0]
    assert rows == [
        {"index": 0, "seed": seed, "diagnosis": "NC", "age": None, "slice": None},
        {"index": 1, "seed": seed, "diagnosis": "AD", "age": None, "slice": None},
    ]


def test_nothing_given_is_unconditional():
    requests = GenerationRequests(COVARIATES, n=1)
    assert requests[0]["covariates"].isnan().all()
    assert requests.titles() == ["unconditional"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"diagnosis": "MCI"}, r"diagnosis: undeclared label 'MCI'.*declared: \['NC', 'AD'\]"),
        ({"diagnosis": "ad"}, "nearest: 'AD'"),
        ({"diagnosys": "AD"}, "unknown covariate 'diagnosys'.*nearest: 'diagnosis'"),
        ({"age": 150}, "age: 150 .*outside 18 to 100 years"),
        ({"age": "old"}, "age: expected a number, found 'old'"),
        ({"n": 0}, "n: found 0, expected a positive integer"),
        ({"n": "16"}, "n: found '16', expected a positive integer"),
    ],
)
def test_what_cannot_be_asked_for_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        GenerationRequests(COVARIATES, **values)


@pytest.mark.parametrize("words", [("female", "Male"), ("woman", "m"), ("F", "M")])
def test_a_sex_may_be_asked_for_in_other_words(words):
    for labels in (["F", "M"], ["female", "male"]):
        requests = GenerationRequests(Covariates(sex=labels), n=1, sex=list(words))
        assert requests.conditions == [{"sex": label} for label in labels]
    with pytest.raises(ValueError, match=r"sex: undeclared label 'Mother'"):
        GenerationRequests(Covariates(sex=["F", "M"]), sex="Mother")


def test_indices_outside_are_refused():
    requests = GenerationRequests(COVARIATES, n=2)
    with pytest.raises(IndexError, match="expected 0 to 1"):
        requests[2]
