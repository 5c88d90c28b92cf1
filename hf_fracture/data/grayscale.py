"""Any decoded picture to 8-bit grey, without clipping and without inventing contrast. May depend on `errors` only."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from hf_fracture.errors import UnreadableRadiograph

WIDE_MODES: Final = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_PHOTOMETRIC_TAG: Final = 262  # TIFF: 0 means that white is zero
_COLOUR_PROBE_PX: Final = 256
_VISIBLE_SPREAD: Final = 24
_COLOURED_FRACTION: Final = 0.05
_MAX_TINT: Final = 0.4  # saturation up to which one hue over all grey levels counts as the tint of a scan
_TINT_LEVELS: Final = 32
_BLOCK_VALUES: Final = 4_000_000


def convert_to_grey(image: Image.Image) -> tuple[Image.Image, bool, str | None]:
    """Convert a decoded image to mode L.

    A film stored as colour with equal channels keeps exactly its channel; other colours are weighed as PIL's
    `convert("L")` does. Transparent parts become black, as the empty part of a film is.

    Returns:
        The 8-bit grey image; True if it is visibly coloured; a note if grey levels were rescaled.

    Raises:
        UnreadableRadiograph: If the pixels hold no finite number.
    """
    if image.mode in WIDE_MODES:
        levels, note = scale_to_8_bit(np.asarray(image))
        grey = Image.fromarray(255 - levels if _is_white_zero(image) else levels)
        return grey, False, note
    if image.mode == "L" and not image.has_transparency_data:
        return image, False, None
    if image.mode == "1":
        return image.convert("L"), False, None
    if image.mode == "LAB":
        return image.getchannel("L"), is_coloured(image), None
    colour = image if image.mode == "RGB" and not image.has_transparency_data else _flatten(image)
    red, green, blue = colour.split()
    if _are_equal(red, green) and _are_equal(red, blue):
        return red, False, None
    return colour.convert("L"), is_coloured(colour), None


def scale_to_8_bit(values: NDArray[Any]) -> tuple[NDArray[np.uint8], str]:
    """Scale wide grey levels to 0..255.

    Whole numbers are divided by the full range of the narrowest bit depth (8 to 16, or 32) that holds the largest of
    them, so that 12-bit data in a 16-bit file is neither clipped to white nor left nearly black, and black stays black.
    Fractions, and whole numbers of which some are negative, are stretched from smallest to largest, unless the
    fractions lie in [0, 1].

    Args:
        values: (H, W) integers or floats.

    Returns:
        (H, W) grey levels, and a note such as "scaled from 12 bit".

    Raises:
        UnreadableRadiograph: If no value is finite.

    >>> scale_to_8_bit(np.array([[0, 4095]], dtype=np.uint16))[0].tolist()
    [[0, 255]]
    """
    extremes = [_find_extremes(block) for block in split_rows(values)]
    found = [pair for pair in extremes if pair is not None]
    if not found:
        raise UnreadableRadiograph(
            "Expected grey levels, got an image that holds no finite number. Export the film again."
        )
    low, high = min(pair[0] for pair in found), max(pair[1] for pair in found)
    darkest, brightest = low, high
    is_whole = np.issubdtype(values.dtype, np.integer)
    if is_whole and low >= 0:
        bits = max(8, int(high).bit_length())
        low, high, note = (
            0.0,
            float(2 ** (bits if bits <= 16 else 32) - 1),
            f"scaled from {bits if bits <= 16 else 32} bit",
        )
    elif not is_whole and low >= 0 and high <= 1:
        low, high, note = 0.0, 1.0, "scaled from fractions"
    else:
        note = "scaled from numbers with a sign" if is_whole else "scaled from fractions"
    levels = np.empty(values.shape, dtype=np.uint8)
    for block, target in zip(split_rows(values), split_rows(levels), strict=True):
        numbers = np.nan_to_num(block.astype(np.float64), nan=darkest, posinf=brightest, neginf=darkest)
        target[:] = np.clip(np.rint((numbers - low) * (255.0 / max(high - low, 1e-12))), 0, 255)
    return levels, note


def split_rows(values: NDArray[Any]) -> list[NDArray[Any]]:
    """Return views of some rows each, so that float64 copies of a large film are never there at once."""
    num_rows = max(1, _BLOCK_VALUES // max(1, math.prod(values.shape[1:])))
    return [values[start : start + num_rows] for start in range(0, len(values), num_rows)]


def _find_extremes(values: NDArray[Any]) -> tuple[float, float] | None:
    """Return the smallest and the largest finite value, or None."""
    if not np.issubdtype(values.dtype, np.integer):
        values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else None


def is_coloured(image: Image.Image) -> bool:
    """Tell whether more than a twentieth of the pixels differ visibly between their channels.

    A grey film stored as colour does not, nor one with a small coloured arrow on it, nor a scan with a tint, whose one
    hue follows the grey level; a photograph does.
    """
    probe = image.copy()
    probe.thumbnail((_COLOUR_PROBE_PX, _COLOUR_PROBE_PX), Image.Resampling.BOX)
    if probe.mode == "LAB":
        chroma = np.abs(np.asarray(probe)[..., 1:].astype(np.int8).astype(np.int16)).max(axis=-1) * 2
        return bool((chroma > _VISIBLE_SPREAD).mean() > _COLOURED_FRACTION)
    channels = np.asarray(probe).astype(np.int16)
    spread = channels.max(axis=-1) - channels.min(axis=-1)
    if (spread > _VISIBLE_SPREAD).mean() <= _COLOURED_FRACTION:
        return False
    saturation = float(spread.sum()) / max(1.0, float(channels.max(axis=-1).sum()))
    is_one_hue = (_leave_tint(channels) > _VISIBLE_SPREAD / 2).mean() <= _COLOURED_FRACTION
    return bool(saturation > _MAX_TINT or not is_one_hue)


def _leave_tint(channels: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return how far each pixel's channels lie from those of its grey level's mean: 0 for a tinted grey film.

    >>> tinted = np.array([[[10, 20, 30], [10, 20, 30]]], dtype=np.int16)
    >>> _leave_tint(tinted).tolist()
    [0.0, 0.0]
    """
    pixels = channels.reshape(-1, 3).astype(np.float64)
    level = (pixels.mean(axis=1) * (_TINT_LEVELS / 256)).astype(np.intp)
    counts = np.maximum(np.bincount(level, minlength=_TINT_LEVELS), 1)
    colours = pixels - pixels.mean(axis=1, keepdims=True)
    means = [np.bincount(level, weights=colours[:, channel], minlength=_TINT_LEVELS) / counts for channel in range(3)]
    distance: NDArray[np.float64] = np.abs(colours - np.stack(means, axis=1)[level]).max(axis=1)
    return distance


def _are_equal(first: Image.Image, second: Image.Image) -> bool:
    return ImageChops.difference(first, second).getbbox() is None


def _flatten(image: Image.Image) -> Image.Image:
    """Return an RGB image, transparent parts laid over black."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layered = image.convert("RGBA")
    ground = Image.new("RGBA", layered.size, (0, 0, 0, 255))
    return Image.alpha_composite(ground, layered).convert("RGB")


def _is_white_zero(image: Image.Image) -> bool:
    """Tell whether a TIFF says that white is zero; PIL inverts such files up to 8 bit, not above (Pillow 12.3)."""
    tags = getattr(image, "tag_v2", None)
    return tags is not None and tags.get(_PHOTOMETRIC_TAG) == 0
