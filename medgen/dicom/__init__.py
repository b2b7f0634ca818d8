"""DICOM in and out: scanning folders, reading series, writing synthetic and derived instances.

Each name loads its module when it is first used, so that reading does not import what writing needs.
"""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = {
    "scan": ("SeriesTable", "scan_dicom"),
    "series": ("SeriesInfo",),
    "read": ("read_series",),
    "instances": ("mr_instances", "write_instances"),
    "synthetic": ("synthetic_instances", "write_synthetic"),
    "derived": ("derived_instances", "write_derived"),
    "segmentation": ("Segment", "segmentation_instance", "write_segmentation"),
    "verify": ("MarkError",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"medgen.dicom.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'medgen.dicom' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
