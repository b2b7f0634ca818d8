"""Where samples come from: cohorts, the simulated cohort, subject-wise splits, slices in memory."""

from __future__ import annotations

from medgen.data.simulated import simulated_cohort

__all__ = ["simulated_cohort"]
