"""Every example in a docstring runs, as its reader would run it: with the names of its module, in an empty folder."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import medgen

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(medgen.__path__, "medgen.") if not module.name.endswith("__main__")
)
WITH_EXAMPLES = [
    name
    for name in MODULES
    if ">>>" in Path(str(importlib.util.find_spec(name).origin)).read_text(encoding="utf-8")  # type: ignore[union-attr]
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_a_module_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS, report=True
    )
    if not result.attempted:
        pytest.skip("its examples need files that a test has not")
    assert result.failed == 0, f"{name}: {result.failed} of {result.attempted} examples fail, see the captured output"
