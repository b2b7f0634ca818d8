"""Which synthetic images repeat images that their generator was trained on."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen import __version__
from medgen.apps.evaluation.cache import StageCache
from medgen.apps.evaluation.figures import figure
from medgen.apps.evaluation.memorisation import BEYOND, NEIGHBOURS, place_columns
from medgen.apps.evaluation.real import draw_profiles
from medgen.covariates import Covariates
from medgen.files import key_of
from medgen.metrics import ALTERATIONS, AlignedSearch, NearnessScale, Places, altered, lead, proportion

__all__ = ["Screened", "search_copies"]

Array = NDArray[np.float64]
PLANTED = 48


class Screened(NamedTuple):
    """What the search found.

    Attributes:
        copies: (N,) whether each synthetic image is taken for a copy.
        facts: for the record: how many images were searched and found, and how many planted copies the search finds.
    """

    copies: NDArray[np.bool_]
    facts: dict[str, Any]


def search_copies(
    images: Tensor, rows: Tensor, train: Any, held_out: Any, covariates: Covariates, cache: StageCache, seed: int = 0
) -> Screened:
    """Search synthetic images for copies of training images, by the rule of the evaluation.

    Each image is compared with the training images after shifts, flips and rotations
    (:class:`medgen.metrics.AlignedSearch`). It is a copy when its nearest one is nearer, or leads those of other people
    by more, than of any held-out image (:class:`medgen.metrics.NearnessScale`). The features of a judge, by which the
    evaluation looks too, are not used here: no judge is trained. Altered copies of training images are planted, to say
    how many the search finds.

    Args:
        images: (N, C, *spatial) in [-1, 1].
        rows: (N, K) covariates that were asked for.
        train: the data set that the generator was trained on.
        held_out: a data set that it has not seen; as many of its images as there are synthetic ones, at most.
        covariates: their declaration; "plane" and "slice" say where an image is taken.
        cache: keeps the result.
        seed: of the choice of held-out images and of planted copies.
    """
    columns, tolerance = place_columns(covariates)
    index = [covariates.index(name) for name in columns]
    subjects = [str(subject) for subject in train.subjects]
    others = torch.from_numpy(draw_profiles(held_out.subjects, min(len(held_out.subjects), len(images)), seed))
    planted = torch.from_numpy(draw_profiles(subjects, min(PLANTED, len(subjects)), seed))
    asked = {
        "generated": (images.float(), rows),
        "held_out": (held_out.images[others].float(), held_out.covariates[others]),
        "planted": (_planted(train.images[planted].float(), seed), train.covariates[planted]),
    }
    places = {name: values[:, index].double().numpy() for name, (_, values) in asked.items()}

    def make() -> dict[str, NDArray[Any]]:
        known = Places(train.covariates[:, index].double().numpy(), tolerance) if columns else None
        search = AlignedSearch(train.images.float().numpy(), subjects, known)
        k = min(NEIGHBOURS, len(set(subjects)))
        return {
            name: search.nearest(queries.numpy(), places[name] if columns else None, k).scores
            for name, (queries, _) in asked.items()
        }

    digests = [_digest(train.images), subjects, _digest(train.covariates[:, index])]
    digests += [_digest(part) for queries, values in asked.values() for part in (queries, values[:, index])]
    found = cache.arrays("copies", key_of(__version__, tolerance, digests), make)
    groups = {
        name: np.nan_to_num(values[:, columns.index("plane")], nan=-1) if "plane" in columns else np.zeros(len(values))
        for name, values in places.items()
    }
    flagged = {name: np.zeros(len(values), bool) for name, values in places.items()}
    for detector, near in (("pixels", _nearness), ("lead", lead)):
        scale = NearnessScale(near(found["held_out"]), groups["held_out"], BEYOND[detector])
        for name in flagged:
            flagged[name] |= scale(near(found[name]), groups[name]) > scale.copy
    caught = proportion(int(flagged["planted"].sum()), len(planted))
    facts = {"searched": len(images), "found": int(flagged["generated"].sum())}
    return Screened(flagged["generated"], facts | {"planted": len(planted), "recall": figure(caught)})


def _nearness(correlation: Array) -> Array:
    found: Array = -np.log(1 - correlation[:, 0].clip(max=1 - 1e-6))
    return found


def _planted(images: Tensor, seed: int) -> Tensor:
    """Copies of training images, each altered in another way, in turn."""
    kinds = list(ALTERATIONS)
    copies = images.clone()
    for place, kind in enumerate(kinds):
        chosen = images[place :: len(kinds)]
        if len(chosen):
            copies[place :: len(kinds)] = altered(chosen, kind, seed)
    return copies


def _digest(values: Tensor) -> str:
    return hashlib.sha256(np.ascontiguousarray(values.numpy()).tobytes()).hexdigest()
