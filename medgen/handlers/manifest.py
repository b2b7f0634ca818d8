"""Published weights and the manifest that says what they are."""

from __future__ import annotations

import datetime
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from medgen.files import atomic_write, file_sha256, write_json
from medgen.machine import software

__all__ = ["copy_model", "manifest_path", "read_manifest", "write_model"]


def manifest_path(model: str | os.PathLike[str]) -> Path:
    """Return where the manifest of a weight file stands: ``model.pt`` -> ``manifest.json``, else ``<stem>.json``."""
    path = Path(model)
    return path.with_name("manifest.json" if path.name == "model.pt" else f"{path.stem}.json")


def write_model(weights: Mapping[str, torch.Tensor], path: str | os.PathLike[str], facts: Mapping[str, Any]) -> Path:
    """Write weights and, beside them, their manifest; each whole or not at all.

    Args:
        weights: by the names that ``network_def`` gives them.
        path: for example ``models/model.pt``.
        facts: what the manifest says beside file name, SHA-256, date and versions.

    Returns:
        ``path``.
    """
    path = Path(path)
    with atomic_write(path) as temporary:
        torch.save({name: value.detach().cpu().contiguous() for name, value in weights.items()}, temporary)
        digest = file_sha256(temporary)
    manifest = {
        "file": path.name,
        "sha256": digest,
        "parameters": sum(value.numel() for value in weights.values()),
        **facts,
        "written": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "software": software(),
    }
    write_json(manifest_path(path), manifest)
    return path


def read_manifest(model: str | os.PathLike[str], check: bool = True) -> dict[str, Any]:
    """Return the manifest of a weight file.

    Args:
        model: the weights.
        check: compare their SHA-256 with the manifest's.

    Raises:
        FileNotFoundError: when there is no manifest.
        ValueError: when the weights are not those that the manifest describes.
    """
    path = manifest_path(model)
    if not path.is_file():
        raise FileNotFoundError(f"{model} has no manifest: expected {path}")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if check and (found := file_sha256(model)) != manifest.get("sha256"):
        raise ValueError(f"{model}: found SHA-256 {found}, its manifest {path} says {manifest.get('sha256')}")
    return manifest


def copy_model(source: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Copy a weight file and its manifest into ``folder``; each arrives whole or not at all."""
    target = Path(folder) / Path(source).name
    for origin, copy in ((Path(source), target), (manifest_path(source), manifest_path(target))):
        with atomic_write(copy) as temporary:
            shutil.copyfile(origin, temporary)
    return target
