"""Does a map depend on what the network learned, and stay the same where it should?

Parameter randomisation (Adebayo et al. 2018), repeatability over seeds and small shifts. Everything is measured on one
film; intervals over films are the caller's. Torch is imported inside functions. May depend on `data`, `models` and the
other modules of this room.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.data.transforms import Kernel, Letterbox
from hf_fracture.errors import UsageError
from hf_fracture.explain.attribution import compute_input_map
from hf_fracture.explain.layers import trace_forward
from hf_fracture.explain.methods import SAMPLING_METHODS, Method
from hf_fracture.labels import FRACTURED

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

COMPARED_SIDE: Final = 48  # longest side at which maps are compared; a pixel of a fine map has no rank worth comparing
NUM_BODY_STEPS: Final = 4  # in which the layers below the head are randomised, from the top down
SHIFT_FRACTION: Final = 1 / 64  # of the input's side
NUM_SEEDS: Final = 2


@dataclass(frozen=True, kw_only=True)
class Explainer:
    """A model, a method and a class: what turns a film into a map.

    Attributes:
        model: Image classifier in eval mode.
        method: One of `METHODS`.
        target: Index of the class that is explained.
    """

    model: "PreTrainedModel"
    method: Method
    target: int = FRACTURED

    def __call__(self, pixel_values: NDArray[np.float32], *, seed: int = 0) -> NDArray[np.float32]:
        """Return the signed map (s, s) over the padded input (3, S, S)."""
        return compute_input_map(self.model, pixel_values, method=self.method, target=self.target, seed=seed)[0]


@dataclass(frozen=True, kw_only=True)
class Shifts:
    """What small movements of the film do to its map.

    Attributes:
        similarity: Mean similarity of the maps, moved back, to the map of the film where it was; in [0, 1].
        peak_moved_fraction: Mean distance by which the peak moved on the film, as a share of the film's long side.
    """

    similarity: float
    peak_moved_fraction: float


def shrink_map(input_map: NDArray[np.float32], letterbox: Letterbox) -> NDArray[np.float32]:
    """Return the part of a map that lies on the film, at most `COMPARED_SIDE` long, for comparisons.

    Args:
        input_map: (s, s) over the whole padded input.
        letterbox: Of the film.
    """
    width, height = letterbox.scaled_size
    if len(input_map) <= 2 * COMPARED_SIDE:
        ratio = min(1.0, COMPARED_SIDE / max(width, height))
        small = Letterbox(
            (max(1, round(width * ratio)), max(1, round(height * ratio))), letterbox.size_px, (width, height)
        )
        return small.map_to_film(input_map, kernel="spline" if len(input_map) < letterbox.size_px else "linear")
    cells = len(input_map) / letterbox.size_px
    return average_blocks(input_map[: max(1, round(height * cells)), : max(1, round(width * cells))], COMPARED_SIDE)


def average_blocks(values: NDArray[np.floating], max_side: int) -> NDArray[np.float32]:
    """Average blocks of about equal size, so that at most `max_side` values are left along the longer side.

    >>> average_blocks(np.array([[1.0, 3.0, 5.0, 7.0]]), 2)
    array([[2., 6.]], dtype=float32)
    """
    ratio = min(1.0, max_side / max(values.shape))
    edges = [np.arange(max(1, round(size * ratio))) * size // max(1, round(size * ratio)) for size in values.shape]
    sums = np.add.reduceat(np.add.reduceat(values, edges[0], axis=0), edges[1], axis=1)
    counts = [np.diff([*starts, size]) for starts, size in zip(edges, values.shape, strict=True)]
    means: NDArray[np.float32] = (sums / np.outer(*counts)).astype(np.float32)
    return means


def compare_maps(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return the size of the rank correlation of two maps of one film.

    The size, because a map turned upside down still shows where the network looks.

    Args:
        first: (h, w).
        second: (h, w).

    Returns:
        |Spearman's rho| in [0, 1]; 0 if either map is the same everywhere, which resembles nothing.

    Raises:
        UsageError: If the shapes differ.

    >>> compare_maps(np.array([[1.0, 2.0, 3.0]]), np.array([[-1.0, -4.0, -9.0]]))
    1.0
    """
    from scipy.stats import spearmanr

    if first.shape != second.shape:
        raise UsageError(f"Expected two maps of one shape, got {first.shape} and {second.shape}. Shrink both alike.")
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return min(1.0, abs(float(spearmanr(first.ravel(), second.ravel()).statistic)))


