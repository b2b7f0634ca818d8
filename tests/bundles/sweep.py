"""What the sweep over all bundles shares: where they are, tiny settings, and MONAI's command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLES = sorted(path.parents[1] for path in (REPOSITORY / "bundles").glob("*/configs/metadata.json"))
OVERLAYS = sorted((REPOSITORY / "configs").glob("*.json"))

# every bundle has these keys; the network is as small as attention allows
TINY = {
    "image_size": 32,
    "batch_size": 4,
    "val_interval": 10,
    "sample_interval": 30,
    "log_interval": 10,
    "network_def#channels": [8, 16],
    "network_def#attention_levels": [False, True],
    "network_def#num_res_blocks": 1,
    "network_def#num_head_channels": 8,
    "network_def#norm_num_groups": 4,
    "sampler#steps": 2,
    "device": "cpu",
    "simulated_subjects": 12,
    "cohort#simulated#spacing": 4.0,
}


def start(*words: str, cwd: Path, launcher: tuple[str, ...] = (), **overrides) -> subprocess.Popen:
    """Start ``python -m monai.bundle``; ``subprocess.Popen.communicate`` gives its output, errors included."""
    flags = [text for key, value in overrides.items() for text in (f"--{key}", str(value))]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "monai.bundle", *words, *flags],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen, code: int = 0) -> str:
    """Wait for ``start``'s process, compare its exit code, and return what it said."""
    try:
        text, _ = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == code, text[-4000:]
    return text
