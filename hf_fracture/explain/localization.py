"""Does a map point at the fracture? Scores of a map against marked regions, and the two maps it has to beat.

A map that nobody has checked is decoration. May depend on numpy, Pillow and `errors` only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from hf_fracture.errors import UsageError

CENTRE_WIDTH_FRACTION: Final = 0.25  # standard deviation of the centre guess, as a share of each side
EDGE_BLUR_PX: Final = 1.0

Box = Sequence[float]


@dataclass(frozen=True, kw_only=True)
class LocalizationScore:
    """How one map meets one film's marked regions.

    Attributes:
        peak_in_region: 1.0 if the largest value lies in a region, else 0.0 (the pointing game of Zhang et al. 2018);
            where several pixels share the largest value, the share of them that lie in a region.
        mass_in_region: Share of the positive values that lie in a region, in [0, 1].
        region_fraction: Share of the film that the regions cover, in (0, 1]: what a map without any knowledge gets.
    """

    peak_in_region: float
    mass_in_region: float
    region_fraction: float


def score_map(values: NDArray[np.floating], boxes: Sequence[Box]) -> LocalizationScore:
    """Score a map against boxes.

    An empty map (nothing positive) points nowhere and gets 0.

    Args:
        values: (H, W) signed map in film coordinates; positive speaks for a fracture.
        boxes: [x, y, width, height] in film pixels, at least one.

    Raises:
        UsageError: If the map is not two-dimensional, no box is given, or a value is not finite.

    >>> score_map(np.array([[0.0, 3.0], [1.0, -2.0]]), [[1, 0, 1, 1]])
    LocalizationScore(peak_in_region=1.0, mass_in_region=0.75, region_fraction=0.25)
    """
    if values.ndim != 2 or not np.isfinite(values).all():
        raise UsageError(f"values must be a finite (H, W) map, got shape {values.shape}. Score one map at a time.")
    region = draw_regions(boxes, values.shape[1], values.shape[0])
    positive = np.maximum(values, 0.0)
    total, peak = float(positive.sum()), float(positive.max())
    return LocalizationScore(
        peak_in_region=float(region[positive == peak].mean()) if peak > 0 else 0.0,
        mass_in_region=float(positive[region].sum() / total) if total > 0 else 0.0,
        region_fraction=float(region.mean()),
    )


def measure_overlap(values: NDArray[np.floating], boxes: Sequence[Box], *, threshold_fraction: float) -> float:
    """Return how well the part of a map above a threshold covers the regions and nothing else.

    Args:
        values: (H, W) signed map in film coordinates.
        boxes: [x, y, width, height] in film pixels, at least one.
        threshold_fraction: Share of the map's peak, in (0, 1), above which a pixel is marked; choose it on other films.

    Returns:
        Intersection over union in [0, 1]; 0 for an empty map.

    Raises:
        UsageError: If the share leaves its range or no box is given.

    >>> measure_overlap(np.array([[0.0, 4.0], [3.0, 1.0]]), [[1, 0, 1, 2]], threshold_fraction=0.5)
    0.3333333333333333
    """
    if not 0.0 < threshold_fraction < 1.0:
        raise UsageError(f"threshold_fraction must lie in (0, 1), got {threshold_fraction!r}. Write 0.5 for half.")
    region = draw_regions(boxes, values.shape[1], values.shape[0])
    marked = values >= threshold_fraction * values.max() if values.max() > 0 else np.zeros_like(region)
    return float((marked & region).sum() / (marked | region).sum())


def draw_regions(boxes: Sequence[Box], width: int, height: int) -> NDArray[np.bool_]:
    """Mark the pixels whose centre lies in a box, at least one pixel a box.

    Args:
        boxes: [x, y, width, height] in film pixels, at least one.
        width: Of the film in pixels.
        height: Of the film in pixels.

    Returns:
        (height, width).

    Raises:
        UsageError: If there is no box.
    """
    if not boxes:
        raise UsageError("Expected at least one box to score a map against, got none. Score only films with boxes.")
    region = np.zeros((height, width), dtype=np.bool_)
    for x, y, box_width, box_height in boxes:
        left, top = _clip(round(x), width - 1), _clip(round(y), height - 1)
        right, bottom = max(left + 1, round(x + box_width)), max(top + 1, round(y + box_height))
        region[top:bottom, left:right] = True
    return region


def centre_map(width: int, height: int) -> NDArray[np.float64]:
    """Return the guess that knows nothing but that films are framed: a Gaussian at the centre, (height, width)."""
    x = (np.arange(width) + 0.5) / width - 0.5
    y = (np.arange(height) + 0.5) / height - 0.5
    squared: NDArray[np.float64] = y[:, None] ** 2 + x[None, :] ** 2
    return np.exp(-squared / (2 * CENTRE_WIDTH_FRACTION**2))


def edge_map(film: Image.Image) -> NDArray[np.float64]:
    """Return the size of the grey values' gradient, after a slight blur: what an edge detector would point at.

    Args:
        film: Mode L.

    Returns:
        (height, width), at least 0.
    """
    grey = np.asarray(film.convert("L").filter(ImageFilter.GaussianBlur(EDGE_BLUR_PX)), dtype=np.float64)
    down = np.gradient(grey, axis=0) if grey.shape[0] > 1 else np.zeros_like(grey)
    across = np.gradient(grey, axis=1) if grey.shape[1] > 1 else np.zeros_like(grey)
    size: NDArray[np.float64] = np.hypot(down, across)
    return size


def _clip(value: int, highest: int) -> int:
    return min(max(value, 0), highest)
