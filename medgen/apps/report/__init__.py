"""Reports of an evaluation: one to pass on, one to keep, and the figures as JSON."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from medgen.files import atomic_write, write_json, write_text

if TYPE_CHECKING:
    from medgen.apps.evaluation.run import Evidence
    from medgen.metrics import ScaleError

__all__ = ["write_refusal", "write_reports"]

logger = logging.getLogger("medgen.evaluation")


def write_reports(evidence: Evidence, output_dir: str | os.PathLike[str]) -> dict[str, Path]:
    """Write ``metrics.json``, ``report.html`` and ``report_private.html`` (mode 0600), each whole or not at all.

    Args:
        evidence: what :class:`medgen.apps.evaluation.Evaluation` found.
        output_dir: folder to write to.

    Returns:
        "metrics", "report" and "private" with their paths.
    """
    from medgen.apps.report.private import private_report
    from medgen.apps.report.public import public_report

    folder = Path(output_dir)
    paths = {
        "metrics": folder / "metrics.json",
        "report": folder / "report.html",
        "private": folder / "report_private.html",
    }
    write_json(paths["metrics"], evidence.metrics)
    write_text(paths["report"], public_report(evidence))
    with atomic_write(paths["private"], permissions=0o600) as temporary:
        temporary.write_text(private_report(evidence), encoding="utf-8")
    return paths


def write_refusal(name: str, error: ScaleError, output_dir: str | os.PathLike[str]) -> Path:
    """Write a ``report.html`` that says why there are no figures, and remove those of an earlier evaluation.

    Args:
        name: of the model.
        error: what is wrong.
        output_dir: folder to write to.

    Returns:
        The path of the page.
    """
    from medgen.apps.report.verdict import refusal

    folder = Path(output_dir)
    for stale in ("metrics.json", "report_private.html", "MODEL_CARD.md"):
        (folder / stale).unlink(missing_ok=True)
    write_text(folder / "report.html", refusal(name, error))
    return folder / "report.html"
