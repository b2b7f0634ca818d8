"""What a reader is told about the people behind a model and its codec, and what nobody is told."""

from types import SimpleNamespace

import pytest
from example_metrics import changed, example_metrics

from medgen.apps.evaluation.provenance import at_other_sites, cohort_notices, model_facts
from medgen.apps.evaluation.split_hash import split_hash, split_secret
from medgen.apps.evaluation.trend import band_ends
from medgen.apps.report import background
from medgen.handlers import write_model
from medgen.networks import IdentityCodec

COHORT = SimpleNamespace(fingerprint=lambda: "0123456789abcdef")


@pytest.mark.parametrize(
    ("fingerprint", "seed", "said"),
    [
        ("0123456789abcdef", 0, None),
        ("fedcba9876543210", 0, "on another cohort"),
        ("0123456789abcdef", 1, "another seed"),
    ],
)
def test_a_codec_that_may_have_seen_held_out_people_is_told(fingerprint, seed, said, tmp_path):
    codec = IdentityCodec()
    codec.source = tmp_path / "codec.pt"
    write_model({}, codec.source, {"data_fingerprint": fingerprint, "config": {"seed": seed, "batch_size": 4}})
    notices = cohort_notices(COHORT, codec, {"seed": 0, "batch_size": 8})
    assert len(notices) == (said is not None)
    assert said is None or said in notices[0]


def test_a_pixel_model_has_no_codec_to_tell_of():
    assert cohort_notices(COHORT, IdentityCodec(), {"seed": 0}) == []
    assert cohort_notices(COHORT) == []


def _records(*sites):
    return SimpleNamespace(records=[{"subject": str(i), "site": site} for i, site in enumerate(sites)])


def test_other_sites_are_told():
    assert at_other_sites({"leave_site_out": ["S1"]}, None, None)
    assert at_other_sites(None, _records("a", "b"), _records("c"))
    assert not at_other_sites({"leave_site_out": None}, _records("a", "b"), _records("b", "c"))
    assert not at_other_sites(None, _records(None, ""), _records("c"))
    assert not at_other_sites({}, SimpleNamespace(), SimpleNamespace())
    assert cohort_notices(COHORT, other_sites=True)[0].startswith("Held-out people were scanned at other sites")


def test_the_hash_of_a_split_tells_nobody_who_was_in_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path))
    split, order = {"train": ["a", "b", "a"], "test": ["c"]}, {"test": ["c"], "train": ["b", "a"]}
    guess = split_hash(split, simulated=True)  # what whoever has the cohort can try
    assert split_hash(order, simulated=True) == guess
    kept = split_hash(split, simulated=False)
    assert kept == split_hash(order, simulated=False) != guess
    assert split_hash({"train": ["a"], "test": ["b", "c"]}, simulated=False) != kept
    assert split_hash(split, False, secret=b"another computer") != kept
    file = tmp_path / "split_secret" / "key"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["key"]
    file.write_bytes(b"short")
    assert split_secret() != split_secret()  # a warning, and no two can be compared


def test_ages_above_89_are_one_band():
    assert band_ends(80.0, "age") == {"low": 80.0, "high": 90.0}
    assert band_ends(90.0, "age") == {"low": 90.0, "high": None}
    assert band_ends(90.0, "score") == {"low": 90.0, "high": 100.0}


def test_the_oldest_of_training_is_not_published(tmp_path):
    network = SimpleNamespace(parameters=lambda: [])
    config = {"seed": 0, "observed": {"age": [55.5, 96.5], "score": [0.0, 96.5]}}
    write_model({}, tmp_path / "model.pt", {"config": config})
    found = model_facts(network, tmp_path / "model.pt", COHORT)["config"]
    assert found == {"seed": 0, "observed": {"age": [55.5, 90.0], "score": [0.0, 96.5]}}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"simulated": True}, "The people of the cohort do not exist, so no image here is of a person."),
        (
            {"simulated": False},
            "No image here was found to be a copy of a person&#x27;s; a copy that the search misses",
        ),
        ({"simulated": False, "memorisation": None}, "No image is shown here, since nobody looked for copies."),
    ],
)
def test_limits_say_no_more_of_pictures_than_is_known(parts, said):
    assert said in background.limits(changed(example_metrics(), **parts))


def test_a_number_has_no_classes():
    assert "100 a class at guidance 1" in background.provenance(example_metrics())
    number = background.provenance(example_metrics(of_label=False))
    assert "100 at guidance 1" in number
    assert "a class" not in number
    assert "keyed by a secret" in background.provenance(example_metrics(simulated=False))
