"""What to generate: covariates and a seed for every image."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from medgen.covariates import Covariates
from medgen.randomness import seed_from

__all__ = ["GenerationRequests", "image_seeds"]


def image_seeds(seed: int, n: int) -> list[int]:
    """Return the seeds of the first ``n`` images of ``seed``; image i's does not depend on ``n``.

    Args:
        seed: any integer.
        n: number of images, at least 1.

    Raises:
        ValueError: when ``n`` is not a positive integer.
        TypeError: when ``seed`` is no integer.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n: found {n!r}, expected a positive integer")
    return [seed_from("image", seed, index) for index in range(n)]


class GenerationRequests(Dataset):
    """The images that one command asks for: ``n`` of every combination of the covariates given.

    A covariate given as a list makes one condition per value; the conditions follow each other in the order given, the
    last covariate changing fastest. Image i has the same seed in every condition, so that conditions can be compared
    image by image. A covariate that is not given, or None, is unknown to the network.

    Args:
        covariates: the model's declaration.
        n: images per condition.
        seed: seed of the first condition's first image and so of all.
        values: covariate = label, number, None, or a list of these.

    Raises:
        ValueError: for a covariate, label or number outside the declaration, naming the nearest valid one.

    Example:
        >>> covariates = Covariates(diagnosis=["NC", "AD"], age={"low": 18, "high": 100})
        >>> requests = GenerationRequests(covariates, n=4, seed=0, diagnosis=["NC", "AD"], age=75)
        >>> len(requests), requests.conditions
        (8, [{'diagnosis': 'NC', 'age': 75.0}, {'diagnosis': 'AD', 'age': 75.0}])
    """

    def __init__(self, covariates: Covariates, n: int = 16, seed: int = 0, **values: Any) -> None:
        self.covariates = covariates
        self.n = n
        self.seeds = image_seeds(seed, n)
        listed = {name: list(value) if _is_list(value) else [value] for name, value in values.items()}
        combinations = [dict(zip(listed, values, strict=True)) for values in itertools.product(*listed.values())]
        self.encoded = covariates.encode(combinations, where="request")
        self.conditions: list[dict[str, Any]] = [
            {name: value for name, value in covariates.decode(row).items() if value is not None} for row in self.encoded
        ]

    def __len__(self) -> int:
        return self.n * len(self.conditions)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``covariates`` (K,) float32 with NaN where unknown, the image's ``seed`` and its ``index``."""
        if not 0 <= index < len(self):
            raise IndexError(f"index: found {index}, expected 0 to {len(self) - 1}")
        condition, image = divmod(index, self.n)
        return {"covariates": self.encoded[condition], "seed": self.seeds[image], "index": index}

    def rows(self) -> list[dict[str, Any]]:
        """Return, for every image in order, its ``index``, ``seed`` and declared covariates (None where unknown)."""
        return [
            {"index": index, "seed": self.seeds[index % self.n]} | self.covariates.decode(self.encoded[index // self.n])
            for index in range(len(self))
        ]

    def titles(self) -> list[str]:
        """Return one short text per condition, for example ``AD, 75 years, F``."""
        return [_title(self.covariates, condition) for condition in self.conditions]

    def batch(self) -> dict[str, Any]:
        """Return all requests at once: ``covariates`` (N, K) and ``seed``, a list of N."""
        return {
            "covariates": torch.repeat_interleave(self.encoded, self.n, dim=0),
            "seed": self.seeds * len(self.conditions),
        }


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _title(covariates: Covariates, condition: Mapping[str, Any]) -> str:
    parts = []
    for name, value in condition.items():
        if covariates.is_categorical(name):
            parts.append(str(value))
        else:
            unit = getattr(covariates[name], "unit", "")
            parts.append(f"{value:g} {unit}".strip() if unit in ("years", "mm", "ml") else f"{name} {value:g}")
    return ", ".join(parts) or "unconditional"
