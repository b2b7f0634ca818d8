"""What a bundle's configuration may contain: the rules behind :func:`medgen.bundles.check_config`.

MONAI takes any override. A misspelt one becomes a key that nobody reads, the run goes on with the default, and hours
later the result is not what was asked for. These rules need no data and no network, so they speak in the first second.
"""

from __future__ import annotations

import importlib
import inspect
import pydoc
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgen.spelling import nearest

if TYPE_CHECKING:
    from monai.bundle import ConfigParser

__all__ = ["accepted_arguments", "closure", "config_problems", "runnable_parts", "sibling_keys", "targets"]

_TARGET = "_target_"
_OWN_KEYS = {"_target_", "_disabled_", "_requires_", "_desc_", "_mode_", "_debug_"}
_RESERVED = {"_meta_", "_desc_", "imports"}


def config_problems(
    parser: ConfigParser,
    entries: Iterable[str] = ("initialize", "run", "finalize"),
    known_elsewhere: Collection[str] = (),
) -> list[str]:
    """List everything in a parsed configuration that nothing would read, or that would fail once it is reached.

    Args:
        parser: the parser, with its macros and relative ids resolved (``parser.parse()``).
        entries: ids that the workflow itself evaluates.
        known_elsewhere: top-level keys that need not be read here; see :func:`sibling_keys`.

    Returns:
        One sentence per problem, each naming the id and the nearest valid one; empty when there is none.
    """
    config = parser.get()
    ids = dict(_walk(config))
    references = {item: set(_references(value)) for item, value in ids.items()}
    wanted = {name for names in references.values() for name in names} | set(_properties(config))
    known = [item for item in ids if not item.startswith("_meta_")]

    problems = [
        f"{item}: refers to @{name}, which is not defined{nearest(name, known)}"
        for item, names in references.items()
        for name in sorted(names)
        if name not in parser
    ]
    allowed = _RESERVED | set(entries) | _tracking_keys()
    for item in (item for item in _unread(config, wanted, allowed) if item not in known_elsewhere):
        # a leaf's own name is what was misspelt: --max_epoks is near train::trainer::max_epochs
        problems.append(f"{item}: nothing reads this key{nearest(item, [other for other in known if other != item])}")
    for item, value in ids.items():
        if isinstance(value, Mapping) and _TARGET in value and not item.startswith("_meta_"):
            problems += _component_problems(item, value, parser)
    return problems


def sibling_keys(folder: Path) -> set[str]:
    """Return the top-level keys of all configurations of a bundle.

    One overlay serves training, inference and evaluation: what it sets for one of them, the others need not read; and
    what it replaces may have been the only reader of a key.
    """
    from monai.bundle import ConfigParser

    files = [path for path in sorted(folder.glob("*.json")) if path.name != "metadata.json"]
    return {key for path in files for key in ConfigParser.load_config_file(path)}


def closure(config: Mapping[str, Any], item: str) -> dict[str, Any]:
    """Return a top-level part of a configuration, and everything that it refers to, by top-level key.

    Two configurations with the same closure build the same part.

    Raises:
        KeyError: when there is no such part.
    """
    found: dict[str, Any] = {}
    waiting = [item]
    while waiting:
        key = waiting.pop().split("::")[0]
        if key not in found:
            found[key] = config[key]
            parts = [config[key], *(value for _, value in _walk(config[key]))]
            waiting += [name for part in parts for name in _references(part)]
    return dict(sorted(found.items()))


def targets(config: Any) -> set[str]:
    """Return every ``_target_`` that a configuration names."""
    parts = [value for _, value in [("", config), *_walk(config)] if isinstance(value, Mapping)]
    return {str(part[_TARGET]) for part in parts if _TARGET in part}


def runnable_parts(part: Any, trusted: Collection[str] = ()) -> list[str]:
    """List what of a configuration that travels beside weights would run code of its author's choice.

    Weights are read as data alone, and so must be what says how to build their network: no expression, no macro, and
    no component but medgen's own networks, processes and covariates, and those in ``trusted``.
    """
    texts = [value for _, value in [("", part), *_walk(part)] if isinstance(value, str)]
    found = [text for text in texts if text.lstrip().startswith(("$", "%"))]
    return found + sorted(target for target in targets(part) - set(trusted) if not _is_own_class(target))


def _is_own_class(target: str) -> bool:
    """Whether ``target`` is a class that medgen publishes for models; an exact name, as modules lead to others.

    MONAI's two autoencoders, which medgen's codecs take, count as such.
    """
    if target in ("monai.networks.nets.AutoencoderKL", "monai.networks.nets.VQVAE"):
        return True
    module, _, name = target.rpartition(".")
    if module not in ("medgen", "medgen.networks", "medgen.processes"):
        return False
    home = importlib.import_module(module)
    return name in home.__all__ and inspect.isclass(getattr(home, name))


