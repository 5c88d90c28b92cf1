"""Lay one thumbnail over another and measure how well they agree.

Two films of one kind of bone look alike in outline, so the agreement is measured on fine structure (a band-pass with
local contrast taken out) after the best affine map has been found. What a rotation or a reader filled in is left out:
the corners outside the inscribed disc, and the lost rows of a truncated file. May depend on `fingerprints` only.
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


@dataclass(frozen=True, kw_only=True)
class Level:
    """One resolution of the search.

    Attributes:
        shrink: Thumbnail px per pixel of this level.
        smooth_px: Width of the smoothing (noise goes), px of this level.
        window_px: Width of the neighbourhood whose mean and contrast are taken out, px of this level.
        num_steps: Steps taken.
        gate: Pairs that agree less than this are given up.
    """

    shrink: int
    smooth_px: float
    window_px: float
    num_steps: int
    gate: float


LEVELS: Final = (
    Level(shrink=4, smooth_px=0.8, window_px=4.0, num_steps=6, gate=0.75),
    Level(shrink=2, smooth_px=0.7, window_px=2.5, num_steps=4, gate=0.8),
    Level(shrink=1, smooth_px=0.8, window_px=2.0, num_steps=3, gate=-1.0),
)


@dataclass(frozen=True)
class Detail:
    """Films prepared for alignment at one resolution.

    Attributes:
        values: (N, S, S) band-passed images, of no unit.
        bottom: (N,) y of the square frame below which a film shows nothing; 1 for an intact film.
    """

    values: Floats
    bottom: Floats


@dataclass(frozen=True)
class Alignment:
    """How the two films of each of P pairs lie over each other.

    Attributes:
        agreement: (P,) normalised cross-correlation of the fine structure, in [-1, 1]; of a coarser level, and then at
            most that level's gate, for a pair that was given up there.
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


def prepare_detail(thumbnails: NDArray[np.uint8], bottom: Floats, level: Level) -> Detail:
    """Prepare thumbnails (N, 128, 128) whose films end at `bottom` (N,) for alignment at one resolution."""
    smooth = _blur(shrink(thumbnails, level.shrink), level.smooth_px)
    return Detail(_flatten(smooth, level.window_px), bottom)


def align_level(detail: Detail, pairs: Pairs, start: Floats, *, num_steps: int) -> Alignment:
    """Improve the maps of pairs by a number of steps and measure what they reach.

    Args:
        detail: Prepared films.
        pairs: (P, 2) indices of the films to compare.
        start: (P, 2, 3) takes positions of the first film's square frame to the second's.
        num_steps: 0 to measure only.
    """
    if len(pairs) == 0:
        return join_alignments([])
    first, second = detail.values[pairs[:, 0]], detail.values[pairs[:, 1]]
    bottom = detail.bottom[pairs]
    maps = start.astype(np.float32)
    for _ in range(num_steps):
        maps = _improve(first, second, maps, bottom)
    agreement, overlap = _measure(first, second, maps, bottom)
    return Alignment(agreement, overlap, maps)


def _measure(first: Floats, second: Floats, maps: Floats, bottom: Floats) -> tuple[Floats, Floats]:
    warped, weight, overlap = _warp(second, maps, bottom)
    template, first_deviation = _standardise(first.reshape(len(first), -1), weight)
    image, second_deviation = _standardise(warped, weight)
    correlation = (template * image * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-6)
    correlation[(first_deviation < 1e-3) | (second_deviation < 1e-3)] = 0.0
    return correlation.astype(np.float32), overlap


