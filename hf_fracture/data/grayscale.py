"""Any decoded picture to 8-bit grey, without clipping and without inventing contrast. May depend on `errors` only."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hf_fracture.errors import UnreadableRadiograph

WIDE_MODES: Final = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_PHOTOMETRIC_TAG: Final = 262  # TIFF: 0 means that white is zero
_COLOUR_PROBE_PX: Final = 256
_VISIBLE_SPREAD: Final = 24
_COLOURED_FRACTION: Final = 0.05


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
    if red.tobytes() == green.tobytes() == blue.tobytes():
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
    numbers = values.astype(np.float64)
    finite = np.isfinite(numbers)
    if not finite.any():
        raise UnreadableRadiograph(
            "Expected grey levels, got an image that holds no finite number. Export the film again."
        )
    low, high = float(numbers[finite].min()), float(numbers[finite].max())
    numbers = np.nan_to_num(numbers, nan=low, posinf=high, neginf=low)
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
    scaled = np.rint((numbers - low) * (255.0 / max(high - low, 1e-12)))
    return np.clip(scaled, 0, 255).astype(np.uint8), note


def is_coloured(image: Image.Image) -> bool:
    """Tell whether more than a twentieth of the pixels differ visibly between their channels.

    A grey film stored as colour does not, nor one with a small coloured arrow on it; a photograph does.
    """
    probe = image.copy()
    probe.thumbnail((_COLOUR_PROBE_PX, _COLOUR_PROBE_PX), Image.Resampling.BOX)
    if probe.mode == "LAB":
        chroma = np.abs(np.asarray(probe)[..., 1:].astype(np.int8).astype(np.int16)).max(axis=-1) * 2
        return bool((chroma > _VISIBLE_SPREAD).mean() > _COLOURED_FRACTION)
    channels = np.asarray(probe).astype(np.int16)
    spread = channels.max(axis=-1) - channels.min(axis=-1)
    return bool((spread > _VISIBLE_SPREAD).mean() > _COLOURED_FRACTION)


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
