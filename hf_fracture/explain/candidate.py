"""From a map to the one region that it points at. May depend on numpy and `errors` only."""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from hf_fracture.errors import UsageError

FilmBox = tuple[float, float, float, float]
"""x, y, width, height in film pixels."""

BoxStyle = Literal["dotted", "solid"]

MAX_SEARCH_PX: Final = 256
"""Longest side on which the region is traced; on larger films every nth pixel is looked at."""

_STYLE_OF_DECISION: Final[dict[str, BoxStyle]] = {"uncertain": "dotted", "fracture": "solid"}


def find_candidate(values: NDArray[np.floating], *, threshold_fraction: float) -> FilmBox | None:
    """Put a box around the part of a map that hangs together with its peak.

    Args:
        values: (H, W) signed map in film coordinates.
        threshold_fraction: Share of the peak's value, in (0, 1), above which a pixel belongs to the region.

    Returns:
        The box, inside the film; None if nothing in the map is positive.

    Raises:
        UsageError: If the share leaves its range.

    >>> map_with_two_spots = np.array([[0.0, 4.0, 3.0, 0.0, 2.5], [0.0, 1.0, 0.0, 0.0, 0.0]])
    >>> find_candidate(map_with_two_spots, threshold_fraction=0.5)
    (1.0, 0.0, 2.0, 1.0)
    """
    if not 0.0 < threshold_fraction < 1.0:
        raise UsageError(f"threshold_fraction must lie in (0, 1), got {threshold_fraction!r}. Write 0.5 for half.")
    if not values.max() > 0.0:
        return None
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    step = -(-max(values.shape) // MAX_SEARCH_PX)
    top, left = int(row) % step, int(column) % step  # so that the peak itself is among the pixels looked at
    coarse = values[top::step, left::step]
    region = _grow(coarse >= threshold_fraction * values.max(), (int(row) // step, int(column) // step))
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    x, y = _span(columns, left, step, values.shape[1]), _span(rows, top, step, values.shape[0])
    return (x[0], y[0], x[1] - x[0], y[1] - y[0])


def measure_box_overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the intersection over union of two boxes (x, y, width, height), in [0, 1].

    >>> measure_box_overlap((0, 0, 2, 2), (1, 0, 2, 2))
    0.3333333333333333
    """
    across = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    down = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    shared = max(0.0, across) * max(0.0, down)
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)


def choose_box_style(decision: str) -> BoxStyle | None:
    """Return how a candidate region is drawn: dotted where the film needs a look, solid for a called fracture.

    Args:
        decision: Of a `Finding`.

    Returns:
        None where none is drawn: never for a negative, a refused film or an error.

    >>> choose_box_style("fracture"), choose_box_style("uncertain"), choose_box_style("no fracture")
    ('solid', 'dotted', None)
    """
    return _STYLE_OF_DECISION.get(decision)


def _grow(mask: NDArray[np.bool_], seed: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the 8-connected part of the mask that holds the seed."""
    region = np.zeros_like(mask)
    region[seed] = True
    while True:
        rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
        window = np.s_[max(0, rows[0] - 1) : rows[-1] + 2, max(0, columns[0] - 1) : columns[-1] + 2]
        grown = _dilate(region[window]) & mask[window]
        if grown.sum() == region.sum():
            return region
        region[window] = grown


def _dilate(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    for axis in (0, 1):
        padded = np.pad(region, [(1, 1) if other == axis else (0, 0) for other in (0, 1)])
        size = region.shape[axis]
        region = np.logical_or.reduce([np.take(padded, range(shift, shift + size), axis) for shift in range(3)])
    return region


def _span(indices: NDArray[np.intp], offset: int, step: int, length: int) -> tuple[float, float]:
    """Return first and last film pixel + 1 of the pixels looked at; each of them stands for `step` pixels around it."""
    first = offset + step * int(indices[0]) - (step - 1) // 2
    last = offset + step * int(indices[-1]) + step // 2 + 1
    return float(max(0, first)), float(min(length, last))
