"""What GenerativeTrainer costs over the loop that one would write by hand, at the same work.

Both sides train the same network on the same in-memory batches with the same noise, autocast, clipping, AdamW, weight
average and schedule; the bare loop has neither events, nor guard, nor counters, and draws from PyTorch's global
generator. Blocks of iterations of one and the other alternate in one process, so that a busy machine slows both; the
ratio is taken block by block, and its median and quartiles are printed, of the time on the wall and of the time that
the processor gave this process (which other programs disturb less; meaningless for work on a GPU).

    python benchmarks/engine_overhead.py            # UNet of 64 x 64 pixels, batch 8
    python benchmarks/engine_overhead.py --handlers # with the progress bar and the tables on top
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medgen import Covariates
from medgen.engines import ConditionDropout, GenerativeTrainer
from medgen.handlers import EMA, CsvLogger, ProgressBar
from medgen.networks import ConditionalUNet
from medgen.precision import Precision
from medgen.processes import VariancePreserving

COVARIATES = Covariates(diagnosis=["NC", "AD"], sex=["F", "M"])


class Batches:
    """Endless batches out of one tensor."""

    def __init__(self, size: int, batch: int, samples: int = 64) -> None:
        source = torch.Generator().manual_seed(0)
        self.images = torch.randn(samples, 1, size, size, generator=source)
        self.covariates = torch.randint(0, 2, (samples, 2), generator=source).float()
        self.batch, self.position = batch, 0

    def __len__(self) -> int:
        return len(self.images) // self.batch

    def __iter__(self):
        while True:
            index = (torch.arange(self.batch) + self.position * self.batch) % len(self.images)
            self.position += 1
            yield {"image": self.images[index], "covariates": self.covariates[index], "index": index}


def bare_loop(network, batches: Batches, device: torch.device, amp: bool | str) -> Callable[[int], None]:
    """Return a function that trains for a number of iterations, without an engine."""
    process = VariancePreserving("cosine", "v")
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    average = copy.deepcopy(network).requires_grad_(False)
    precision, stream = Precision(device, amp), iter(batches)
    network.train()

    def train(iterations: int) -> None:
        for _ in range(iterations):
            batch = next(stream)
            clean, covariates = batch["image"].to(device), batch["covariates"].to(device)
            noise = torch.randn_like(clean)
            t = process.training_times(torch.rand(len(clean), dtype=torch.float64)).to(device)
            covariates = covariates.masked_fill(torch.rand(len(clean), 1, device=device) < 0.1, math.nan)
            scaled, network_time = process.network_input(process.corrupt(clean, noise, t), t)
            with precision():
                prediction = network(scaled, network_time, covariates=covariates)
            loss = ((prediction.float() - process.target(clean, noise, t)) ** 2).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            get_ema_multi_avg_fn(0.999)(list(average.parameters()), [p.detach() for p in network.parameters()], None)

    return train


def engine_loop(network, batches: Batches, device: torch.device, amp: bool | str, handlers: bool, folder: str):
    """Return a function that trains for a number of iterations with GenerativeTrainer."""
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4)
    shown = [ProgressBar(stream=open(os.devnull, "w")), CsvLogger(50)]  # noqa: SIM115
    trainer = GenerativeTrainer(
        device=device,
        max_epochs=1,
        epoch_length=1,
        train_data_loader=batches,
        network=network,
        optimizer=optimizer,
        process=VariancePreserving("cosine", "v"),
        covariates=COVARIATES,
        condition_dropout=ConditionDropout(0.1),
        lr_scheduler=torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
        ema=EMA(network, 0.999),
        amp=amp,
        run_dir=folder,
        train_handlers=shown if handlers else None,
    )
    trainer.logger.setLevel("ERROR")

    def train(iterations: int) -> None:
        # one epoch more of so many iterations: the engine goes on where it stopped
        trainer.state.epoch_length = iterations
        trainer.state.max_epochs = trainer.state.epoch + 1
        trainer.run()

    return train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--channels", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--block", type=int, default=10, help="iterations per block")
    parser.add_argument("--repeats", type=int, default=15, help="pairs of blocks")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--float32", action="store_true", help="no autocast")
    parser.add_argument("--handlers", action="store_true", help="attach progress bar and tables")
    arguments = parser.parse_args()

    device, amp = torch.device(arguments.device), False if arguments.float32 else "auto"
    attention = [False] * (len(arguments.channels) - 1) + [True]
    torch.manual_seed(0)
    network = ConditionalUNet(2, 1, 1, arguments.channels, attention, num_res_blocks=2, covariates=COVARIATES)
    network.to(device)
    with tempfile.TemporaryDirectory() as folder:
        batches = [Batches(arguments.size, arguments.batch) for _ in range(2)]
        loops = {
            "bare": bare_loop(copy.deepcopy(network), batches[0], device, amp),
            "engine": engine_loop(copy.deepcopy(network), batches[1], device, amp, arguments.handlers, folder),
        }
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        processor: dict[str, list[float]] = {name: [] for name in loops}
        for repeat in range(arguments.repeats + 1):
            # who goes first changes, so that neither profits from its place
            for name in list(loops)[:: 1 if repeat % 2 else -1]:
                if device.type == "cuda":
                    torch.cuda.synchronize()
                began, used = time.perf_counter(), time.process_time()
                loops[name](arguments.block)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                if repeat:  # the first pair warms up
                    seconds[name].append((time.perf_counter() - began) / arguments.block)
                    processor[name].append((time.process_time() - used) / arguments.block)

    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    parameters = sum(p.numel() for p in network.parameters()) / 1e6
    print(f"machine: {chip}, {torch.get_num_threads()} threads, torch {torch.__version__}, {platform.platform()}")
    print(
        f"network: {parameters:.1f} M parameters, {arguments.size} x {arguments.size}, batch {arguments.batch}, "
        f"{Precision(device, amp)}; {arguments.repeats} pairs of {arguments.block} iterations"
    )
    for title, times in (("wall time", seconds), ("processor time", processor)):
        ratios = [engine / bare for engine, bare in zip(times["engine"], times["bare"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        bare, engine = (statistics.median(times[name]) * 1e3 for name in ("bare", "engine"))
        print(f"{title}: bare {bare:.2f} ms, engine {engine:.2f} ms an iteration (medians)")
        print(f"    engine / bare: median {middle:.3f}, quartiles {low:.3f} to {high:.3f}")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "CPU"


if __name__ == "__main__":
    main()
