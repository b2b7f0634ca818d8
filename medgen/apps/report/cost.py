"""What images cost, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medgen.apps.report import page
from medgen.apps.report.words import number

__all__ = ["cost_rows", "cost_section", "memory_words", "time_words", "training_words"]

MISSING = "not recorded"


def cost_rows(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What it is, and how much of it; evaluations that recorded less say so."""
    found, model = metrics.get("cost") or {}, metrics["model"]
    row = next(row for row in metrics["generated"] if row["main"])
    codec = found.get("codec_parameters")
    size = f"{model['parameters']:,}" + (f", and {codec:,} of the codec" if codec else "")
    return [
        ("Parameters", size),
        ("Network evaluations an image", str(row["evaluations_per_image"])),
        ("Time an image", f"{number(row['seconds_per_image'], 3)} s"),
        ("Peak memory", memory_words(found)),
        ("Generated on", found.get("device") or MISSING),
        ("Training", training_words(model)),
    ]


def cost_section(metrics: Mapping[str, Any]) -> str:
    """The section of a report."""
    note = page.paragraph(
        f"At guidance {metrics['settings']['guidance']:g}. Seconds are on the wall, of images made many at a time, and "
        "say nothing of another machine."
    )
    return page.section("Cost", note, page.table(["", ""], [list(row) for row in cost_rows(metrics)]))


def memory_words(cost: Mapping[str, Any]) -> str:
    """The peak, and of what it is: a GPU says what tensors took, a CPU what the whole process did."""
    peak = cost.get("peak_memory_bytes")
    if peak is None:
        return MISSING
    of = {
        "device": "of GPU memory taken by tensors while generating",
        "process": "of main memory, the most that the whole evaluation took until then",
    }
    return f"{number(peak / 2**30)} GiB {of.get(cost.get('memory_of') or '', '')}".strip()


def training_words(model: Mapping[str, Any]) -> str:
    """Iterations, images, time and device of training, as far as the manifest has them."""
    iteration, training = model.get("iteration"), model.get("training")
    said = [] if iteration is None else [f"{iteration:,} iterations"]
    if training:
        said.append(f"{training['images']:,} images")
        many = f"{training['processes']} × " if training["processes"] > 1 else ""
        said.append(f"{time_words(training['seconds'])} on {many}{training['device']}")
    else:
        said.append(f"time {MISSING}")
    return ", ".join(said)


def time_words(seconds: float) -> str:
    """A duration as people say it.

    Example:
        >>> [time_words(s) for s in (41.3, 460, 9000)]
        ['41 s', '7.7 min', '2.5 h']
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
