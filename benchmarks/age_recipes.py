"""How long mri_age_flow trains until it is as near to real images as the recipe it replaces ever comes.

Both recipes are trained by the same engine on the same simulated cohort, split, image size, batch size, patches and
number of iterations (configs/demo.json); the other one has configs/paper_age.json on top: uniform times, UNet
32 x (1, 2, 4, 8), Adam at 1e-5, conditions dropped with probability 0.5. Checkpoints of both are sampled at the
profiles of held-out people with the same noise, and measured by the Fréchet distance in the features of ONE regressor
that learned ages from real training images. mri_age_flow samples as the bundle does; the other recipe as it really ran
(midpoint, one step, guidance 4: two evaluations, each of a pair) and nearly as it was meant (midpoint, 25 steps in
place of 500, guidance 4).

    python benchmarks/age_recipes.py --output /tmp/recipes    # trains both: half an hour on two cores
    python benchmarks/age_recipes.py --output /tmp/recipes --ours RUN [RUN ...] --paper RUN [RUN ...]  # runs there are

Writes age_recipes.json and age_recipes.png to the output folder, and prints a table.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medgen.apps.evaluation.real import draw_profiles
from medgen.engines.checkpoint import read_checkpoint
from medgen.files import file_sha256, write_json
from medgen.networks.loading import load_weights

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "bundles" / "mri_age_flow" / "configs"
DEMO, PAPER = ROOT / "configs" / "demo.json", ROOT / "configs" / "paper_age.json"
OVERRIDES = {
    "ours": {},
    # the overlay's own size is 128 x 128, and its four levels want four entries
    "paper": {"image_size": 64, "network_def::attention_levels": [False, False, True, True]},
}
SAMPLINGS = {  # recipe, solver, steps, guidance
    "mri_age_flow, as the bundle samples": ("ours", None, None, 1.0),
    "paper_age, as it really ran": ("paper", "midpoint", 1, 4.0),
    "paper_age, nearly as it was meant": ("paper", "midpoint", 25, 4.0),
}


def main() -> None:
    """Train where no run is given, measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--ours", type=Path, nargs="+", help="run folders of mri_age_flow with the demo overlay")
    parser.add_argument("--paper", type=Path, nargs="+", help="run folders with paper_age on top")
    parser.add_argument("--iterations", type=int, default=2000, help="of each training")
    parser.add_argument("--interval", type=int, default=50, help="iterations between the checkpoints of ours")
    parser.add_argument("--images", type=int, default=256, help="generated per measurement")
    parser.add_argument("--seed", type=int, default=0, help="of profiles and noise")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    runs = {name: getattr(arguments, name) or [train(name, arguments)] for name in OVERRIDES}
    result = measure(runs, arguments)
    write_json(arguments.output / "age_recipes.json", result)
    draw(result, arguments.output / "age_recipes.png")
    show(result)


