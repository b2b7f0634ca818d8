"""Preprocess a cohort: many scans through one pipeline of transforms, resumable, into a cohort to train on."""

from medgen.apps.preprocess.run import Preprocess

__all__ = ["Preprocess"]
