"""``python -m medgen.apps.report A B C``: several evaluations in one page."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medgen.apps.report.compare.facts import FACTS, notices
from medgen.apps.report.compare.runs import Run, UnreadableRun, named_paths, read_run
from medgen.apps.report.compare.tables import comparison_page
from medgen.apps.report.compare.verdicts import compared_figures, over_seeds
from medgen.files import write_json, write_text
from medgen.machine import software

__all__ = ["compare_runs", "main"]

SCHEMA = "medgen.comparison/1"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 when a run was left out, or 2 when nothing could be compared."""
    parser = argparse.ArgumentParser(
        prog="python -m medgen.apps.report",
        description="Compare evaluations of several runs in one page. Which figures may be compared is said for each; "
        "a difference is called one only where the intervals do not overlap.",
    )
    parser.add_argument("runs", nargs="+", metavar="[NAME=]RUN", help="metrics.json, or the folder that holds it")
    parser.add_argument("--output", default="comparison.html", help="the page; the same as JSON is written beside it")
    options = parser.parse_args(arguments)
    try:
        page, failed = compare_runs(options.runs, options.output)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, told in failed:
        print(f"left out: {name}: {told}", file=sys.stderr)
    print(f"{page} and {page.with_suffix('.json').name}")
    return 1 if failed else 0


def compare_runs(
    words: Sequence[str], output: str | os.PathLike[str] = "comparison.html"
) -> tuple[Path, list[tuple[str, str]]]:
    """Compare evaluations; write a page that may be passed on, and the same as JSON beside it.

    Args:
        words: ``metrics.json`` files or folders that hold one, each with ``name=`` before it or without.
        output: the page, ``*.html``.

    Returns:
        The page, and the names of runs that could not be read, with the reasons.

    Raises:
        ValueError: when fewer than two runs can be read, a name is given twice, or ``output`` is no ``.html`` or
            is there and no comparison.
    """
    target = Path(output)
    if target.suffix != ".html":
        raise ValueError(f"output: found {target.name}, expected a name that ends with .html")
    _refuse_to_replace(target)
    runs, failed = [], []
    for name, path in named_paths(words):
        try:
            runs.append(_tried(read_run(name, path)))
        except UnreadableRun as error:
            failed.append((name, str(error)))
    if len(runs) < 2:
        told = "".join(f"\n  {name}: {why}" for name, why in failed)
        raise ValueError(f"expected two evaluations or more, found {len(runs)} that can be read{told}")
    figures, seeds, said = compared_figures(runs), over_seeds(runs), notices(runs)
    write_text(target, comparison_page(runs, figures, seeds, said, failed))
    write_json(target.with_suffix(".json"), _as_json(runs, figures, seeds, said, failed))
    return target, failed


def _tried(run: Run) -> Run:
    """The run, when a page of it alone can be made: a damaged one is left out, and the others are compared.

    Raises:
        UnreadableRun: saying what its figures led to.
    """
    try:
        comparison_page([run], compared_figures([run]), over_seeds([run]), notices([run]), [], plotted=False)
        _about(run)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UnreadableRun(
            f"metrics.json: its figures cannot be shown ({type(error).__name__}: {error}); it was written by another "
            "version of medgen, or changed: evaluate again"
        ) from error
    return run


def _refuse_to_replace(page: Path) -> None:
    """Only a comparison is replaced by another: neither a report nor figures."""
    beside = page.with_suffix(".json")
    if not page.exists() and not beside.exists():
        return
    try:
        found = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise ValueError(f"output: {page.name} or {beside.name} is there and is no comparison; choose another name")


def _as_json(
    runs: Sequence[Run],
    figures: Sequence[Mapping[str, Any]],
    seeds: Sequence[Mapping[str, Any]],
    said: Sequence[tuple[str, bool]],
    failed: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "software": software(),
        "runs": [_about(run) for run in runs],
        "left_out": [{"name": name, "why": why} for name, why in failed],
        "notices": [text for text, _ in said],
        "figures": [
            {
                "figure": found["figure"].name,
                "question": found["figure"].question,
                "values": {
                    name: {"figure": reading.figure, "real": reading.reference, "ideal": reading.ideal}
                    for name, reading in found["readings"].items()
                },
                "comparable_within": found["groups"],
                "pairs": [
                    {"first": first, "second": second, "verdict": said} for first, second, said in found["pairs"]
                ],
                "words": found["words"],
            }
            for found in figures
        ],
        "over_seeds": list(seeds),
    }


def _about(run: Run) -> dict[str, Any]:
    metrics = run.metrics
    return {
        "name": run.name,
        "model_sha256": metrics["model"]["sha256"],
        "created": metrics["created"],
        "simulated": metrics["simulated"],
        "guidance": metrics["settings"]["guidance"],
        "facts": {name: fact.shown(run) for name, fact in FACTS.items()},
        "cost": metrics.get("cost"),
    }
