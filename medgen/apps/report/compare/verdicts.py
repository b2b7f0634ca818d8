"""Which run is better, said only where the intervals say so; and what several seeds of the same settings agree on."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from medgen.apps.report.compare.facts import FACTS, differing, fact_groups
from medgen.apps.report.compare.figures import FIGURES, Compared, Figure, Reading
from medgen.apps.report.compare.runs import Run
from medgen.apps.report.words import listed

__all__ = ["compared_figures", "over_seeds", "verdict"]

NONE_SEEN, DIFFER, FIRST, SECOND, UNDETERMINED = "no difference seen", "differ", "first", "second", "not determined"
UNLIKE = "found with unlike recall"
_SEED_KEYS = {"seed", "observed", "unobserved", "resume"}  # of training settings: seeds, and what follows from them


def verdict(one: Reading, other: Reading, figure: Compared) -> str:
    """Compare two readings by their intervals.

    Returns:
        "no difference seen" where the intervals overlap; "first" or "second" where that one is nearer to the ideal by
        more than both intervals; "differ" where neither is; "not determined" without intervals;
        "found with unlike recall" where one search finds surely more of what there is than the other.
    """
    if _apart(one.recall, other.recall):
        return UNLIKE
    ends = [(reading.figure["low"], reading.figure["high"]) for reading in (one, other)]
    if (
        any(end is None for pair in ends for end in pair)
        or one.figure["value"] is None
        or other.figure["value"] is None
    ):
        return UNDETERMINED
    (low, high), (other_low, other_high) = ends
    if low <= other_high and other_low <= high:  # type: ignore[operator]
        return NONE_SEEN
    near, far = _distances(one, figure)
    other_near, other_far = _distances(other, figure)
    if far < other_near:
        return FIRST
    return SECOND if other_far < near else DIFFER


def _apart(one: Figure | None, other: Figure | None) -> bool:
    """Whether both intervals are known and do not overlap."""
    low, high = (one or {}).get("low"), (one or {}).get("high")
    other_low, other_high = (other or {}).get("low"), (other or {}).get("high")
    if low is None or high is None or other_low is None or other_high is None:
        return False
    return low > other_high or other_low > high


def _distances(reading: Reading, figure: Compared) -> tuple[float, float]:
    """The least and the largest distance to the ideal that the interval allows."""
    low, high = (float(reading.figure[end] or 0) - reading.ideal for end in ("low", "high"))
    if figure.one_sided == "low":
        return low, high
    return (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))


def compared_figures(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Every figure that a run has: readings by run, groups that may be compared, verdicts by pair, and words.

    Returns:
        Mappings with "figure" (a :class:`Compared`), "readings", "groups" (lists of names), "pairs" (first, second and
        verdict), "comparable" and "words".
    """
    found = []
    for figure in FIGURES:
        readings = {run.name: reading for run in runs if (reading := figure.of(run)) is not None}
        if not readings:
            continue
        groups = fact_groups([run for run in runs if run.name in readings], figure.needs)
        pairs = [
            (a.name, b.name, verdict(readings[a.name], readings[b.name], figure))
            for group in groups
            for a, b in itertools.combinations(group, 2)
        ]
        found.append(
            {
                "figure": figure,
                "readings": readings,
                "groups": [[run.name for run in group] for group in groups],
                "pairs": pairs,
                "comparable": _comparable(groups, figure),
                "words": _words(pairs, figure, len(readings)),
            }
        )
    return found


def _comparable(groups: Sequence[Sequence[Run]], figure: Compared) -> str:
    if len(groups) == 1:
        return "yes" if len(groups[0]) > 1 else "only one run has it"
    causes = dict.fromkeys(
        name for one, other in itertools.combinations(groups, 2) for name in differing(one[0], other[0], figure.needs)
    )
    why = listed([FACTS[name].words for name in causes])
    several = [listed([run.name for run in group]) for group in groups if len(group) > 1]
    return f"only within {'; within '.join(several)}: {why}" if several else f"no: {why}"


