import numpy as np
import pytest
from PIL import Image

from hf_fracture.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    fit_letterbox,
    letterbox_image,
    letterbox_pixels,
)
from hf_fracture.errors import UsageError
from hf_fracture.models.checkpoint import build_preprocessor_config

SIZES = [(64, 64), (200, 100), (100, 203), (31, 17), (7, 300), (333, 4)]


def noise_film(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8))


@pytest.mark.parametrize("size", SIZES)
def test_pixels_equal_those_of_transformers(size: tuple[int, int]) -> None:
    from transformers.models.bit import BitImageProcessorPil

    preprocessing = Preprocessing(size_px=96, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    config = build_preprocessor_config(preprocessing)
    config.pop("image_processor_type")
    film = noise_film(*size)
    expected = BitImageProcessorPil(**config)(film, return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(letterbox_pixels(film, 96, IMAGENET_MEAN, IMAGENET_STD), expected, atol=1e-5)


def test_one_pixel_wide_film_keeps_one_pixel() -> None:
    assert fit_letterbox(1, 1000, 96).scaled_size == (1, 96)


@pytest.mark.parametrize("size", SIZES)
def test_box_comes_back_from_the_input_unchanged(size: tuple[int, int]) -> None:
    letterbox = fit_letterbox(*size, 96)
    box = [0.1 * size[0], 0.2 * size[1], 0.5 * size[0], 0.7 * size[1]]
    np.testing.assert_allclose(letterbox.box_to_film(letterbox.box_to_input(box)), box)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cells", [6, 24, 96])
def test_linear_map_over_the_input_is_linear_over_the_film(size: tuple[int, int], cells: int) -> None:
    letterbox = fit_letterbox(*size, 96)
    centres = (np.arange(cells) + 0.5) * 96 / cells  # input pixels
    values = centres[None, :] * 2 + centres[:, None] * 3
    width, height = size
    x = np.clip((np.arange(width) + 0.5) * letterbox.scale[0], centres[0], centres[-1])
    y = np.clip((np.arange(height) + 0.5) * letterbox.scale[1], centres[0], centres[-1])
    expected = x[None, :] * 2 + y[:, None] * 3
    np.testing.assert_allclose(letterbox.map_to_film(values), expected, rtol=1e-5, atol=1e-3)


def test_peak_at_the_far_edge_of_the_film_returns_there() -> None:
    letterbox = fit_letterbox(200, 100, 96)  # 96 x 48 inside the square
    values = np.zeros((96, 96))
    values[47, 95] = 1.0
    values[60, 50] = 9.0  # padding
    film_map = letterbox.map_to_film(values)
    assert film_map.shape == (100, 200)
    row, column = np.unravel_index(film_map.argmax(), film_map.shape)
    assert (int(row), int(column)) in {(98, 198), (99, 199), (98, 199), (99, 198)}


def test_padding_is_black_before_and_zero_after_normalisation() -> None:
    square, letterbox = letterbox_image(Image.new("L", (10, 5), 255), 20)
    assert letterbox.scaled_size == (20, 10)
    assert square[10:].max() == 0
    pixels = letterbox_pixels(Image.new("L", (10, 5), 255), 20, IMAGENET_MEAN, IMAGENET_STD)
    assert np.all(pixels[:, 10:] == 0)
    np.testing.assert_allclose(pixels[:, 0, 0], (1 - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD), rtol=1e-6)


@pytest.mark.parametrize("arguments", [(0, 5, 10), (5, 0, 10), (5, 5, 0)])
def test_sizes_below_one_pixel_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        fit_letterbox(*arguments)


def test_colour_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="mode L, got RGB"):
        letterbox_image(Image.new("RGB", (5, 5)), 10)


def test_map_that_is_not_square_is_refused() -> None:
    with pytest.raises(ValueError, match="square"):
        fit_letterbox(5, 5, 10).map_to_film(np.zeros((4, 5)))


def test_spline_puts_the_peak_of_two_equal_cells_between_them() -> None:
    letterbox = fit_letterbox(96, 96, 96)
    values = np.zeros((6, 6))
    values[2, 2:4] = 1.0  # cells of 16 px whose centres lie at columns 39.5 and 55.5
    film_map = letterbox.map_to_film(values, kernel="spline")
    assert np.unravel_index(film_map.argmax(), film_map.shape)[1] in (47, 48)
    assert film_map.max() == pytest.approx(2 / 3 * 23 / 24, rel=1e-2), "centre of the row times midway of the columns"
    assert film_map.sum() == pytest.approx(2 * 16 * 16, rel=1e-5), "away from the edges no evidence is lost"


def test_spline_is_exact_for_linear_maps_away_from_the_edges() -> None:
    letterbox = fit_letterbox(200, 150, 96)
    values = np.arange(12)[None, :] * 2.0 + np.arange(12)[:, None] * 3.0
    linear, spline = letterbox.map_to_film(values), letterbox.map_to_film(values, kernel="spline")
    np.testing.assert_allclose(spline[30:-10, 30:-30], linear[30:-10, 30:-30], rtol=1e-5)


def test_spline_of_a_constant_map_is_constant() -> None:
    np.testing.assert_allclose(fit_letterbox(31, 170, 96).map_to_film(np.ones((6, 6)), kernel="spline"), 1, rtol=1e-6)
