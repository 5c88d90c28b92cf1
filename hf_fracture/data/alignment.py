"""Lay one thumbnail over another and measure how well they agree, at points spread over the disc.

Two films of one kind of bone look alike in outline, so the agreement is measured on fine structure (a band-pass with
local contrast taken out) after the best affine map has been found. Some hundred points tell two films apart as well as
all pixels do, at a fraction of the cost: of ten thousand films, a hundred thousand pairs have to be looked at. What a
rotation or a reader filled in is left out: the corners outside the inscribed disc, and the lost rows of a truncated
file. May depend on `fingerprints` only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.data.fingerprints import interpolate, shrink

Floats = NDArray[np.float32]
Pairs = NDArray[np.intp]

_DISC_RADIUS: Final = 0.97
_MAX_STEP: Final = 0.25
_VALUE_SCALE: Final = 32.0  # values are kept as eight-bit numbers; they rarely leave [-4, 4]
_CHUNK_FILMS: Final = 64
_CHUNK_SAMPLES: Final = 40_000  # points of one step; keeps its arrays in the processor's cache


@dataclass(frozen=True, kw_only=True)
class Level:
    """One resolution of the search.

    Attributes:
        shrink: Thumbnail px per pixel of this level.
        smooth_px: Width of the smoothing (noise goes), px of this level.
        window_px: Width of the neighbourhood whose mean and contrast are taken out, px of this level.
        num_points: Points compared.
        num_steps: Steps taken.
    """

    shrink: int
    smooth_px: float
    window_px: float
    num_points: int
    num_steps: int


LEVELS: Final = (
    Level(shrink=4, smooth_px=0.8, window_px=4.0, num_points=192, num_steps=5),
    Level(shrink=2, smooth_px=0.7, window_px=2.5, num_points=512, num_steps=4),
    Level(shrink=1, smooth_px=0.8, window_px=2.0, num_points=2048, num_steps=3),
)


@dataclass(frozen=True)
class Sketch:
    """Films at one resolution.

    Attributes:
        level: The resolution.
        values: (N, S, S) band-passed images, scaled to eight bits.
        samples: (N, 3, K) value, slope along x and slope along y at the level's points.
        bottom: (N,) y of the square frame below which a film shows nothing; infinite for an intact film.
    """

    level: Level
    values: NDArray[np.int8]
    samples: NDArray[np.float16]
    bottom: Floats


@dataclass(frozen=True)
class Alignment:
    """How the two films of each of P pairs lie over each other.

    Attributes:
        agreement: (P,) normalised cross-correlation of the fine structure, in [-1, 1].
        overlap: (P,) share of the smaller film's disc that both show, in [0, 1].
        maps: (P, 2, 3) affine maps from the first film's square frame to the second's.
    """

    agreement: Floats
    overlap: Floats
    maps: Floats


def join_alignments(alignments: Sequence[Alignment]) -> Alignment:
    """Put alignments of several batches of pairs one after the other."""
    empty = Alignment(np.empty(0, np.float32), np.empty(0, np.float32), np.empty((0, 2, 3), np.float32))
    parts = [empty, *alignments]
    return Alignment(
        np.concatenate([part.agreement for part in parts]),
        np.concatenate([part.overlap for part in parts]),
        np.concatenate([part.maps for part in parts]),
    )


def sketch_films(thumbnails: NDArray[np.uint8], bottom: Floats, level: Level) -> Sketch:
    """Prepare thumbnails (N, 128, 128) whose films end at `bottom` (N,) for alignment at one resolution."""
    side = thumbnails.shape[1] // level.shrink
    values = np.empty((len(thumbnails), side, side), dtype=np.int8)
    samples = np.empty((len(thumbnails), 3, level.num_points), dtype=np.float16)
    column, row = ((axis + 1) * (side / 2) - 0.5 for axis in spread_points(level.num_points))
    for start in range(0, len(thumbnails), _CHUNK_FILMS):
        chunk = slice(start, start + _CHUNK_FILMS)
        smooth = _blur(shrink(thumbnails[chunk], level.shrink), level.smooth_px)
        detail = _flatten(smooth, level.window_px)
        values[chunk] = np.clip(np.rint(detail * _VALUE_SCALE), -127, 127)
        for place, image in enumerate((detail, *_slopes(detail))):
            shape = (len(detail), level.num_points)
            samples[chunk, place] = interpolate(image, np.broadcast_to(column, shape), np.broadcast_to(row, shape))
    return Sketch(level, values, samples, bottom)


@cache
def spread_points(num: int) -> Floats:
    """Return x and y (2, num) of points spread evenly over the disc (Vogel's sunflower), in the square frame."""
    index = np.arange(num)
    radius = _DISC_RADIUS * np.sqrt((index + 0.5) / num)
    angle = index * (np.pi * (3 - np.sqrt(5)))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)]).astype(np.float32)


