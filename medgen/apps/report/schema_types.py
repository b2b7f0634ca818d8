"""What the schema of ``metrics.json`` is made of: closed objects, numbers that may be null, figures with intervals."""

from __future__ import annotations

from typing import Any

__all__ = ["ANY", "COUNT", "FIGURE", "NUMBER", "TEXT", "closed"]


def closed(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An object all of whose properties must be there, and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    } | more


NUMBER = {"type": ["number", "null"]}
COUNT = {"type": "integer", "minimum": 0}
TEXT = {"type": "string"}
ANY: dict[str, Any] = {}
FIGURE = {
    "type": "object",
    "description": "a value and its 95 % interval; null where so few subjects do not determine it",
    "properties": {"value": NUMBER, "low": NUMBER, "high": NUMBER, "error": NUMBER},
    "required": ["value", "low", "high"],
    "additionalProperties": False,
}
