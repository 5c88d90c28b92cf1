"""The running mean of a network's weights, measured and kept in place of the last step's.

May depend on nothing of the package.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

AVERAGE_NAME: Final = "average.safetensors"


class WeightAverage:
    """Exponential moving average of every floating-point tensor of a network, statistics of BatchNorm included.

    The decay starts low, min(decay, (1 + t) / (10 + t)) at step t, so that the random start of the head does not
    linger in a short run.

    Source: Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992; the warm-up of the decay
    as in TensorFlow's ExponentialMovingAverage.

    Attributes:
        num_updates: Steps taken so far.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        """Start from the network's weights.

        Args:
            network: Whose weights are averaged.
            decay: Share of the mean that each step keeps, in (0, 1).
        """
        self._network = network
        self._decay = decay
        self.num_updates = 0
        self._mean = {name: tensor.detach().clone() for name, tensor in _floats(network).items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the mean towards the weights of the step just taken."""
        self.num_updates += 1
        kept = min(self._decay, (1 + self.num_updates) / (10 + self.num_updates))
        for name, tensor in _floats(self._network).items():
            mean = self._mean[name] = self._mean[name].to(tensor.device)
            mean.lerp_(tensor.detach(), 1 - kept)

    @torch.no_grad()
    def copy_to_network(self) -> None:
        """Overwrite the network's weights with the mean."""
        for name, tensor in _floats(self._network).items():
            tensor.copy_(self._mean[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the mean into the network, and its own weights back afterwards."""
        own = {name: tensor.detach().clone() for name, tensor in _floats(self._network).items()}
        self.copy_to_network()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in _floats(self._network).items():
                    tensor.copy_(own[name])

    def save(self, folder: Path) -> None:
        """Write the mean beside a checkpoint's weights."""
        from safetensors.torch import save_file

        state = {**self._mean, "num_updates": torch.tensor(self.num_updates)}
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / AVERAGE_NAME)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        from safetensors.torch import load_file

        state = load_file(folder / AVERAGE_NAME)
        self.num_updates = int(state.pop("num_updates"))
        self._mean = state


def _floats(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
