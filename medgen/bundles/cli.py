"""``python -m medgen.bundles check|info|card PATH``: is a bundle whole, what is it, and its model card."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medgen.bundles import find_bundle, manifest_of
from medgen.bundles.card import card_notes, card_problems, fill_metadata, write_bundle_card
from medgen.bundles.check import config_problems, sibling_keys
from medgen.handlers.manifest import manifest_path, read_manifest

__all__ = ["bundle_problems", "main"]

_FILES = (
    "LICENSE",
    "docs/README.md",
    "configs/metadata.json",
    "configs/train.json",
    "configs/inference.json",
    "configs/logging.conf",
)
_METADATA = (
    *("version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version", "schema"),
    *("task", "description", "authors", "copyright", "changelog", "network_data_format"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 when ``check`` found something."""
    parser = argparse.ArgumentParser(prog="python -m medgen.bundles", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="list what is missing, misspelt or damaged")
    check.add_argument("path", help="the bundle's folder")
    check.add_argument("overlays", nargs="*", help="configuration files to lay over its own")
    info = commands.add_parser("info", help="print what the bundle is and what it was trained on")
    info.add_argument("path", help="the bundle's folder")
    card = commands.add_parser("card", help="write models/MODEL_CARD.md from the figures of the evaluation")
    card.add_argument("path", help="the bundle's folder")
    card.add_argument("--metrics", help="the figures, by default eval/metrics.json of the bundle")
    card.add_argument("--metadata", action="store_true", help="fill eval_metrics of configs/metadata.json instead")
    options = parser.parse_args(arguments)
    if options.command == "card":
        return _card(options)
    if options.command == "info":
        print(_description(find_bundle(options.path)))
        return 0
    problems = bundle_problems(options.path, options.overlays)
    print("\n".join(problems) or f"{options.path}: nothing to complain about")
    for note in card_notes(find_bundle(options.path)):
        print(f"note: {note}")
    return 1 if problems else 0


def _card(options: argparse.Namespace) -> int:
    root = find_bundle(options.path)
    try:
        print((fill_metadata if options.metadata else write_bundle_card)(root, options.metrics))
    except (FileNotFoundError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def bundle_problems(path: str | Path, overlays: Sequence[str | Path] = ()) -> list[str]:
    """List what is missing from a bundle, refused by :func:`medgen.bundles.check_config`, or damaged.

    Args:
        path: the bundle's folder.
        overlays: configuration files to lay over its own. One that sets parts (``a::b``) which only training has, or
            says itself what is run (``run``), is tried on ``train.json`` alone.

    Raises:
        FileNotFoundError: when there is no bundle.
    """
    from monai.bundle import ConfigParser

    root = find_bundle(path)
    problems = [f"{name}: missing" for name in _FILES if not (root / name).is_file()]
    metadata = ConfigParser.load_config_file(root / "configs" / "metadata.json")
    problems += [f"configs/metadata.json: {key!r} is missing" for key in _METADATA if key not in metadata]
    own_run = any("run" in ConfigParser.load_config_file(overlay) for overlay in overlays)
    for file in sorted((root / "configs").glob("*.json")):
        if file.name == "metadata.json" or (own_run and file.name != "train.json"):
            continue
        # what an overlay replaces may have been the only reader of a key
        elsewhere = sibling_keys(root / "configs") if overlays else set()
        parser = ConfigParser()
        try:
            parser.read_config([file, *overlays])
        except KeyError as error:
            if file.name == "train.json":
                problems.append(f"configs/{file.name}: an overlay sets a part of what is not there, {error}")
            continue
        parser.read_meta(metadata)
        parser.parse()
        problems += [
            f"configs/{file.name}: {problem}" for problem in config_problems(parser, known_elsewhere=elsewhere)
        ]
    for weights in (root / "models" / "model.pt", root / "models" / "codec.pt"):
        if weights.is_file() and manifest_path(weights).is_file():
            try:
                read_manifest(weights)
            except ValueError as error:
                problems.append(str(error))
    return problems + card_problems(root)


def _description(root: Path) -> str:
    """Return a few lines on the bundle at ``root``."""
    from monai.bundle import ConfigParser

    metadata = ConfigParser.load_config_file(root / "configs" / "metadata.json")
    inference = ConfigParser.load_config_file(root / "configs" / "inference.json")
    weights = root / "models" / "model.pt"
    manifest = manifest_of(weights)
    settings: dict[str, Any] = inference | (manifest.get("config") or {})
    covariates = {key: value for key, value in settings["covariates"].items() if not key.startswith("_")}
    lines = [
        f"{metadata.get('name', root.name)} {metadata['version']}: {metadata['task']}",
        metadata["description"],
        "covariates: " + ", ".join(f"{name} {_declared(value)}" for name, value in covariates.items()),
        f"image size: {settings['image_size']}",
        f"weights: {weights if weights.is_file() else 'not trained yet'}",
    ]
    lines += [f"  {key}: {manifest[key]}" for key in ("sha256", "iteration", "data_terms", "share") if key in manifest]
    return "\n".join(lines)


def _declared(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['low']}-{value['high']} {value.get('unit', '')}".strip()
    return "/".join(value)
