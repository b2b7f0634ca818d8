"""What something was made on: device, memory, packages and commit; nothing of it names a person, host or folder."""

from __future__ import annotations

import platform
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from medgen import __version__

__all__ = ["commit", "device_name", "device_of", "peak_memory", "reset_peak_memory", "software"]

_PACKAGES = ("monai", "pytorch-ignite", "numpy", "scipy")
UNKNOWN = "unknown"


def device_of(network: Any) -> torch.device:
    """Where a network's weights lie; the CPU where it has none."""
    parameters = network.parameters() if hasattr(network, "parameters") else iter(())
    first = next(iter(parameters), None)
    return torch.device("cpu") if first is None else first.device


def device_name(device: str | torch.device) -> str:
    """The name of a device, and of a processor the threads in use.

    Example:
        >>> "thread" in device_name("cpu")
        True
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return device.type
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads != 1 else ''}"


@lru_cache(maxsize=1)
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine() or "CPU"


def reset_peak_memory(device: str | torch.device) -> None:
    """Begin to measure the peak anew; a CPU process has one peak only, that of its whole life."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: str | torch.device) -> dict[str, Any]:
    """The most memory used: of a GPU by tensors since the reset, of a CPU by the whole process since its start.

    Returns:
        "peak_memory_bytes", and "memory_of": "device" or "process"; None where the system does not say.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return {"peak_memory_bytes": int(torch.cuda.max_memory_allocated(device)), "memory_of": "device"}
    try:
        import resource
    except ImportError:  # Windows
        return {"peak_memory_bytes": None, "memory_of": None}
    unit = 1 if sys.platform == "darwin" else 1024
    peak = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit
    return {"peak_memory_bytes": peak, "memory_of": "process"}


def software() -> dict[str, str]:
    """Versions of what computes, and medgen's commit."""
    versions = {"medgen": __version__, "commit": commit(), "torch": str(torch.__version__)}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = UNKNOWN
    return versions | {"python": platform.python_version()}


@lru_cache(maxsize=1)
def commit() -> str:
    """The git commit of the checkout that medgen is imported from, "(changed)" where its files differ, else "unknown".

    An installed copy that happens to lie within another project's checkout is not mistaken for it.
    """
    package = Path(__file__).resolve().parent
    root = package.parent
    if not (root / ".git").exists() or not (root / "pyproject.toml").is_file():
        return UNKNOWN
    try:
        head = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", package.name)
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return head + (" (changed)" if changed else "")


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
