"""Evaluations of several runs in one page: which figures may be compared, and what differs beyond chance."""

from __future__ import annotations

from medgen.apps.report.compare.command import compare_runs, main
from medgen.apps.report.compare.runs import Run, UnreadableRun, read_run

__all__ = ["Run", "UnreadableRun", "compare_runs", "main", "read_run"]
