"""What an experiment on usefulness was made with."""

from __future__ import annotations

import datetime
import platform
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from medgen import __version__
from medgen.apps.evaluation.provenance import cohort_notices
from medgen.apps.utility.figures import LEVEL, POWER

if TYPE_CHECKING:
    from medgen.apps.utility.run import Utility

__all__ = ["ARMS", "provenance", "settings_of"]

SCHEMA = "medgen.utility/1"
ARMS = ("real", "real_augmented", "synthetic", "real_synthetic", "real_repeated")


def provenance(experiment: Utility) -> dict[str, Any]:
    """The head of ``utility.json``: schema, notices, data, settings, software. No path, name or identifier."""
    u = experiment
    return {
        "schema": SCHEMA,
        "name": u.name,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "simulated": bool(getattr(u.cohort, "simulated", False)),
        "notices": cohort_notices(u.cohort),
        "data": {
            "fingerprint": u.cohort.fingerprint(),
            "terms": getattr(u.cohort, "data_terms", "not stated"),
            "splits": {split: images.counts(u.labels) for split, images in u.real.items()},
            "image_shape": list(u.real["test"].images.shape[1:]),
        },
        "settings": {
            "label": u.label,
            "labels": u.labels,
            "arms": list(ARMS),
            "seeds": u.seeds,
            "ratio": u.ratio,
            "primary": u.primary,
            "replicates": u.replicates,
            "level": LEVEL,
            "power": POWER,
            "seed": u.seed,
            "classifier": u.classifier.to_dict(),
            "augmentation": settings_of(u.augmentation),
        },
        "software": {
            "medgen": __version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def settings_of(component: Any) -> dict[str, Any]:
    """The public attributes of a component, for the record."""
    return {name: value for name, value in vars(component).items() if name[0] != "_"}
