"""CIFAR-10's binary files with invented pictures: a class is a colour, with some noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_cifar(folder: Path, train: int = 40, test: int = 20, classes=(1, 9), seed: int = 0) -> Path:
    """Write two batches in which the classes take turns; returns the folder that holds ``cifar-10-batches-bin``."""
    random = np.random.default_rng(seed)
    inner = folder / "cifar-10-batches-bin"
    inner.mkdir(parents=True)
    for name, count in (("data_batch_1.bin", train), ("test_batch.bin", test)):
        labels = np.array([classes[i % len(classes)] for i in range(count)], dtype=np.uint8)
        pixels = random.integers(0, 60, (count, 3, 32, 32))
        pixels[np.arange(count), labels % 3] += 20 * labels[:, None, None]
        rows = np.concatenate([labels[:, None], pixels.reshape(count, -1).astype(np.uint8)], axis=1)
        (inner / name).write_bytes(rows.astype(np.uint8).tobytes())
    return folder