def _walk(value: Any, item: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (id, content) of every node below the root."""
    children: dict[Any, Any] = dict(enumerate(value)) if isinstance(value, list) else {}
    children = dict(value) if isinstance(value, Mapping) else children
    for key, child in children.items():
        below = f"{item}::{key}" if item else str(key)
        yield below, child
        yield from _walk(child, below)


def _references(value: Any) -> Iterator[str]:
    """Yield the ids that a string refers to (``"@a::b"`` or inside an expression)."""
    from monai.bundle import ReferenceResolver

    if isinstance(value, str):
        yield from (name for name in ReferenceResolver.match_refs_pattern(value) if name)


def _properties(config: Mapping[str, Any]) -> list[str]:
    """Return the ids that MONAI itself reads from a training or an inference configuration."""
    from monai.bundle.properties import InferProperties, MetaProperties, TrainProperties
    from monai.utils import BundlePropertyConfig

    properties: dict[str, dict[Any, Any]] = TrainProperties if "train" in config else InferProperties  # type: ignore
    return [entry[BundlePropertyConfig.ID] for entry in (*properties.values(), *MetaProperties.values())]  # type: ignore


def _tracking_keys() -> set[str]:
    """Return the top-level keys that ``--tracking`` adds."""
    from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS

    keys: set[str] = set()
    for settings in DEFAULT_EXP_MGMT_SETTINGS.values():
        keys |= set(settings["configs"]) - set(settings["handlers_id"])  # type: ignore[call-overload]
    return keys


def _unread(config: Mapping[str, Any], wanted: set[str], allowed: set[str]) -> Iterator[str]:
    """Yield ids that no reference, no MONAI property and no component reads."""

    def read(item: str) -> bool:
        return any(name == item or name.startswith(f"{item}::") for name in wanted)

    for key, value in config.items():
        if key in allowed:
            continue
        if not read(key):
            yield key
        elif isinstance(value, Mapping) and _TARGET not in value and key not in wanted:
            # a section such as "train", read part by part
            yield from (f"{key}::{part}" for part in value if part != "_desc_" and not read(f"{key}::{part}"))


def _component_problems(item: str, value: Mapping[str, Any], parser: ConfigParser) -> Iterator[str]:
    """Yield what is wrong with one ``_target_`` and the names of its arguments."""
    target = value[_TARGET]
    if not isinstance(target, str) or target.startswith(("$", "@")):
        return
    component, fault = _locate(target, parser)
    if component is None:
        yield f"{item}::{_TARGET}: {fault}"
        return
    if not callable(component):
        yield f"{item}::{_TARGET}: {target} is not callable"
        return
    accepted = accepted_arguments(component)
    for name in value:
        if name not in _OWN_KEYS and accepted is not None and name not in accepted:
            yield f"{item}::{name}: {target} has no argument {name!r}{nearest(name, accepted)}"
    for name in sorted(_truth_values(component) & set(value)):
        given = value[name] if isinstance(value[name], list) else [value[name]]
        if words := [word for word in given if isinstance(word, str) and word.lower() in ("true", "false")]:
            # "false" is a true text: it would switch on what it was meant to switch off
            word = words[0].lower()
            yield f"{item}::{name}: found the text {words[0]!r}; write {word} in JSON, {word.title()} on a command line"


def _locate(target: str, parser: ConfigParser) -> tuple[Any, str]:
    """Find a ``_target_`` as MONAI does: a name of its own, or a dotted path; return it, or None and the reason."""
    module = parser.locator.get_component_module_name(target)
    module = module[0] if isinstance(module, list) else module
    try:
        component = pydoc.locate(target if module is None else f"{module}.{target}")
    except pydoc.ErrorDuringImport as error:
        return None, f"importing {target} failed: {error.value!r}"
    if component is not None:
        return component, ""
    parent, _, name = target.rpartition(".")
    holder = pydoc.locate(parent) if parent else None
    known = dir(holder) if holder is not None else (parser.locator._components_table or {})
    return None, f"cannot find {target}{nearest(name, known)}"


def accepted_arguments(component: Any) -> set[str] | None:
    """Return the names of the keyword arguments that a callable takes, or None when it takes any.

    A class whose constructor passes ``**kwargs`` on takes those of its next base class too, and so on.
    """
    names: set[str] = set()
    for function in _constructors(component):
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            return None
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        names |= {parameter.name for parameter in parameters if parameter.kind in kinds}
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            return names - {"self", "cls"}
    return None


def _truth_values(component: Any) -> set[str]:
    """Return the names of the arguments that take truth values and no text."""
    annotations: dict[str, set[str]] = {}
    for function in _constructors(component):
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            break
        for parameter in parameters:
            annotations.setdefault(parameter.name, set(re.findall(r"\w+", str(parameter.annotation))))
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            break
    return {name for name, words in annotations.items() if "bool" in words and "str" not in words}


def _constructors(component: Any) -> Iterator[Any]:
    """Yield the signatures to look at: a function itself, or the ``__init__`` of a class and of its bases in order."""
    if not inspect.isclass(component):
        yield component
        return
    own = [
        base.__dict__["__init__"] for base in component.__mro__ if base is not object and "__init__" in base.__dict__
    ]
    yield from own or [component]
