"""MONAI transforms, array and dictionary forms: medical images in and out, MRI preprocessing, slices.

Each name loads its module when it is first used, so that importing one transform does not import the libraries of all.
"""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = {
    "load": ("LoadScan", "LoadDicomSeries"),
    "bias_field": ("N4BiasFieldCorrection",),
    "registration": ("RegisterToTemplate",),
    "brain_mask": ("BrainMask",),
    "intensity": ("NormalizeIntensityByTissue",),
    "slices": ("ExtractSlices",),
    "fit": ("FitToSize",),
    "write": ("SaveSyntheticDicom", "SaveSyntheticNifti"),
    "write_derived": ("SaveDerivedDicom", "SaveSegmentationDicom"),
}
_HOMES = {f"{name}{form}": module for module, names in _MODULES.items() for name in names for form in ("", "d")}

__all__ = sorted(_HOMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"medgen.transforms.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'medgen.transforms' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
