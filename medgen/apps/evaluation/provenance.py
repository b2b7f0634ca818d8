"""Where the figures come from: model, data, settings, and what a reader must be told before believing them."""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgen.apps.evaluation.split_hash import split_hash
from medgen.files import file_sha256
from medgen.handlers.manifest import manifest_path, read_manifest
from medgen.machine import software

if TYPE_CHECKING:
    from medgen.apps.evaluation.run import Evaluation

__all__ = ["OTHER_SITES", "SCHEMA", "SIMULATED_NOTICE", "at_other_sites", "cohort_notices", "model_facts", "provenance"]

SCHEMA = "medgen.evaluation/2"
_OF_MODEL = ("iteration", "config", "training", "software")  # of its manifest
_OF_SPLITS = ("seed", "split_fractions", "leave_site_out")
SIMULATED_NOTICE = (
    "SIMULATED DATA. The people of this cohort do not exist; nothing here says anything about patients. "
    "What can be judged is whether the generator learned what was put into the data."
)

OTHER_SITES = (
    "Held-out people were scanned at other sites than training people. Distances, their floor and the threshold of "
    "copies then tell scanners apart too, not only people; and that the model denoises its training images better says "
    "nothing of membership, which is not judged."
)


def model_facts(network: Any, weights: str | os.PathLike[str] | None, cohort: Any) -> dict[str, Any]:
    """Hash of the weights, number of parameters, and what their manifest says of training.

    Raises:
        ValueError: when the manifest says that they were trained on another cohort than this.
    """
    parameters = sum(p.numel() for p in network.parameters()) if hasattr(network, "parameters") else 0
    if weights is None:
        digest = hashlib.sha256()
        for name, value in network.state_dict().items() if hasattr(network, "state_dict") else ():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        found: dict[str, Any] = {"sha256": digest.hexdigest(), "parameters": parameters}
        return found | dict.fromkeys(_OF_MODEL)
    manifest = read_manifest(weights) if manifest_path(weights).is_file() else {}
    trained_on, here = manifest.get("data_fingerprint"), cohort.fingerprint()
    if trained_on is not None and trained_on != here:
        raise ValueError(
            f"{weights}: was trained on a cohort with fingerprint {trained_on}, but this one has {here}; give the "
            "cohort of the training run (the same --dataset_dir, a simulated one with the same --cohort#simulated#...)"
        )
    return {
        "sha256": file_sha256(Path(weights)),
        "parameters": parameters,
        **{name: manifest.get(name) for name in _OF_MODEL},
        "config": _without_great_ages(manifest.get("config")),
    }


def _without_great_ages(config: Any) -> Any:
    """Settings of training, whose observed range of ages ends at 90 for whoever is older."""
    observed = config.get("observed") if isinstance(config, Mapping) else None
    if not isinstance(observed, Mapping) or "age" not in observed:
        return config
    ages = [min(age, 90.0) if isinstance(age, (int, float)) else age for age in observed["age"]]
    return {**config, "observed": {**observed, "age": ages}}


def at_other_sites(trained: Any, train: Any, test: Any) -> bool:
    """Whether held-out people were scanned at other sites than training people: by the settings of training, or sites.

    Args:
        trained: settings of training, from the manifest of the weights; None where they are not known.
        train: data set of training, with its "records".
        test: held-out data set.
    """
    if isinstance(trained, Mapping) and trained.get("leave_site_out"):
        return True
    own, others = ({r.get("site") for r in getattr(data, "records", ())} - {None, ""} for data in (train, test))
    return bool(own and others and not own & others)


def provenance(evaluation: Evaluation, notices: Sequence[str]) -> dict[str, Any]:
    """The head of ``metrics.json``: schema, notices, model, data, settings, software. No path, name or identifier."""
    e = evaluation
    simulated = bool(getattr(e.cohort, "simulated", False))
    describe = [c.to_dict() if hasattr(c, "to_dict") else repr(c) for c in (e.process, e.sampler)]
    return {
        "schema": SCHEMA,
        "name": e.name,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "simulated": simulated,
        "notices": list(dict.fromkeys(notices)),
        "model": e.model,
        "data": {
            "fingerprint": e.cohort.fingerprint(),
            "terms": getattr(e.cohort, "data_terms", "not stated"),
            "split_unit": getattr(e.cohort, "split_unit", "subject"),
            "split": split_hash({split: real.subjects for split, real in e.real.items()}, simulated),
            "splits": {split: real.counts() for split, real in e.real.items()},
            "image_size": list(e.real["test"].images.shape[2:]),
            "pixel_mm": e.pixel_mm,
        },
        "settings": {
            **e.question.settings(),
            "guidance": e.guidance,
            "guidances": e.guidances,
            "n_per_class": e.n_per_class,
            "n_sweep": e.n_sweep,
            "replicates": e.replicates,
            "level": 0.95,
            "seed": e.seed,
            "process": describe[0],
            "sampler": describe[1],
        },
        "software": software(),
    }


def cohort_notices(
    cohort: Any, codec: Any = None, trained: Mapping[str, Any] | None = None, other_sites: bool = False
) -> list[str]:
    """What a reader must be told about cohort and splits.

    Args:
        cohort: a :class:`medgen.data.Cohort`.
        codec: of the model; it was trained before it, maybe on other people.
        trained: settings of the model's training, from its manifest.
        other_sites: whether held-out people were scanned at other sites than training people.
    """
    notices = [SIMULATED_NOTICE] if getattr(cohort, "simulated", False) else []
    notices += [str(notice) for notice in getattr(cohort, "notices", ())]
    if getattr(cohort, "split_unit", "subject") == "scan" and not any("split by scan" in n for n in notices):
        notices.append("Split by scan, not by subject: scans of one person may be on both sides.")
    if other_sites:
        notices.append(OTHER_SITES)
    source = getattr(codec, "source", None)
    if source is not None and manifest_path(source).is_file():
        manifest, here = read_manifest(source, check=False), cohort.fingerprint()
        its, own = manifest.get("config") or {}, trained or {}
        others = [name for name in _OF_SPLITS if name in its and name in own and its[name] != own[name]]
        if manifest.get("data_fingerprint", here) != here or others:
            why = f"with another {', '.join(others)}" if others else "on another cohort, or with other covariates"
            notices.append(f"The codec was trained {why}: it may have learned from people who are held out here.")
    return notices
