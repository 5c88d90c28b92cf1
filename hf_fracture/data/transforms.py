"""The letterbox: from a film to the network's input, and exactly back.

The film keeps its aspect ratio, touches the top left corner of a square, and the rest is padded after normalisation
with 0 (mean grey). Pixels equal those of transformers' `BitImageProcessor` with `max_height`, `max_width` and padding.
May depend on numpy and Pillow only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hf_fracture.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What turns a film into `pixel_values`; read from `preprocessor_config.json`.

    Attributes:
        size_px: Side of the square input.
        mean: One value per channel, for pixels in [0, 1].
        std: One positive value per channel.
    """

    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Letterbox:
    """Where a film lies in the square input; (width, height) in pixels throughout.

    Attributes:
        source_size: Size of the film.
        size_px: Side of the square.
        scaled_size: Size of the film inside the square, at its top left corner.
    """

    source_size: tuple[int, int]
    size_px: int
    scaled_size: tuple[int, int]

    @property
    def scale(self) -> tuple[float, float]:
        """Input pixels per film pixel, horizontally and vertically (they differ by rounding)."""
        return (self.scaled_size[0] / self.source_size[0], self.scaled_size[1] / self.source_size[1])

    def box_to_input(self, box: Sequence[float]) -> list[float]:
        """Map a film box [x, y, width, height] to input pixels."""
        sx, sy = self.scale
        return [box[0] * sx, box[1] * sy, box[2] * sx, box[3] * sy]

    def box_to_film(self, box: Sequence[float]) -> list[float]:
        """Map an input box [x, y, width, height] to film pixels; inverse of `box_to_input`."""
        sx, sy = self.scale
        return [box[0] / sx, box[1] / sy, box[2] / sx, box[3] / sy]

    def map_to_film(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Resample a square map over the padded input at the film's own pixels.

        Each film pixel's centre is taken to the map through the letterbox and read bilinearly; beyond the centres of
        the outermost cells the nearest cell counts. Padding is left behind.

        Args:
            values: (K, K) map that covers the whole padded input, of any K (a feature map or full resolution).

        Returns:
            (height, width) of the film.

        Raises:
            ValueError: If the map is not square.
        """
        if values.ndim != 2 or values.shape[0] != values.shape[1]:
            raise ValueError(f"values must be a square (K, K) map, got shape {values.shape}. Pass one map at a time.")
        cells = values.shape[0]
        columns = _cell_positions(self.source_size[0], self.scaled_size[0] * cells / self.size_px, cells)
        rows = _cell_positions(self.source_size[1], self.scaled_size[1] * cells / self.size_px, cells)
        across = _interpolate(np.asarray(values, dtype=np.float64), columns, axis=1)
        return _interpolate(across, rows, axis=0).astype(np.float32)


def fit_letterbox(width: int, height: int, size_px: int) -> Letterbox:
    """Fit a film into a square, as `BitImageProcessor` does, but never below one pixel.

    Args:
        width: Film width in pixels, at least 1.
        height: Film height in pixels, at least 1.
        size_px: Side of the square input in pixels.

    Raises:
        UsageError: If a size is not positive.

    >>> fit_letterbox(1000, 500, 320).scaled_size
    (320, 160)
    >>> fit_letterbox(1, 1000, 320).scaled_size
    (1, 320)
    """
    if min(width, height, size_px) < 1:
        raise UsageError(f"width, height and size_px must be at least 1, got {width}, {height} and {size_px}.")
    ratio = min(size_px / height, size_px / width)
    return Letterbox((width, height), size_px, (max(1, int(width * ratio)), max(1, int(height * ratio))))


def letterbox_image(image: Image.Image, size_px: int) -> tuple[NDArray[np.uint8], Letterbox]:
    """Resize a grey film (bicubic) and lay it into the top left corner of a black square.

    Returns:
        The (size_px, size_px) uint8 square, and the letterbox that says which part of it is film.

    Raises:
        UsageError: If the image is not of mode L.
    """
    if image.mode != "L":
        raise UsageError(f"image must have mode L, got {image.mode}. Read it with read_radiograph first.")
    letterbox = fit_letterbox(*image.size, size_px)
    scaled = np.asarray(image.resize(letterbox.scaled_size, Image.Resampling.BICUBIC))
    square = np.zeros((size_px, size_px), dtype=np.uint8)
    square[: scaled.shape[0], : scaled.shape[1]] = scaled
    return square, letterbox


def letterbox_pixels(
    image: Image.Image, size_px: int, mean: Sequence[float], std: Sequence[float]
) -> NDArray[np.float32]:
    """Return the normalised input of the network, equal to `BitImageProcessor`'s to 1e-6.

    Args:
        image: Grey film, mode L.
        size_px: Side of the square input in pixels.
        mean: One value per channel, for pixels in [0, 1].
        std: One positive value per channel.

    Returns:
        (C, size_px, size_px), one channel per value of `mean`; 0 where there is no film.
    """
    square, letterbox = letterbox_image(image, size_px)
    width, height = letterbox.scaled_size
    film = square[:height, :width].astype(np.float32) / 255
    pixels = np.zeros((len(mean), size_px, size_px), dtype=np.float32)
    for channel, (centre, spread) in enumerate(zip(mean, std, strict=True)):
        pixels[channel, :height, :width] = (film - np.float32(centre)) / np.float32(spread)
    return pixels


def _cell_positions(num_pixels: int, num_cells: float, grid: int) -> NDArray[np.float64]:
    """Position of each film pixel's centre on the map's axis, in cells, clamped to the outermost centres."""
    centres = (np.arange(num_pixels) + 0.5) * (num_cells / num_pixels) - 0.5
    return np.clip(centres, 0.0, grid - 1.0)


def _interpolate(values: NDArray[np.float64], positions: NDArray[np.float64], *, axis: int) -> NDArray[np.float64]:
    """Read `values` linearly at fractional `positions` along one axis."""
    lower = np.floor(positions).astype(np.intp)
    upper = np.minimum(lower + 1, values.shape[axis] - 1)
    weight = positions - lower
    weight = weight[:, None] if axis == 0 else weight[None, :]
    blended: NDArray[np.float64] = np.take(values, lower, axis) * (1 - weight) + np.take(values, upper, axis) * weight
    return blended
