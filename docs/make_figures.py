"""Draw the figures of docs/ from the simulated cohort and from what `make demo` left.

    make demo && make demo BUNDLE=bundles/mri_age_flow && make docs

Every brain that is drawn is simulated or generated, and the file says so.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

import medgen
from medgen.data import Cohort, SliceDataset, simulated_cohort
from medgen.io import image_grid, save_gif, save_png
from medgen.randomness import generator
from medgen.samplers import Sampler

DOCS = Path(__file__).resolve().parent
INK, BLUE, RED, GREY = "#222222", "#2b6cb0", "#c05621", "#8a8f98"


def main() -> None:
    """Draw what there is material for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--bundle", type=Path, default=DOCS.parent / "bundles" / "adni_ddim", help="trained by the demo"
    )
    parser.add_argument("--age_bundle", type=Path, default=DOCS.parent / "bundles" / "mri_age_flow", help="so too")
    parser.add_argument("--output", type=Path, default=DOCS / "figures")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)

    architecture(arguments.output / "architecture.png")
    ages(medgen.load(arguments.age_bundle), arguments.output / "mri_age_flow_ages")
    bundle = medgen.load(arguments.bundle)
    forward(bundle, arguments.output / "forward.png")
    classes(bundle, arguments.output / "adni_ddim_nc_ad.png")
    reverse(bundle, arguments.output / "reverse.png")
    steps(bundle, arguments.output / "steps.png")
    guidance(arguments.bundle / "eval" / "metrics.json", arguments.output / "guidance.png")
    loss(max((arguments.bundle / "runs").glob("run_*")), arguments.output / "loss.png")


def architecture(path: Path) -> None:
    """Boxes and arrows: what a bundle names, and what passes between them."""
    figure = Figure(figsize=(10, 5.2))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 52)
    axes.axis("off")

    def box(x: float, y: float, width: float, title: str, text: str, colour: str = BLUE) -> None:
        patch = FancyBboxPatch(
            (x, y), width, 9, boxstyle="round,pad=0.3,rounding_size=1", fc="white", ec=colour, lw=1.5
        )
        axes.add_patch(patch)
        axes.text(x + width / 2, y + 6.2, title, ha="center", va="center", fontsize=10, weight="bold", color=colour)
        axes.text(x + width / 2, y + 2.6, text, ha="center", va="center", fontsize=7.5, color=INK)

    def arrow(start: tuple[float, float], end: tuple[float, float], label: str = "") -> None:
        axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color=GREY, lw=1.2))
        if label:
            middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 1.1)
            axes.text(*middle, label, ha="center", fontsize=7, color=GREY, style="italic")

    axes.text(2, 49, "training", fontsize=9, color=GREY, style="italic")
    box(2, 37, 17, "Cohort", "NIfTI or slices + table,\nsplit by subject")
    box(26, 37, 17, "BatchLoader", "slices in memory,\naugmented, any position")
    box(50, 37, 17, "Process", "t, noisy, target;\nestimate of clean, noise")
    box(76, 37, 20, "GenerativeTrainer", "one step function: autocast,\nguard, EMA, exact resume")
    box(26, 21, 17, "Covariates", "declared once;\nNaN = unknown")
    box(50, 21, 17, "ConditionalUNet", "noisy, t, covariates\n-> prediction", RED)
    box(76, 21, 20, "models/model.pt", "EMA weights + manifest\nwith SHA-256", RED)
    axes.text(2, 17, "generation and evidence", fontsize=9, color=GREY, style="italic")
    box(2, 4, 17, "Seeds", "image i = f(seed i)")
    box(26, 4, 17, "Sampler", "time grid, solver,\nguidance")
    box(50, 4, 17, "Samples", "PNG, NIfTI, manifest;\nmarked synthetic")
    box(76, 4, 20, "report.html", "fidelity, label fidelity,\neffect size, spread")
    for x0, x1, label in ((19.5, 25.5, "records"), (43.5, 49.5, "clean"), (67.5, 75.5, "loss")):
        arrow((x0, 41.5), (x1, 41.5), label)
    arrow((86, 36.5), (86, 30.5))
    arrow((58.5, 36.5), (58.5, 30.5))
    arrow((43.5, 25.5), (49.5, 25.5), "(B, K)")
    arrow((67.5, 25.5), (75.5, 25.5), "average")
    for x0, x1 in ((19.5, 25.5), (43.5, 49.5), (67.5, 75.5)):
        arrow((x0, 8.5), (x1, 8.5))
    arrow((54, 20.5), (39, 13.5), "estimates")
    arrow((34.5, 20.5), (34.5, 13.5))
    figure.savefig(path, dpi=130)