def align_level(sketch: Sketch, pairs: Pairs, start: Floats, *, num_steps: int) -> Alignment:
    """Improve the maps of pairs by a number of steps and measure what they reach.

    Args:
        sketch: Prepared films.
        pairs: (P, 2) indices of the films to compare.
        start: (P, 2, 3) takes positions of the first film's square frame to the second's.
        num_steps: 0 to measure only.
    """
    size = max(1, _CHUNK_SAMPLES // sketch.level.num_points)
    chunks = [slice(first, first + size) for first in range(0, len(pairs), size)]
    return join_alignments([_align_chunk(sketch, pairs[chunk], start[chunk], num_steps) for chunk in chunks])


def _align_chunk(sketch: Sketch, pairs: Pairs, start: Floats, num_steps: int) -> Alignment:
    points = _Points(sketch, pairs)
    maps = points.improve(start.astype(np.float32), num_steps)
    agreement, overlap = points.measure(maps)
    return Alignment(agreement, overlap, maps)


class _Points:
    """The points of a few pairs at one resolution."""

    def __init__(self, sketch: Sketch, pairs: Pairs) -> None:
        self._x, self._y = spread_points(sketch.level.num_points)
        self._values = sketch.values
        self._offset = (pairs[:, 1] * sketch.values.shape[1] ** 2)[:, None]
        self._bottom = sketch.bottom[pairs[:, 1], None]
        self._shown = self._y < sketch.bottom[pairs[:, 0], None]
        self._samples = sketch.samples[pairs[:, 0]].astype(np.float32)

    def measure(self, maps: Floats) -> tuple[Floats, Floats]:
        """Return agreement (P,) and overlap (P,) under given maps."""
        template, image, weight, spread = self._compare(maps)
        agreement = np.einsum("pk,pk->p", template, image) / np.maximum(weight.sum(axis=1), 1.0)
        agreement[spread.min(axis=1) < 1e-3] = 0.0
        # The second disc, seen from the first, is smaller by the map's determinant.
        smaller = np.minimum(1.0, 1 / np.maximum(np.abs(np.linalg.det(maps[:, :, :2])), 1e-3))
        return agreement.astype(np.float32), (weight.mean(axis=1) / smaller).astype(np.float32)

    def improve(self, maps: Floats, num_steps: int) -> Floats:
        """Take Gauss-Newton steps towards better maps, gain and offset matched at each.

        Source: the inverse compositional algorithm (Baker and Matthews 2004), to first order in its update: the slopes
        are those of the first film throughout, so that they need be inverted once.
        """
        if num_steps == 0:
            return maps
        across, down = self._samples[:, 1], self._samples[:, 2]
        jacobian = np.stack([across * self._x, across * self._y, across, down * self._x, down * self._y, down], axis=1)
        jacobian *= self._shown[:, None]  # (P, 6, K)
        normal = jacobian @ jacobian.transpose(0, 2, 1)
        ridge = 1e-3 * np.trace(normal, axis1=1, axis2=2)[:, None, None] / 6 + 1e-6
        inverse = np.linalg.inv(normal + ridge * np.eye(6, dtype=np.float32))
        for _ in range(num_steps):
            template, image, _, spread = self._compare(maps)
            right = jacobian @ ((template - image) * spread[:, :1])[:, :, None]
            step = np.clip(inverse @ right, -_MAX_STEP, _MAX_STEP).reshape(-1, 2, 3)
            maps = maps + maps[:, :, :2] @ step
        return maps

    def _compare(self, maps: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Read both films at the points.

        Returns:
            template, image: (P, K) with mean 0 and deviation 1 over what both films show, 0 elsewhere.
            weight: (P, K), 1 where both show the spot within their discs, else 0.
            spread: (P, 2) deviations that the two had.
        """
        image, weight = self._read(maps)
        total = np.maximum(weight.sum(axis=1, keepdims=True), 1.0)
        template, first = _standardise(self._samples[:, 0], weight, total)
        image, second = _standardise(image, weight, total)
        return template, image, weight, np.concatenate([first, second], axis=1)

    def _read(self, maps: Floats) -> tuple[Floats, Floats]:
        """Return the second films' values (P, K) at the mapped points, and the weights (P, K)."""
        side = self._values.shape[1]
        to_x = maps[:, 0, :1] * self._x + (maps[:, 0, 1:2] * self._y + maps[:, 0, 2:])
        to_y = maps[:, 1, :1] * self._x + (maps[:, 1, 1:2] * self._y + maps[:, 1, 2:])
        weight = (to_x * to_x + to_y * to_y < _DISC_RADIUS**2) & (to_y < self._bottom) & self._shown
        column = np.clip(to_x * (side / 2) + (side / 2 - 0.5), 0, side - 1.001)
        row = np.clip(to_y * (side / 2) + (side / 2 - 0.5), 0, side - 1.001)
        left, top = column.astype(np.int32), row.astype(np.int32)
        column -= left
        row -= top
        index = self._offset + (top * side + left)
        flat = self._values.reshape(-1)
        upper = flat[index] * (1 - column) + flat[index + 1] * column
        lower = flat[index + side] * (1 - column) + flat[index + side + 1] * column
        return (upper + (lower - upper) * row) / _VALUE_SCALE, weight.astype(np.float32)


def _standardise(values: Floats, weight: Floats, total: Floats) -> tuple[Floats, Floats]:
    """Give values (P, K) weighted mean 0 and deviation 1; also return the deviation (P, 1) they had."""
    centred = (values - np.einsum("pk,pk->p", values, weight)[:, None] / total) * weight
    deviation = np.sqrt(np.einsum("pk,pk->p", centred, centred)[:, None] / total)
    return centred / np.maximum(deviation, 1e-6), deviation


def _slopes(detail: Floats) -> tuple[Floats, Floats]:
    """Return the slopes along x and y (N, S, S) per unit of the square frame."""
    half = detail.shape[1] / 4  # a central difference spans two pixels of 2 / S each
    across, down = np.zeros_like(detail), np.zeros_like(detail)
    across[:, :, 1:-1] = (detail[:, :, 2:] - detail[:, :, :-2]) * half
    down[:, 1:-1] = (detail[:, 2:] - detail[:, :-2]) * half
    return across, down


def _flatten(images: Floats, window_px: float) -> Floats:
    """Take out brightness and contrast that vary slowly over the film."""
    detail = images - _blur(images, window_px)
    energy = detail * detail
    contrast = np.sqrt(_blur(energy, window_px))
    floor = 0.3 * np.sqrt(energy.mean(axis=(1, 2), keepdims=True)) + 0.1
    return np.asarray(detail / (contrast + floor), dtype=np.float32)


def _blur(images: Floats, sigma_px: float) -> Floats:
    """Smooth along both axes; one large matrix product each, which is faster than one for each film."""
    kernel = _blur_matrix(images.shape[1], sigma_px).T
    for _ in range(2):
        images = np.ascontiguousarray((images.reshape(-1, len(kernel)) @ kernel).reshape(images.shape).swapaxes(1, 2))
    return images


@cache
def _blur_matrix(side: int, sigma_px: float) -> Floats:
    """Return the (side, side) Gaussian smoothing matrix, rows summing to 1."""
    position = np.arange(side)
    kernel = np.exp(-((position[:, None] - position) ** 2) / (2 * sigma_px**2))
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True), dtype=np.float32)
