"""Lay one thumbnail over another and measure how well they agree.

Two films of one kind of bone look alike in outline, so the agreement is measured on fine structure (a band-pass with local
contrast taken out) after the best affine map has been found. What a reader or a rotation filled in (the corners outside the
inscribed disc, the flat rest of a truncated file) is left out. May depend on `fingerprints` only.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.data.fingerprints import interpolate

Floats = NDArray[np.float32]

_DISC_RADIUS: Final = 0.97
_LEVELS: Final = ((4, 0.8, 4.0, 6), (2, 0.7, 2.5, 4), (1, 0.8, 2.0, 3))
_GATES: Final = (0.5, 0.7)
_MAX_STEP: Final = 0.25


@dataclass(frozen=True)
class AlignmentLevel:
    """Thumbnails prepared for alignment at one resolution.

    Attributes:
        detail: (N, S, S) band-passed images, of no unit.
        shown: (N, S, S) 1 where the film shows something, 0 where it is perfectly flat.
        num_steps: How many steps are taken at this resolution.
    """

    detail: Floats
    shown: Floats
    num_steps: int


@dataclass(frozen=True)
class Alignment:
    """How the two films of each of P pairs lie over each other.

    Attributes:
        agreement: (P,) normalised cross-correlation of the fine structure, in [-1, 1]; of a coarser level, and then below
            0.7, for a pair that was given up there.
        overlap: (P,) share of the smaller film's disc that both show, in [0, 1].
        maps: (P, 2, 3) affine maps from the first film's square frame to the second's.
    """

    agreement: Floats
    overlap: Floats
    maps: Floats


def prepare_levels(thumbnails: NDArray[np.uint8]) -> list[AlignmentLevel]:
    """Prepare thumbnails (N, 128, 128) for `align_pairs`, from the coarsest level to the finest."""
    return [prepare_level(thumbnails, level) for level in range(len(_LEVELS))]


def prepare_level(thumbnails: NDArray[np.uint8], level: int) -> AlignmentLevel:
    """Prepare thumbnails (N, 128, 128) at one level: 0 is 32 px wide, 1 is 64 px, 2 is 128 px."""
    shrink, smooth_px, window_px, num_steps = _LEVELS[level]
    smaller = _shrink(thumbnails.astype(np.float32), shrink)
    shown = _shrink(_find_texture(thumbnails), shrink)
    return AlignmentLevel(_flatten(_blur(smaller, smooth_px), window_px), (shown > 0.5).astype(np.float32), num_steps)


def align_pairs(levels: list[AlignmentLevel], pairs: NDArray[np.intp], start: Floats) -> Alignment:
    """Find the affine map between the films of each pair, starting from a guess; hopeless pairs are given up early.

    Args:
        levels: From `prepare_levels`.
        pairs: (P, 2) indices of the films to compare.
        start: (P, 2, 3) first guess: takes positions of the first film's square frame to the second's.
    """
    maps = start.astype(np.float32)
    agreement, overlap = np.zeros(len(pairs), dtype=np.float32), np.zeros(len(pairs), dtype=np.float32)
    alive = np.arange(len(pairs))
    for level, gate in zip(levels, (*_GATES, -1.0), strict=True):
        found = maps[alive]
        for _ in range(level.num_steps):
            found = _improve(level, pairs[alive], found)
        maps[alive] = found
        reached, overlap[alive] = measure_agreement(level, pairs[alive], found)
        agreement[alive] = np.minimum(reached, gate) if gate > 0 else reached
        alive = alive[reached > gate]
        if len(alive) == 0:
            break
    return Alignment(agreement, overlap, maps)


def measure_agreement(level: AlignmentLevel, pairs: NDArray[np.intp], maps: Floats) -> tuple[Floats, Floats]:
    """Return agreement in [-1, 1] and overlap in [0, 1], both (P,), of pairs under given maps (P, 2, 3)."""
    first, second = pairs.T
    warped, weight, disc_share = _warp(level, first, second, maps)
    template, first_deviation = _standardise(level.detail[first].reshape(len(pairs), -1), weight)
    image, second_deviation = _standardise(warped, weight)
    correlation = (template * image * weight).sum(axis=1) / np.maximum(weight.sum(axis=1), 1e-6)
    correlation[(first_deviation < 1e-3) | (second_deviation < 1e-3)] = 0.0
    return correlation.astype(np.float32), disc_share


def _improve(level: AlignmentLevel, pairs: NDArray[np.intp], maps: Floats) -> Floats:
    """Take one Gauss-Newton step (symmetric gradient, compositional update) towards a better map.

    Source: efficient second-order minimisation (Benhimane and Malis 2004), with gain and offset matched at each step.
    """
    first, second = pairs.T
    side = level.detail.shape[1]
    x, y = _grid(side)
    warped, weight, _ = _warp(level, first, second, maps)
    template, _ = _standardise(level.detail[first].reshape(len(pairs), -1), weight)
    image, _ = _standardise(warped, weight)
    mean = ((template + image) / 2).reshape(len(pairs), side, side)
    slope_y, slope_x = (slope.reshape(len(pairs), -1) for slope in np.gradient(mean, 2.0 / side, axis=(1, 2)))
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


def _warp(
    level: AlignmentLevel, first: NDArray[np.intp], second: NDArray[np.intp], maps: Floats
) -> tuple[Floats, Floats, Floats]:
    """Read the second films at mapped positions.

    Returns:
        values: (P, K).
        weight: (P, K), 1 where both films show the spot within their discs, else 0.
        disc_share: (P,) share of the smaller disc that both discs cover.
    """
    side = level.detail.shape[1]
    x, y = _grid(side)
    to_x = maps[:, 0, :1] * x + maps[:, 0, 1:2] * y + maps[:, 0, 2:]
    to_y = maps[:, 1, :1] * x + maps[:, 1, 1:2] * y + maps[:, 1, 2:]
    column, row = (to_x + 1) * side / 2 - 0.5, (to_y + 1) * side / 2 - 0.5
    values = interpolate(level.detail[second], column, row)
    common = (x**2 + y**2 < _DISC_RADIUS**2) & (to_x**2 + to_y**2 < _DISC_RADIUS**2)
    nearest = np.clip(np.rint(row), 0, side - 1) * side + np.clip(np.rint(column), 0, side - 1)
    shown = np.take_along_axis(level.shown[second].reshape(len(second), -1), nearest.astype(np.intp), axis=1)
    weight = common * shown * level.shown[first].reshape(len(first), -1)
    disc = np.pi / 4 * _DISC_RADIUS**2 * side**2
    second_disc = disc / np.maximum(np.abs(np.linalg.det(maps[:, :, :2])), 1e-3)
    disc_share = common.sum(axis=1) / np.minimum(disc, second_disc)
    return values, weight.astype(np.float32), disc_share.astype(np.float32)


def _standardise(values: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Give values (P, K) weighted mean 0 and standard deviation 1; also return the deviation they had."""
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1e-6)
    centred = values - (values * weight).sum(axis=1, keepdims=True) / total
    deviation = np.sqrt((centred**2 * weight).sum(axis=1, keepdims=True) / total)
    return centred / np.maximum(deviation, 1e-6), deviation[:, 0]


