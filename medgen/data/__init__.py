"""Where samples come from: cohorts, the simulated cohort, subject-wise splits, slices in memory."""

from __future__ import annotations

from medgen.data.augmentation import BatchAugmentation
from medgen.data.cohort import Cohort
from medgen.data.loader import BatchLoader
from medgen.data.opening import open_cohort
from medgen.data.requests import GenerationRequests, image_seeds
from medgen.data.simulated import cache_dir, simulated_cohort
from medgen.data.slices import SliceDataset
from medgen.data.splits import check_disjoint
from medgen.data.tables import CohortError

__all__ = [
    "BatchAugmentation",
    "BatchLoader",
    "Cohort",
    "CohortError",
    "GenerationRequests",
    "SliceDataset",
    "cache_dir",
    "check_disjoint",
    "image_seeds",
    "open_cohort",
    "simulated_cohort",
]
