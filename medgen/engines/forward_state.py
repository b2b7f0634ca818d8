"""What a forward pass in training changes without an optimizer: codebooks, and statistics of batch norm."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["ForwardState"]


class ForwardState:
    """Remember, and put back, the buffers of a network and its parameters that have no gradient.

    An optimizer step that is skipped must leave no trace, and a checkpoint between two of them holds the network as it
    was at the first.

    Args:
        network: None for one without such a state.
    """

    def __init__(self, network: nn.Module | None) -> None:
        self.network = network
        self._kept: dict[str, torch.Tensor] = {}

    def remember(self) -> None:
        """Copy the state of this moment."""
        if self.network is None:
            return
        learned = {name for name, parameter in self.network.named_parameters() if parameter.requires_grad}
        state = self.network.state_dict()
        self._kept = {name: value.clone() for name, value in state.items() if name not in learned}

    def restore(self) -> None:
        """Put back what was remembered."""
        if self.network is not None:
            state = self.network.state_dict()
            for name, value in self._kept.items():
                state[name].copy_(value)

    def state_dict(self, now: bool) -> dict[str, torch.Tensor]:
        """Return the network's state, ``now`` or with what was remembered."""
        state = {} if self.network is None else dict(self.network.state_dict())
        return state if now else state | self._kept
