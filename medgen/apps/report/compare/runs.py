"""Reading the figures of several evaluations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from medgen.apps.report.compare.validation import problems
from medgen.apps.report.schema import METRICS_SCHEMA

__all__ = ["Run", "UnreadableRun", "named_paths", "read_run"]

SCHEMA: str = METRICS_SCHEMA["properties"]["schema"]["const"]
# without these nothing can be compared; what else is missing was not recorded yet when the figures were written
NEEDED = frozenset(
    [f"*.{name}" for name in ("value", "low", "high", "subjects", "images", "train", "validation", "test")]
    + ["schema", "created", "simulated", "notices", "model", "data", "settings", "extractor", "software", "real"]
    + ["memorisation", "generated", "classifier", "regressor", "memorisation.recall"]
    + [f"model.{name}" for name in ("sha256", "parameters", "iteration", "config")]
    + [f"data.{name}" for name in ("fingerprint", "terms", "split_unit", "splits", "image_size", "pixel_mm")]
    + [f"settings.{name}" for name in ("label", "labels", "guidance", "seed", "process", "sampler")]
    + [f"extractor.{name}" for name in ("name", "sha256", "width")]
    + [f"{judge}.{name}" for judge in ("classifier", "regressor") for name in ("features", "epochs")]
    + [f"generated[].{name}" for name in ("guidance", "main", "per_class", "label", "likeness", "fidelity")]
    + [f"generated[].{name}" for name in ("originality", "evaluations_per_image", "seconds_per_image")]
    + [f"generated[].{place}" for place in ("likeness.n", "fidelity.n", "fidelity.k", "originality.images")]
)
_PLACES = {"eval", "evaluation", ""}  # folders whose name says nothing of the run


class UnreadableRun(ValueError):
    """A run whose figures cannot be read: what was found, and what was expected."""


@dataclass(frozen=True)
class Run:
    """One evaluation.

    Attributes:
        name: in tables and plots.
        metrics: the content of its ``metrics.json``.
    """

    name: str
    metrics: Mapping[str, Any]

    @property
    def row(self) -> Mapping[str, Any]:
        """The figures of the main guidance."""
        found: Mapping[str, Any] = next(row for row in self.metrics["generated"] if row["main"])
        return found


def named_paths(words: Sequence[str]) -> list[tuple[str, Path]]:
    """Names and files of what was given: ``folder``, ``metrics.json``, or ``name=`` before either.

    Without a name it is the folder's (of a bundle's ``eval`` the bundle's); more of the path where two would be alike.

    Raises:
        ValueError: when a name is given twice.

    Example:
        >>> [name for name, _ in named_paths(["a/adni_ddim/eval", "b/adni_ddim/eval", "best=c/metrics.json"])]
        ['a/adni_ddim', 'b/adni_ddim', 'best']
    """
    given: list[tuple[str | None, Path]] = []
    for word in words:
        before, mark, after = word.partition("=")
        named = bool(mark and before.strip()) and not Path(word).exists()
        given.append((before.strip(), Path(after)) if named else (None, Path(word)))
    chosen = Counter(name for name, _ in given if name is not None)
    twice = [name for name, count in chosen.items() if count > 1]
    if twice:
        raise ValueError(f"names of runs: found {twice[0]!r} more than once, expected a name each")
    parts = [_parts(path) for name, path in given if name is None]
    distinct, names, length = set(map(tuple, parts)), [_joined(own, 1) for own in parts], 1
    while (alike := Counter(_joined(own, length) for own in distinct)) and max(alike.values()) > 1:
        length += 1
        names = [
            _joined(own, length) if alike[_joined(own, length - 1)] > 1 else name
            for own, name in zip(parts, names, strict=True)
        ]
    unnamed = iter(names)
    found: list[tuple[str, Path]] = []
    for name, path in given:
        if name is None:
            own = next(unnamed)
            chosen[own] += 1
            name = own if chosen[own] == 1 else f"{own} ({chosen[own]})"
        found.append((name, path))
    return found


def _parts(path: Path) -> list[str]:
    """The folders above the figures that say something, the innermost last."""
    folders = list(path.resolve().parts[1:])
    if path.suffix == ".json":
        folders = folders[:-1] if path.name == "metrics.json" else [*folders[:-1], path.stem]
    while len(folders) > 1 and folders[-1] in _PLACES:
        folders = folders[:-1]
    return folders or ["run"]


def _joined(parts: Sequence[str], length: int) -> str:
    return "/".join(parts[-length:])


def read_run(name: str, path: Path, whole: bool = False) -> Run:
    """Read and check the figures of one evaluation.

    Args:
        name: of the run.
        path: ``metrics.json``, the folder that holds it, or a bundle that was evaluated.
        whole: whether every figure of the schema must be there; else those without which nothing can be compared.

    Raises:
        UnreadableRun: saying what was found and what was expected; no message holds a path beyond the file's name.
    """
    file = _file(path)
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        found = "an empty file" if file.stat().st_size == 0 else f"no whole JSON ({error})"
        raise UnreadableRun(f"{file.name}: found {found}, expected the figures of an evaluation") from error
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) else str(error)
        raise UnreadableRun(f"{file.name}: cannot be read: {told}") from error
    kind = metrics.get("schema") if isinstance(metrics, dict) else None
    if kind != SCHEMA:
        again = "; evaluate again" if str(kind).startswith(SCHEMA.split("/")[0]) else ""
        raise UnreadableRun(f"{file.name}: {_other(kind, metrics)}, expected {SCHEMA!r}{again}")
    wrong = problems(metrics, METRICS_SCHEMA, None if whole else NEEDED) or _mismatched(metrics)
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UnreadableRun(
            f"{file.name}: {wrong[0]}{more}; it was written by another version of medgen, or changed: evaluate again"
        )
    return Run(name, metrics)


def _file(path: Path) -> Path:
    if not path.is_dir():
        if not path.is_file():
            raise UnreadableRun("found neither file nor folder, expected metrics.json or its folder")
        return path
    for file in (path / "metrics.json", path / "eval" / "metrics.json"):
        if file.is_file():
            return file
    if (path / "utility.json").is_file():
        raise UnreadableRun("found utility.json, an experiment on usefulness; expected metrics.json")
    if (path / "report.html").is_file():
        raise UnreadableRun("found report.html alone: its evaluation was refused, the page says why")
    raise UnreadableRun("found no metrics.json; evaluate the run first (evaluate.json)")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"found {name}, which is no number of JSON")


def _other(kind: Any, metrics: Any) -> str:
    if isinstance(kind, str) and kind.startswith("medgen.utility"):
        return f"found {kind!r}, an experiment on usefulness"
    if isinstance(kind, str):
        return f"found {kind!r}"
    return "found JSON without a schema" if isinstance(metrics, dict) else f"found a JSON {type(metrics).__name__}"


def _mismatched(metrics: Mapping[str, Any]) -> list[str]:
    """What each part allows by itself, but not together."""
    mains = sum(bool(row["main"]) for row in metrics["generated"])
    if mains != 1:
        return [f"generated: expected one row of the main guidance, found {mains}"]
    of_label = metrics["settings"]["labels"] is not None
    wanted = ("auc", "ratio_adjusted") if of_label else ("correlation", "slope_ratio")
    rows = [row["label"] for row in metrics["generated"]]
    if not all(name in row for row in rows for name in wanted) or ("auc" in metrics["real"]) is not of_label:
        return [f"label: expected the figures of {'a label' if of_label else 'a number'}, found others"]
    if ("classifier" in metrics) is not of_label:
        return [f"expected a {'classifier' if of_label else 'regressor'}, found none"]
    return []
