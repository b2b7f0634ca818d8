from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy import ToyLoader
from toy_autoencoder import both
from two_processes import EMBEDDED, embedding_gradients, generated, measured, train, train_autoencoder

from medgen.engines import GenerativeEvaluator, finalize_distributed, setup_distributed, unwrap
from medgen.processes import RectifiedFlow

HERE = Path(__file__).parent


def run_two(folder):
    """Return what two gloo processes under torchrun saw."""
    # "standalone" takes its port by binding it; one found beforehand may be another program's by then
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
    environment = os.environ | {
        "PYTHONPATH": f"{HERE}:{HERE.parents[1]}", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    done = subprocess.run(
        [*command, "--nproc-per-node=2", str(HERE / "two_processes.py"), str(folder)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


def same(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name in one:
        if tolerance:
            torch.testing.assert_close(one[name], other[name], **tolerance)
        else:
            assert torch.equal(one[name], other[name]), name


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    # one test, since to start the processes takes longer than all they do
    first, second = seen = run_two(tmp_path)
    alone = train(1, 0)
    alone.run()
    evaluator = GenerativeEvaluator("cpu", ToyLoader(8), alone.inference_network, process=RectifiedFlow(), amp=False)
    evaluator.run()
    coder = train_autoencoder(1, 0)
    coder.run()
    for rank in seen:
        assert (rank["world"], rank["backend"], rank["wrapped"]) == (2, "gloo", "DistributedDataParallel")
        # what one process trains and measures on the same batches
        same(rank["weights"], alone.unwrapped_network.state_dict(), rtol=1e-4, atol=1e-5)
        same(rank["average"], alone.ema.ema_model.state_dict(), rtol=1e-4, atol=1e-5)
        assert rank["loss"] == pytest.approx(alone.state.step_loss, rel=1e-4)
        assert rank["validation"] == pytest.approx(evaluator.state.metrics["val_loss"], rel=1e-4)
        # images of one process, made by two
        torch.testing.assert_close(
            rank["generated"]["images"], generated(alone.inference_network), rtol=1e-3, atol=1e-3
        )
        # the embedding does not branch on what is unknown, so that processes agree on which gradients there are
        same(rank["gradients"], embedding_gradients(EMBEDDED), rtol=1e-4, atol=1e-6)
        # what one process cannot use, both skip
        assert rank["guarded"] == (1, 2)
        assert rank["stopped"][1] == 1
        # both networks of an autoencoder, its codebook, and the latents' shift and scale
        same(rank["autoencoder"], both(coder), rtol=1e-3, atol=1e-4)
        same(rank["codec"], measured(coder).state_dict(), rtol=1e-3, atol=1e-4)
    made = ("autoencoder", "codec", "latents", "generated")
    for name in ("weights", "average", "guarded weights", "resumed weights", *made):
        same(first[name], second[name])
    assert (tmp_path / "guarded" / "private" / "skipped_rank0.jsonl").exists()
    assert (tmp_path / "guarded" / "private" / "skipped_rank1.jsonl").exists()

    # both found the same folder, and resumed what the run had reached
    assert first["run"] == second["run"] == first["resume"] == second["resume"]
    assert first["resumed at"] == second["resumed at"] == 12
    same(first["resumed weights"], first["weights"])


def test_one_process_needs_no_setup():
    assert setup_distributed("cpu") == torch.device("cpu")
    finalize_distributed()


def test_unwrap_finds_the_network_inside_its_wrappers():
    network = torch.nn.Linear(2, 2)
    assert unwrap(torch.nn.DataParallel(network)) is network
    assert unwrap(torch.compile(network)) is network
    assert unwrap(network) is network
