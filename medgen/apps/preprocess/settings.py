"""What a folder's scans were made with, and what has changed since."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medgen.apps.preprocess.places import DERIVATIVES
from medgen.bundles.workflow import user_error
from medgen.files import plain, write_json

__all__ = ["changed_settings", "keep_settings"]

logger = logging.getLogger("medgen.preprocess")

_ABSENT = "nothing"


def keep_settings(folder: Path, settings: Mapping[str, Any], scans: int, redo: bool = False) -> None:
    """Keep what the scans of an output folder are made with, in the folder.

    Args:
        folder: the output folder.
        settings: JSON.
        scans: how many finished scans it holds.
        redo: whether scans that other settings made are to be made anew.

    Raises:
        ValueError: when scans were made with other settings, and ``redo`` is not set: they may have taken days.
    """
    changed = changed_settings(folder, settings) if scans else []
    if changed and not redo:
        shown = "; ".join(changed[:5]) + (f"; and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise user_error(
            ValueError(
                f"output_dir: {folder} holds {scans} scan(s) that were made with other settings ({shown}); name "
                "another folder, or have them made anew: --redo true"
            )
        )
    if changed:
        logger.warning("%d scan(s) are made anew, with other settings: %s", scans, "; ".join(changed))
    write_json(_path(folder), settings)


def changed_settings(folder: Path, settings: Mapping[str, Any]) -> list[str]:
    """Return what differs from the settings that an output folder's scans were made with, one text for each.

    Args:
        folder: the output folder; one without settings has no differences.
        settings: JSON, as asked for now.
    """
    try:
        before = json.loads(_path(folder).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    old, new = _flat(before), _flat(json.loads(json.dumps(settings, default=plain)))
    return [
        f"{key}: {old.get(key, _ABSENT)} there, {new.get(key, _ABSENT)} now"
        for key in dict.fromkeys([*old, *new])
        if old.get(key, _ABSENT) != new.get(key, _ABSENT)
    ]


def _path(folder: Path) -> Path:
    return folder / DERIVATIVES / "settings.json"


def _flat(value: Any, name: str = "") -> dict[str, str]:
    """Return the leaves of nested settings under names such as ``pipeline::transforms::0::keys``."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if inner is None or not value:
        return {name: json.dumps(value)}
    return {k: v for key, item in inner for k, v in _flat(item, f"{name}::{key}" if name else str(key)).items()}
