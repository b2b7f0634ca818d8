"""What a reader is told about the people behind a model and its codec."""

from types import SimpleNamespace

import pytest

from medgen.apps.evaluation.provenance import cohort_notices
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
