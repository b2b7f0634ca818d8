"""The distances and scores agree with torchmetrics on the same features."""

import numpy as np
import pytest
import torch

from medgen.metrics import frechet_distance, inception_score, kernel_distance

pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
fid, kid, inception = (pytest.importorskip(f"torchmetrics.image.{name}") for name in ("fid", "kid", "inception"))


class Same(torch.nn.Module):
    """Features are the images."""

    num_features = 12

    def forward(self, x):
        return x


@pytest.fixture(scope="module")
def features():
    random = np.random.default_rng(0)
    a = random.standard_normal((90, 12)) @ random.standard_normal((12, 12))
    return a, 1.2 * random.standard_normal((70, 12)) + 0.3


def _fed(metric, features):
    for rows, real in zip(features, (True, False), strict=True):
        for part in torch.from_numpy(rows).split(32):
            metric.update(part, real=real)
    return metric.compute()


def test_frechet_distance(features):
    metric = fid.FrechetInceptionDistance(Same(), normalize=True, input_img_size=(12,)).set_dtype(torch.float64)
    assert frechet_distance(*features) == pytest.approx(float(_fed(metric, features)), rel=1e-4)


def test_kernel_distance(features):
    same = [rows[:70] for rows in features]  # one subset of all: the estimate itself
    metric = kid.KernelInceptionDistance(Same(), subsets=1, subset_size=70, normalize=True)
    assert kernel_distance(*same).value == pytest.approx(float(_fed(metric, same)[0]), rel=1e-4)


def test_inception_score(features):
    metric = inception.InceptionScore(Same(), splits=1)
    metric.update(torch.from_numpy(features[0]))
    p = torch.from_numpy(features[0]).softmax(1).numpy()
    assert inception_score(p, splits=1).value == pytest.approx(float(metric.compute()[0]), rel=1e-4)
