"""The letterbox: from a film to the network's input, and exactly back.

The film keeps its aspect ratio, touches the top left corner of a square, and the rest is padded after normalisation
with 0 (mean grey). Pixels equal those of transformers' `BitImageProcessor` with `max_height`, `max_width` and padding.
And a round trip through JPEG. May depend on numpy and Pillow only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hf_fracture.errors import UsageError

Kernel = Literal["linear", "spline"]


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

    def map_to_film(self, values: NDArray[np.floating], *, kernel: Kernel = "linear") -> NDArray[np.float32]:
        """Resample a square map over the padded input at the film's own pixels.

        Each film pixel's centre is taken to the map through the letterbox and read there; beyond the centres of the
        outermost cells the nearest cell counts. Padding is left behind.

        Args:
            values: (K, K) map that covers the whole padded input, of any K (a feature map or full resolution).
            kernel: `linear` passes through the cells, so a peak always lies at the centre of one. `spline` (cubic
                B-spline) weighs each cell with its neighbours, so the peak of a coarse map can lie between cells.

        Returns:
            (height, width) of the film.

        Raises:
            ValueError: If the map is not square.
        """
        if values.ndim != 2 or values.shape[0] != values.shape[1]:
            raise ValueError(f"values must be a square (K, K) map, got shape {values.shape}. Pass one map at a time.")
        grid = values.shape[0]
        (width, height), (scaled_width, scaled_height) = self.source_size, self.scaled_size
        across = _weigh_cells(_cell_positions(width, scaled_width * grid / self.size_px, grid), grid, kernel)
        down = _weigh_cells(_cell_positions(height, scaled_height * grid / self.size_px, grid), grid, kernel)
        on_film: NDArray[np.float32] = down @ np.asarray(values, dtype=np.float32) @ across.T  # (height, width)
        return on_film


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


def recompress(film: Image.Image, *, quality: int) -> Image.Image:
    """Save a film as JPEG and read it again.

    Args:
        film: Mode L.
        quality: Of Pillow's JPEG, 1 to 95.

    Returns:
        Mode L, of the same size.
    """
    stream = BytesIO()
    film.save(stream, format="JPEG", quality=quality)
    return Image.open(stream).convert("L")


def _cell_positions(num_pixels: int, num_cells: float, grid: int) -> NDArray[np.float64]:
    """Position of each film pixel's centre on the map's axis, in cells, clamped to the outermost centres."""
    centres = (np.arange(num_pixels) + 0.5) * (num_cells / num_pixels) - 0.5
    return np.clip(centres, 0.0, grid - 1.0)


def _weigh_cells(positions: NDArray[np.float64], grid: int, kernel: Kernel) -> NDArray[np.float32]:
    """Return the (pixels, cells) matrix that reads an axis of `grid` cells at fractional `positions`."""
    lower = np.floor(positions).astype(np.intp)
    share = positions - lower
    if kernel == "linear":
        taps = {0: 1 - share, 1: share}
    else:
        taps = {
            -1: (1 - share) ** 3 / 6,
            0: (3 * share**3 - 6 * share**2 + 4) / 6,
            1: (-3 * share**3 + 3 * share**2 + 3 * share + 1) / 6,
            2: share**3 / 6,
        }
    matrix = np.zeros((len(positions), grid), dtype=np.float32)
    pixels = np.arange(len(positions))
    for offset, weights in taps.items():
        matrix[pixels, np.clip(lower + offset, 0, grid - 1)] += weights.astype(np.float32)
    return matrix
