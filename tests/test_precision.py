from __future__ import annotations

import pytest
import torch

from medgen import precision
from medgen.precision import Precision, has_bfloat16


def test_auto_follows_the_hardware(monkeypatch):
    for answer in (True, False):
        monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda answer=answer: answer)
        assert has_bfloat16("cpu") is answer
        with Precision("cpu", "auto")():
            assert torch.is_autocast_enabled("cpu") is answer


def test_true_and_false_insist(monkeypatch):
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: False)
    with Precision("cpu", True)():
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
        assert torch.is_autocast_enabled("cpu")
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: True)
    with Precision("cpu", False)():
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("amp", ["true", 1, None])
def test_anything_else_is_refused(amp):
    with pytest.raises(ValueError, match="amp"):
        Precision("cpu", amp)
