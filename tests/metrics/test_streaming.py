"""Streaming metrics give what the functions give of everything at once, on one process and on two."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from two_processes_stream import run, world

from medgen import metrics

HERE = Path(__file__).parent


def _expected():
    generated, real, images = world()
    people = [[f"person {place % 20}" for place in range(len(side))] for side in (generated, real)]
    return {
        "kernel of people": metrics.kernel_distance(generated, real, *people),
        "manifold of people": metrics.manifold_figures(real, generated, groups_real=people[1]),
        "FrechetDistanceMetric": metrics.frechet_distance(generated, real),
        "KernelDistanceMetric": metrics.kernel_distance(generated, real),
        "ManifoldMetric": metrics.manifold_figures(real, generated),
        "InceptionScoreMetric": metrics.inception_score((real - 50).softmax(1), splits=1),
        "SampleMSSSIMMetric": metrics.sample_ms_ssim(images),
    }


def test_batches_give_what_the_whole_gives():
    found, expected = run(0, 1), _expected()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, err_msg=name)


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path):
    environment = os.environ | {
        "PYTHONPATH": f"{HERE}:{HERE.parents[1]}", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(HERE / "two_processes_stream.py"), str(tmp_path)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    expected = _expected()
    for name in set(expected) - {"SampleMSSSIMMetric"}:
        np.testing.assert_allclose(first[name], expected[name], rtol=1e-9, err_msg=name)
    # the images of both processes are there, in another order, so that other pairs are drawn of the 91
    assert first["SampleMSSSIMMetric"] == pytest.approx(expected["SampleMSSSIMMetric"], abs=1e-6)


def test_features_are_extracted_and_a_second_run_starts_anew():
    metric = metrics.FrechetDistanceMetric(features=lambda images: images.flatten(1) * 2)
    engine = Engine(lambda engine, batch: batch)
    metric.attach(engine, "distance")
    draw = torch.Generator().manual_seed(1)
    for _ in range(2):
        generated, real = torch.randn(2, 30, 1, 2, 2, generator=draw)
        found = engine.run(list(zip(generated.split(9), real.split(9), strict=True))).metrics["distance"]
        expected = metrics.frechet_distance(generated.flatten(1) * 2, real.flatten(1) * 2)
        assert found == pytest.approx(expected, rel=1e-9)


def test_says_what_is_missing():
    metric = metrics.FrechetDistanceMetric()
    with pytest.raises(NotComputableError, match="no batch was given"):
        metric.compute()
    metric.update((torch.randn(4, 3), None))
    with pytest.raises(NotComputableError, match="0 real images; expected two or more"):
        metric.compute()
    with pytest.raises(ValueError, match=r"expected \(generated, real\), found Tensor"):
        metric.update(torch.randn(4, 3))
    with pytest.raises(ValueError, match=r"expected features of shape \(batch, width\), found \(4, 3, 2\)"):
        metric.update((torch.randn(4, 3, 2), None))
    collecting = metrics.ManifoldMetric()
    collecting.update((torch.randn(4, 3), None))
    with pytest.raises(NotComputableError, match="4 generated and 0 real images; expected both"):
        collecting.compute()
    with pytest.raises(NotComputableError, match="no batch"):
        metrics.InceptionScoreMetric().compute()
    with pytest.raises(NotComputableError, match="0 images; expected two or more"):
        metrics.SampleMSSSIMMetric().compute()


def test_subjects_are_of_all_images_or_of_none():
    metric = metrics.KernelDistanceMetric()
    with pytest.raises(ValueError, match="expected 4 subjects of a batch, found 1"):
        metric.update((torch.randn(4, 3), torch.randn(4, 3), ["a"], None))
    metric.reset()
    metric.update((torch.randn(4, 3), torch.randn(4, 3), list("abcd"), list("abcd")))
    metric.update((torch.randn(4, 3), torch.randn(4, 3)))
    with pytest.raises(ValueError, match="subjects of 4 of 8 generated images; expected all or none"):
        metric.compute()