def forward(bundle: Any, path: Path) -> None:
    """One simulated brain at rising t."""
    root = simulated_cohort(subjects=8, progress=False)
    cohort = Cohort(root, bundle.covariates)
    options = {"image_size": 128, "slices": 1, "progress": False}
    dataset = SliceDataset(cohort.records[:1], covariates=bundle.covariates, slice_range=(0.55, 0.6), **options)
    clean = dataset.images[:1].float()
    noise = torch.randn(clean.shape, generator=generator("figure", 0))
    times = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    noisy = [bundle.process.corrupt(clean, noise, torch.tensor([t], dtype=torch.float64))[0] for t in times]
    labels = [f"t = {t:g}" for t in times]
    save_png(
        image_grid(torch.stack(noisy), columns=6, column_labels=labels), path, {"Source": "simulated brain and noise"}
    )


def classes(bundle: Any, path: Path) -> None:
    """The same seeds as NC and as AD."""
    images = bundle.generate(n=8, seed=0, diagnosis=["NC", "AD"], age=75, slice=0.58)
    save_png(image_grid(images, columns=8, row_labels=["NC", "AD"]), path, {"Seed": 0, "Age": 75})


def ages(bundle: Any, path: Path) -> None:
    """Ages from 60 to 90 in three planes: along a row the noise stays, and nothing changes but the age."""
    values, planes, people = [60, 65, 70, 75, 80, 85, 90], ["axial", "coronal", "sagittal"], 2
    asked = {"sex": "F", "diagnosis": "NC", "slice": 0.5}
    by_plane = [bundle.generate(n=people, seed=0, age=values, plane=plane, **asked) for plane in planes]
    # rows of a plane: one noise each; columns: ages
    tiles = torch.stack([images.unflatten(0, (len(values), people)).transpose(0, 1) for images in by_plane])
    record = {"Seed": 0, "Sex": "F", "Diagnosis": "NC"}
    rows = [name for plane in planes for name in (plane, *[""] * (people - 1))]
    labels = [str(value) for value in values]
    grid = image_grid(tiles.flatten(0, 2), columns=len(values), row_labels=rows, column_labels=labels)
    save_png(grid, path.with_suffix(".png"), record | {"Age": "60 to 90"})
    frames = [
        image_grid(tiles[:, :, place].flatten(0, 1), columns=people, row_labels=[f"age {value}", "", ""])
        for place, value in enumerate(values)
    ]
    save_gif(frames, path.with_suffix(".gif"), record | {"Age": "60 to 90"}, milliseconds=500)


def reverse(bundle: Any, path: Path) -> None:
    """The noisy image, and the estimate of the clean one, at six moments."""
    values = bundle.covariates.encode([{"diagnosis": "AD", "age": 75}])
    shape = bundle.generate(n=1, steps=1).shape[1:]
    samples = Sampler("ddim", steps=50)(bundle.network, bundle.process, shape, [0], values, record=6)
    rows = torch.cat([torch.cat([s.noisy for s in samples.steps]), torch.cat([s.clean for s in samples.steps])])
    labels = [f"t = {step.t:.1f}" for step in samples.steps]
    save_png(image_grid(rows, columns=len(labels), row_labels=["noisy", "clean?"], column_labels=labels), path)


def steps(bundle: Any, path: Path) -> None:
    """The same four seeds with fewer and more steps."""
    counts = (5, 10, 20, 50)
    images = [bundle.generate(n=6, seed=0, diagnosis="AD", age=75, slice=0.5, steps=count) for count in counts]
    labels = [str(count) for count in counts]
    save_png(image_grid(torch.cat(images), columns=6, row_labels=labels), path)


def guidance(metrics: Path, path: Path) -> None:
    """Label fidelity, ventricle effect and spread against the guidance scale, from metrics.json."""
    rows = json.loads(metrics.read_text())["generated"]
    scales = [row["guidance"] for row in rows]
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    panels = (
        ("label fidelity", 0.2, [row["label"]["ratio"] for row in rows]),
        ("ventricle effect", 0.35, [row["ventricles"]["effect_ratio"] for row in rows]),
        ("spread within a class", 0.35, [row["ventricles"]["spread_ratio"] for row in rows]),
    )
    for axes, (title, band, ratios) in zip(figure.subplots(1, 3), panels, strict=True):
        values = [ratio["value"] for ratio in ratios]
        below = [max(0.0, ratio["value"] - ratio["low"]) for ratio in ratios]
        above = [max(0.0, ratio["high"] - ratio["value"]) for ratio in ratios]
        axes.axhspan(1 - band, 1 + band, color="#e6f0fa")
        axes.axhline(1, color=GREY, lw=1)
        axes.errorbar(scales, values, yerr=(below, above), fmt="o-", color=BLUE, capsize=3)
        axes.set_title(f"{title}, generated / real", fontsize=9)
        axes.set_xlabel("guidance scale")
    figure.savefig(path, dpi=130)


def loss(run: Path, path: Path) -> None:
    """Training loss, and the validation loss of the averaged weights."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    curves = (
        ("metrics.csv", "loss", GREY, "", "training batches"),
        ("validation.csv", "val_loss", RED, "o", "validation, EMA weights"),
    )
    for name, column, colour, marker, label in curves:
        with (run / name).open(newline="") as file:
            points = [(int(row["iteration"]), float(row[column])) for row in csv.DictReader(file)]
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("iteration")
    axes.set_ylabel("mean squared error of v")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
