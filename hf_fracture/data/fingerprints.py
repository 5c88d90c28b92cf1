"""What is kept of a film in order to recognise a copy of it: a small thumbnail and its perceptual hashes.

A thumbnail is the whole film squeezed into a square, so that a copy of another aspect ratio looks the same. Positions
are given in the *square frame*: x and y in [-1, 1], x to the right, y downwards, whatever the film's aspect ratio.
May depend on `errors` only (numpy and PIL).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

THUMBNAIL_PX: Final = 128
NUM_ORIENTATIONS: Final = 8
_HASH_SIDE: Final = 8
_DETAIL_SIDE: Final = 16
_NUM_RINGS: Final = 16
_NUM_ANGLES: Final = 64
_NUM_HARMONICS: Final = 17
_DISC_RADIUS: Final = 0.97
_DECODER_GREY: Final = 128
_BLACK: Final = 2
_DARKEST_FILLING: Final = 64
_BRIGHTEST_FILLING: Final = 240
_STEP_MARGIN_PX: Final = 2
_CHUNK_FILMS: Final = 256


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """All that is needed to find and confirm a copy of one film.

    Attributes:
        thumbnail: (128, 128) uint8, the film squeezed into a square; lost rows repeat the last one that is shown.
        width: Width of the film in px; with `height` it gives the aspect ratio.
        height: Height of the film in px.
    """

    thumbnail: NDArray[np.uint8]
    width: int
    height: int

    @property
    def num_rows_shown(self) -> int:
        """Rows of the thumbnail that show something: all but the ones at the bottom that repeat the row above."""
        if (self.thumbnail[-1] != self.thumbnail[-2]).any():
            return THUMBNAIL_PX
        repeats = (self.thumbnail[1:] == self.thumbnail[:-1]).all(axis=1)
        return THUMBNAIL_PX - int(np.argmin(np.append(repeats[::-1], False)))


def fingerprint_image(image: Image.Image) -> Fingerprint:
    """Reduce a film to its fingerprint.

    Args:
        image: Upright 8-bit grey film (mode L) of any size; other modes are converted to L.
    """
    grey = image if image.mode == "L" else image.convert("L")
    pixels = grey.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BICUBIC, reducing_gap=3.0)
    thumbnail = np.array(pixels)
    num_rows = _count_shown_rows(thumbnail)
    thumbnail[num_rows:] = thumbnail[max(num_rows - 1, 0)]
    return Fingerprint(thumbnail=thumbnail, width=image.width, height=image.height)


def _count_shown_rows(thumbnail: NDArray[np.uint8]) -> int:
    """Count the rows above a flat strip at the bottom: what a truncated file lost, or an unexposed margin.

    A reader that fills in what is missing leaves black rows (this package's) or mid-grey with a step in its upper edge
    (a JPEG decoder: blocks are lost from left to right). So a row belongs to a black strip when all of it is black, and
    to a grey one when an eighth of it has that grey; the rows below must belong to it, too. A film that is of one grey
    all over is blank.
    """
    grey = int(np.bincount(thumbnail[-1], minlength=256).argmax())
    if grey <= _BLACK:
        lost = thumbnail.max(axis=1) <= _BLACK
    else:
        lost = (thumbnail == grey).sum(axis=1) >= THUMBNAIL_PX // 8
        flat = (thumbnail[-1 if grey == _DECODER_GREY else -3 :] == grey).mean()
        if flat < (0.5 if grey == _DECODER_GREY else 0.9) or not _DARKEST_FILLING <= grey <= _BRIGHTEST_FILLING:
            return THUMBNAIL_PX
    if lost.all() or not lost[-1]:
        return THUMBNAIL_PX
    last_shown = int(np.flatnonzero(~lost)[-1])
    return max(last_shown - _STEP_MARGIN_PX, 1)


def perceptual_hash(image: Image.Image) -> int:
    """Hash the appearance of a film in 64 bits, in the orientation it is stored in.

    Re-encoding, rescaling and a change of brightness or contrast move a few bits (Hamming distance below 8); a rotation
    or flip moves about half of them, which is why `hash_orientations` exists.

    >>> perceptual_hash(Image.linear_gradient("L")) == perceptual_hash(Image.linear_gradient("L").resize((90, 70)))
    True
    """
    return int(hash_orientations(fingerprint_image(image).thumbnail[None])[0, 0])


def hash_orientations(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hash thumbnails in the eight orientations of a square.

    The hash is the sign of each coefficient of the 8x8 low-frequency block of the cosine transform, the mean left out
    (its bit is always 0). All eight hashes come from one block: a flip changes the sign of the odd coefficients, a
    transposition transposes the block.

    Args:
        thumbnails: (N, 128, 128) uint8.

    Returns:
        (N, 8) hashes; column k belongs to the orientation `ORIENTATIONS[k]`, column 0 to the film as stored.
    """
    weights = np.uint64(1) << np.arange(_HASH_SIDE**2, dtype=np.uint64)
    signs = _sign_orientations(thumbnails, _HASH_SIDE)
    return np.asarray(np.where(signs, weights, np.uint64(0)).sum(axis=2), dtype=np.uint64)


def hash_detail(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Hash thumbnails in 256 bits, in the eight orientations of a square.

    Four times as long as the perceptual hash and made in the same way from the 16x16 block, it tells films apart that
    the short hash confuses; where no pixels can be compared (a ledger), it takes their place.

    Args:
        thumbnails: (N, 128, 128) uint8.

    Returns:
        (N, 8, 32) bytes; column k belongs to `ORIENTATIONS[k]`.
    """
    return np.packbits(_sign_orientations(thumbnails, _DETAIL_SIDE), axis=2)


def _sign_orientations(thumbnails: NDArray[np.uint8], side: int) -> NDArray[np.bool_]:
    """Return the signs (N, 8, side * side) of the low-frequency block in eight orientations; True is positive."""
    basis = _cosine_basis(thumbnails.shape[1], side)
    chunks = (thumbnails[start : start + _CHUNK_FILMS] for start in range(0, len(thumbnails), _CHUNK_FILMS))
    blocks = [basis @ chunk.astype(np.float32) @ basis.T for chunk in chunks]  # a few in floating point at a time
    block = np.concatenate([np.empty((0, side, side), np.float32), *blocks])  # (N, side, side): rows are vertical
    block[:, 0, 0] = 0.0
    odd = np.where(np.arange(side) % 2, -1.0, 1.0).astype(np.float32)
    signs = np.empty((len(thumbnails), NUM_ORIENTATIONS, side * side), dtype=np.bool_)
    for column, (transpose, flip_x, flip_y) in enumerate(ORIENTATIONS):
        turned = block.transpose(0, 2, 1) if transpose else block
        turned = turned * (odd[:, None] if flip_y else 1.0) * (odd if flip_x else 1.0)
        signs[:, column] = turned.reshape(len(thumbnails), side * side) > _SIGN_MARGIN
    return signs


ORIENTATIONS: Final[tuple[tuple[bool, bool, bool], ...]] = tuple(
    (transpose, flip_x, flip_y) for transpose in (False, True) for flip_y in (False, True) for flip_x in (False, True)
)
"""(transpose, then flip x, then flip y) of the eight orientations; the first is the identity."""

_SIGN_MARGIN: Final = 1.0  # a coefficient that is zero but for the rounding of grey levels has no sign


def sample_polar(thumbnails: NDArray[np.float32], radii: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sample square images on rings about their centre.

    Args:
        thumbnails: (N, S, S).
        radii: (N, 2) half axes (x, y) of the outermost ring in the square frame, in (0, 1]; unequal ones make the rings
            circles on a film that is not square.

    Returns:
        (N, 16, 64): ring by angle, angles running from x towards y.
    """
    side = thumbnails.shape[1]
    ring = (np.arange(_NUM_RINGS, dtype=np.float32) + 0.5) / _NUM_RINGS * _DISC_RADIUS
    angle = np.arange(_NUM_ANGLES, dtype=np.float32) * np.float32(2 * np.pi / _NUM_ANGLES)
    x = radii[:, :1] * np.outer(ring, np.cos(angle)).ravel()
    y = radii[:, 1:] * np.outer(ring, np.sin(angle)).ravel()
    column = (x + 1) * side / 2 - 0.5
    row = (y + 1) * side / 2 - 0.5
    values = interpolate(thumbnails, column, row)
    return values.reshape(len(thumbnails), _NUM_RINGS, _NUM_ANGLES)


def transform_rings(polar: NDArray[np.float32]) -> NDArray[np.complex64]:
    """Take the Fourier transform of each ring along the angle, brightness removed and rings weighted by their area.

    Args:
        polar: (N, 16, 64) from `sample_polar`.

    Returns:
        (N, 16, 17) with unit norm over the last two axes (zero for a blank image). Turning a film by an angle
        multiplies harmonic k by exp(-i k angle); mirroring it conjugates.
    """
    weight = (np.arange(_NUM_RINGS, dtype=np.float32) + 0.5)[:, None] / _NUM_RINGS
    mean = (polar * weight).mean(axis=(1, 2), keepdims=True) / weight.mean()
    spectrum = np.fft.rfft(polar - mean, axis=2)[:, :, :_NUM_HARMONICS] * np.sqrt(weight)
    spectrum[:, :, 1:] *= np.sqrt(2.0)
    norm = np.sqrt((np.abs(spectrum) ** 2).sum(axis=(1, 2), keepdims=True))
    return np.asarray(spectrum / np.maximum(norm, 1e-3), dtype=np.complex64)


def describe_rings(spectrum: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Return descriptors that do not change when a film is turned by any angle or mirrored.

    Args:
        spectrum: (N, 16, 17) from `transform_rings`.

    Returns:
        (N, 272) with unit norm (zero for a blank image): the size of each harmonic of each ring, the mean of a ring
        with its sign.
    """
    magnitude = np.abs(spectrum)
    magnitude[:, :, 0] = spectrum[:, :, 0].real
    return magnitude.reshape(len(spectrum), -1)


def shrink(thumbnails: NDArray[np.uint8], factor: int) -> NDArray[np.float32]:
    """Average blocks of `factor` x `factor` pixels of images (N, S, S); `factor` is 1, 2, 4 or another power of two."""
    images = thumbnails.astype(np.float32)
    while factor > 1:
        images = images[:, ::2] + images[:, 1::2]
        images = (images[:, :, ::2] + images[:, :, 1::2]) * np.float32(0.25)
        factor //= 2
    return images


def interpolate(
    images: NDArray[np.float32], column: NDArray[np.float32], row: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Read images between their pixels (bilinear; outside the border the border's value holds).

    Args:
        images: (N, S, S).
        column: (N, K) positions in pixels, 0 at the centre of the first pixel.
        row: (N, K).

    Returns:
        (N, K) values.
    """
    side = images.shape[1]
    column = np.clip(column, 0, side - 1.001).astype(np.float32)
    row = np.clip(row, 0, side - 1.001).astype(np.float32)
    left, top = column.astype(np.intp), row.astype(np.intp)
    across, down = column - left, row - top
    flat = images.reshape(-1)
    index = np.arange(len(images))[:, None] * side**2 + top * side + left
    upper = flat[index] * (1 - across) + flat[index + 1] * across
    lower = flat[index + side] * (1 - across) + flat[index + side + 1] * across
    return np.asarray(upper * (1 - down) + lower * down, dtype=np.float32)


def _cosine_basis(size: int, num_rows: int) -> NDArray[np.float32]:
    """Return the (num_rows, size) first rows of the orthonormal cosine transform."""
    position = (2 * np.arange(size) + 1) * np.pi / (2 * size)
    basis = np.cos(np.arange(num_rows)[:, None] * position)
    return np.asarray(basis * np.sqrt(2.0 / size), dtype=np.float32)
