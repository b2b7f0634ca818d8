"""MONAI transforms, array and dictionary forms: medical images in and out, MRI preprocessing, slices.

Each name loads its module when it is first used, so that importing one transform does not import the libraries of all.
"""

from __future__ import annotations

from medgen.lazy import lazy_names

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

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
