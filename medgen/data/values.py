"""From cells of a table to covariate values: columns, declared labels, numbers, and what to say about the rest."""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from medgen.covariates import Covariates
from medgen.data.sources import Item, Labels, Source
from medgen.data.tables import CohortError, find_column, is_unknown, parse_number
from medgen.sexes import SEX_NAMES, same_sex
from medgen.spelling import nearest

__all__ = ["UNKNOWN_LABEL", "read_values"]

logger = logging.getLogger(__name__)
UNKNOWN_LABEL = "n/a"
LabelMap = Mapping[str, Any]
PLAIN = Labels()


def read_values(
    source: Source,
    covariates: Covariates,
    columns: Mapping[str, str],
    label_map: LabelMap,
    exclude_labels: Sequence[str],
    required: Sequence[str],
) -> list[tuple[Item, dict[str, str | float]]]:
    """Return every image that stays, with the value of each declared covariate (``"n/a"`` or NaN when unknown).

    Args:
        source: what the layout found; notices about unknown covariates and dropped images, and the images dropped for
            their label, are added to it.
        covariates: the declared ones; their label order is the only one there is.
        columns: covariate to column, where the name does not say it.
        label_map: found label to declared label; by covariate (``{"diagnosis": {"CN": "NC"}}``) or for all.
        exclude_labels: found labels whose images are dropped.
        required: covariates whose column must be there, with at least one known value.

    Raises:
        CohortError: on undeclared labels (all of them, counted), on text where a number belongs, on a class folder that
            contradicts the table, and on required covariates without column or values.
    """
    names = [name for name in covariates.names if name not in ("slice", "plane")]
    _check_arguments(covariates, columns, label_map, required)
    where = str(source.table.path if source.table else source.folder)
    found = {name: find_column(source.table, name, columns.get(name)) if source.table else None for name in names}
    labelled = any(item.label is not None for item in source.items) and "diagnosis" in names
    for name in names:
        if found[name] is None and not (labelled and name == "diagnosis"):
            offered = list(source.table.columns) if source.table else []
            if name in required:
                raise CohortError(
                    f"{where}: no column for the required covariate {name!r}{nearest(name, offered)}; found {offered}"
                )
            table = source.table.path if source.table else None
            place = "there is no table" if table is None or table.is_dir() else f"no such column in {table.name}"
            source.notices.append(f"{name} is unknown for every image: {place}")
    _say_where_from(source, found)

    kept: list[tuple[Item, dict[str, str | float]]] = []
    undeclared: dict[tuple[str, str], list[str]] = defaultdict(list)
    excluded: Counter[str] = Counter()
    top_coded: Counter[str] = Counter()
    for item in source.items:
        values: dict[str, str | float] = {}
        drop = None
        for name in names:
            text = item.row.get(str(found[name])) if found[name] else None
            labels = source.labels if name == "diagnosis" else PLAIN
            if name == "diagnosis" and item.label is not None:
                text = _one_label(item, text, covariates, label_map, labels)
            if text is not None and text in exclude_labels:
                drop = f"with the excluded label {text!r}"
                break
            place = f"{where}, {item.subject}"
            values[name] = _value(name, text, covariates, label_map, place, labels)
            if values[name] is None:
                if text in labels.optional:
                    drop = f"with the {name} {text!r}, which is not declared"
                    break
                undeclared[(name, str(text))].append(item.subject)
            top_coded[name] += isinstance(values[name], float) and str(text).rstrip().endswith("+")
        if drop is None:
            kept.append((item, values))
        else:
            excluded[drop] += 1
            about = {"subject": item.subject, "scan": item.scan, "description": "", "image": str(item.images[0])}
            source.discards.append(about | {"reason": f"an image {drop}"})
    if undeclared:
        raise CohortError(f"{where}: " + "; ".join(_complaint(covariates, *key, s) for key, s in undeclared.items()))
    source.notices += [f"dropped {count} image(s) {why}" for why, count in excluded.items()]
    source.notices += [
        f"{name} is top-coded in {count} image(s): 90+ is 90 or more, and counts as 90"
        for name, count in top_coded.items()
        if count
    ]
    for name in required:
        if kept and all(_unknown(values[name]) for _, values in kept):
            raise CohortError(f"{where}: the required {name!r} is unknown for each of the {len(kept)} images")
    return kept


