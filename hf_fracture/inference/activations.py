"""What a forward pass leaves, whatever ran it. NumPy only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Activations:
    """What one forward pass leaves for N films.

    Attributes:
        probabilities: (N,) probability of a fracture in [0, 1].
        feature_maps: (N, C, h, w) output of the last stage; None where the network has no such map.
    """

    probabilities: NDArray[np.float64]
    feature_maps: NDArray[np.float32] | None
