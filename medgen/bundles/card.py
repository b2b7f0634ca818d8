"""The model card of a bundle's weights, its figures in ``metadata.json``, and whether both are of these weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medgen.bundles.workflow import calling_workflow
from medgen.files import file_sha256, write_text

__all__ = ["CARD", "card_notes", "card_problems", "fill_metadata", "write_bundle_card", "write_card"]

CARD = "MODEL_CARD.md"


def write_card(weights: str | Path, eval_dir: str | Path, metadata: Mapping[str, Any] | None = None) -> Path:
    """Write ``MODEL_CARD.md`` beside the figures of an evaluation; the last step of ``evaluate.json``.

    Args:
        weights: that were evaluated.
        eval_dir: folder that holds ``metrics.json``.
        metadata: content of the bundle's ``metadata.json``; None takes the calling workflow's.

    Returns:
        Path of the card.
    """
    if metadata is None:
        workflow = calling_workflow()
        metadata = {} if workflow is None else dict(workflow.parser.get("_meta_") or {})
    return _write(Path(eval_dir) / "metrics.json", Path(weights), metadata, Path(eval_dir) / CARD)


def write_bundle_card(root: Path, metrics: str | Path | None = None) -> Path:
    """Write ``models/MODEL_CARD.md`` beside a bundle's weights, from the figures of its evaluation.

    Args:
        root: the bundle.
        metrics: the figures; None = ``eval/metrics.json`` of the bundle.

    Returns:
        Path of the card.

    Raises:
        FileNotFoundError: when there are no weights or no figures, saying how to get them.
        ValueError: when the figures are of other weights.
    """
    file = root / "eval" / "metrics.json" if metrics is None else Path(metrics)
    weights = root / "models" / "model.pt"
    return _write(file, weights, _metadata(root), weights.with_name(CARD))


def fill_metadata(root: Path, metrics: str | Path | None = None) -> Path:
    """Put the figures into ``eval_metrics`` of ``configs/metadata.json``, and beside it which weights they are of.

    The rest of the file stays as it is written where it is indented by two spaces; else all of it is written anew, with
    its own indent.

    Args:
        root: the bundle.
        metrics: the figures; None = ``eval/metrics.json`` of the bundle. Where it has weights, they must be theirs.

    Returns:
        Path of ``metadata.json``.
    """
    from medgen.apps.report.card import eval_metrics, metrics_origin

    file = root / "eval" / "metrics.json" if metrics is None else Path(metrics)
    weights, target = root / "models" / "model.pt", root / "configs" / "metadata.json"
    found = _figures(file, weights if weights.is_file() else None)
    text = target.read_text(encoding="utf-8")
    text = _with_part(text, "eval_metrics", eval_metrics(found), after=None)
    text = _with_part(text, "eval_metrics_of", metrics_origin(found), after="eval_metrics")
    return write_text(target, text)


def card_problems(root: Path) -> list[str]:
    """Cards and figures that belong to other weights than those in ``models``, or to another evaluation."""
    weights = root / "models" / "model.pt"
    if not weights.is_file():
        return []
    digest, figures = file_sha256(weights), root / "eval" / "metrics.json"
    found = []
    if figures.is_file():
        other = _weights_of(figures)
        if other is None:
            found.append("eval/metrics.json: cannot be read, expected the figures of an evaluation; evaluate again")
        elif other != digest:
            found.append(f"eval/metrics.json: is of the weights {other}, models/model.pt is {digest}; evaluate again")
    for card in (weights.with_name(CARD), figures.with_name(CARD)):
        if card.is_file() and (why := _stale(card, digest, figures)):
            command = f"python -m medgen.bundles card {root}" if card.parent == weights.parent else "evaluate again"
            found.append(f"{card.relative_to(root)}: {why}; {command}")
    return found


def card_notes(root: Path) -> list[str]:
    """What is no fault and should be known: ``metadata.json`` with figures of other weights than the bundle's."""
    weights, origin = root / "models" / "model.pt", _metadata(root).get("eval_metrics_of") or {}
    if not weights.is_file() or not origin or origin.get("model_sha256") == file_sha256(weights):
        return []
    return [
        f"configs/metadata.json: eval_metrics are of the weights {origin.get('model_sha256')}, not of models/model.pt; "
        f"before you pass these on: python -m medgen.bundles card {root} --metadata"
    ]


