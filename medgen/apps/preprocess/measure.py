"""What a piece of work took: seconds, and the memory of its process at the most."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from pathlib import Path
from types import TracebackType

__all__ = ["Measured"]

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Measured:
    """Measure the block of a ``with`` statement.

    Attributes:
        seconds: wall-clock time.
        cpu_seconds: time that the process had a processor, all its threads together.
        peak_mib: the most resident memory of the process during the block, in MiB; where the system cannot forget an
            earlier peak (anything but Linux), the most since the process started, and NaN on Windows.
    """

    def __enter__(self) -> Measured:
        self.seconds, self.cpu_seconds, self.peak_mib = 0.0, 0.0, 0.0
        with contextlib.suppress(OSError):
            _RESET.write_text("5")  # resets VmHWM, see proc_pid_clear_refs(5)
        self._start, self._cpu_start = time.perf_counter(), time.process_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.seconds, self.cpu_seconds = time.perf_counter() - self._start, time.process_time() - self._cpu_start
        self.peak_mib = _peak_mib()


def _peak_mib() -> float:
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 1024)
