"""The other end of :mod:`medgen.dicom.decoding`: a script that decodes compressed pixels in a process of its own.

It imports nothing of medgen, so that it starts soon. It reads one request a line from its standard input, in JSON, and
answers each with a line of JSON: with ``error``, or with ``shape`` and ``dtype``, and then the pixels.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose modules are not to hide others

import json
import os
import warnings
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

SPARE_BYTES = 1 << 30  # for a decoder's own tables, beyond a few copies of the frame


def _limit_memory(frame_bytes: int) -> None:
    """Let a decoder's greed end in an error."""
    if resource is None or not os.path.exists("/proc/self/statm"):
        return
    with open("/proc/self/statm", encoding="ascii") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = now + SPARE_BYTES + 8 * frame_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _plane(dataset: Dataset, request: dict[str, Any]) -> NDArray[Any]:
    try:
        from pydicom.pixels import get_decoder
    except ImportError:  # pydicom 2
        frames = dataset.pixel_array.reshape(-1, *dataset.pixel_array.shape[-2:])
        return np.asarray(frames[request["index"]])
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    plane, _ = decoder.as_array(dataset, index=request["index"], raw=True, decoding_plugin=request["plugin"])
    return np.asarray(plane)


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    path, dataset = "", Dataset()
    for line in requests:
        request = json.loads(line)
        content = b""
        try:
            _limit_memory(request["bytes"])
            if request["open"] or path != request["path"]:
                path, dataset = "", pydicom.dcmread(request["path"], specific_tags=request["tags"], force=True)
                path = request["path"]
            plane = np.ascontiguousarray(_plane(dataset, request))
            plane = plane.astype(plane.dtype.newbyteorder("<"), copy=False)
            answer: dict[str, Any] = {"shape": plane.shape, "dtype": plane.dtype.str}
            content = plane.tobytes()
        except BaseException as error:  # a decoder in Rust panics with what is no Exception
            if isinstance(error, KeyboardInterrupt):
                return
            answer = {"error": " ".join(str(error).split()) or type(error).__name__}
        answers.write(json.dumps(answer).encode() + b"\n" + content)
        answers.flush()


def _main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    silence = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):  # decoders print what they think of a file
        os.dup2(silence, descriptor)
    warnings.simplefilter("ignore")
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    _main()
