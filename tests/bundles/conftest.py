"""Fixtures of the sweep over all bundles: one small cohort, and a copy of each bundle elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sweep import BUNDLES, TINY


def pytest_generate_tests(metafunc):
    if "bundle" in metafunc.fixturenames:
        metafunc.parametrize("bundle", BUNDLES, ids=[path.name for path in BUNDLES], scope="session")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> dict:
    """Overrides that make any bundle train in seconds, on a simulated cohort that all tests share."""
    return TINY | {"cohort#simulated#root": str(tmp_path_factory.mktemp("cohorts"))}


@pytest.fixture(scope="session")
def copied(bundle, tmp_path_factory) -> Path:
    """A copy of the bundle elsewhere, without anything it was trained to."""
    target = tmp_path_factory.mktemp("elsewhere") / bundle.name
    ignored = shutil.ignore_patterns("runs", "models", "output", "eval")
    return Path(shutil.copytree(bundle, target, ignore=ignored))
