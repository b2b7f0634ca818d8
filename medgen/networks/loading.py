"""Loading of trained weights, also into a network that has learned new covariates since."""

from __future__ import annotations

import logging
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medgen.networks.covariate_embedding import CovariateEmbedding

__all__ = ["load_pretrained", "load_weights"]

logger = logging.getLogger(__name__)


def load_weights(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Read a state dict from a ``.pt`` or ``.safetensors`` file, onto the CPU.

    Args:
        path: the file. A ``.pt`` file is read with ``weights_only=True``.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file holds anything but tensors by name.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"weights: no file {file}")
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"weights: {file} is truncated or is no PyTorch file: {error}") from error
    except pickle.UnpicklingError as error:
        # PyTorch's own text advises to load it all the same
        raise ValueError(f"weights: {file} holds Python objects, which may run code; expected tensors") from error
    if not isinstance(content, Mapping) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise ValueError(f"weights: {file} holds {type(content).__name__}, expected a mapping of names to tensors")
    return dict(content)


def load_pretrained(network: nn.Module, path: str | os.PathLike[str]) -> list[str]:
    """Load weights for fine-tuning; covariates that the weights do not know start at zero effect.

    Args:
        network: the network to fill, with a :class:`CovariateEmbedding` somewhere inside if it has covariates.
        path: weights whose keys are those of the network (:func:`load_weights`).

    Returns:
        Names of the covariates that were added.

    Raises:
        ValueError: when keys or shapes differ in anything but added covariates.
    """
    weights = load_weights(path)
    expected = network.state_dict()
    added: list[str] = []
    for prefix, module in network.named_modules():
        if not isinstance(module, CovariateEmbedding):
            continue
        for name in module.covariates:
            own = _keys_of(expected, prefix, name)
            if own and not any(key in weights for key in own):
                module.silence(name)
                added.append(name)
                weights.update({key: expected[key] for key in own})
    missing = sorted(set(expected) - set(weights))
    surplus = sorted(set(weights) - set(expected))
    shapes = [
        f"{key}: file {tuple(weights[key].shape)}, network {tuple(expected[key].shape)}"
        for key in expected
        if key in weights and weights[key].shape != expected[key].shape
    ]
    if missing or surplus or shapes:
        raise ValueError(
            f"pretrained weights {path} do not fit the network: {len(missing)} keys missing {missing[:3]}, "
            f"{len(surplus)} not expected {surplus[:3]}, {len(shapes)} of another shape {shapes[:3]}"
        )
    network.load_state_dict(weights)
    logger.info("loaded %s%s", path, f"; covariates added at zero effect: {added}" if added else "")
    return added


def _keys_of(state: Mapping[str, torch.Tensor], prefix: str, name: str) -> list[str]:
    dot = f"{prefix}." if prefix else ""
    starts = (f"{dot}embeddings.{name}.", f"{dot}nulls.{name}")
    return [key for key in state if key.startswith(starts[0]) or key == starts[1]]
