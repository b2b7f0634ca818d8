"""As much of JSON Schema as ``metrics.json`` needs, so that reading one asks for no further package."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["problems"]

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}


def problems(value: Any, schema: Mapping[str, Any], needed: Container[str] | None = None, at: str = "") -> list[str]:
    """What of a value is not as the schema says, in words; empty where all is.

    Known keywords: type, enum, const, minimum, properties, required, additionalProperties (as a schema), items,
    minItems, anyOf, oneOf. Properties that the schema does not name are let pass: a later version may have added them.

    Args:
        value: JSON.
        schema: JSON Schema.
        needed: which of the required properties must be there, such as "rows[].n", or "*.n" for any; None for all.
        at: the place of ``value``.

    Example:
        >>> problems({"n": "two"}, {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n", "m"]})
        ["lacks 'm'", "n: expected integer, found 'two'"]
    """
    return list(_problems(value, schema, needed, at))


def _problems(value: Any, schema: Mapping[str, Any], needed: Container[str] | None, at: str) -> Iterator[str]:
    where = f"{at}: " if at else ""
    wanted = schema.get("type", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if wanted and not any(_is(value, name) for name in wanted):
        yield f"{where}expected {' or '.join(wanted)}, found {_shown(value)}"
        return
    if "const" in schema and value != schema["const"]:
        yield f"{where}expected {schema['const']!r}, found {_shown(value)}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}expected one of {schema['enum']}, found {_shown(value)}"
    if "minimum" in schema and _is(value, "number") and value < schema["minimum"]:
        yield f"{where}expected {schema['minimum']} or more, found {value}"
    for kind in ("anyOf", "oneOf"):
        if kind in schema:
            found = [problems(value, one, needed, at) for one in _nearest(value, schema[kind])]
            if all(found):
                yield from min(found, key=len)
    if isinstance(value, dict):
        yield from _of_object(value, schema, needed, at)
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"{where}expected {schema['minItems']} or more items, found {len(value)}"
        for index, item in enumerate(value):
            yield from _problems(item, schema.get("items", {}), needed, f"{at}[{index}]")


def _nearest(value: Any, kinds: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of several kinds those that name most of an object's properties: a damaged one is not taken for another kind."""
    shared = [len(set(value) & set(kind.get("properties", ()))) if isinstance(value, dict) else 0 for kind in kinds]
    return [kind for kind, count in zip(kinds, shared, strict=True) if count == max(shared)]


def _of_object(
    value: Mapping[str, Any], schema: Mapping[str, Any], needed: Container[str] | None, at: str
) -> Iterator[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name in schema.get("required", []):
        place = re.sub(r"\[\d+\]", "[]", _join(at, name))
        if name not in value and (needed is None or place in needed or f"*.{name}" in needed):
            yield f"{f'{at} ' if at else ''}lacks {name!r}"
    for name, item in value.items():
        rule = known.get(name, others if isinstance(others, Mapping) else {})
        yield from _problems(item, rule, needed, _join(at, name))


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _is(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
