from __future__ import annotations

import stat

import pytest

from medgen.engines import private_folder, run_directory
from medgen.engines.run_directory import checkpoints


def test_a_new_run_gets_the_next_folder(tmp_path):
    first, second = run_directory(tmp_path / "runs"), run_directory(tmp_path / "runs")
    assert (first.name, second.name) == ("run_001", "run_002")
    (tmp_path / "runs" / "run_041").mkdir()
    assert run_directory(tmp_path / "runs").name == "run_042"
    assert first.is_dir()


def test_resuming_takes_the_latest_run_with_a_checkpoint(tmp_path):
    first, second, _empty = (run_directory(tmp_path) for _ in range(3))
    for folder in (first, second):
        (folder / "checkpoint_00000010.pt").touch()
    assert run_directory(tmp_path, resume=True) == second


def test_resuming_nothing_begins_a_run_and_says_so(tmp_path, caplog):
    assert run_directory(tmp_path, resume=True).name == "run_001"
    assert "no run" in caplog.text


def test_a_text_is_no_answer(tmp_path):
    with pytest.raises(TypeError, match="resume"):
        run_directory(tmp_path, resume="false")


def test_checkpoints_are_ordered_by_number_and_nothing_else_counts(tmp_path):
    for name in ("checkpoint_9.pt", "checkpoint_00000010.pt", "checkpoint_x.pt", "model.pt", ".1-checkpoint_11.pt"):
        (tmp_path / name).touch()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint_9.pt", "checkpoint_00000010.pt"]


def test_the_private_folder_is_closed_to_others(tmp_path):
    folder = private_folder(tmp_path / "run")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    assert private_folder(tmp_path / "run") == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
