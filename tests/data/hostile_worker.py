"""A process that reads the files it is told to, within limits, and says how that went; nothing it does hurts the test.

Started as a script with one argument: the descriptor to answer on. It reads one JSON object a line from its standard
input ({"kind": "image" or "scan", "path": ...}) and answers one line each.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import Any

MEMORY = 1 << 30
SECONDS = 10.0


def status(field: str, process: str = "self") -> int:
    """Return a size from /proc/self/status in bytes: VmSize (address space), VmHWM (most memory held)."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) << 10
    raise LookupError(field)


def children_memory() -> int:
    """Return the most memory that this process's children, those that decode, have held, bytes."""
    total = 0
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError, LookupError):  # of a thread or a child that has just ended
            total += sum(status("VmHWM", child) for child in (task / "children").read_text().split())
    return total


def caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False


def run(job: dict[str, Any]) -> dict[str, Any]:
    from medgen.data.guard import ImageFileError
    from medgen.data.images import read_image

    path = job["path"]
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    start, loaded, error = time.perf_counter(), None, None
    try:
        if job["kind"] == "scan":
            from medgen.dicom import scan_dicom

            loaded = scan_dicom(path, progress=False)
        else:
            loaded = read_image(path)
    except BaseException as caught:
        error = caught
    answer: dict[str, Any] = {"seconds": time.perf_counter() - start, "memory": status("VmHWM") + children_memory()}
    if error is None:
        try:
            flaw = oracle(path, loaded) if job["kind"] == "image" else ""
        except Exception as caught:
            flaw = f"cannot be compared with what others read: {caught!r}"
        answer |= {"state": "bad" if flaw else "loaded", "reason": flaw}
    else:
        reason = f"{type(error).__name__}: {error}"
        named = isinstance(error, ImageFileError) and str(error).startswith(path.rsplit(".", 1)[0])
        fine = named and not caused_by(error, MemoryError)
        answer |= {"state": "refused" if fine else "bad", "reason": reason}
    if answer["seconds"] > SECONDS or answer["memory"] > MEMORY:
        answer |= {"state": "bad", "reason": f"{answer['seconds']:.1f} s, {answer['memory'] >> 20} MiB"}
    return answer


def oracle(path: str, image: Any) -> str:
    """Return what is wrong with an image that was read, as far as readers that others wrote can tell; "" if nothing."""
    import numpy as np

    values, affine = image.numpy(), np.asarray(image.affine, dtype=float)
    if not np.isfinite(values).all():
        return "non-finite values"
    if path.endswith((".png", ".jpg", ".tif")):
        return ""
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-9:
        return f"affine {affine.tolist()}"
    name = path.lower()
    if name.endswith((".nii", ".nii.gz", ".mgz", ".img", ".hdr")):
        return nibabel_oracle(path, values, affine)
    if not os.path.isdir(path):
        return pydicom_oracle(path, values)
    return ""


def nibabel_oracle(path: str, values: Any, affine: Any) -> str:
    import nibabel
    import numpy as np

    try:
        theirs: Any = nibabel.load(path)
        header = theirs.header
        analyze = isinstance(theirs, nibabel.AnalyzeImage) and not isinstance(theirs, nibabel.Nifti1Pair)
        if analyze and header["orient"] not in (b"", b"\0"):  # which nibabel does not heed
            theirs = nibabel.Nifti1Image(np.asarray(theirs.dataobj, dtype=np.float32), np.eye(4))
            values = np.sort(values, axis=None)
        elif not analyze and path.endswith((".nii", ".nii.gz")) and theirs.dataobj.offset == 0:
            return ""  # nibabel reads the header as voxels then
        else:
            theirs = nibabel.as_closest_canonical(theirs)
        expected = np.asarray(theirs.dataobj, dtype=np.float32)
    except Exception:  # it refuses what we read, such as an extension that we do not look at
        return ""
    if isinstance(theirs, nibabel.Nifti1Pair) and not analyze:
        unit = {1: 1000.0, 3: 0.001}.get(int(header["xyzt_units"]) & 7, 1.0)
        if not np.allclose(affine[:3], unit * theirs.affine[:3], rtol=1e-5, atol=1e-4):
            return f"affine {affine.tolist()}, nibabel has {theirs.affine.tolist()}"
    expected = np.nan_to_num(expected, nan=0, posinf=0, neginf=0)
    if values.ndim == 1:
        return "" if np.array_equal(values, np.sort(expected, axis=None)) else "not the values that nibabel reads"
    expected = expected.reshape(*expected.shape[:3], -1)
    return "" if np.array_equal(values, np.moveaxis(expected, -1, 0)) else "not the voxels that nibabel reads"


def pydicom_oracle(path: str, values: Any) -> str:
    import numpy as np
    import pydicom

    try:
        header = pydicom.dcmread(path, force=True)
        expected = int(header.Rows) * int(header.Columns) * int(header.get("NumberOfFrames", 1) or 1)
    except Exception:
        return ""
    if values.size != expected:
        return f"{values.size} values, expected {expected} by its header"
    try:
        if header.file_meta.TransferSyntaxUID.is_encapsulated:
            return ""  # their decoders would be run in this process
        if header.BitsStored != header.BitsAllocated or header.PhotometricInterpretation != "MONOCHROME2":
            return ""
        slope, intercept = (float(header.get(k, d)) for k, d in (("RescaleSlope", 1), ("RescaleIntercept", 0)))
        theirs = np.sort(header.pixel_array.astype(np.float64) * slope + intercept, axis=None).astype(np.float32)
    except Exception:  # it refuses what we read, such as a sequence that we do not look at
        return ""
    return "" if np.allclose(np.sort(values, axis=None), theirs, rtol=1e-5) else "not the values that pydicom reads"


def main() -> None:
    answers = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    silence = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):  # decoders in C print what they think
        os.dup2(silence, descriptor)
    warnings.simplefilter("ignore")
    import medgen.data.images
    import medgen.dicom  # noqa: F401

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (status("VmSize") + MEMORY,) * 2)
    print(json.dumps({"state": "ready", "memory": status("VmRSS")}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
