"""Networks: the conditional UNet, its covariate embedding, codecs, and loading of weights."""

from medgen.networks.codec import IdentityCodec, KLCodec, VQCodec
from medgen.networks.covariate_embedding import CovariateEmbedding
from medgen.networks.loading import load_pretrained, load_weights
from medgen.networks.unet import ConditionalUNet

__all__ = [
    "ConditionalUNet",
    "CovariateEmbedding",
    "IdentityCodec",
    "KLCodec",
    "VQCodec",
    "load_pretrained",
    "load_weights",
]
