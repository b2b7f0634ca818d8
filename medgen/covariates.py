"""Covariates: what an image is conditioned on, declared once and read by data, network, sampler and report."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medgen.sexes import SEX_NAMES, same_sex
from medgen.spelling import nearest

if TYPE_CHECKING:
    import torch

__all__ = ["Covariates", "Range"]

_UNKNOWN_TEXT = {"", "n/a", "na", "nan", "none", "null", "unknown"}


@dataclass(frozen=True)
class Range:
    """A continuous covariate's closed interval.

    Args:
        low: smallest value that may occur, in ``unit``.
        high: largest value that may occur, in ``unit``.
        unit: the unit's name, for example "years", "mm" or "fraction".

    Raises:
        ValueError: when a bound is not finite or ``low`` is not below ``high``.
    """

    low: float
    high: float
    unit: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"Range: expected finite low < high, found low={self.low!r}, high={self.high!r}")


class Covariates:
    """The declared covariates of a bundle, and the code between their values and numbers.

    A batch carries them as float32 ``(B, K)``: a categorical one as the index of its label in the declared order, a
    continuous one in its own unit. NaN means unknown.

    Args:
        declared: name = list of labels (categorical, order kept) or :class:`Range` (continuous; a mapping with
            ``low``, ``high`` and ``unit`` is accepted for JSON).

    Raises:
        ValueError: on a declaration that is neither, on fewer than two labels, or on labels that repeat.

    Example:
        >>> covariates = Covariates(diagnosis=["NC", "AD"], age=Range(18, 100, "years"))
        >>> covariates.encode({"diagnosis": "AD", "age": 72.5}).tolist()
        [1.0, 72.5]
        >>> covariates.decode(covariates.encode({"age": 60}))
        {'diagnosis': None, 'age': 60.0}
    """

    def __init__(self, **declared: Sequence[str] | Range | Mapping[str, Any]) -> None:
        self._declared: dict[str, tuple[str, ...] | Range] = {}
        for name, value in declared.items():
            self._declared[name] = _declaration(name, value)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in declared order; the columns of an encoded batch."""
        return tuple(self._declared)

    def __len__(self) -> int:
        return len(self._declared)

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __contains__(self, name: object) -> bool:
        return name in self._declared

    def __getitem__(self, name: str) -> tuple[str, ...] | Range:
        return self._declared[self._known_name(name)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Covariates) and list(self._declared.items()) == list(other._declared.items())

    def __hash__(self) -> int:
        return hash(tuple(self._declared.items()))

    def __repr__(self) -> str:
        inside = ", ".join(f"{n}={list(d) if isinstance(d, tuple) else d}" for n, d in self._declared.items())
        return f"Covariates({inside})"

    def is_categorical(self, name: str) -> bool:
        """Whether ``name`` was declared by labels."""
        return isinstance(self[name], tuple)

    @property
    def categorical(self) -> tuple[str, ...]:
        """Names of the categorical covariates, in declared order."""
        return tuple(name for name in self._declared if self.is_categorical(name))

    def index(self, name: str) -> int:
        """Column of ``name`` in an encoded batch."""
        return self.names.index(self._known_name(name))

    def encode(
        self, values: Mapping[str, Any] | Sequence[Mapping[str, Any]], where: str = "", unknown_keys: str = "raise"
    ) -> torch.Tensor:
        """Turn named values into numbers.

        Args:
            values: one mapping of covariate name to label or number, or a sequence of them. A covariate that is absent,
                ``None``, NaN, "" or "n/a" is unknown. A sex may be given by other words than its label's: "female" for
                a declared F.
            where: what the values belong to (a file, a table row), named in errors.
            unknown_keys: "raise" refuses names that are not declared; "ignore" passes over them (records that
                carry file names as well).

        Returns:
            float32 ``(K,)`` for a mapping, ``(N, K)`` for a sequence.

        Raises:
            ValueError: on an undeclared name, an undeclared label or a number outside its range.
        """
        import torch

        if isinstance(values, Mapping):
            if unknown_keys == "raise":
                for name in values:
                    self._known_name(name)
            row = [self._encode_one(name, values.get(name), where) for name in self._declared]
            return torch.tensor(row, dtype=torch.float32)
        rows = [self.encode(v, where, unknown_keys) for v in values]
        return torch.stack(rows) if rows else torch.empty(0, len(self), dtype=torch.float32)

    def decode(self, vector: torch.Tensor | Sequence[float]) -> dict[str, str | float | None]:
        """Turn one encoded row ``(K,)`` back into labels and numbers; unknown becomes ``None``."""
        row = [float(v) for v in vector]
        if len(row) != len(self):
            raise ValueError(f"Covariates.decode: expected {len(self)} values ({self.names}), found {len(row)}")
        result: dict[str, str | float | None] = {}
        for (name, declared), value in zip(self._declared.items(), row, strict=True):
            if math.isnan(value):
                result[name] = None
            else:
                result[name] = declared[round(value)] if isinstance(declared, tuple) else value
        return result

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON form; :meth:`from_dict` reads it."""
        return {
            name: list(d) if isinstance(d, tuple) else {"low": d.low, "high": d.high, "unit": d.unit}
            for name, d in self._declared.items()
        }

    @classmethod
    def from_dict(cls, declared: Mapping[str, Any]) -> Covariates:
        """Rebuild covariates from :meth:`to_dict`."""
        return cls(**declared)

    def _known_name(self, name: str) -> str:
        if name not in self._declared:
            raise ValueError(f"unknown covariate {name!r}{nearest(name, self._declared)}; declared: {self.names}")
        return name

    def _encode_one(self, name: str, value: Any, where: str) -> float:
        if value is None or (isinstance(value, str) and value.strip().lower() in _UNKNOWN_TEXT - self._labels(name)):
            return math.nan
        declared = self._declared[name]
        place = f" in {where}" if where else ""
        if isinstance(declared, tuple):
            if isinstance(value, float) and math.isnan(value):
                return math.nan
            label = str(value)
            if label not in declared and name in SEX_NAMES:
                label = same_sex(label, declared) or label
            if label not in declared:
                hint = nearest(label, declared)
                raise ValueError(f"{name}: undeclared label {label!r}{place}{hint}; declared: {list(declared)}")
            return float(declared.index(label))
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{name}: expected a number, found {value!r}{place}") from None
        if math.isnan(number):
            return math.nan
        if not declared.low <= number <= declared.high:
            unit = f" {declared.unit}" if declared.unit else ""
            raise ValueError(f"{name}: {number:g}{place} lies outside {declared.low:g} to {declared.high:g}{unit}")
        return number

    def _labels(self, name: str) -> set[str]:
        declared = self._declared[name]
        return {label.lower() for label in declared} if isinstance(declared, tuple) else set()


def _declaration(name: str, value: Any) -> tuple[str, ...] | Range:
    if isinstance(value, Range):
        return value
    if isinstance(value, Mapping):
        try:
            return Range(**value)
        except TypeError as error:
            raise ValueError(f"covariate {name!r}: expected low, high and unit, found {dict(value)!r}") from error
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"covariate {name!r}: expected a list of labels or a Range, found {value!r}")
    labels = tuple(str(label) for label in value)
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise ValueError(f"covariate {name!r}: expected two or more different labels, found {list(value)!r}")
    return labels