def _words(pairs: Sequence[tuple[str, str, str]], figure: Compared, count: int) -> str:
    if not pairs:
        return "Not compared." if count > 1 else ""
    beaten: dict[str, list[str]] = {}
    for first, second, said in pairs:
        if said in (FIRST, SECOND):
            winner, loser = (first, second) if said == FIRST else (second, first)
            beaten.setdefault(winner, []).append(loser)
    told = [f"{winner} {figure.better} {listed(losers)}." for winner, losers in beaten.items()]
    told += [f"{a} and {b} differ, and neither is clearly nearer." for a, b, said in pairs if said == DIFFER]
    alike = [(a, b) for a, b, said in pairs if said == NONE_SEEN]
    if alike and len(alike) == len(pairs):
        told.append("No difference seen.")
    elif alike:
        told.append("No difference seen between " + "; ".join(f"{a} and {b}" for a, b in alike) + ".")
    if any(said == UNDETERMINED for _, _, said in pairs):
        told.append("Not determined where an interval is lacking.")
    told += [f"{a} and {b} are not compared: their searches differ in recall." for a, b, s in pairs if s == UNLIKE]
    return " ".join(told)


def over_seeds(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Runs of the same settings with several seeds: mean, standard deviation and extremes of every figure.

    Returns:
        Mappings with "runs" (names), "words" (which seeds, and what the spread is of) and "figures" (name to "mean",
        "sd", "low", "high", "n").
    """
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_settings_key(run), []).append(run)
    found = []
    for own in groups.values():
        seeds = [_seeds(run) for run in own]
        if len({json.dumps(seed) for seed in seeds}) < 2:
            continue
        figures = {}
        for figure in FIGURES:
            readings = [reading.figure["value"] for run in own if (reading := figure.of(run)) is not None]
            values = [value for value in readings if value is not None]
            if len(values) > 1:
                spread = {"mean": statistics.fmean(values), "sd": statistics.stdev(values)}
                figures[figure.name] = spread | {"low": min(values), "high": max(values), "n": len(values)}
        found.append({"runs": [run.name for run in own], "words": _seed_words(own), "figures": figures})
    return found


def _settings_key(run: Run) -> str:
    """All that was set, but for the seeds."""
    metrics, model = run.metrics, run.metrics["model"]
    config = model["config"]
    if not isinstance(
        config, Mapping
    ):  # nothing says how it was trained: only the same weights are of the same settings
        trained: Any = model["sha256"]
    else:
        trained = {name: value for name, value in config.items() if name not in _SEED_KEYS}
    settings = {name: value for name, value in metrics["settings"].items() if name != "seed"}
    data = metrics["data"]
    about = [data["fingerprint"], data["image_size"], data["pixel_mm"], settings, trained, model["parameters"]]
    return json.dumps([*about, metrics["extractor"]["name"], metrics["extractor"]["sha256"]], sort_keys=True)


def _seeds(run: Run) -> tuple[Any, Any, str]:
    """Of training and evaluation, and the weights."""
    model, config = run.metrics["model"], run.metrics["model"]["config"]
    seed = config.get("seed") if isinstance(config, Mapping) else None
    return seed, run.metrics["settings"]["seed"], model["sha256"]


def _seed_words(runs: Sequence[Run]) -> str:
    training, evaluation, weights = zip(*(_seeds(run) for run in runs), strict=True)
    parts = []
    if len(set(weights)) == 1:
        parts.append(
            f"The same weights, evaluated with seeds {_distinct(evaluation)}: the spread is of evaluation alone"
        )
    else:
        parts.append(f"Trained with seeds {_distinct(training)}, evaluated with {_distinct(evaluation)}")
    if len(fact_groups(runs, ("split",))) > 1:
        parts.append("the seed divided people anew, so that the spread is also of who was held out")
    if len(runs) < 5:
        parts.append(f"{len(runs)} runs say little of a spread")
    return "; ".join(parts) + "."


def _distinct(values: Sequence[Any]) -> str:
    return ", ".join(str(value) for value in dict.fromkeys(values))
