"""Splits of a cohort: by subject, stratified, seeded, kept in a file."""

from __future__ import annotations

import json
import logging
import math
import os
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medgen.data.tables import CohortError
from medgen.files import write_json
from medgen.randomness import numpy_generator
from medgen.spelling import nearest

__all__ = [
    "Splits",
    "check_disjoint",
    "check_fractions",
    "divide_subjects",
    "read_splits",
    "split_subjects",
    "write_splits",
]

logger = logging.getLogger(__name__)
FORMAT = "medgen splits 1"


class Splits(dict[str, list[Any]]):
    """Split name to records; a name that is not there is an error that lists those that are."""

    def __missing__(self, name: str) -> list[Any]:
        raise CohortError(f"splits: no split {name!r}{nearest(str(name), self)}; the fractions name {list(self)}")


def split_subjects(
    strata: Mapping[str, Sequence[Hashable]], fractions: Mapping[str, float], seed: int = 0
) -> dict[str, list[str]]:
    """Divide subjects so that every stratum, from coarse to fine, is divided like the whole.

    Subjects are taken stratum by stratum, in random order within; each goes to the split that lacks most, summed over
    the whole, the first stratum key, the first two, and so on. The sizes of the splits are those of ``fractions`` to
    within one subject, and at least one.

    Args:
        strata: subject to its stratum keys, coarse to fine, for example (diagnosis, sex, age band).
        fractions: split name to its share; positive, adding up to 1.
        seed: of the random order.

    Returns:
        Split name to the sorted subjects.

    Raises:
        ValueError: when the fractions are no shares of 1, or there are fewer subjects than splits.
    """
    check_fractions(fractions)
    if len(strata) < len(fractions):
        raise ValueError(f"split: {len(strata)} subject(s) cannot fill {len(fractions)} splits ({list(fractions)})")
    random = numpy_generator("split", seed)
    shuffled = [sorted(strata)[i] for i in random.permutation(len(strata)).tolist()]
    order = sorted(shuffled, key=lambda s: [str(k) for k in strata[s]])  # stable: random within a stratum
    room = _sizes(len(order), fractions)
    share = {name: size / len(order) for name, size in room.items()}
    seen: dict[tuple[Hashable, ...], int] = defaultdict(int)
    given: dict[tuple[tuple[Hashable, ...], str], int] = defaultdict(int)
    result: dict[str, list[str]] = {name: [] for name in fractions}
    for subject in order:
        keys = strata[subject]
        levels = [tuple(keys[:depth]) for depth in range(len(keys) + 1)]
        for level in levels:
            seen[level] += 1
        lack = {
            name: sum(share[name] * seen[level] - given[(level, name)] for level in levels)
            for name in fractions
            if len(result[name]) < room[name]
        }
        chosen = max(lack, key=lambda name: lack[name])
        result[chosen].append(subject)
        for level in levels:
            given[(level, chosen)] += 1
    return {name: sorted(subjects) for name, subjects in result.items()}


def divide_subjects(
    strata: Mapping[str, Sequence[Hashable]],
    fractions: Mapping[str, float],
    seed: int,
    fixed: Mapping[str, str],
    exclusive: bool = False,
) -> dict[str, list[str]]:
    """Divide subjects as :func:`split_subjects` does, except for those whose split is fixed.

    Args:
        strata: subject to its stratum keys.
        fractions: split name to its share.
        seed: of the random order.
        fixed: subject to split; a split that is filled so takes nobody else, save "train", which stays open.
        exclusive: whether subjects fixed to "test" were chosen by the caller, who must then name that split.

    Returns:
        Split name to the sorted subjects.

    Raises:
        ValueError: when the fractions do not name a split that is fixed, or leave none for the others.
    """
    if lost := sorted(set(fixed.values()) - {"train"} - set(fractions)):
        if exclusive:
            raise ValueError(f"leave_site_out: its subjects become 'test', which is none of {list(fractions)}")
        raise ValueError(f'fractions: the data set has its own {lost}; name them, or pass folders="merge"')
    members = {name: sorted(s for s, fold in fixed.items() if fold == name) for name in fractions if name != "train"}
    members = {name: subjects for name, subjects in members.items() if subjects}
    home = {subject for subjects in members.values() for subject in subjects}
    free = {subject: keys for subject, keys in strata.items() if subject not in home}
    shares = {name: share for name, share in fractions.items() if name not in members}
    total = sum(shares.values())
    if free and not shares:
        raise ValueError(
            f"fractions: the folder's train subjects need a split of their own, found only {list(fractions)}"
        )
    divided = split_subjects(free, {name: share / total for name, share in shares.items()}, seed) if shares else {}
    return {name: members.get(name, divided.get(name, [])) for name in fractions}


