"""TorchScript for ``monai.bundle ckpt_export``."""

from __future__ import annotations

import copy
import warnings

import torch

from medgen.networks import ConditionalUNet

__all__ = ["traced"]


def traced(network: ConditionalUNet, size: int = 64) -> torch.jit.ScriptModule:
    """Return the network as TorchScript, recorded with ``(noisy, t, covariates)``.

    ``torch.jit.script`` refuses the network, and ``ckpt_export --use_trace`` gives it the image alone, without t; so
    the trace is made here and handed to ``ckpt_export``, which fills in the weights (their names are the network's).
    It takes any batch size and any image whose sides ``network.multiple`` divides.

    Args:
        network: without context and conditioning image.
        size: side of the image to record with, in pixels; rounded up to what ``network.multiple`` divides.

    Raises:
        ValueError: when the network needs context or an image.

    Example (the second line is one argument):
        python -m monai.bundle ckpt_export --net_id traced --traced
        "{'_target_': 'medgen.bundles.export.traced', 'network': '@network_def'}" --config_file ... --ckpt_file ...
    """
    if network.context_dim is not None or network.image_channels:
        raise ValueError("traced: this network needs context or an image; only covariates can be exported")
    side = -(-size // network.multiple) * network.multiple
    noisy = torch.zeros(2, network.in_channels, *[side] * network.spatial_dims)
    inputs = [noisy, torch.tensor([1.0, 999.0])]
    if network.covariates is not None:
        inputs.append(torch.full((2, len(network.covariates)), torch.nan))
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        # a trace keeps every buffer in its state, and the published weights have none of these: make them constants
        for name in tuple(module._non_persistent_buffers_set):
            module._non_persistent_buffers_set.discard(name)
            setattr(module, name, module._buffers.pop(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        return torch.jit.trace(network, tuple(inputs), check_trace=False)
