"""Networks: the conditional UNet, its covariate embedding, codecs, and loading of weights."""

from medgen.networks.codec import IdentityCodec
from medgen.networks.covariate_embedding import CovariateEmbedding
from medgen.networks.loading import load_pretrained, load_weights
from medgen.networks.unet import ConditionalUNet

__all__ = ["ConditionalUNet", "CovariateEmbedding", "IdentityCodec", "load_pretrained", "load_weights"]
