import pytest
import torch
from monai.inferers import Inferer
from torch import nn

from medgen.inferers.generate import GenerateInferer
from medgen.processes import VariancePreserving
from medgen.samplers import Sampler


class Exact(nn.Module):
    """Predicts v of the only image there is: the constant given as its first covariate, 0 where unknown."""

    def __init__(self, process):
        super().__init__()
        self.process = process
        self.parameter = nn.Parameter(torch.zeros(1))
        self.seen = []

    def forward(self, noisy, t, covariates=None, context=None, image=None):
        self.seen.append(self.training)
        time = torch.as_tensor(t, dtype=torch.float64).reshape(-1, 1, 1, 1) / 1000
        clean = (
            torch.zeros(len(noisy), 1, 1, 1) if covariates is None else covariates[:, :1].nan_to_num(0)[..., None, None]
        )
        clean = clean + torch.zeros_like(noisy)
        alpha, sigma = self.process.alpha(time), self.process.sigma(time)
        noise = (noisy - alpha * clean) / sigma.clamp(min=1e-6)
        return (alpha * noise - sigma * clean).float()


@pytest.fixture
def process():
    return VariancePreserving("cosine", "v")


def test_images_are_those_of_their_conditions(process):
    inferer = GenerateInferer(process, Sampler("ddim", steps=8), shape=[1, 6, 5])
    assert isinstance(inferer, Inferer)
    network = Exact(process)
    covariates = torch.tensor([[0.25], [-0.5], [float("nan")]])
    images = inferer(torch.tensor([3, 2**62, 5]), network, covariates=covariates)
    assert images.shape == (3, 1, 6, 5)
    assert images.dtype == torch.float32
    torch.testing.assert_close(images.mean((1, 2, 3)), torch.tensor([0.25, -0.5, 0.0]), atol=1e-3, rtol=0)
    assert inferer.evaluations == 8
    assert inferer.seconds > 0


def test_an_image_does_not_depend_on_its_neighbours(process):
    torch.manual_seed(0)
    network = nn.Conv2d(1, 1, 3, padding=1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, noisy, t, **conditions):
            return self.inner(noisy)

    inferer = GenerateInferer(process, Sampler("ddim", steps=3, eta=1.0), shape=(1, 8, 8))
    both = inferer([11, 12], Net())
    alone = inferer([12], Net())
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=0)
    assert not torch.allclose(both[0], both[1])


@pytest.mark.parametrize("shape", [(1,), (1, 0, 8), (1, 8.0, 8), (True, 8, 8)])
def test_shape_is_checked(process, shape):
    with pytest.raises(ValueError, match="shape: found"):
        GenerateInferer(process, Sampler(), shape=shape)
