"""Trained weights of a bundle: the generative model's, and those of the codec that it works behind."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgen.bundles.workflow import calling_workflow, user_error

if TYPE_CHECKING:
    import torch

__all__ = ["check_codec_people", "load_codec", "load_trained", "publish_codec"]

logger = logging.getLogger("medgen.bundles")


def load_trained(network: torch.nn.Module, weights: str | Path, device: Any = None, codec: Any = None) -> Any:
    """Load ``model.pt`` into a network, after comparing its SHA-256 with the manifest's; and its codec.

    Args:
        network: the generative network.
        weights: for example ``models/model.pt``.
        device: where to put both.
        codec: of the model; a codec with weights is filled from ``codec.pt`` beside the model's.

    Returns:
        ``network`` on ``device``, in evaluation mode.

    Raises:
        FileNotFoundError: when there are no weights, saying how to get them.
        ValueError: when a file is not the one that the manifest describes, or belongs to another network or codec.
    """
    from medgen.handlers.manifest import manifest_path, read_manifest
    from medgen.networks.loading import load_weights

    weights = Path(weights)
    if not weights.is_file():
        raise user_error(FileNotFoundError(f"{weights}: found no trained weights. Make them with {_made_by(weights)}"))
    manifest = read_manifest(weights) if manifest_path(weights).is_file() else {}
    latent = hasattr(codec, "autoencoder")
    wanted = manifest.get("codec_sha256")
    if wanted and not latent:
        raise ValueError(f"{weights}: works on latents, so it needs its codec; found {type(codec).__name__}")
    try:
        network.load_state_dict(load_weights(weights))
    except RuntimeError as error:
        raise ValueError(f"{weights}: does not fit network_def; {error}") from error
    if latent:
        file = weights.with_name("codec.pt")
        load_codec(codec, file, device)
        workflow = calling_workflow()
        for difference in _other_people(file, {} if workflow is None else workflow.parser.get()):
            logger.warning("%s was trained with %s: it may have seen people that are held out here", file, difference)
        if wanted and codec.sha256 != wanted:
            text = f"{file}: has SHA-256 {codec.sha256}, but {weights} was trained behind the codec {wanted}"
            raise user_error(ValueError(f"{text}; take that run's codec.pt, or train the model again behind this one"))
    return network.to(device).eval()


def load_codec(codec: Any, path: str | Path, device: Any = None) -> Any:
    """Load ``codec.pt`` into a codec, after comparing its SHA-256 with that of ``codec.json`` beside it.

    Args:
        codec: as the configuration describes it; one without weights is returned as it is.
        path: the file that ``train_autoencoder.json`` made.
        device: where to put it.

    Returns:
        ``codec``, frozen.

    Raises:
        FileNotFoundError: when there is no such file, saying how to get it.
        ValueError: when the file was damaged, or belongs to a codec of another kind or size.
    """
    from medgen.files import file_sha256
    from medgen.handlers.manifest import manifest_path, read_manifest
    from medgen.networks.loading import load_weights

    if not hasattr(codec, "autoencoder"):
        return codec
    path = Path(path)
    if not path.is_file():
        text = f"{path}: found no trained codec. Make it with {_made_by(path, 'train_autoencoder.json')}"
        raise user_error(FileNotFoundError(text))
    manifest = read_manifest(path) if manifest_path(path).is_file() else {}
    workflow = calling_workflow()
    config = {} if workflow is None else workflow.parser.get()
    trained, asked = _definition(manifest), _definition({"config": config})
    if trained and asked and trained.get("_target_") != asked.get("_target_"):
        raise user_error(
            ValueError(f"codec: is {asked.get('_target_')}, but {path} was trained as {trained.get('_target_')}")
        )
    try:
        codec.load_state_dict(load_weights(path))
    except RuntimeError as error:
        text = f"codec: {path} was trained as {json.dumps(trained)}, which is not the one described here; {error}"
        raise user_error(ValueError(text)) from error
    codec.sha256, codec.source = file_sha256(path), path
    return codec.to(device).freeze()


def check_codec_people(path: str | Path, cohort: Any, allow_other_splits: bool = False) -> None:
    """Refuse a codec that may have learned from people whom the model is going to be validated or tested on.

    Args:
        path: ``codec.pt``, whose manifest says on which cohort it was trained and how that was split.
        cohort: of the model; its split and its other settings are those of the calling workflow.
        allow_other_splits: only warn, for a codec of people who are certainly others.

    Raises:
        ValueError: naming each setting in which both differ.
    """
    from medgen.handlers.manifest import manifest_path

    if not manifest_path(path).is_file():
        logger.warning("%s has no manifest: it may have seen people that are held out here", path)
    workflow = calling_workflow()
    found = _other_people(path, {} if workflow is None else workflow.parser.get(), cohort)
    if not found:
        return
    text = f"{path}: was trained with {'; '.join(found)}. It may have seen people that are held out here"
    if not allow_other_splits:
        raise user_error(
            ValueError(
                f"{text}: train it again with this run's settings (train_autoencoder.json), or pass "
                "--allow_other_splits true if they are certainly other people"
            )
        )
    logger.warning("%s", text)


def publish_codec(
    codec: Any,
    weights: str | Path,
    batches: Iterable[Any],
    publish_dir: str | Path | None = None,
    evaluator: Any = None,
) -> Path:
    """Make ``codec.pt`` of a trained autoencoder: measure the latents' shift and scale, and write both.

    All processes call it; they share the measuring, and the first one writes.

    Args:
        codec: to fill.
        weights: of the autoencoder, ``autoencoder.pt`` in the folder of its run; ``codec.pt`` is written beside it.
        batches: one pass over the training images.
        publish_dir: where ``codec.pt`` and ``codec.json`` are copied (a bundle's ``models``).
        evaluator: measures how well held-out images come back, for the manifest; its network is the codec's.

    Returns:
        ``codec.pt`` in the folder of the run.
    """
    import ignite.distributed as idist

    from medgen.handlers.manifest import copy_model, manifest_path, read_manifest, write_model
    from medgen.networks.loading import load_weights

    weights = Path(weights)
    codec.autoencoder.load_state_dict(load_weights(weights))
    codec.to(next(codec.autoencoder.parameters()).device).measure(batches)
    if evaluator is not None:
        evaluator.run()
    target = weights.with_name("codec.pt")
    if idist.get_rank() == 0:
        own = ("file", "sha256", "parameters", "written", "software")
        facts = {key: value for key, value in read_manifest(weights).items() if key not in own}
        measured = {"shift": codec.shift.tolist(), "scale": codec.scale.tolist()}
        facts |= {"codec": type(codec).__name__, "latent": measured}
        logger.info("the latents' shift is %s, their scale %s", measured["shift"], measured["scale"])
        if evaluator is not None:
            facts["reconstruction"] = dict(evaluator.state.metrics)
            logger.info("held-out images come back with %s", facts["reconstruction"])
        write_model(codec.state_dict(), target, facts)
        if publish_dir is not None:
            there = Path(publish_dir) / "codec.pt"
            if there.is_file() and manifest_path(there).is_file():
                old = read_manifest(there, check=False)
                if old.get("run") != facts.get("run"):
                    logger.warning("the codec of another run in %s is replaced; that run keeps its own", publish_dir)
            logger.info("published %s", copy_model(target, publish_dir))
    idist.barrier()
    return target


def _definition(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the codec that a manifest, or a configuration, describes, written out."""
    from medgen.bundles import inlined

    config = manifest.get("config") or {}
    found = inlined(config, config.get("codec") or {})
    return found if isinstance(found, dict) else {}


def _other_people(path: str | Path, config: Mapping[str, Any], cohort: Any = None) -> list[str]:
    """Say in what the people that a codec was trained on may differ from those of this run's training split."""
    from medgen.bundles import manifest_of

    manifest = manifest_of(path)
    trained = manifest.get("config") or {}
    people = ("label_map", "exclude_labels", "scan_rule", "simulated_subjects", "simulated_confounded", "covariates")
    names = ("seed", "split_fractions", "leave_site_out", *people) if "splits" in config else ()
    found = [
        f"{name}={trained[name]!r}, this run has {config[name]!r}"
        for name in names
        if name in trained and name in config and trained[name] != config[name]
    ]
    fingerprint = manifest.get("data_fingerprint")
    if cohort is not None and fingerprint and fingerprint != cohort.fingerprint():
        found.append(f"a cohort with the fingerprint {fingerprint}, this one has {cohort.fingerprint()}")
    return found


def _made_by(weights: Path, name: str = "train.json") -> str:
    """Say which command makes ``weights``."""
    train = weights.parent.parent / "configs" / name
    option = "--ckpt_dir" if name == "train.json" else "--codec_weights"
    command = f"`python -m monai.bundle run --config_file {train}`, or name" if train.is_file() else f"{name}; name"
    return f"{command} others by {option}"