def train(name: str, arguments: argparse.Namespace) -> Path:
    """Train one recipe as a user would, keeping its checkpoints; returns the run's folder."""
    files = [BUNDLE / "train.json", DEMO, *([PAPER] if name == "paper" else [])]
    handlers = json.loads(files[0].read_text())["train"]["handlers"]
    place = next(i for i, handler in enumerate(handlers) if handler["_target_"].endswith("CheckpointHandler"))
    interval = arguments.interval if name == "ours" else arguments.iterations // 8
    settings = {
        "max_iterations": arguments.iterations,
        f"train::handlers::{place}::interval": interval,
        f"train::handlers::{place}::keep": arguments.iterations,
        "output_dir": arguments.output / name / "runs",
        "ckpt_dir": arguments.output / name / "models",
        **OVERRIDES[name],
    }
    listed = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    command = [
        sys.executable,
        "-m",
        "monai.bundle",
        "run",
        "--config_file",
        str([str(file) for file in files]),
        *listed,
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    return max((arguments.output / name / "runs").glob("run_*"))


def opened(run: Path, arguments: argparse.Namespace) -> Any:
    """The evaluation of evaluate.json for one run: its network, its splits, and the regressor that all runs share."""
    from monai.bundle import ConfigWorkflow

    workflow = ConfigWorkflow(
        str(BUNDLE / "evaluate.json"),
        logging_file=False,
        weights=str(run / "model.pt"),
        splits_file=str(run / "splits.json"),
        eval_dir=str(arguments.output / "eval"),
        n_per_class=arguments.images,
        n_sweep=min(64, arguments.images),
        seed=arguments.seed,
        amp="auto",
    )
    workflow.initialize()
    return workflow.parser.get_parsed_content("evaluation")


def checkpoints(runs: Sequence[Path]) -> dict[int, Path]:
    """Averaged weights by iteration: those of checkpoints, and of model_last.pt."""
    found: dict[int, Path] = {}
    for run in runs:
        if (last := run / "model_last.pt").is_file():
            found[int(json.loads(last.with_suffix(".json").read_text())["iteration"])] = last
        for path in sorted(run.glob("checkpoint_*.pt")):
            found[int(path.stem.split("_")[1])] = path
    if not found:
        raise SystemExit(f"error: found no checkpoint in {', '.join(map(str, runs))}")
    return dict(sorted(found.items()))


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    """The averaged weights of a checkpoint or of published weights."""
    return read_checkpoint(path)["ema"]["network"] if path.name.startswith("checkpoint") else load_weights(path)


def chosen(available: Sequence[int], name: str) -> list[int]:
    """The iterations that are measured: all early ones, then those that have grown by a third; for paper, four."""
    if name == "paper":
        return [available[i] for i in np.unique(np.linspace(0, len(available) - 1, 4).round().astype(int))]
    kept = [available[0]]
    for iteration in available[1:]:
        if iteration >= 1.3 * kept[-1] or iteration == available[-1]:
            kept.append(iteration)
    return kept


def measure(runs: dict[str, list[Path]], arguments: argparse.Namespace) -> dict[str, Any]:
    """Distances by recipe, sampling and iteration."""
    evaluations = {name: opened(folders[-1], arguments) for name, folders in runs.items()}
    if len({e.real["train"].digest() for e in evaluations.values()}) > 1:
        raise SystemExit("error: the runs were not trained on the same images")
    ours = evaluations["ours"]
    distance = ours.distance()
    train_set, draws = ours.real["train"], range(8)
    rows = [draw_profiles(train_set.subjects, arguments.images, draw) for draw in draws]
    features = distance.judge.features(train_set.images)
    floor = np.mean([distance.of_features(features[r], train_set.covariates[r])[""] for r in rows])
    series = []
    for title, (name, solver, steps, guidance) in SAMPLINGS.items():
        evaluation = evaluations[name]
        sampler, found = evaluation.sampler, checkpoints(runs[name])
        sampler.guidance = guidance
        if solver is not None:
            sampler.solver, sampler.steps = solver, steps
        # the dear one is measured at its end alone
        last = [max(found)] if steps is not None and steps > 5 else chosen(list(found), name)
        points = []
        for iteration in last:
            evaluation.network.load_state_dict(weights_of(found[iteration]))
            made = distance(
                evaluation.network.eval(), evaluation.process, sampler, file_sha256(found[iteration]), arguments.seed
            )
            points.append({"iteration": iteration, "frechet": made.frechet, "evaluations": made.evaluations})
            print(f"{title}: iteration {iteration}, {made.evaluations} evaluations, distance {made.frechet['']:.2f}")
        series.append(
            {
                "title": title, "recipe": name, "solver": sampler.solver, "steps": sampler.steps, "guidance": guidance,
                "parameters": sum(p.numel() for p in evaluation.network.parameters()),
                "images_per_second": speed(runs[name]), "points": points,
            }
        )  # fmt: skip
    compare(series)
    return {"images": arguments.images, "seed": arguments.seed, "floor": float(floor), "series": series}


def compare(series: list[dict[str, Any]]) -> None:
    """Note when ours, the first, is as near as each of the others at its end."""
    for other in series[1:]:
        target = other["points"][-1]["frechet"][""]
        reached = [p["iteration"] for p in series[0]["points"] if p["frechet"][""] <= target]
        other["reached_by_ours_at"] = min(reached, default=None)


def speed(runs: Sequence[Path]) -> float:
    """Median images a second of training, as the runs logged them; only runs on a quiet machine compare."""
    with (runs[-1] / "metrics.csv").open(newline="") as file:
        return float(np.median([float(row["images_per_second"]) for row in csv.DictReader(file)]))


def draw(result: dict[str, Any], path: Path) -> None:
    """Distance against iterations."""
    figure = Figure(figsize=(7, 3.6), layout="constrained", dpi=130)
    axes = figure.subplots()
    for series, colour in zip(result["series"], ("#2b6cb0", "#c05621", "#8b6fb0"), strict=True):
        points = [(p["iteration"], p["frechet"][""]) for p in series["points"]]
        label = f"{series['title']} ({series['points'][-1]['evaluations']} evaluations)"
        axes.plot(*zip(*points, strict=True), "o-", color=colour, markersize=4, label=label)
        if series["recipe"] == "paper":
            axes.axhline(points[-1][1], color=colour, linestyle=":", linewidth=1)
    axes.axhline(result["floor"], color="#8a8f98", linewidth=1, label="floor: training images")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("iterations of training")
    axes.set_ylabel("Fréchet distance to held-out images")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path)


def show(result: dict[str, Any]) -> None:
    """Print a table in Markdown."""
    print("\n| recipe | evaluations | iterations | Fréchet distance | ours is as near after |\n|---|---|---|---|---|")
    for series in result["series"]:
        last = series["points"][-1]
        reached = series.get("reached_by_ours_at", "")
        reached = "never" if reached is None else f"{reached} iterations" if reached else ""
        cells = (series["title"], last["evaluations"], last["iteration"], f"{last['frechet']['']:.1f}", reached)
        print("| " + " | ".join(map(str, cells)) + " |")
    print(f"\nfloor {result['floor']:.2f}, {result['images']} images, seed {result['seed']}")


if __name__ == "__main__":
    main()
