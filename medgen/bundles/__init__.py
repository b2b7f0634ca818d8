"""Find, check, inspect and load MONAI bundles.

A bundle's expressions call these helpers as ``$medgen.bundles.bundle_root()`` after ``"imports": ["$import medgen"]``.
On the command line, ``python -m medgen.bundles check|info|card PATH`` says whether a bundle is whole, what it is, and
writes its model card.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgen.bundles.card import write_card
from medgen.bundles.check import closure, config_problems, runnable_parts, sibling_keys, targets
from medgen.bundles.geometry import image_shape
from medgen.bundles.weights import check_codec_people, load_codec, load_trained, publish_codec
from medgen.bundles.workflow import (
    calling_workflow,
    check_processes,
    command_line_keys,
    end_with_the_cause,
    on_command_line,
    user_error,
)
from medgen.spelling import nearest

if TYPE_CHECKING:
    from monai.bundle import ConfigParser

    from medgen.bundles.loaded import LoadedBundle

__all__ = [
    "boolean",
    "bundle_root",
    "check_codec_people",
    "check_config",
    "image_shape",
    "load",
    "load_codec",
    "load_trained",
    "manifest_of",
    "publish_codec",
    "settings_of",
    "training_settings",
    "use_trained",
    "write_card",
]

logger = logging.getLogger("medgen.bundles")

# what a model is, and what a run may have changed: inference takes the first from the manifest beside the weights
_MODEL = ("covariates", "process", "network_def", "codec")
_GEOMETRY = ("image_size", "pixel_mm", "affine", "plane")
_PATHS = (
    "bundle_root",
    "dataset_dir",
    "output_dir",
    "ckpt_dir",
    "codec_weights",
    "run_dir",
    "pretrained",
    "subject_map",
    "clinical_table",
)
_UNTOLD = (*_PATHS, "_desc_", "_meta_")
_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


def bundle_root() -> str:
    """Return the absolute path of the bundle whose workflow is running, else the working directory.

    The workflow is found on the call stack: expressions are never handed one, and the command line does not show a
    configuration given in an ``args_file`` or from Python. So a bundle runs from anywhere, wherever it was copied to.
    """
    workflow = calling_workflow()
    return str(Path.cwd() if workflow is None else _root_of(Path(workflow.config_root_path)))


def check_config() -> None:
    """Refuse keys that nothing reads, unknown arguments and undefined references, before any data are touched.

    Stands first in a bundle's ``initialize``. What only another configuration of the bundle reads may stand in an
    overlay, so that one overlay serves them all; on the command line it is refused.

    Raises:
        ValueError: listing each such key and the nearest valid one; or for processes that would do each other's work.
        RuntimeError: when it is not called by a workflow.
    """
    workflow = calling_workflow()
    if workflow is None:
        raise RuntimeError("check_config: found no MONAI ConfigWorkflow that calls it; it belongs into 'initialize'")
    if on_command_line():
        sys.excepthook = end_with_the_cause
    entries = (workflow.init_id, workflow.run_id, workflow.final_id)
    elsewhere = sibling_keys(Path(workflow.config_root_path)) - command_line_keys()
    try:
        check_processes(workflow.parser.get())
    except ValueError as error:
        raise user_error(error) from error
    problems = config_problems(workflow.parser, entries, elsewhere)
    if problems:
        raise user_error(ValueError("the bundle's configuration was refused:\n  " + "\n  ".join(problems)))


def boolean(value: Any, name: str, also: Sequence[str] = ()) -> Any:
    """Read a truth value that may come from the command line, where ``--amp false`` is the (truthy) text "false".

    Args:
        value: a bool, 0 or 1, or one of the texts true / false, yes / no, on / off, 1 / 0 in any case.
        name: the key it belongs to, for the error.
        also: texts that are returned as they are, for example ``["auto"]``.

    Returns:
        True or False, or one of ``also``.

    Raises:
        ValueError: for anything else.

    Example:
        >>> boolean("false", "resume")
        False
    """
    text = str(value).strip().lower()
    if text in also:
        return text
    if isinstance(value, (bool, int, str)) and text in _TRUE | _FALSE:
        return text in _TRUE
    raise ValueError(f"{name}: found {value!r}, expected true or false{''.join(f' or {word}' for word in also)}")


def training_settings(**more: Any) -> dict[str, Any]:
    """Return the calling workflow's model and its plain settings as JSON, for the manifest beside the weights.

    Paths are left out: a manifest may be passed on. :func:`use_trained` reads it.

    Args:
        more: settings that are known only once the data are read, for example ``pixel_mm``.

    Raises:
        RuntimeError: when it is not called by a workflow.
    """
    workflow = calling_workflow()
    if workflow is None:
        raise RuntimeError("training_settings: found no MONAI ConfigWorkflow that calls it")
    config = workflow.parser.get()
    plain = {key: value for key, value in config.items() if key not in _UNTOLD and _is_plain(value)}
    return plain | {key: inlined(config, config[key]) for key in _MODEL if key in config} | more


def inlined(config: Mapping[str, Any], part: Any) -> Any:
    """Return a part of a configuration with the components that it refers to written out.

    A reference to another part of the model stays: the manifest has that one too.
    """
    if isinstance(part, Mapping):
        return {key: inlined(config, value) for key, value in part.items()}
    name = part[1:] if isinstance(part, str) and part.startswith("@") else ""
    return inlined(config, config[name]) if name in config and name not in _MODEL else part


def settings_of(item: str) -> dict[str, Any]:
    """Return the configuration of a part of the calling workflow and of all that it refers to, as JSON.

    Args:
        item: a top-level key, for example "pipeline".

    Raises:
        RuntimeError: when it is not called by a workflow.
    """
    workflow = calling_workflow()
    if workflow is None:
        raise RuntimeError("settings_of: found no MONAI ConfigWorkflow that calls it")
    return closure(workflow.parser.get(), item)


def _is_plain(value: Any) -> bool:
    """Whether a value of a configuration is JSON that refers to nothing and makes nothing."""
    try:
        return not any(mark in json.dumps(value) for mark in ("$", "@", "_target_"))
    except TypeError:
        return False


def use_trained(weights: str | Path) -> None:
    """Let the manifest beside ``weights`` decide what the calling workflow builds: network, process, covariates, size.

    So ``inference.json`` fits a model that was trained with other settings than the bundle's own. An overlay says how
    to train, so on MONAI's command line what comes from one gives way too.

    Raises:
        ValueError: when the network, the process or the covariates were overridden by hand.
    """
    workflow = calling_workflow()
    if workflow is not None:
        by_hand = command_line_keys() if on_command_line() else None
        adopt_trained(workflow.parser, Path(weights), Path(workflow.config_root_path), by_hand)


def adopt_trained(
    parser: ConfigParser, weights: Path, config_folder: Path, by_hand: Collection[str] | None = None
) -> None:
    """Replace the parts of ``parser`` that the manifest beside ``weights`` records otherwise.

    A part that was set by hand stays if it is an image size, and is refused if it is a network. A manifest is data,
    like the weights: what would run code is refused.

    Args:
        parser: of the workflow.
        weights: for example ``models/model.pt``.
        config_folder: of the bundle.
        by_hand: the parts that were set by hand; None = those that are not the default of any of its configurations.
    """
    from monai.bundle import ConfigParser as Parser

    trained = manifest_of(weights).get("config") or {}
    defaults = [Parser.load_config_file(path) for path in sorted(config_folder.glob("*.json"))]
    changed = []
    for key in (*_MODEL, *_GEOMETRY):
        if key not in parser or key not in trained or parser[key] == trained[key]:
            continue
        default = parser[key] is None or any(config.get(key, ...) == parser[key] for config in defaults)
        if default or (by_hand is not None and key not in by_hand):
            if code := runnable_parts(trained[key], trusted=targets(defaults)):
                text = f"{key}: the manifest beside {weights} would run {', '.join(code)}, expected medgen's own parts"
                raise ValueError(f"{text}; if you trust it, pass {key} by hand")
            parser[key] = trained[key]
            changed.append(key)
        elif key in _MODEL:
            raise ValueError(f"{key}: was overridden, but {weights} was trained with {json.dumps(trained[key])}")
    for name in unobserved_covariates(trained, parser.get()):
        parser[name] = None
        changed.append(name)
    if changed:
        logger.info("%s was not trained with the bundle's defaults: using its %s", weights, ", ".join(changed))
        parser.parse(reset=True)


def unobserved_covariates(trained: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Name the wanted covariates that training data never showed, with a warning: images cannot carry them.

    Args:
        trained: settings of the training run; "unobserved" lists the covariates.
        wanted: values to generate by covariate.
    """
    found = [name for name in trained.get("unobserved") or () if wanted.get(name) is not None]
    for name in found:
        logger.warning("%s was unknown for every training image, so it is left unknown, not %r", name, wanted[name])
    return found