def _say_where_from(source: Source, found: Mapping[str, str | None]) -> None:
    """Log in one line which column is which covariate."""
    told = [
        f"{name} from {source.origins.get(name) or f'column {column!r}'}" for name, column in found.items() if column
    ]
    if told and source.table is not None:
        logger.info("%s: %s", source.table.path.name, ", ".join(told))


def _check_arguments(
    covariates: Covariates, columns: Mapping[str, str], label_map: LabelMap, required: Sequence[str]
) -> None:
    reserved = ("subject", "session", "site", "slice_index")
    for argument, names in (("columns", [c for c in columns if c not in reserved]), ("required", required)):
        for name in names:
            if name not in covariates:
                hint = nearest(name, covariates.names)
                raise ValueError(
                    f"{argument}: {name!r} is no declared covariate{hint}; declared: {list(covariates.names)}"
                )
    for key, target in label_map.items():
        maps = target if isinstance(target, Mapping) else {key: target}
        over = [key] if isinstance(target, Mapping) else list(covariates.categorical)
        if isinstance(target, Mapping) and key not in covariates.categorical:
            raise ValueError(f"label_map: {key!r} is no categorical covariate{nearest(key, covariates.categorical)}")
        declared = [label for name in over for label in _labels(covariates, name)]
        for label in maps.values():
            if label not in declared:
                raise ValueError(
                    f"label_map: {label!r} is no declared label{nearest(str(label), declared)}; declared: {declared}"
                )


def _labels(covariates: Covariates, name: str) -> tuple[str, ...]:
    declared = covariates[name]
    return declared if isinstance(declared, tuple) else ()


def _label(name: str, text: str, covariates: Covariates, label_map: LabelMap, known: Labels = PLAIN) -> str | None:
    """Return the declared label that ``text`` means, or None.

    The map decides, then the label itself, its other spelling, and at last what the consortium means by it.
    """
    labels = _labels(covariates, name)
    own = label_map.get(name)
    mapped = own.get(text) if isinstance(own, Mapping) else label_map.get(text)
    if mapped in labels:
        return str(mapped)
    if text in labels:
        return text
    if name in SEX_NAMES and (label := same_sex(text, labels)):
        return label
    same = [label for label in labels if label.lower() == text.lower()]
    for meaning in known.means.get(text, ()):
        same = same or [label for label in labels if label.lower() == meaning.lower()]
    return same[0] if len(same) == 1 else None


def _value(
    name: str, text: str | None, covariates: Covariates, label_map: LabelMap, place: str, known: Labels = PLAIN
) -> Any:
    """Return the value of one cell; None for an undeclared label."""
    if covariates.is_categorical(name):
        if text is not None and (label := _label(name, text, covariates, label_map, known)):
            return label
        return UNKNOWN_LABEL if is_unknown(text) else None
    if text is None or is_unknown(text):
        return math.nan
    number = parse_number(text)
    if number is None:
        raise CohortError(f"{place}: {name} is {text!r}, expected a number")
    try:
        covariates.encode({name: number}, where=place)
    except ValueError as error:
        raise CohortError(str(error)) from error
    return number


def _one_label(item: Item, text: str | None, covariates: Covariates, label_map: LabelMap, known: Labels) -> str | None:
    """Return the class folder's label, after comparing it with the table's."""
    if text is not None and not is_unknown(text):
        folder, table = (_label("diagnosis", str(t), covariates, label_map, known) or t for t in (item.label, text))
        if folder != table:
            raise CohortError(f"{item.images[0]}: lies in the class folder {item.label!r}, but the table says {text!r}")
    return item.label


def _complaint(covariates: Covariates, name: str, label: str, subjects: list[str]) -> str:
    return (
        f"{name} has the undeclared label {label!r} in {len(subjects)} image(s) of {len(set(subjects))} subject(s)"
        f"{nearest(label, _labels(covariates, name))}; declared: {list(_labels(covariates, name))}; "
        f"declare it, translate it with label_map, or drop it with exclude_labels=[{label!r}]"
    )


def _unknown(value: str | float) -> bool:
    return value == UNKNOWN_LABEL or (isinstance(value, float) and math.isnan(value))
