from __future__ import annotations

import socket

import pytest
import torch
from monai.networks.nets import ResNetFeatures

from medgen.losses import PretrainedPerceptualLoss, PyramidLoss, RandomFeatureLoss
from medgen.randomness import generator


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Whatever opens a connection fails."""

    def refuse(*arguments, **keywords):
        raise AssertionError("a loss went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("torch.hub.load", refuse)


def image(size=(16, 16), count=2):
    return torch.rand(count, 1, *size, generator=generator("image", *size)) * 2 - 1


LOSSES = {"pyramid": lambda dims: PyramidLoss(3), "random": RandomFeatureLoss}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("size", [(16, 13), (8, 9, 6)])
def test_the_same_image_costs_nothing_and_a_gradient_leads_there(kind, size):
    loss, one = LOSSES[kind](len(size)), image(size)
    assert float(loss(one, one)) == 0
    other = (one + 0.3 * image(size).flip(0)).requires_grad_()
    before = loss(other, one)
    (slope,) = torch.autograd.grad(before, other)
    assert torch.isfinite(slope).all()
    assert 0 < float(loss(other - 0.1 * slope / slope.abs().max(), one)) < float(before)


def test_a_pyramid_by_hand():
    # one bright pixel of 2 x 2: the average is a quarter, so the finest band is 3/4, -1/4, -1/4, -1/4
    one = torch.zeros(1, 1, 2, 2)
    one[..., 0, 0] = 1.0
    assert float(PyramidLoss(1)(one, torch.zeros_like(one))) == pytest.approx(1.5 / 4)
    assert float(PyramidLoss(5)(one, torch.zeros_like(one))) == pytest.approx(1.5 / 4)  # one pixel has no band


def test_a_pyramid_minds_lost_edges_more_than_brightness():
    edge = torch.ones(1, 1, 16, 16)
    edge[..., 7:] = -1.0
    blurred = torch.nn.functional.avg_pool2d(edge, 5, 1, 2, count_include_pad=False)
    shifted = edge + (blurred - edge).abs().mean()
    assert float((blurred - edge).abs().mean()) == pytest.approx(float((shifted - edge).abs().mean()))
    assert float(PyramidLoss()(blurred, edge)) > 5 * float(PyramidLoss()(shifted, edge))


def test_random_features_are_a_function_of_their_seed():
    one, other = image(), image().flip(0)
    torch.manual_seed(1)
    first = RandomFeatureLoss(2)(one, other)
    torch.manual_seed(2)
    assert torch.equal(RandomFeatureLoss(2)(one, other), first)
    assert not torch.equal(RandomFeatureLoss(2, seed=1)(one, other), first)
    assert not any(parameter.requires_grad for parameter in RandomFeatureLoss(2).parameters())


KINDS = {"medicalnet_resnet10_23datasets": (3, 1, (32, 32, 32)), "radimagenet_resnet50": (2, 3, (48, 48))}


@pytest.mark.parametrize("kind", KINDS)
def test_pretrained_features_come_from_a_file_and_are_monais(kind, tmp_path):
    dims, channels, size = KINDS[kind]
    torch.manual_seed(0)
    network = ResNetFeatures(kind.split("_")[1], pretrained=False, spatial_dims=dims, in_channels=channels).eval()
    torch.save({f"module.{k}": v for k, v in network.state_dict().items()}, tmp_path / "weights.pt")
    loss = PretrainedPerceptualLoss(tmp_path / "weights.pt", kind, dims)
    one, other = image(size), image(size).flip(0)
    assert float(loss(one, one)) == 0
    with torch.no_grad():
        if dims == 3:
            parts = [network((x - x.mean()) / x.std())[-1] for x in (one, other)]
        else:
            mean = torch.tensor([0.406, 0.456, 0.485]).reshape(1, 3, 1, 1)  # of BGR, as MONAI subtracts it
            parts = [network((0.5 * x + 0.5).repeat(1, 3, 1, 1) - mean)[-1] for x in (one, other)]
        features = [part / (part.square().sum(1, keepdim=True).sqrt() + 1e-10) for part in parts]
        expected = (features[0] - features[1]).square().sum(1).mean()
    torch.testing.assert_close(loss(one, other), expected, rtol=1e-4, atol=1e-7)
    assert not loss.train().training


def test_slices_of_a_volume_are_shown_to_a_network_for_slices(tmp_path):
    network = ResNetFeatures("resnet50", pretrained=False, spatial_dims=2, in_channels=3)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    loss = PretrainedPerceptualLoss(tmp_path / "weights.pt", "radimagenet_resnet50", 3)
    assert float(loss(image((32, 32, 32), 1), -image((32, 32, 32), 1))) > 0


def test_what_is_missing_or_does_not_fit_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="medgen downloads no weights"):
        PretrainedPerceptualLoss(tmp_path / "none.pt", "radimagenet_resnet50", 2)
    with pytest.raises(ValueError, match="looks at volumes, found spatial_dims=2"):
        PretrainedPerceptualLoss(tmp_path / "none.pt", "medicalnet_resnet10_23datasets", 2)
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="does not fit MONAI's"):
        PretrainedPerceptualLoss(tmp_path / "other.pt", "radimagenet_resnet50", 2)
    with pytest.raises(ValueError, match="levels: expected 1 or more"):
        PyramidLoss(0)
