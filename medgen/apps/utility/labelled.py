"""Images with a label, whose they are, and who may be seen by whom."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medgen.covariates import Covariates
from medgen.data.splits import check_disjoint
from medgen.randomness import numpy_generator
from medgen.spelling import nearest

__all__ = ["LabelledImages", "chosen_label", "nested_subjects", "people_of", "refuse_leaks"]


@dataclass(frozen=True)
class LabelledImages:
    """Images, the label of each as its place among the labels, and the subject of each; a data set for a loader.

    Attributes:
        images: (N, C, *spatial) in [-1, 1].
        target: (N,) int64.
        subjects: N names.
    """

    images: Tensor
    target: Tensor
    subjects: list[str]

    def __len__(self) -> int:
        return len(self.subjects)

    @property
    def covariates(self) -> Tensor:
        """The target as a loader carries it, float32 (N, 1)."""
        return self.target.float()[:, None]

    def __add__(self, other: LabelledImages) -> LabelledImages:
        parts = (self.images.half(), other.images.half()), (self.target, other.target)
        return LabelledImages(torch.cat(parts[0]), torch.cat(parts[1]), self.subjects + other.subjects)

    def take(self, rows: NDArray[np.intp] | Sequence[int]) -> LabelledImages:
        """Some rows, which may repeat."""
        chosen = torch.as_tensor(np.asarray(rows), dtype=torch.int64)
        return LabelledImages(self.images[chosen], self.target[chosen], [self.subjects[i] for i in chosen.tolist()])

    def cases(self) -> tuple[list[tuple[str, int]], NDArray[np.intp]]:
        """What is judged as one: all images of a subject with one label. The cases in order, and each image's case."""
        pairs = list(zip(self.subjects, self.target.tolist(), strict=True))
        order = {pair: place for place, pair in enumerate(sorted(set(pairs)))}
        return list(order), np.array([order[pair] for pair in pairs], dtype=np.intp)

    def counts(self, labels: Sequence[str]) -> dict[str, Any]:
        """Subjects, images, and subjects by label."""
        owners: dict[int, set[str]] = defaultdict(set)
        for subject, target in zip(self.subjects, self.target.tolist(), strict=True):
            owners[target].add(subject)
        by_label = {label: len(owners[place]) for place, label in enumerate(labels)}
        return {"subjects": len(set(self.subjects)), "images": len(self), "by_label": by_label}

    def digest(self) -> str:
        """Hash of images, labels and subjects."""
        digest = hashlib.sha256(self.images.half().contiguous().numpy().tobytes())
        digest.update(json.dumps([self.target.tolist(), self.subjects]).encode())
        return digest.hexdigest()


def chosen_label(covariates: Covariates, label: str | None, labels: Sequence[str] | None) -> tuple[str, list[str]]:
    """The categorical covariate that is classified (by default the diagnosis, or the first declared), and its labels.

    Raises:
        ValueError: when there is none of that name, or a label is not declared.
    """
    known = list(covariates.categorical)
    if not known:
        raise ValueError("covariates: found no categorical one, so there is no class to tell apart; declare one")
    name = ("diagnosis" if "diagnosis" in known else known[0]) if label is None else label
    if name not in known:
        raise ValueError(f"label: found {name!r}{nearest(name, known)}, expected one of {known}")
    declared = list(covariates[name])  # type: ignore[arg-type]
    wanted = declared if labels is None else [str(value) for value in labels]
    if len(wanted) < 2 or len(set(wanted)) < len(wanted) or not set(wanted) <= set(declared):
        raise ValueError(f"labels: found {wanted}, expected two or more different ones of {declared}")
    return name, wanted


def labelled_rows(dataset: Any, covariates: Covariates, name: str, labels: Sequence[str]) -> NDArray[np.intp]:
    """Rows of a data set that show one of the labels."""
    declared = list(covariates[name])  # type: ignore[arg-type]
    codes = torch.tensor([float(declared.index(label)) for label in labels])
    column = dataset.covariates[:, covariates.index(name)]
    return np.flatnonzero(torch.isin(column, codes).numpy()).astype(np.intp)


def labelled(dataset: Any, covariates: Covariates, name: str, labels: Sequence[str]) -> LabelledImages:
    """The images of a data set that show one of the labels."""
    rows = torch.from_numpy(labelled_rows(dataset, covariates, name, labels))
    declared = list(covariates[name])  # type: ignore[arg-type]
    place = {declared.index(label): i for i, label in enumerate(labels)}
    codes = dataset.covariates[rows, covariates.index(name)].tolist()
    target = torch.tensor([place[int(code)] for code in codes], dtype=torch.int64)
    return LabelledImages(dataset.images[rows], target, [str(dataset.subjects[i]) for i in rows.tolist()])


def people_of(dataset: Any, subjects: set[str]) -> Any:
    """The part of a data set in memory that is of some subjects, with all else it has: size of a pixel, declaration."""
    rows = torch.tensor([i for i, subject in enumerate(dataset.subjects) if str(subject) in subjects])
    part = copy.copy(dataset)
    for name in ("images", "covariates", "positions"):
        if hasattr(dataset, name):
            setattr(part, name, getattr(dataset, name)[rows])
    for name in ("subjects", "records"):
        if hasattr(dataset, name):
            setattr(part, name, [getattr(dataset, name)[i] for i in rows.tolist()])
    return part


def nested_subjects(
    images: LabelledImages, shares: Sequence[float], seed: int = 0, least: int = 2
) -> dict[float, set[str]]:
    """Draw parts of the subjects, stratified by label, each a part of the next larger one.

    Args:
        images: of a split.
        shares: in (0, 1].
        seed: of the draw.
        least: subjects that a label must keep.

    Returns:
        Share to subjects, from the largest share on.

    Raises:
        ValueError: when a share is out of range, or leaves a label with fewer than ``least`` subjects.
    """
    wanted = sorted({float(share) for share in shares}, reverse=True)
    if not wanted or not all(0 < share <= 1 for share in wanted):
        raise ValueError(f"sizes: expected shares of the training subjects in (0, 1], found {list(shares)}")
    first: dict[str, int] = {}
    for subject, target in zip(images.subjects, images.target.tolist(), strict=True):
        first.setdefault(subject, target)
    strata: dict[int, list[str]] = defaultdict(list)
    for subject in sorted(first):
        strata[first[subject]].append(subject)
    random = numpy_generator("utility subjects", seed)
    orders = [[members[i] for i in random.permutation(len(members))] for _, members in sorted(strata.items())]
    result: dict[float, set[str]] = {}
    for share in wanted:
        parts = [order[: math.ceil(share * len(order) - 1e-9)] for order in orders]
        if min(len(part) for part in parts) < least:
            raise ValueError(f"sizes: a share of {share:g} leaves a label with fewer than {least} subjects")
        result[share] = {subject for part in parts for subject in part}
    return result


def refuse_leaks(sets: Mapping[str, Any], split_unit: str = "subject") -> None:
    """Refuse data sets of which two share a subject.

    Args:
        sets: name, such as "train", to a data set with ``subjects``, or to the subjects.
        split_unit: "subject"; with any other, nothing says whether two images are of one person.

    Raises:
        ValueError: when the split unit is no subject.
        medgen.data.CohortError: naming a subject that is in two sets.
    """
    if split_unit != "subject":
        raise ValueError(
            f"cohort: is split by {split_unit}, so one person may be in training and test; give the subjects of the "
            "images by subject_map"
        )
    check_disjoint(
        {name: sorted({str(s) for s in getattr(one, "subjects", one)}) for name, one in sets.items()}, "utility"
    )
