"""The eight EXIF orientations: a camera or scanner may store a film turned and leave a note about it.

May depend on nothing but PIL.
"""

from typing import Final

from PIL import Image

ORIENTATION_TAG: Final = 0x0112
UPRIGHT: Final = 1

_TRANSPOSITIONS: Final[dict[int, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an opened image, 1 (upright) to 8; 1 where there is none or it is damaged."""
    try:
        orientation = image.getexif().get(ORIENTATION_TAG, UPRIGHT)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError):
        return UPRIGHT
    return int(orientation) if orientation in _TRANSPOSITIONS else UPRIGHT


def turn_image(image: Image.Image, orientation: int) -> Image.Image:
    """Return the image upright."""
    method = _TRANSPOSITIONS.get(orientation)
    return image if method is None else image.transpose(method)


def turn_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return (width, height) of the upright image.

    >>> turn_size((640, 480), 6)
    (480, 640)
    """
    width, height = size
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)
