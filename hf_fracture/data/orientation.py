"""The eight EXIF orientations, for images and for what is drawn on them. May depend on nothing but PIL.

A camera or scanner may store a film turned and leave a note about it. Boxes and polygons drawn on the stored pixels
must be turned together with the image.
"""

from collections.abc import Sequence
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


def turn_point(x: float, y: float, size: tuple[int, int], orientation: int) -> tuple[float, float]:
    """Move a point of the stored image to the upright one.

    Args:
        x: Distance from the left edge in px; 0 is the edge itself, `width` the right edge.
        y: Distance from the top edge in px.
        size: (width, height) of the stored image.
        orientation: EXIF orientation, 1 to 8.

    >>> turn_point(0, 0, (640, 480), 6)  # the stored top left corner is the upright top right one
    (480, 0)
    """
    width, height = size
    return {
        2: (width - x, y),
        3: (width - x, height - y),
        4: (x, height - y),
        5: (y, x),
        6: (height - y, x),
        7: (height - y, width - x),
        8: (y, width - x),
    }.get(orientation, (x, y))


def turn_box(box: Sequence[float], size: tuple[int, int], orientation: int) -> list[float]:
    """Move a box [x, y, width, height] of the stored image to the upright one.

    >>> turn_box([10, 20, 30, 5], (640, 480), 6)
    [455, 10, 5, 30]
    """
    x, y, box_width, box_height = box
    first = turn_point(x, y, size, orientation)
    second = turn_point(x + box_width, y + box_height, size, orientation)
    left, top = min(first[0], second[0]), min(first[1], second[1])
    return [left, top, max(first[0], second[0]) - left, max(first[1], second[1]) - top]


def turn_polygon(polygon: Sequence[float], size: tuple[int, int], orientation: int) -> list[float]:
    """Move a polygon [x0, y0, x1, y1, …] of the stored image to the upright one."""
    points = zip(polygon[::2], polygon[1::2], strict=True)
    return [value for x, y in points for value in turn_point(x, y, size, orientation)]
