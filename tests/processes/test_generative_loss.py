"""The loss: its three distances, and its weights against the published formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from medgen.processes import EDM, GenerativeLoss, RectifiedFlow, VariancePreserving

T = torch.tensor([0.0, 0.01, 0.2, 0.5, 0.9, 1.0], dtype=torch.float64)


def images(seed: int) -> torch.Tensor:
    return torch.randn(6, 2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("kind", "function"), [("mse", F.mse_loss), ("l1", F.l1_loss), ("huber", F.huber_loss)])
def test_plain_losses_are_means_per_sample(kind, function):
    prediction, target = images(0), images(1)
    loss = GenerativeLoss(kind)(prediction, target, VariancePreserving(), T)
    assert loss.shape == (6,)
    for i in range(6):
        torch.testing.assert_close(loss[i], function(prediction[i], target[i]))


def snr(process) -> torch.Tensor:
    t = T[1:-1]
    return process.alpha(t) ** 2 / process.sigma(t) ** 2


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("gamma", [1.0, 5.0])
@pytest.mark.parametrize(
    ("prediction", "formula"),
    [
        ("noise", lambda snr, gamma: snr.clamp(max=gamma) / snr),
        ("clean", lambda snr, gamma: snr.clamp(max=gamma)),
        ("v", lambda snr, gamma: snr.clamp(max=gamma) / (snr + 1)),
    ],
)
def test_min_snr_weights(schedule, gamma, prediction, formula):
    process = VariancePreserving(schedule, prediction)
    weight = GenerativeLoss(weighting="min_snr", gamma=gamma).weight(process, T)
    torch.testing.assert_close(weight[1:-1], formula(snr(process), gamma))
    assert bool(torch.isfinite(weight).all())


@pytest.mark.parametrize("process", [VariancePreserving("cosine", p) for p in ("noise", "clean", "v")])
def test_min_snr_at_both_ends(process):
    """The limits: no noise at all (SNR infinite), and no image at all (SNR 0)."""
    weight = GenerativeLoss(weighting="min_snr").weight(process, T)
    assert float(weight[0]) == {"noise": 0.0, "clean": 5.0, "v": 0.0}[process.prediction]
    assert float(weight[-1]) == {"noise": 1.0, "clean": 0.0, "v": 0.0}[process.prediction]


@pytest.mark.parametrize(
    "process",
    [VariancePreserving("cosine", p) for p in ("noise", "clean", "v")] + [RectifiedFlow(), EDM()],
)
def test_min_snr_is_the_same_loss_on_the_clean_image_whatever_is_predicted(process):
    """min(SNR, gamma) times the squared error of the clean image (Hang et al. eq. 8)."""
    t = torch.tensor([0.3, 0.4, 0.5, 0.6, 0.7, 0.8], dtype=torch.float64)
    clean, noise, prediction = images(0), images(1), images(2)
    noisy = process.corrupt(clean, noise, t)
    loss = GenerativeLoss(weighting="min_snr")(prediction, process.target(clean, noise, t), process, t)
    error = (process.estimate(prediction, noisy, t).clean - clean).square().flatten(1).mean(1)
    weight = torch.exp(process.log_snr(t)).clamp(max=5.0)
    torch.testing.assert_close(loss, weight * error, atol=1e-9, rtol=1e-9)


def test_edm_keeps_the_papers_weight():
    """Table 1: lambda(sigma) = (sigma² + sigma_data²) / (sigma sigma_data)² on the clean image."""
    process = EDM()
    t = torch.tensor([0.3, 0.4, 0.5, 0.6, 0.7, 0.8], dtype=torch.float64)
    clean, noise, prediction = images(0), images(1), images(2)
    noisy = process.corrupt(clean, noise, t)
    loss = GenerativeLoss()(prediction, process.target(clean, noise, t), process, t)
    sigma = process.sigma(t)
    weight = (sigma**2 + 0.25) / (sigma * 0.5) ** 2
    error = (process.estimate(prediction, noisy, t).clean - clean).square().flatten(1).mean(1)
    torch.testing.assert_close(loss, weight * error, atol=1e-9, rtol=1e-9)


def test_the_loss_of_a_bfloat16_network_is_float32_and_has_gradients():
    prediction = images(0).bfloat16().requires_grad_()
    loss = GenerativeLoss(weighting="min_snr")(prediction, images(1).float(), VariancePreserving(), T.float())
    assert loss.dtype == torch.float32
    loss.mean().backward()
    assert prediction.grad is not None
    assert bool(torch.isfinite(prediction.grad).all())


def test_bad_arguments():
    with pytest.raises(ValueError, match="nearest: 'huber'"):
        GenerativeLoss("hubert")
    with pytest.raises(ValueError, match="nearest: 'min_snr'"):
        GenerativeLoss(weighting="min-snr")
    with pytest.raises(ValueError, match="gamma must be positive"):
        GenerativeLoss(gamma=0.0)
    with pytest.raises(ValueError, match=r"prediction has shape \(6, 2, 3, 4\)"):
        GenerativeLoss()(images(0), images(1)[:, :1], VariancePreserving(), T)
