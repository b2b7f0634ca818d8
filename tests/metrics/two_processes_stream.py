"""Feeds every streaming metric half of the batches on each of two processes; rank 0 writes what they give."""

import json
import sys
from pathlib import Path

import ignite.distributed as idist
import torch
from ignite.engine import Engine

from medgen import metrics

NAMES = ("FrechetDistanceMetric", "KernelDistanceMetric", "ManifoldMetric", "InceptionScoreMetric")


def world():
    """Features of generated and real images, far from the origin, and small images."""
    draw = torch.Generator().manual_seed(0)
    generated = 50 + torch.randn(41, 6, generator=draw, dtype=torch.float64)
    real = 50.3 + 1.2 * torch.randn(58, 6, generator=draw, dtype=torch.float64)
    return generated, real, torch.rand(14, 1, 16, 16, generator=draw) * 2 - 1


def run(rank, processes):
    """What the metrics give when batches are dealt out to processes; the last batch is on one process only."""
    generated, real, images = world()
    batches = [
        {"pair": pair, "images": part}
        for pair, part in zip(
            zip([*generated.split(7), None, None][:8], [*real.split(8)], strict=True),
            [*images.split(2), images[:0]],
            strict=True,
        )
    ]
    engine = Engine(lambda engine, batch: batch)
    for name in NAMES[:3]:
        getattr(metrics, name)(output_transform=lambda output: output["pair"]).attach(engine, name)
    people = engine_of_subjects(batches, rank, processes)
    one_side = {"output_transform": lambda output: (output["pair"][1] - 50).softmax(1)}
    metrics.InceptionScoreMetric(**one_side).attach(engine, NAMES[3])
    metrics.SampleMSSSIMMetric(output_transform=lambda output: output["images"]).attach(engine, "SampleMSSSIMMetric")
    engine.run(batches[rank::processes][: 5 if rank else None])
    return engine.state.metrics | people


def engine_of_subjects(batches, rank, processes):
    """The distances of batches that say whose images they are: person 0 to 19 on both sides, in turn."""
    counts, named = [0, 0], []
    for batch in batches:
        names = []
        for side, images in enumerate(batch["pair"]):
            number = 0 if images is None else len(images)
            names.append([f"person {place % 20}" for place in range(counts[side], counts[side] + number)])
            counts[side] += number
        named.append((*batch["pair"], *names))
    engine = Engine(lambda engine, batch: batch)
    metrics.KernelDistanceMetric().attach(engine, "kernel of people")
    metrics.ManifoldMetric(output_transform=lambda of: (*of[:2], None, of[3])).attach(engine, "manifold of people")
    engine.run(named[rank::processes][: 5 if rank else None])
    return engine.state.metrics


def main(rank, folder):
    """Run on one process of two."""
    found = run(rank, idist.get_world_size())
    Path(folder, f"rank{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    # forked: the packages are imported once; met over a file: no port can be taken
    meeting = f"file://{sys.argv[1]}/meeting"
    idist.spawn("gloo", main, (sys.argv[1],), nproc_per_node=2, init_method=meeting, start_method="fork")
