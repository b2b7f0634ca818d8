from __future__ import annotations

import io

import numpy as np
import pytest
from monai.handlers import ValidationHandler
from PIL import Image
from toy import ToyLoader, toy_trainer

from medgen.engines import GenerativeEvaluator
from medgen.handlers import CsvLogger, LossByNoiseLevel, LossCurve, ProgressBar, TensorBoardLogger
from medgen.handlers.csv_logger import keep_rows, read_csv
from medgen.handlers.progress import duration


def run_with(folder, make_handlers, epochs=3, **changes):
    trainer = toy_trainer(folder, epochs=epochs, interval=None, **changes)
    validator = GenerativeEvaluator("cpu", ToyLoader(), trainer.inference_network, process=trainer.process, amp=False)
    ValidationHandler(6, validator, epoch_level=False).attach(trainer)
    for handler in make_handlers(validator):
        handler.attach(trainer)
    losses = []
    trainer.add_event_handler("OPTIMIZER_STEP_COMPLETED", lambda engine: losses.append(engine.state.step_loss))
    return trainer, losses


def test_csv_rows_hold_means_over_their_interval(tmp_path):
    trainer, losses = run_with(tmp_path, lambda validator: [CsvLogger(4, validator)])
    trainer.run()
    table = read_csv(tmp_path / "metrics.csv")
    assert table["iteration"] == [4, 8, 12, 16, 18]
    assert table["optimizer_steps"] == [2, 4, 6, 8, 9]
    expected = [sum(losses[i : i + 2]) / 2 for i in range(0, 8, 2)] + [losses[8]]
    assert table["loss"] == pytest.approx(expected, rel=1e-6)
    assert table["learning_rate"][-1] == pytest.approx(trainer.optimizer.param_groups[0]["lr"])
    assert min(table["images_per_second"]) > 0
    assert read_csv(tmp_path / "validation.csv")["iteration"] == [6, 12, 18]


def test_rows_after_a_checkpoint_and_a_torn_line_are_dropped(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("iteration,loss\n2,0.5\n4,0.4\n6,0.3\n8,0.")
    keep_rows(path, 5)
    assert read_csv(path) == {"iteration": [2, 4], "loss": [0.5, 0.4]}
    path.write_text("iteration,loss\n2,0.5\n4")
    keep_rows(path, 5)
    assert read_csv(path) == {"iteration": [2], "loss": [0.5]}


def test_tensorboard_gets_scalars_and_nothing_else(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer, losses = run_with(tmp_path, lambda validator: [TensorBoardLogger(6, validator)])
    trainer.run()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "train/learning_rate", "validation/val_loss"} <= set(tags["scalars"])
    assert not tags["images"]
    points = events.Scalars("train/loss")
    assert [point.step for point in points] == [6, 12, 18]
    assert points[0].value == pytest.approx(sum(losses[:3]) / 3, rel=1e-5)


def test_loss_by_noise_level_is_the_mean_by_bins_of_t(tmp_path):
    trainer, _ = run_with(tmp_path, lambda _: [LossByNoiseLevel(bins=5, interval=6)])
    seen = []
    trainer.add_event_handler(
        "ITERATION_COMPLETED",
        lambda engine: seen.append(np.stack([engine.state.output[k].double().numpy() for k in ("t", "sample_loss")])),
    )
    trainer.run()
    table = read_csv(tmp_path / "loss_by_noise_level.csv")
    assert table["iteration"] == [6] * 5 + [12] * 5 + [18] * 5
    t, losses = np.concatenate(seen[6:12], axis=1)
    counts, edges = np.histogram(t, 5, (0, 1))
    totals, _ = np.histogram(t, 5, (0, 1), weights=losses)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(table["mean_loss"][5:10], totals / counts, rtol=1e-5)
    assert table["samples"][5:10] == counts.tolist()
    np.testing.assert_allclose(table["t_low"][5:10], edges[:-1])
    with Image.open(tmp_path / "loss_by_noise_level.png") as picture:
        assert min(picture.size) > 100


def test_loss_curve_is_drawn_from_the_tables(tmp_path):
    trainer, _ = run_with(tmp_path, lambda validator: [CsvLogger(2, validator), LossCurve(6)])
    trainer.run()
    with Image.open(tmp_path / "loss_curve.png") as picture:
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        assert "medgen" in picture.text["Software"]
    for line in ((31, 119, 180), (255, 127, 14)):  # training and validation
        assert (np.abs(colours.astype(int) - line).max(1) < 8).sum() > 20


def test_a_run_shorter_than_the_tables_interval_has_its_curve(tmp_path):
    run_with(tmp_path, lambda validator: [CsvLogger(50, validator), LossCurve(6)])[0].run()
    assert (tmp_path / "loss_curve.png").exists()


def test_plots_leave_the_users_pyplot_alone(tmp_path):
    import matplotlib
    from matplotlib import pyplot

    pyplot.close("all")
    before = dict(matplotlib.rcParams)
    run_with(tmp_path, lambda validator: [CsvLogger(2, validator), LossCurve(6), LossByNoiseLevel(5, 6)])[0].run()
    assert (tmp_path / "loss_curve.png").exists()
    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_file_gets_lines_with_loss_rate_and_time_left():
    stream = io.StringIO()
    trainer, losses = run_with(None, lambda _: [ProgressBar(seconds=1e-6, stream=stream)])
    trainer.run()
    lines = stream.getvalue().splitlines()
    assert lines[1].startswith("train 2/18: loss ")
    assert f"loss {losses[0]:.4f}" in lines[1]
    assert "images/s" in lines[1]
    assert "left" in lines[1]
    assert lines[-1].startswith("train: done in 0:00:")
    assert "\r" not in stream.getvalue()


def test_a_terminal_gets_a_bar():
    stream = Terminal()
    trainer, losses = run_with(None, lambda _: [ProgressBar(interval=6, stream=stream)])
    trainer.run()
    shown = stream.getvalue()
    assert "18/18" in shown
    assert f"loss {sum(losses[6:]) / 3:.4f}" in shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (59.9, "0:00:59"), (3725, "1:02:05"), (360000, "100:00:00")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
