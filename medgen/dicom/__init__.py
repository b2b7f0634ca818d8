"""DICOM in and out: scanning folders, reading series, writing synthetic and derived instances."""

from __future__ import annotations
