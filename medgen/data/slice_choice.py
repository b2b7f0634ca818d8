"""Which slices of a scan are taken: planes, ranges of positions, and how many of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medgen.data.images import PLANES
from medgen.randomness import numpy_generator
from medgen.spelling import nearest

__all__ = ["SliceChoice"]

Range = tuple[float, float]


class SliceChoice:
    """The wanted planes, and the wanted slices among the positions that a scan offers.

    Args:
        plane: "axial", "coronal" or "sagittal", or several of them.
        slice_range: lowest and highest position, in [0, 1]; or plane to these, one for each plane wanted.
        slices: number per scan and plane, one drawn from each of as many equal parts of the range; None takes all.
        seed: of the draw; None takes the middle of each part.

    Attributes:
        planes: the wanted ones, in the order given.
        ranges: plane to its range.

    Raises:
        ValueError: when an argument is out of range.

    Example:
        >>> SliceChoice("axial", (0.4, 0.6), slices=2, seed=None).choose("somebody", [0.3, 0.45, 0.5, 0.55, 0.7])
        [1, 3]
    """

    def __init__(
        self,
        plane: str | Sequence[str] = "axial",
        slice_range: Sequence[float] | Mapping[str, Sequence[float]] = (0.0, 1.0),
        slices: int | None = None,
        seed: int | None = 0,
    ) -> None:
        self.planes = (plane,) if isinstance(plane, str) else tuple(plane)
        if not self.planes or len(set(self.planes)) < len(self.planes):
            raise ValueError(f"plane: expected one plane or different ones, found {plane!r}")
        for name in (*self.planes, *(slice_range if isinstance(slice_range, Mapping) else ())):
            if name not in PLANES:
                raise ValueError(f"plane: found {name!r}{nearest(name, PLANES)}, expected one of {list(PLANES)}")
        if slices is not None and slices < 1:
            raise ValueError(f"slices: expected at least 1, or None for all, found {slices!r}")
        by_plane = slice_range if isinstance(slice_range, Mapping) else dict.fromkeys(self.planes, slice_range)
        if lacking := [name for name in self.planes if name not in by_plane]:
            raise ValueError(f"slice_range: found none for {lacking}, expected one for each of {list(self.planes)}")
        self.ranges: dict[str, Range] = {name: _checked(by_plane[name]) for name in self.planes}
        self.slices, self.seed = slices, seed

    def choose(self, name: str, places: Sequence[float], plane: str | None = None) -> list[int]:
        """Return the indices of the chosen slices among those at ``places``.

        Args:
            name: of the scan; the draw depends on it.
            places: positions, in [0, 1].
            plane: theirs; None is the first wanted one.
        """
        low, high = self.ranges[plane or self.planes[0]]
        inside = [i for i, p in enumerate(places) if low - 1e-6 <= p <= high + 1e-6]
        if self.slices is None or not inside:
            return inside
        shift = [0.5] * self.slices
        if self.seed is not None:
            key = name if len(self.planes) == 1 else f"{name}/{plane}"
            shift = numpy_generator("slices", self.seed, key).random(self.slices).tolist()
        chosen: list[int] = []
        for i, u in enumerate(shift):  # neighbouring parts may want the same slice: the next best goes to the second
            target = low + (i + u) / self.slices * (high - low)
            if left := [i for i in inside if i not in chosen]:
                chosen.append(min(left, key=lambda i: abs(places[i] - target)))
        return sorted(chosen)


def _checked(pair: Sequence[float]) -> Range:
    if isinstance(pair, str) or len(pair) != 2 or not 0 <= pair[0] <= pair[1] <= 1:
        raise ValueError(f"slice_range: expected two positions, 0 <= low <= high <= 1, found {pair!r}")
    return (pair[0], pair[1])
