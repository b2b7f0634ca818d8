"""Mixed precision that fits the device: bfloat16 where the hardware has it, float32 elsewhere."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path

import torch

__all__ = ["Precision", "has_bfloat16"]

logger = logging.getLogger(__name__)


def has_bfloat16(device: str | torch.device) -> bool:
    """Whether ``device`` has bfloat16 units: CUDA from Ampere on, CPUs with AVX512-BF16 or AMX."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and _cpu_has_bfloat16()


@lru_cache(maxsize=1)
def _cpu_has_bfloat16() -> bool:
    wanted = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is Arm's name
    try:
        capabilities = torch.cpu.get_capabilities()
        return any(bool(capabilities.get(name)) for name in wanted)
    except (AttributeError, RuntimeError):
        try:
            words = Path("/proc/cpuinfo").read_text().split()
        except OSError:
            return False
        return bool(wanted & set(words))


class Precision:
    """Autocast for one device: bfloat16, which has the range of float32 and so needs no gradient scaler.

    Args:
        device: where the network runs.
        amp: "auto" = bfloat16 where :func:`has_bfloat16`; True = bfloat16 in any case; False = float32.

    Raises:
        ValueError: when ``amp`` is none of these.
    """

    def __init__(self, device: str | torch.device, amp: bool | str = "auto") -> None:
        if not (amp is True or amp is False or amp == "auto"):
            raise ValueError(f'amp: expected true, false or "auto", found {amp!r}')
        self.device_type = torch.device(device).type
        self.enabled = has_bfloat16(device) if amp == "auto" else bool(amp)
        if amp is True and not has_bfloat16(device):
            logger.warning("amp: this %s has no bfloat16 units, so mixed precision will not be faster", device)

    def __call__(self) -> AbstractContextManager:
        """Return the context to run the network in."""
        return torch.autocast(self.device_type, dtype=torch.bfloat16) if self.enabled else nullcontext()

    def __repr__(self) -> str:
        return f"Precision({self.device_type}, {'bfloat16' if self.enabled else 'float32'})"
