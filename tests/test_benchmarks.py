"""What the benchmarks decide by themselves, without training anything."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def recipes():
    spec = importlib.util.spec_from_file_location("age_recipes", BENCHMARKS / "age_recipes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_checkpoints_are_found_by_iteration_and_measured_densely_at_first(recipes, tmp_path):
    runs = [tmp_path / "early", tmp_path / "whole"]
    for run, iterations in zip(runs, (range(50, 301, 50), (1500, 2000)), strict=True):
        run.mkdir()
        for iteration in iterations:
            torch.save({}, run / f"checkpoint_{iteration:08d}.pt")
    torch.save({}, runs[1] / "model_last.pt")
    (runs[1] / "model_last.json").write_text(json.dumps({"iteration": 2000}))
    found = recipes.checkpoints(runs)
    assert list(found) == [50, 100, 150, 200, 250, 300, 1500, 2000]
    assert recipes.chosen(list(found), "ours") == [50, 100, 150, 200, 300, 1500, 2000]
    assert recipes.chosen(list(range(250, 2001, 250)), "paper") == [250, 750, 1500, 2000]
    with pytest.raises(SystemExit, match="found no checkpoint"):
        recipes.checkpoints([tmp_path])


def test_recipes_are_compared_by_the_first_checkpoint_that_is_as_near(recipes, capsys, tmp_path):
    def series(title, recipe, *distances):
        points = [{"iteration": 100 * n, "frechet": {"": d}, "evaluations": 10} for n, d in enumerate(distances, 1)]
        return {"title": title, "recipe": recipe, "points": points}

    ours = series("ours", "ours", 50.0, 9.0, 4.0)
    others = [series("as it ran", "paper", 80.0, 9.5), series("as meant", "paper", 2.0)]
    result = {"images": 8, "seed": 0, "floor": 1.0, "series": [ours, *others]}
    recipes.compare(result["series"])
    recipes.show(result)
    recipes.draw(result, tmp_path / "curve.png")
    shown = capsys.readouterr().out
    assert "| as it ran | 10 | 200 | 9.5 | 200 iterations |" in shown
    assert "| as meant | 10 | 100 | 2.0 | never |" in shown
    assert (tmp_path / "curve.png").stat().st_size > 1000
