"""What something was made on: the commit of this checkout and of no other, memory, names."""

import shutil
import subprocess
from pathlib import Path

import pytest

from medgen import machine

GIT = shutil.which("git")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A project of which ``machine`` is part."""
    package = tmp_path / "medgen"
    package.mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    (package / "machine.py").write_text("")
    monkeypatch.setattr(machine, "__file__", str(package / "machine.py"))
    machine.commit.cache_clear()
    yield tmp_path
    machine.commit.cache_clear()


def _git(folder, *words):
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    return subprocess.run([GIT, "-C", folder, *who, *words], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.skipif(GIT is None, reason="git is not installed")
def test_the_commit_is_that_of_the_checkout_and_says_that_files_differ(checkout):
    _git(checkout, "init", "-q")
    _git(checkout, "add", ".")
    _git(checkout, "commit", "-q", "-m", "first")
    head = _git(checkout, "rev-parse", "HEAD")
    assert machine.commit() == head
    machine.commit.cache_clear()
    (checkout / "medgen" / "machine.py").write_text("changed")
    assert machine.commit() == f"{head} (changed)"


def test_without_a_checkout_the_commit_is_unknown(checkout, monkeypatch):
    assert machine.commit() == "unknown"  # no .git
    machine.commit.cache_clear()
    (checkout / ".git").mkdir()  # one that git cannot read
    assert machine.commit() == "unknown"


def test_another_projects_checkout_is_not_taken_for_it(checkout):
    (checkout / ".git").mkdir()
    (checkout / "pyproject.toml").unlink()  # installed into a folder of another project
    assert machine.commit() == "unknown"


def test_memory_and_names_on_the_cpu():
    machine.reset_peak_memory("cpu")
    found = machine.peak_memory("cpu")
    if found["memory_of"] is not None:
        assert found["memory_of"] == "process"
        assert found["peak_memory_bytes"] > 10 * 2**20
    assert str(Path.home()) not in machine.device_name("cpu")
    assert set(machine.software()) >= {"medgen", "commit", "torch", "monai", "pytorch-ignite", "numpy", "python"}


def test_a_gpu_says_what_its_tensors_took(monkeypatch):
    calls = []
    monkeypatch.setattr(machine.torch.cuda, "reset_peak_memory_stats", lambda device: calls.append(device))
    monkeypatch.setattr(machine.torch.cuda, "max_memory_allocated", lambda device: 3 * 2**30)
    monkeypatch.setattr(machine.torch.cuda, "get_device_name", lambda device: "a GPU")
    machine.reset_peak_memory("cuda:0")
    assert len(calls) == 1
    assert machine.peak_memory("cuda:0") == {"peak_memory_bytes": 3 * 2**30, "memory_of": "device"}
    assert machine.device_name("cuda:0") == "a GPU"