def randomise_cascading(
    model: "PreTrainedModel", pixel_values: NDArray[np.float32], *, seed: int = 0
) -> Iterator[tuple[str, "PreTrainedModel"]]:
    """Destroy what a network learned, from its head downwards.

    The values of each parameter are shuffled within it, which keeps their distribution and so the activations' scale;
    statistics of BatchNorm stay. Departs in that from Adebayo et al. 2018, who draw initial values anew, which not
    every layer knows how to do.

    Args:
        model: Image classifier; it is not changed.
        pixel_values: (3, S, S) any film, to see in which order the layers run.
        seed: Of the shuffles.

    Yields:
        What was randomised so far, in words, and the network: first the head alone, then the head and more and more of
        the layers below it. It is the same object each time, changed further.
    """
    import torch

    randomised = copy.deepcopy(model)
    trace = trace_forward(randomised, torch.from_numpy(pixel_values)[None].to(model.device))
    leaves = list(trace.leaves)[::-1]
    num_head = max(1, trace.num_after_map)
    generator = torch.Generator().manual_seed(seed)
    head, body = leaves[:num_head], leaves[num_head:]
    _shuffle_parameters(head, generator)
    yield "head", randomised
    for step in range(NUM_BODY_STEPS):
        start, end = (step * len(body) // NUM_BODY_STEPS, (step + 1) * len(body) // NUM_BODY_STEPS)
        _shuffle_parameters(body[start:end], generator)
        yield f"head and the last {(step + 1) / NUM_BODY_STEPS:.0%} of the layers below it", randomised


def measure_seeds(explainer: Explainer, pixel_values: NDArray[np.float32], letterbox: Letterbox) -> float:
    """Return the mean similarity of maps of other seeds to the map of seed 0; exactly 1 for methods without chance."""
    if explainer.method not in SAMPLING_METHODS:
        return 1.0
    first, *others = (shrink_map(explainer(pixel_values, seed=seed), letterbox) for seed in range(NUM_SEEDS + 1))
    return float(np.mean([compare_maps(first, other) for other in others]))


def measure_shifts(explainer: Explainer, pixel_values: NDArray[np.float32], letterbox: Letterbox) -> Shifts:
    """Move the film down, across and both by `SHIFT_FRACTION`, and compare the maps after moving them back.

    Args:
        explainer: What makes the maps.
        pixel_values: (3, S, S); 0 is the padding.
        letterbox: Of the film.
    """
    side = pixel_values.shape[-1]
    step = max(1, round(side * SHIFT_FRACTION))
    whole = Letterbox((side, side), side, (side, side))  # maps at the resolution of the input
    original = explainer(pixel_values)
    kernel: Kernel = "spline" if len(original) < side else "linear"
    reference = whole.map_to_film(original, kernel=kernel)
    width, height = letterbox.scaled_size
    similarities, distances = [], []
    for down, across in ((step, 0), (0, step), (step, step)):
        moved = np.zeros_like(pixel_values)
        moved[:, down:, across:] = pixel_values[:, : side - down, : side - across]
        values = whole.map_to_film(explainer(moved), kernel=kernel)
        seen = np.s_[: min(height, side - down), : min(width, side - across)]
        back = values[down:, across:][seen]
        similarities.append(
            compare_maps(average_blocks(reference[seen], COMPARED_SIDE), average_blocks(back, COMPARED_SIDE))
        )
        distances.append(np.hypot(*np.subtract(_peak(reference[seen]), _peak(back))) / max(width, height))
    return Shifts(similarity=float(np.mean(similarities)), peak_moved_fraction=float(np.mean(distances)))


def _shuffle_parameters(modules: "list[nn.Module]", generator: "torch.Generator") -> None:
    import torch

    with torch.no_grad():
        for module in modules:
            for parameter in module.parameters(recurse=False):
                order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))


def _peak(values: NDArray[np.float32]) -> tuple[int, int]:
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    return int(row), int(column)