def check_fractions(fractions: Mapping[str, float]) -> None:
    """Refuse fractions that are not positive or do not add up to 1."""
    if not fractions or not all(f > 0 for f in fractions.values()) or not math.isclose(sum(fractions.values()), 1.0):
        raise ValueError(f"fractions: expected positive shares that add up to 1, found {dict(fractions)}")


def _sizes(count: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Return whole sizes by largest remainder, at least one each."""
    sizes = {name: max(1, math.floor(count * f + 1e-9)) for name, f in fractions.items()}
    while (left := count - sum(sizes.values())) != 0:
        gap = {name: count * f - sizes[name] for name, f in fractions.items()}
        if left > 0:
            sizes[max(gap, key=lambda n: gap[n])] += 1
        else:
            sizes[min((n for n in gap if sizes[n] > 1), key=lambda n: gap[n])] -= 1
    return sizes


def check_disjoint(splits: Mapping[str, Sequence[str]], where: str = "splits") -> None:
    """Raise when a subject is in two splits.

    Args:
        splits: split name to subjects.
        where: what the splits come from, named in the error.

    Raises:
        CohortError: naming the subjects and the splits.
    """
    home: dict[str, str] = {}
    both: list[str] = []
    for name, subjects in splits.items():
        for subject in dict.fromkeys(subjects):
            if subject in home:
                both.append(f"{subject!r} in {home[subject]} and {name}")
            home.setdefault(subject, name)
    if both:
        more = f" and {len(both) - 3} more" if len(both) > 3 else ""
        raise CohortError(f"{where}: a subject is in two splits: {', '.join(both[:3])}{more}; expected one split each")


def write_splits(path: str | os.PathLike[str], splits: Mapping[str, Sequence[str]], unit: str, **about: Any) -> None:
    """Write ``splits`` (name to subjects) as JSON, whole or not at all; it names participants, so mode 0600."""
    content = {"format": FORMAT, "unit": unit, **about, "splits": {n: list(s) for n, s in splits.items()}}
    write_json(path, content, permissions=0o600)


def read_splits(
    path: str | os.PathLike[str],
    subjects: Sequence[str],
    names: Sequence[str],
    seed: int | None = None,
    cohort: str | None = None,
    sites: Sequence[str] = (),
) -> dict[str, list[str]]:
    """Read a split file and compare it with the cohort.

    Args:
        path: file of :func:`write_splits`, or of your own: ``{"splits": {"train": [...], "test": [...]}}``.
        subjects: of the cohort.
        names: of the wanted splits.
        seed: of the wanted split; another one in the file is logged, as the file decides.
        cohort: fingerprint of the cohort; another one in the file is logged: the same subjects, but other data.
        sites: that are wanted left out; a file made without them, or with others, is refused.

    Raises:
        CohortError: when the file is no split file, names other splits, puts a subject in two, or lists other subjects
            than the cohort has, with the difference.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        splits = {str(name): [str(s) for s in members] for name, members in content["splits"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CohortError(f'{path}: expected a split file, {{"splits": {{name: [subjects]}}}} ({error!r})') from error
    if set(splits) != set(names):
        raise CohortError(f"{path}: holds the splits {list(splits)}, expected {list(names)}")
    check_disjoint(splits, str(path))
    listed, present = {s for members in splits.values() for s in members}, set(subjects)
    if listed != present:
        differences = []
        for what, which in (("only in the file", listed - present), ("only in the cohort", present - listed)):
            if which:
                shown = ", ".join(sorted(which)[:3]) + (", ..." if len(which) > 3 else "")
                differences.append(f"{len(which)} subject(s) {what} ({shown})")
        raise CohortError(
            f"{path}: does not match the cohort: {'; '.join(differences)}; "
            "it keeps training subjects out of the other splits: give the dataset_dir that it was made for, or start a "
            "new run"
        )
    if sites and sorted(content.get("leave_site_out", [])) != sorted(sites):
        raise CohortError(
            f"{path}: was made with leave_site_out {content.get('leave_site_out', [])}, expected {list(sites)}; it "
            "decides: start a new run for another division"
        )
    if seed is not None and content.get("seed", seed) != seed:
        logger.warning("%s was made with seed %s; it decides, seed %s is not used", path, content["seed"], seed)
    if cohort is not None and content.get("cohort", cohort) != cohort:
        logger.warning("%s was made for other images or values of these subjects than the cohort has now", path)
    return {name: sorted(splits[name]) for name in names}
