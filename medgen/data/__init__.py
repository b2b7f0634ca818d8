"""Where samples come from: cohorts, the simulated cohort, subject-wise splits, slices in memory."""

from __future__ import annotations

from typing import Any

from medgen.data.augmentation import BatchAugmentation
from medgen.data.cohort import Cohort
from medgen.data.image_sets import Cifar10, PictureDataset
from medgen.data.latents import LatentDataset
from medgen.data.loader import BatchLoader
from medgen.data.opening import open_cohort
from medgen.data.requests import GenerationRequests, image_seeds
from medgen.data.scan_rule import ScanRule
from medgen.data.simulated import cache_dir, simulated_cohort
from medgen.data.slices import SliceDataset
from medgen.data.splits import check_disjoint
from medgen.data.tables import CohortError
from medgen.data.volumes import VolumeDataset

__all__ = [
    "BatchAugmentation",
    "BatchLoader",
    "Cifar10",
    "Cohort",
    "CohortError",
    "GenerationRequests",
    "LatentDataset",
    "PictureDataset",
    "ScanRule",
    "SliceDataset",
    "VolumeDataset",
    "cache_dir",
    "check_disjoint",
    "image_seeds",
    "open_cohort",
    "scan_dicom",
    "simulated_cohort",
]


def __getattr__(name: str) -> Any:
    if name == "scan_dicom":  # when it is first used, since medgen.dicom imports this package
        from medgen.dicom.scan import scan_dicom

        return scan_dicom
    raise AttributeError(f"module 'medgen.data' has no attribute {name!r}")
