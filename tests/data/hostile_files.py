"""Damaged copies of image files, each a function of its number, and the process that tries them."""

from __future__ import annotations

import gzip
import json
import os
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom

PYDICOM_FILES = Path(pydicom.__file__).parent / "data"
NIBABEL_FILES = Path(nibabel.__file__).parent / "tests" / "data"
EXTREMES = (0, 1, -1, 2, 3, 7, 255, 256, 4096, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
# rows, columns, frames, samples, bits and lengths that a reader takes memory for; slope, orientation, spacing
DICOM_TAGS = (
    *((0x0028, n) for n in (0x0002, 0x0004, 0x0008, 0x0010, 0x0011, 0x0030, 0x0100, 0x0101, 0x0102, 0x0103, 0x1053)),
    *((0x0020, n) for n in (0x0032, 0x0037)),
    *((0x0002, n) for n in (0x0000, 0x0010)),
    (0x0018, 0x0050),
    (0x7FE0, 0x0010),
    (0xFFFE, 0xE000),
    (0xFFFE, 0xE0DD),
)
# start of image, frame headers, size, tables, scans of JPEG, JPEG-LS and JPEG 2000
JPEG_MARKERS = tuple(bytes([0xFF, n]) for n in (0xC0, 0xC1, 0xC3, 0xC4, 0xDA, 0xDB, 0xF7, 0xF8, 0x51, 0x52, 0x5C, 0x90))
NIFTI_FIELDS = ((40, "<h", 8), (70, "<h", 2), (76, "<f", 8), (108, "<f", 3), (252, "<h", 2), (256, "<f", 18))
NIFTI2_FIELDS = ((12, "<h", 2), (16, "<q", 8), (104, "<d", 8), (168, "<q", 1), (176, "<d", 2), (344, "<i", 2))
MGH_FIELDS = ((0, ">i", 6), (28, ">h", 1), (30, ">f", 15))


def damage(content: bytes, name: str, random: np.random.Generator) -> tuple[bytes, str]:
    """Return a damaged copy of a file's bytes and what was done to it."""
    if content[:2] == b"\x1f\x8b" and random.random() < 0.6:  # inside, with a checksum that agrees
        inner, what = damage(gzip.decompress(content), name, random)
        return gzip.compress(inner, compresslevel=1), f"inside gzip: {what}"
    kinds = [_flip, _flip_early, _truncate, _insert, _remove, _overwrite]
    kinds += [_field] * 4
    data = bytearray(content)
    words = [kinds[int(random.integers(len(kinds)))](data, name, random) for _ in range(int(random.integers(1, 3)))]
    return bytes(data), ", ".join(words)


def _place(data: bytearray, random: np.random.Generator, most: int | None = None) -> int:
    return int(random.integers(max(1, min(len(data), most or len(data)))))


def _flip(data: bytearray, _name: str, random: np.random.Generator, most: int | None = None) -> str:
    places = [_place(data, random, most) for _ in range(int(random.integers(1, 9)))]
    for place in places:
        if place < len(data):
            data[place] ^= int(random.integers(1, 256))
    return f"bytes {places} changed"


def _flip_early(data: bytearray, name: str, random: np.random.Generator) -> str:
    return _flip(data, name, random, 1500)


def _truncate(data: bytearray, _name: str, random: np.random.Generator) -> str:
    place = _place(data, random)
    del data[place:]
    return f"cut at {place}"


def _insert(data: bytearray, _name: str, random: np.random.Generator) -> str:
    place = _place(data, random)
    data[place:place] = random.bytes(int(random.integers(1, 64)))
    return f"bytes put in at {place}"


def _remove(data: bytearray, _name: str, random: np.random.Generator) -> str:
    place = _place(data, random)
    del data[place : place + int(random.integers(1, 64))]
    return f"bytes left out at {place}"


def _overwrite(data: bytearray, _name: str, random: np.random.Generator) -> str:
    place, value = _place(data, random), int(random.choice([0, 0xFF]))
    count = len(data[place : place + int(random.integers(2, 64))])
    data[place : place + count] = bytes([value]) * count
    return f"{count} bytes of {value} at {place}"


def _field(data: bytearray, name: str, random: np.random.Generator) -> str:
    """Put an extreme value into a field that sizes, types or places hang on."""
    if name.endswith((".nii", ".nii.gz", ".img", ".hdr", ".mgz")):
        fields = MGH_FIELDS if name.endswith(".mgz") else NIFTI2_FIELDS if data[:2] == b"\x1c\x02" else NIFTI_FIELDS
        start, kind, count = fields[int(random.integers(len(fields)))]
        place = start + struct.calcsize(kind) * int(random.integers(count))
        return _extreme(data, place, kind, random)
    if random.random() < 0.4:
        found = [i for m in JPEG_MARKERS for i in _places_of(data, m)]
        if found:
            place = found[int(random.integers(len(found)))] + 2
            return _extreme(data, place + int(random.integers(24)), str(random.choice([">B", ">H", ">I"])), random)
    group, element = DICOM_TAGS[int(random.integers(len(DICOM_TAGS)))]
    found = _places_of(data, struct.pack("<HH", group, element))
    if not found:
        return _flip_early(data, name, random)
    place = found[int(random.integers(len(found)))]
    at, kind = [(4, "<I"), (6, "<H"), (8, "<H"), (8, "<I"), (4, "<H"), (12, "<I")][int(random.integers(6))]
    return _extreme(data, place + at, kind, random)


def _extreme(data: bytearray, place: int, kind: str, random: np.random.Generator) -> str:
    value: Any = EXTREMES[int(random.integers(len(EXTREMES)))]
    size = struct.calcsize(kind)
    if kind[1] in "fd":
        value = [value, float("nan"), float("inf"), -1e30, 1e-30, 0.5][int(random.integers(6))]
        packed = struct.pack(kind, value)
    else:
        packed = int(value % (1 << 8 * size)).to_bytes(size, "big" if kind[0] == ">" else "little")
    if place + size <= len(data):
        data[place : place + size] = packed
    return f"{kind} {value} at {place}"


def _places_of(data: bytearray, word: bytes) -> list[int]:
    places, place = [], data.find(word)
    while place >= 0 and len(places) < 50:
        places.append(place)
        place = data.find(word, place + 1)
    return places


@dataclass
class Tally:
    """What became of the files that were tried."""

    loaded: int = 0
    refused: int = 0
    bad: list[str] = field(default_factory=list)
    seconds: float = 0.0
    memory: int = 0

    @property
    def tried(self) -> int:
        return self.loaded + self.refused + len(self.bad)

    def add(self, answer: dict[str, Any], what: str) -> None:
        self.seconds = max(self.seconds, answer["seconds"])
        self.memory = max(self.memory, answer["memory"])
        if answer["state"] == "loaded":
            self.loaded += 1
        elif answer["state"] == "refused":
            self.refused += 1
        else:
            self.bad.append(f"{what}: {answer['reason']}")

    def __str__(self) -> str:
        return (
            f"tried {self.tried}, loaded {self.loaded}, refused {self.refused}, bad {len(self.bad)}; "
            f"slowest {self.seconds:.2f} s, most memory of the process {self.memory >> 20} MiB"
        )


class Reader:
    """A process that reads one file after another, and is started anew when one kills it."""

    def __init__(self, patience: float = 15.0) -> None:
        self.patience = patience
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _start(self) -> None:
        ours, theirs = os.pipe()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        environment.pop("MEDGEN_MAX_IMAGE_GIB", None)
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("hostile_worker.py")), str(theirs)],
            stdin=subprocess.PIPE,
            pass_fds=[theirs],
            env=environment,
        )
        os.close(theirs)
        self.answers = os.fdopen(ours, "rb", buffering=0)
        self.starts += 1
        answer = self._answer(120.0)
        if answer["state"] != "ready":
            raise RuntimeError(f"the reading process did not start: {answer['reason']}")

    def _stop(self) -> int:
        if self.process is None:
            return 0
        self.process.kill()
        self.process.stdin.close()  # type: ignore[union-attr]
        code = self.process.wait()
        self.answers.close()
        self.process = None
        return code

    def _answer(self, patience: float) -> dict[str, Any]:
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self.answers], [], [], patience)
            block = self.answers.read(1 << 16) if ready else b""
            if not block:
                if ready:  # it is gone
                    code = self.process.wait()  # type: ignore[union-attr]
                    name = signal.Signals(-code).name if code < 0 else f"exit status {code}"
                    reason = f"the process died ({name})"
                else:
                    reason = f"no answer after {patience:.0f} s"
                self._stop()
                return {"state": "bad", "reason": reason, "seconds": 0.0 if ready else patience, "memory": 0}
            line += block
        return dict(json.loads(line))

    def read(self, path: Path, kind: str = "image") -> dict[str, Any]:
        """Return ``state`` (loaded, refused, bad), ``reason``, ``seconds`` and ``memory`` (bytes)."""
        if self.process is None:
            self._start()
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"kind": kind, "path": str(path)}).encode() + b"\n")
        self.process.stdin.flush()
        return self._answer(self.patience)


def pydicom_files() -> Iterator[Path]:
    """Yield pydicom's own test files."""
    for folder in ("test_files", "charset_files", "palettes"):
        for path in sorted((PYDICOM_FILES / folder).rglob("*")):
            if path.is_file() and path.suffix in (".dcm", "") and not path.name.startswith("README"):
                yield path


def nibabel_files() -> Iterator[Path]:
    """Yield nibabel's own NIfTI, Analyze and FreeSurfer test files."""
    for path in sorted(NIBABEL_FILES.iterdir()):
        if path.name.endswith((".nii", ".nii.gz", ".img", ".hdr", ".mgh", ".mgz")):
            yield path
