"""Decode compressed pixels in a child process: a decoder in C that crashes or hangs on a damaged file ends there."""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgen.data.guard import ImageFileError

__all__ = ["decode_apart"]

SECONDS = 8.0  # that a frame may take; a large one takes a tenth of a second
STARTING_SECONDS = 60.0
_SCRIPT = Path(__file__).with_name("decoding_child.py")
_TYPES = ("|u1", "|i1", "<u2", "<i2", "<u4", "<i4")


def decode_apart(
    path: str, tags: Sequence[str], frames: Iterable[int], plugin: str, shape: tuple[int, int], frame_bytes: int
) -> Iterator[NDArray[Any]]:
    """Decode frames of a file's compressed pixels in a child process, which is kept for the next file.

    Args:
        path: a DICOM file that has passed all checks of its header and codestream.
        tags: keywords of the elements that the decoder needs.
        frames: which frames, from 0.
        plugin: name of pydicom's plugin, "" for any.
        shape: rows and columns, for a bound on what the child may answer.
        frame_bytes: size of the decoded frame, from which the child's limit of memory follows (1 GiB more).

    Yields:
        The planes, (rows, columns), in the order of ``frames``.

    Raises:
        ImageFileError: the decoder refused the pixels, crashed, or took more than 8 seconds.
    """
    request = {"path": os.path.abspath(path), "tags": list(tags), "plugin": plugin, "bytes": frame_bytes}
    for number, index in enumerate(frames):
        with _LOCK:  # opened anew for the first frame: the same path may hold another file than before
            plane = _child().decode(path, {**request, "index": index, "open": number == 0}, shape)
        yield plane


class _Child:
    """A running decoding process."""

    def __init__(self) -> None:
        places = [p for p in sys.path if p]
        self.process = subprocess.Popen(
            [sys.executable, str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"},
        )
        self.owner = os.getpid()
        self.fresh = True

    @property
    def usable(self) -> bool:
        """Whether it runs and is this process's own, and not one that a fork has inherited."""
        return self.owner == os.getpid() and self.process.poll() is None

    def decode(self, path: str, request: dict[str, Any], shape: tuple[int, int]) -> NDArray[Any]:
        """Return one plane."""
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the decoding process has no pipes")
        seconds = STARTING_SECONDS if self.fresh else SECONDS
        timer = threading.Timer(seconds, self.process.kill)
        timer.daemon = True
        timer.start()
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
            answer = json.loads(stdout.readline(1 << 16))
            self.fresh = False
            if "error" in answer:
                raise ImageFileError(path, f"its pixels cannot be decoded ({answer['error']})")
            return self._content(path, answer, shape, stdout.read)
        except ImageFileError:
            raise
        except (OSError, ValueError, LookupError, TypeError):  # no answer, or none that makes sense
            late = not timer.is_alive()
        finally:
            timer.cancel()
        self.stop()
        how = f"took more than {seconds:.0f} s" if late else f"ended with {_name(self.process.returncode)}"
        raise ImageFileError(path, f"its pixels cannot be decoded (the decoder {how})")

    def _content(self, path: str, answer: dict[str, Any], shape: tuple[int, int], read: Any) -> NDArray[Any]:
        """Read the pixels that an answer announces; a child that a file has taken over is not believed either."""
        if tuple(answer["shape"]) != shape or answer["dtype"] not in _TYPES:
            self.stop()
            found = " x ".join(map(str, answer["shape"]))
            raise ImageFileError(
                path, f"its pixels are {found} of {answer['dtype']}, expected {shape[0]} x {shape[1]} integers"
            )
        dtype = np.dtype(answer["dtype"])
        content = read(math.prod(shape) * dtype.itemsize)
        if len(content) < math.prod(shape) * dtype.itemsize:
            raise OSError("the decoding process stopped")
        return np.frombuffer(content, dtype).reshape(shape)

    def stop(self) -> None:
        """End the process."""
        if self.owner != os.getpid():
            return
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):  # of what was not sent yet
                self.process.stdin.close()  # which ends it, when it is well
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that has crashed is given the time to say how
            self.process.wait(0.2)
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


_LOCK = threading.Lock()
_CHILDREN: list[_Child] = []  # one at most


def _child() -> _Child:
    """Return the running child of this process, started when there is none."""
    if not (_CHILDREN and _CHILDREN[0].usable):
        _CHILDREN[:] = [_Child()]
    return _CHILDREN[0]


def _name(code: int) -> str:
    """Return the signal's name, or the exit status."""
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


@atexit.register
def _end() -> None:
    while _CHILDREN:
        _CHILDREN.pop().stop()


if hasattr(os, "register_at_fork"):  # a thread may hold the lock while another forks

    def _renew() -> None:
        global _LOCK
        _LOCK = threading.Lock()

    os.register_at_fork(after_in_child=_renew)