def _write(file: Path, weights: Path, metadata: Mapping[str, Any], target: Path) -> Path:
    from medgen.apps.report.card import model_card
    from medgen.handlers.manifest import manifest_path, read_manifest

    if not weights.is_file():
        raise FileNotFoundError(f"{weights}: found no weights to write a card of; train them first")
    metrics = _figures(file, weights)
    manifest = read_manifest(weights) if manifest_path(weights).is_file() else {}
    return write_text(target, model_card(metrics, metadata, manifest, file_sha256(file)))


def _figures(file: Path, weights: Path | None) -> dict[str, Any]:
    from medgen.apps.report.compare.runs import read_run

    if not file.is_file():
        raise FileNotFoundError(f"{file}: found no figures; evaluate the weights first, with configs/evaluate.json")
    metrics = dict(read_run("this", file, whole=True).metrics)
    if weights is not None and metrics["model"]["sha256"] != (digest := file_sha256(weights)):
        raise ValueError(
            f"{file}: is of the weights {metrics['model']['sha256']}, {weights} is {digest}; evaluate again"
        )
    return metrics


def _stale(card: Path, digest: str, figures: Path) -> str:
    from medgen.apps.report.card import card_stamp

    stamp = card_stamp(card.read_text(encoding="utf-8"))
    if stamp is None:
        return "says not which weights it is of"
    if stamp[0] != digest:
        return f"is of the weights {stamp[0]}, models/model.pt is {digest}"
    if figures.is_file() and stamp[1] != file_sha256(figures):
        return "was written from other figures than eval/metrics.json"
    return ""


def _weights_of(figures: Path) -> str | None:
    """SHA-256 of the weights that figures are of; None where the file cannot be read."""
    try:
        return str(json.loads(figures.read_text(encoding="utf-8"))["model"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _metadata(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))
    return found


def _with_part(text: str, key: str, value: Mapping[str, Any], after: str | None) -> str:
    """Put a value into the top level of a JSON text, in place of the old one, or behind the one of ``after``."""
    expected = json.loads(text) | {key: dict(value)}
    indent = re.match(r"\s*\{[ \t]*\n([ \t]+)", text)
    edited = _edited(text, key, value, after) if indent and indent[1] == "  " else ""
    if _same_json(edited, expected):
        return edited
    # not written as the bundles' are: anew, with the indent of the first line
    whole = json.dumps(expected, indent=indent[1] if indent else None, allow_nan=False, ensure_ascii=False)
    return whole + ("\n" if text.endswith("\n") else "")


def _same_json(text: str, expected: Mapping[str, Any]) -> bool:
    """Whether a text is one JSON object with this content, each of its own keys once."""
    names: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names[:] = [name for name, _ in pairs]  # the outermost object is the last to be read
        return dict(pairs)

    try:
        return bool(json.loads(text, object_pairs_hook=note) == expected) and len(set(names)) == len(names)
    except ValueError:
        return False


def _edited(text: str, key: str, value: Mapping[str, Any], after: str | None) -> str:
    """The text with the value put in place, as far as it is indented by two spaces."""
    written = json.dumps(value, indent=2, allow_nan=False).replace("\n", "\n  ")
    span = _span(text, key)
    if span is not None:
        return f"{text[: span[0]]}{written}{text[span[1] :]}"
    behind = _span(text, after) if after else None
    if behind is not None:
        return f'{text[: behind[1]]},\n  "{key}": {written}{text[behind[1] :]}'
    opening = text.index("{") + 1
    return f'{text[:opening]}\n  "{key}": {written},{text[opening:]}'


def _span(text: str, key: str) -> tuple[int, int] | None:
    """Where the value of a key of the top level, two spaces in, begins and ends."""
    found = re.search(rf'^  "{re.escape(key)}"\s*:\s*', text, re.MULTILINE)
    return None if found is None else (found.end(), json.JSONDecoder().raw_decode(text, found.end())[1])