def _find_texture(thumbnails: NDArray[np.uint8]) -> Floats:
    """Return 1 where the 5 x 5 neighbourhood of a pixel is not perfectly flat, else 0."""
    changes = np.zeros(thumbnails.shape, dtype=np.float32)
    changes[:, :, 1:] += thumbnails[:, :, 1:] != thumbnails[:, :, :-1]
    changes[:, 1:] += thumbnails[:, 1:] != thumbnails[:, :-1]
    near = _box_matrix(thumbnails.shape[1], 5)
    return ((near @ changes @ near.T) > 0.5).astype(np.float32)


def _flatten(images: Floats, window_px: float) -> Floats:
    """Take out brightness and contrast that vary slowly over the film."""
    detail = images - _blur(images, window_px)
    contrast = np.sqrt(_blur(detail**2, window_px))
    floor = 0.3 * np.sqrt((detail**2).mean(axis=(1, 2), keepdims=True)) + 0.1
    return (detail / (contrast + floor)).astype(np.float32)


def _shrink(images: Floats, factor: int) -> Floats:
    """Average blocks of `factor` x `factor` pixels."""
    side = images.shape[1] // factor
    return images.reshape(len(images), side, factor, side, factor).mean(axis=(2, 4))


def _blur(images: Floats, sigma_px: float) -> Floats:
    kernel = _blur_matrix(images.shape[1], sigma_px)
    return kernel @ images @ kernel.T


@cache
def _blur_matrix(side: int, sigma_px: float) -> Floats:
    """Return the (side, side) Gaussian smoothing matrix, rows summing to 1."""
    position = np.arange(side)
    kernel = np.exp(-((position[:, None] - position) ** 2) / (2 * sigma_px**2))
    return (kernel / kernel.sum(axis=1, keepdims=True)).astype(np.float32)


@cache
def _box_matrix(side: int, width: int) -> Floats:
    """Return the (side, side) matrix that sums over a window of `width` pixels."""
    position = np.arange(side)
    return (np.abs(position[:, None] - position) <= width // 2).astype(np.float32)


@cache
def _grid(side: int) -> tuple[Floats, Floats]:
    """Return x and y (side * side,) of the pixel centres in the square frame."""
    centre = ((np.arange(side) + 0.5) * 2 / side - 1).astype(np.float32)
    x, y = np.meshgrid(centre, centre)
    return x.ravel(), y.ravel()
