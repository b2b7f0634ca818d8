from __future__ import annotations

import math
import stat

import numpy as np
import pytest
import torch
from PIL import Image
from toy import COVARIATES, differing, snapshot, toy_trainer

from medgen.covariates import Covariates, Range
from medgen.handlers import DenoisingStrip, NoisingStrip, SampleGrid
from medgen.handlers.sample_grid import grid_conditions
from medgen.processes import EDM
from medgen.samplers import Sampler

SAMPLER = Sampler("euler", steps=3)


def run_with(folder, *handlers, **changes):
    trainer = toy_trainer(folder, interval=None, handlers=handlers, **changes)
    trainer.run()
    return trainer


def test_a_row_for_each_label_and_one_that_mixes_them():
    titles, encoded = grid_conditions(COVARIATES, columns=4, values={"age": 75})
    assert titles == ["NC", "AD", "mixed"]
    assert encoded[:, 0].tolist() == [0] * 4 + [1] * 4 + [0, 1, 0, 1]
    assert encoded[:, 1].tolist() == [75] * 12


def test_any_declaration_has_a_grid():
    three = Covariates(age=Range(0, 1), stage=["a", "b", "c"], sex=["F", "M"])
    titles, encoded = grid_conditions(three, columns=2)
    assert titles == ["a", "b", "c", "mixed"]
    assert encoded[:, 1].tolist() == [0, 0, 1, 1, 2, 2, 0, 1]
    assert torch.isnan(encoded[:, [0, 2]]).all()
    assert grid_conditions(three, 2, by="sex")[0] == ["F", "M", "mixed"]
    assert grid_conditions(three, 2, by="plane")[0] == titles
    assert grid_conditions(None, 2) == (["unconditional"], None)
    titles, encoded = grid_conditions(Covariates(age=Range(0, 1)), 2)
    assert titles == ["unconditional"]
    assert torch.isnan(encoded).all()
    with pytest.raises(ValueError, match="by"):
        grid_conditions(three, 2, by="age")


def test_grids_show_the_averaged_network_from_the_same_seeds(tmp_path):
    calls = []

    class Spy(Sampler):
        def __call__(self, network, process, shape, seeds, **given):
            calls.append((network, shape, list(seeds), given["covariates"]))
            return super().__call__(network, process, shape, seeds, **given)

    trainer = run_with(tmp_path, SampleGrid(Spy("euler", steps=2), interval=9, columns=3))
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == [
        "grid_00000009.png",
        "grid_00000018.png",
    ]
    assert [call[0] for call in calls] == [trainer.ema.ema_model] * 2
    assert calls[0][1] == (1, 8, 8)
    assert calls[0][2] == calls[1][2]
    seeds = calls[0][2]
    assert seeds[:3] == seeds[3:6]
    assert len({*seeds}) == 6  # the mixed row has its own
    with Image.open(tmp_path / "samples" / "grid_00000018.png") as picture:
        assert picture.text["Synthetic"] == "YES"


def test_looking_does_not_change_the_run(tmp_path):
    plain = toy_trainer()
    plain.run()
    strips = [NoisingStrip(SAMPLER, interval=5), DenoisingStrip(SAMPLER, interval=4)]
    watched = run_with(tmp_path, SampleGrid(SAMPLER, interval=3, columns=2), *strips)
    assert differing(snapshot(plain), snapshot(watched)) == []
    assert watched.unwrapped_network.training


def test_strips_of_generated_images_are_marked_synthetic(tmp_path):
    run_with(tmp_path, NoisingStrip(SAMPLER, frames=5), DenoisingStrip(SAMPLER, frames=9))
    folder = tmp_path / "samples"
    for name in ("noising", "denoising"):
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.text["Synthetic"] == "YES"
        with Image.open(folder / f"{name}.gif") as film:
            assert b"SYNTHETIC" in film.info["comment"]
    with Image.open(folder / "noising.gif") as film:
        assert film.n_frames == 25
    with Image.open(folder / "denoising.gif") as film:
        assert film.n_frames == SAMPLER.steps + 1
    assert not (tmp_path / "private").exists()


def test_a_participants_image_stays_in_the_private_folder(tmp_path):
    run_with(tmp_path, NoisingStrip(SAMPLER, source="data"))
    assert not (tmp_path / "samples").exists()
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o700
    with Image.open(tmp_path / "private" / "noising.png") as picture:
        assert picture.text["Synthetic"] == "NO"
        assert "DO NOT PUBLISH" in picture.text["Description"]


def test_a_simulated_image_may_be_shown(tmp_path):
    run_with(tmp_path, NoisingStrip(SAMPLER, source="data", simulated=True))
    with Image.open(tmp_path / "samples" / "noising.png") as picture:
        assert picture.text["source"] == "simulated cohort"
    assert not (tmp_path / "private").exists()


@pytest.mark.parametrize("process", [None, EDM()])
def test_the_noising_strip_begins_clean_and_ends_in_noise(process, tmp_path):
    class Flat(Sampler):
        def __call__(self, *arguments, **given):
            samples = super().__call__(*arguments, **given)
            return type(samples)(torch.full_like(samples.images, 0.5), samples.evaluations, samples.seconds)

    changes = {} if process is None else {"process": process}
    run_with(tmp_path, NoisingStrip(Flat("euler", steps=1), frames=3), **changes)
    with Image.open(tmp_path / "samples" / "noising.png") as picture:
        array = np.asarray(picture.convert("L")).astype(float)
    # three cells of 8 x 12 pixels a side, below the labels and 2 pixels apart
    cells = [array[-98:-2, 2 + 98 * k : 98 + 98 * k] for k in range(3)]
    spread = [cell.std() for cell in cells]
    assert spread[0] < 2
    assert spread[0] < spread[1] < spread[2]
    assert cells[0].mean() == pytest.approx(191, abs=2)
    assert spread[2] > 60


@pytest.mark.parametrize(
    "make", [lambda: NoisingStrip(SAMPLER, source="web"), lambda: DenoisingStrip(SAMPLER, frames=1)]
)
def test_arguments_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match=r"source|frames"):
        make()


def test_frames_are_spread_from_first_to_last():
    from medgen.handlers.strips import _spread

    assert _spread(3, 9) == [0, 1, 2]
    assert _spread(25, 9) == [0, 3, 6, 9, 12, 15, 18, 21, 24]
    assert math.isclose(_spread(51, 2)[-1], 50)