def _improve(first: Floats, second: Floats, maps: Floats, bottom: Floats) -> Floats:
    """Take one Gauss-Newton step (symmetric gradient, compositional update) towards a better map.

    Source: efficient second-order minimisation (Benhimane and Malis 2004), with gain and offset matched at each step.
    """
    num, side = first.shape[:2]
    x, y = _grid(side)
    warped, weight, _ = _warp(second, maps, bottom)
    template, _ = _standardise(first.reshape(num, -1), weight)
    image, _ = _standardise(warped, weight)
    mean = ((template + image) / 2).reshape(num, side, side)
    slope_y, slope_x = (slope.reshape(num, -1) for slope in np.gradient(mean, 2.0 / side, axis=(1, 2)))
    jacobian = np.stack([slope_x * x, slope_x * y, slope_x, slope_y * x, slope_y * y, slope_y], axis=1)  # (P, 6, K)
    weighted = jacobian * weight[:, None]
    normal = weighted @ jacobian.transpose(0, 2, 1)
    ridge = 1e-3 * np.trace(normal, axis1=1, axis2=2)[:, None, None] / 6 + 1e-6
    right = weighted @ (template - image)[:, :, None]
    step = np.linalg.solve(normal + ridge * np.eye(6, dtype=np.float32), right)
    step = np.clip(step, -_MAX_STEP, _MAX_STEP).reshape(-1, 2, 3)
    linear = maps[:, :, :2] @ (np.eye(2, dtype=np.float32) + step[:, :, :2])
    shift = maps[:, :, 2:] + maps[:, :, :2] @ step[:, :, 2:]
    return np.concatenate([linear, shift], axis=2).astype(np.float32)


def _warp(second: Floats, maps: Floats, bottom: Floats) -> tuple[Floats, Floats, Floats]:
    """Read the second films at mapped positions.

    Returns:
        values: (P, K).
        weight: (P, K), 1 where both films show the spot within their discs, else 0.
        overlap: (P,) share of the smaller disc that both films show.
    """
    side = second.shape[1]
    x, y = _grid(side)
    to_x = maps[:, 0, :1] * x + maps[:, 0, 1:2] * y + maps[:, 0, 2:]
    to_y = maps[:, 1, :1] * x + maps[:, 1, 1:2] * y + maps[:, 1, 2:]
    values = interpolate(second, (to_x + 1) * (side / 2) - 0.5, (to_y + 1) * (side / 2) - 0.5)
    common = (x * x + y * y < _DISC_RADIUS**2) & (to_x * to_x + to_y * to_y < _DISC_RADIUS**2)
    common &= (y < bottom[:, :1]) & (to_y < bottom[:, 1:])
    disc = np.pi / 4 * _DISC_RADIUS**2 * side**2
    second_disc = disc / np.maximum(np.abs(np.linalg.det(maps[:, :, :2])), 1e-3)
    overlap = common.sum(axis=1) / np.minimum(disc, second_disc)
    return values, common.astype(np.float32), overlap.astype(np.float32)


def _standardise(values: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Give values (P, K) weighted mean 0 and standard deviation 1; also return the deviation they had."""
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1e-6)
    centred = values - np.einsum("pk,pk->p", values, weight)[:, None] / total
    deviation = np.sqrt(np.einsum("pk,pk,pk->p", centred, centred, weight)[:, None] / total)
    return (centred / np.maximum(deviation, 1e-6)).astype(np.float32), deviation[:, 0]


def _flatten(images: Floats, window_px: float) -> Floats:
    """Take out brightness and contrast that vary slowly over the film."""
    detail = images - _blur(images, window_px)
    contrast = np.sqrt(_blur(detail * detail, window_px))
    floor = 0.3 * np.sqrt((detail * detail).mean(axis=(1, 2), keepdims=True)) + 0.1
    return np.asarray(detail / (contrast + floor), dtype=np.float32)


def _blur(images: Floats, sigma_px: float) -> Floats:
    kernel = _blur_matrix(images.shape[1], sigma_px)
    return np.asarray(kernel @ images @ kernel.T, dtype=np.float32)


@cache
def _blur_matrix(side: int, sigma_px: float) -> Floats:
    """Return the (side, side) Gaussian smoothing matrix, rows summing to 1."""
    position = np.arange(side)
    kernel = np.exp(-((position[:, None] - position) ** 2) / (2 * sigma_px**2))
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True), dtype=np.float32)


@cache
def _grid(side: int) -> tuple[Floats, Floats]:
    """Return x and y (side * side,) of the pixel centres in the square frame."""
    centre = ((np.arange(side) + 0.5) * 2 / side - 1).astype(np.float32)
    x, y = np.meshgrid(centre, centre)
    return x.ravel(), y.ravel()
