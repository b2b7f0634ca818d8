"""The loss of an autoencoder, term by term, but for the discriminator's part."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

__all__ = ["AutoencoderLoss", "kl_divergence"]


def kl_divergence(mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    r"""Return the Kullback-Leibler divergence of a diagonal Gaussian from the standard one, in nats per sample.

    .. math:: \tfrac12 \sum_i \left(\mu_i^2 + \sigma_i^2 - 1 - \ln \sigma_i^2\right)

    Kingma and Welling, arXiv 1312.6114, appendix B.

    Args:
        mean: ``(B, ...)``.
        std: like ``mean``, above 0.

    Returns:
        ``(B,)`` float32.

    Example:
        >>> kl_divergence(torch.tensor([[1.0, 2.0]]), torch.ones(1, 2))
        tensor([2.5000])
    """
    mean, variance = mean.float(), std.float().square()
    return 0.5 * (mean.square() + variance - 1.0 - variance.log()).flatten(1).sum(1)


class AutoencoderLoss(nn.Module):
    r"""Reconstruction, regularisation of the latent space, and perception (arXiv 2112.10752, appendix G).

    .. math:: \overline{|x - \hat x|} + w_{KL} \overline{D_{KL}} + w_P \, L_P(\hat x, x)

    with the mean over pixels in the first term, the sum over the latent's numbers in the second. A vector-quantised
    autoencoder has its commitment loss instead, already weighted by its ``commitment_cost``.

    Args:
        kl_weight: :math:`w_{KL}`, per nat of an image.
        perceptual: :math:`L_P`, ``perceptual(reconstruction, image)`` -> number; None for none.
        perceptual_weight: :math:`w_P`.

    Raises:
        ValueError: when a weight is negative.
    """

    def __init__(
        self,
        kl_weight: float = 1e-6,
        perceptual: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        perceptual_weight: float = 1.0,
    ) -> None:
        super().__init__()
        for name, value in (("kl_weight", kl_weight), ("perceptual_weight", perceptual_weight)):
            if value < 0:
                raise ValueError(f"{name}: expected 0 or more, found {value!r}")
        self.kl_weight, self.perceptual, self.perceptual_weight = kl_weight, perceptual, perceptual_weight

    def forward(self, output: Sequence[torch.Tensor], image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the terms of the loss, weighted, so that the loss is their sum.

        Args:
            output: what MONAI's autoencoder returns: (reconstruction, mean, std), or (reconstruction, commitment loss).
            image: ``(B, C, *spatial)``.

        Returns:
            "reconstruction", "kl" or "commitment", and, with one, "perceptual"; numbers.

        Raises:
            ValueError: when the output is of another kind.
        """
        reconstruction, *latent = output
        image = image.float()
        terms = {"reconstruction": (reconstruction.float() - image).abs().mean()}
        if len(latent) == 2:
            terms["kl"] = self.kl_weight * kl_divergence(*latent).mean()
        elif len(latent) == 1:
            terms["commitment"] = latent[0].float()
        else:
            raise ValueError(f"output: expected two or three parts of MONAI's autoencoders, found {len(output)}")
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual_weight * self.perceptual(reconstruction.float(), image)
        return terms