def manifest_of(weights: str | Path) -> dict[str, Any]:
    """Return the manifest beside weights, or an empty one where there is none."""
    from medgen.handlers.manifest import manifest_path, read_manifest

    return read_manifest(weights, check=False) if manifest_path(weights).is_file() else {}


def load(path: str | Path, device: Any = None) -> LoadedBundle:
    """Open a trained bundle for generating images.

    Args:
        path: the bundle's folder, the one that holds ``configs`` and ``models``.
        device: where the network runs; by default the first GPU, else the CPU.

    Raises:
        FileNotFoundError: when the folder is no bundle, or holds no trained weights.
        ValueError: when the weights are damaged.

    Example:
        >>> images = load("bundles/adni_ddim").generate(diagnosis="AD", age=75, n=16, seed=0)  # doctest: +SKIP
    """
    from medgen.bundles.loaded import LoadedBundle

    return LoadedBundle(path, device)


def _root_of(config_folder: Path) -> Path:
    """Return the bundle of a configuration folder; MONAI allows one without a ``configs`` folder."""
    folder = config_folder.resolve()
    return folder.parent if folder.name == "configs" else folder


def find_bundle(path: str | Path) -> Path:
    """Return the absolute path of a bundle's folder.

    Raises:
        FileNotFoundError: when there is none, naming bundles nearby.
    """
    root = Path(path).resolve()
    if (root / "configs" / "metadata.json").is_file():
        return root
    nearby = [folder.parents[1].name for folder in root.parent.glob("*/configs/metadata.json")]
    raise FileNotFoundError(f"{path}: found no configs/metadata.json there, so no bundle{nearest(root.name, nearby)}")
