"""Decoding compressed pixels in a process that may crash, hang or lie without harm to this one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from medgen.data.guard import ImageFileError
from medgen.data.images import read_image
from medgen.dicom import decoding
from medgen.dicom.instances import mr_instances, write_instances

pytestmark = pytest.mark.filterwarnings("ignore")
TAGS = ("PixelData", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored")
TAGS = (*TAGS, "PixelRepresentation", "NumberOfFrames")


@pytest.fixture(autouse=True)
def _own_child() -> Iterator[None]:
    """Each test starts without a child, and leaves none."""
    decoding._end()
    yield
    decoding._end()


def write(path: Path, value: int) -> np.ndarray:
    plane = np.full((10, 12, 1), value) + np.arange(10)[:, None, None]
    instances = mr_instances(plane, np.diag([1.0, 1.0, 2.0, 1.0]), patient={}, study={}, series={})
    instance = pydicom.dcmread(write_instances(instances, path.parent / "plain")[0])
    instance.compress(RLELossless)
    instance.save_as(path, enforce_file_format=True)
    return np.asarray(instance.pixel_array)


def decode(path: Path, frames: tuple[int, ...] = (0,)) -> list[np.ndarray]:
    shape = (pydicom.dcmread(path).Rows, pydicom.dcmread(path).Columns)
    return list(decoding.decode_apart(str(path), TAGS, frames, "", shape, 240))


def pretend(monkeypatch: pytest.MonkeyPatch, path: Path, code: str) -> None:
    """Put a script in the place of the child's."""
    path.write_text(f"import sys, os, time, json\nfor line in sys.stdin:\n    {code}\n")
    monkeypatch.setattr(decoding, "_SCRIPT", path)


def test_one_child_decodes_all(tmp_path: Path) -> None:
    expected = {name: write(tmp_path / name, 100 * i) for i, name in enumerate("abc")}
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(decode, [tmp_path / name for name in "abcabc"]))
    for name, (plane,) in zip("abcabc", found, strict=True):
        assert np.array_equal(plane, expected[name])
    (child,) = decoding._CHILDREN
    assert child.process.pid != os.getpid()


def test_another_file_at_the_same_path_is_seen(tmp_path: Path) -> None:
    for value in (5, 500):
        expected = write(tmp_path / "a.dcm", value)
        assert np.array_equal(decode(tmp_path / "a.dcm")[0], expected)


def test_refusal_names_file_and_reason(tmp_path: Path) -> None:
    write(tmp_path / "a.dcm", 5)
    with pytest.raises(ImageFileError, match=r"a\.dcm: its pixels cannot be decoded \(.*frame"):
        decode(tmp_path / "a.dcm", (7,))
    assert len(decode(tmp_path / "a.dcm")) == 1


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os.abort()", "the decoder ended with" + (" SIGABRT" if os.name == "posix" else "")),
        ("sys.exit(3)", r"the decoder ended with exit status 3"),
        ("time.sleep(60)", "the decoder took more than 1 s"),
        ("print(json.dumps({'shape': [9, 9], 'dtype': '<u2'}), flush=True)", "its pixels are 9 x 9 of <u2"),
        ("print(json.dumps({'shape': [12, 10], 'dtype': '|O'}), flush=True)", r"of \|O, expected"),
        ("print(json.dumps({'shape': [12, 10], 'dtype': '<u2'}), flush=True); sys.exit(0)", "the decoder ended"),
        ("print('x' * 100000, flush=True)", "the decoder ended"),
        ("print('no answer', flush=True)", "the decoder ended"),
    ],
)
def test_bad_children_are_ended_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    expected = write(tmp_path / "a.dcm", 5)
    with monkeypatch.context() as patch:
        if "sleep" in code:
            patch.setattr(decoding, "STARTING_SECONDS", 1.0)
        pretend(patch, tmp_path / "child.py", code)
        with pytest.raises(ImageFileError, match=rf"a\.dcm: .*{reason}"):
            decode(tmp_path / "a.dcm")
    assert np.array_equal(decode(tmp_path / "a.dcm")[0], expected)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")
def test_greed_ends_in_an_error(tmp_path: Path) -> None:
    """A frame that is announced as small may not become gigabytes."""
    write(tmp_path / "a.dcm", 5)
    header = pydicom.dcmread(tmp_path / "a.dcm")
    header.Rows = header.Columns = 60000
    header.save_as(tmp_path / "b.dcm")
    with pytest.raises(ImageFileError, match=r"b\.dcm: its pixels cannot be decoded"):
        list(decoding.decode_apart(str(tmp_path / "b.dcm"), TAGS, (0,), "", (12, 10), 240))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_starts_its_own_child(tmp_path: Path) -> None:
    expected = write(tmp_path / "a.dcm", 5)
    decode(tmp_path / "a.dcm")
    process = os.fork()
    if process == 0:
        status = 1
        try:
            before = decoding._CHILDREN[0].process.pid
            right = np.array_equal(decode(tmp_path / "a.dcm")[0], expected)
            status = 0 if right and decoding._CHILDREN[0].process.pid != before else 2
            decoding._end()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert np.array_equal(decode(tmp_path / "a.dcm")[0], expected)


def test_files_are_read_through_it(tmp_path: Path) -> None:
    expected = write(tmp_path / "a.dcm", 5)
    assert np.array_equal(np.sort(read_image(str(tmp_path / "a.dcm")).numpy(), axis=None), np.sort(expected, axis=None))
    assert decoding._CHILDREN
