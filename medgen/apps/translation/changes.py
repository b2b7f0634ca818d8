"""What is asked of an image: other values of its covariates, absolute or relative to its own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from medgen.covariates import Covariates

__all__ = ["Changes"]


class Changes:
    """The conditions under which every image is to be shown.

    A value given as a list makes one condition each; the conditions are all combinations, the last covariate changing
    fastest. What is not given stays as it is in the image, unknown values unknown.

    Args:
        covariates: the model's declaration.
        relative: number covariate to what is added to each image's own, ``{"age": [5, 10]}`` for five and ten years
            more; a name with None, "none" or an empty list adds nothing.
        values: covariate = label or number that every image gets, or a list of these; None and the like leave it.

    Raises:
        ValueError: for nothing to change, a covariate given twice or not declared, or a value outside its declaration.

    Attributes:
        titles: one short text per condition, for example "+10 years".

    Example:
        >>> covariates = Covariates(diagnosis=["NC", "AD"], age={"low": 18, "high": 100, "unit": "years"})
        >>> changes = Changes(covariates, relative={"age": [5, 10]}, diagnosis="AD")
        >>> changes.titles
        ['+5 years, AD', '+10 years, AD']
        >>> changes.targets(covariates.encode([{"age": 70}])).tolist()
        [[[1.0, 75.0], [1.0, 80.0]]]
    """

    def __init__(self, covariates: Covariates, relative: Mapping[str, Any] | None = None, **values: Any) -> None:
        self.covariates = covariates
        added = {name: _listed(value) for name, value in (relative or {}).items() if not _nothing(value)}
        fixed = {name: _listed(value) for name, value in values.items() if not _nothing(value)}
        if not added and not fixed:
            raise ValueError("found nothing to change; expected years to add, or a covariate's new value")
        if twice := sorted(set(added) & set(fixed)):
            raise ValueError(f"{twice[0]}: found a new value and an amount to add, expected one of them")
        for name, amounts in added.items():
            if covariates.is_categorical(name):
                raise ValueError(f"{name}: is a label, so nothing can be added to it; expected its new value")
            for amount in amounts:
                if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not math.isfinite(amount):
                    raise ValueError(f"{name}: expected a number to add, found {amount!r}")
        self.conditions: list[tuple[dict[str, float], dict[str, Any]]] = []
        for more in itertools.product(*added.values()):
            for new in itertools.product(*fixed.values()):
                self.conditions.append((dict(zip(added, more, strict=True)), dict(zip(fixed, new, strict=True))))
        self._fixed = covariates.encode([new for _, new in self.conditions], where="the change asked for")
        self.titles = [self._title(*condition) for condition in self.conditions]

    def __len__(self) -> int:
        return len(self.conditions)

    def targets(self, source: Tensor) -> Tensor:
        """Return the covariates to ask for.

        Args:
            source: ``(N, K)`` of the images, NaN where unknown.

        Returns:
            ``(N, M, K)`` for M conditions.

        Raises:
            ValueError: when something is added to an unknown number, or the sum is outside the declared range.
        """
        asked = source[:, None].repeat(1, len(self.conditions), 1)
        for number, (added, new) in enumerate(self.conditions):
            for name in new:
                column = self.covariates.index(name)
                asked[:, number, column] = self._fixed[number, column]
            for name, amount in added.items():
                column = self.covariates.index(name)
                asked[:, number, column] += amount
                self._check(name, asked[:, number, column], amount)
        return asked

    def possible(self, row: Tensor) -> bool:
        """Whether every condition can be asked of an image with the covariates ``(K,)``, and changes it."""
        try:
            asked = self.targets(row[None])[0]
        except ValueError:
            return False
        same = (asked == row) | (asked.isnan() & row.isnan())
        return not bool(same.all(1).any())

    def _check(self, name: str, values: Tensor, amount: float) -> None:
        declared: Any = self.covariates[name]
        for value in values.tolist():
            if math.isnan(value):
                raise ValueError(
                    f"{name}: is unknown for an image, so {amount:+g} cannot be added; give it by --source"
                )
            if not declared.low <= value <= declared.high:
                raise ValueError(
                    f"{name}: {value - amount:g} {amount:+g} = {value:g} lies outside the declared {declared.low:g} to "
                    f"{declared.high:g} {declared.unit}".rstrip()
                )

    def _title(self, added: Mapping[str, float], new: Mapping[str, Any]) -> str:
        parts = []
        for name, amount in added.items():
            unit = getattr(self.covariates[name], "unit", "") or name
            parts.append(f"{amount:+g} {unit}")
        for name, value in new.items():
            parts.append(str(value) if self.covariates.is_categorical(name) else f"{name} {value:g}")
        return ", ".join(parts)


def _nothing(value: Any) -> bool:
    """Whether nothing is asked; a command line cannot say null, so "none" and an empty list say it too."""
    return value is None or (isinstance(value, str) and value.lower() == "none") or value in ([], ())


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def same_as(source: Tensor) -> Tensor:
    """Return ``(N, 1, K)``: the images' own covariates as the one condition, that of the no-change control."""
    return torch.as_tensor(source)[:, None]
