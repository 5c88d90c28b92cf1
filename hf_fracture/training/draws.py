"""Which films a step sees and how they are altered, as a function of seed and epoch alone.

The Trainer's loader looks one batch ahead, so that draws from torch's global generator would differ between a run that
was resumed within an epoch and one that was not. May depend on numpy and torch only.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

Collator = Callable[[list[dict[str, Any]]], dict[str, Tensor]]


class NumberedFilms(Dataset[dict[str, Any]]):
    """A dataset whose items also say which they are, under the key `index`."""

    def __init__(self, films: Dataset[dict[str, Any]]) -> None:
        """Wrap a dataset with a length."""
        self.films = films

    def __len__(self) -> int:
        """Return the number of films."""
        return len(self.films)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a film with its number."""
        return {**self.films[index], "index": index}


class RepeatableCollator:
    """A collator whose random draws depend on the seed, the epoch and the films of the batch, and on nothing else.

    Attributes:
        epoch: Current pass over the films; set it before each.
    """

    def __init__(self, collate: Collator, *, seed: int) -> None:
        """Wrap a collator that draws from torch's global generator.

        Args:
            collate: Makes a batch of items with the key `index`.
            seed: Seed of the run.
        """
        self._collate = collate
        self._seed = seed
        self.epoch = 0

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Make a batch; torch's global generator is left as it was."""
        entropy = (self._seed, self.epoch, *(item["index"] for item in items))
        state = torch.get_rng_state()
        try:
            torch.default_generator.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
            return self._collate(items)
        finally:
            torch.set_rng_state(state)


class BalancedSampler(Sampler[int]):
    """Draw films with replacement so that every class comes up alike; an epoch stays as long as the split.

    Args:
        labels: (N,) class of each film.
        seed: Seed of the run; every process draws the same order and takes its share of it.
    """

    def __init__(self, labels: Sequence[int] | NDArray[np.intp], *, seed: int) -> None:
        """Weigh each film by the inverse frequency of its class."""
        classes, index, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
        self._chances = (1 / (len(classes) * counts))[index]
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        """Return the number of films drawn in an epoch."""
        return len(self._chances)

    def __iter__(self) -> Iterator[int]:
        """Yield the films of one epoch."""
        rng = np.random.default_rng((self._seed, self._epoch))
        drawn = rng.choice(len(self), size=len(self), replace=True, p=self._chances)
        yield from (int(index) for index in drawn)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; the Trainer's loader calls this."""
        self._epoch = epoch
