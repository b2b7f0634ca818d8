"""What autoencoders are trained for: reconstruction, the shape of the latent space, perception, and realism."""

from medgen.losses.autoencoder import AutoencoderLoss, kl_divergence
from medgen.losses.perceptual import PretrainedPerceptualLoss, PyramidLoss, RandomFeatureLoss

__all__ = ["AutoencoderLoss", "PretrainedPerceptualLoss", "PyramidLoss", "RandomFeatureLoss", "kl_divergence"]
