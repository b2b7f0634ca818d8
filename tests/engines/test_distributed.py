from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy import ToyLoader
from two_processes import train

from medgen.engines import GenerativeEvaluator, finalize_distributed, setup_distributed, unwrap
from medgen.processes import RectifiedFlow

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two gloo processes under torchrun saw."""
    import socket

    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}"]
    environment = os.environ | {"PYTHONPATH": f"{HERE}:{HERE.parents[1]}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(HERE / "two_processes.py"), str(folder)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)], folder


def same(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name in one:
        if tolerance:
            torch.testing.assert_close(one[name], other[name], **tolerance)
        else:
            assert torch.equal(one[name], other[name]), name


@pytest.mark.slow
@pytest.mark.xdist_group("two processes")
class TestTwoProcesses:
    def test_they_found_each_other(self, two):
        for seen in two[0]:
            assert (seen["world"], seen["backend"]) == (2, "gloo")
            assert seen["wrapped"] == "DistributedDataParallel"

    def test_ranks_hold_the_same_weights(self, two):
        first, second = two[0]
        for name in ("weights", "average", "guarded weights"):
            same(first[name], second[name])

    def test_they_train_what_one_process_trains_on_the_same_batches(self, two):
        alone = train(1, 0)
        alone.run()
        for seen in two[0]:
            same(seen["weights"], alone.unwrapped_network.state_dict(), rtol=1e-4, atol=1e-5)
            same(seen["average"], alone.ema.ema_model.state_dict(), rtol=1e-4, atol=1e-5)
            assert seen["loss"] == pytest.approx(alone.state.step_loss, rel=1e-4)

    def test_they_validate_together(self, two):
        alone = train(1, 0)
        alone.run()
        loader = ToyLoader(8)
        evaluator = GenerativeEvaluator("cpu", loader, alone.inference_network, process=RectifiedFlow(), amp=False)
        evaluator.run()
        for seen in two[0]:
            assert seen["validation"] == pytest.approx(evaluator.state.metrics["val_loss"], rel=1e-4)

    def test_they_agree_on_the_folder_and_both_resume(self, two):
        first, second = two[0]
        assert first["run"] == second["run"] == first["resume"] == second["resume"]
        assert first["resumed at"] == second["resumed at"] == 12
        same(first["resumed weights"], second["resumed weights"])
        same(first["resumed weights"], first["weights"])

    def test_what_one_process_cannot_use_all_skip(self, two):
        for seen in two[0]:
            assert seen["guarded"] == (1, 2)
            assert seen["stopped"][1] == 1
        private = two[1] / "guarded" / "private"
        assert (private / "skipped_rank0.jsonl").exists()
        assert (private / "skipped_rank1.jsonl").exists()


def test_one_process_needs_no_setup():
    assert setup_distributed("cpu") == torch.device("cpu")
    finalize_distributed()


def test_unwrap_finds_the_network_inside_its_wrappers():
    network = torch.nn.Linear(2, 2)
    assert unwrap(torch.nn.DataParallel(network)) is network
    assert unwrap(torch.compile(network)) is network
    assert unwrap(network) is network
