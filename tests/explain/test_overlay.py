"""The colours, the blend, the colour bar and the candidate box."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hf_fracture.data.transforms import fit_letterbox
from hf_fracture.errors import UsageError
from hf_fracture.explain.attribution import build_attribution
from hf_fracture.explain.overlay import add_colour_bar, colour_table, draw_candidate_box, render_overlay


def lightness(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """CIE L* of sRGB colours, (N,)."""
    channel = rgb / 255.0
    linear = np.where(channel <= 0.04045, channel / 12.92, ((channel + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.asarray(np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance))


def test_lightness_of_the_colours_rises_evenly() -> None:
    steps = np.diff(lightness(colour_table()[::8]))
    assert (steps > 0).all()
    assert steps.max() < 2.0 * steps.mean()


def test_colours_stay_ordered_for_deuteranopes() -> None:
    # Source: Machado et al. 2009, deuteranopia of severity 1.0.
    simulation = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])
    seen = np.clip(colour_table()[::16].astype(float) @ simulation.T, 0, 255).astype(np.uint8)
    assert (np.diff(lightness(seen)) > 0).all()


def test_no_colour_can_be_taken_for_a_grey_of_the_film() -> None:
    table = colour_table().astype(int)
    assert (table.max(axis=1) - table.min(axis=1)).min() > 80


def test_empty_heatmap_leaves_the_film_as_it_is() -> None:
    grey = np.arange(30, dtype=np.uint8).reshape(5, 6)
    overlay = np.asarray(render_overlay(Image.fromarray(grey), np.zeros((5, 6), np.float32), opacity=1.0))
    np.testing.assert_array_equal(overlay, np.repeat(grey[..., None], 3, axis=2))


def test_blend_of_one_pixel_is_the_hand_computed_one() -> None:
    overlay = render_overlay(Image.new("L", (1, 1), 100), np.ones((1, 1), np.float32), opacity=0.25)
    assert overlay.getpixel((0, 0)) == (135, 137, 83)  # 0.75 * 100 + 0.25 * (240, 249, 33)


def test_opacity_follows_the_strength() -> None:
    heatmap = np.array([[0.1, 0.5, 1.0]], dtype=np.float32)
    overlay = np.asarray(render_overlay(Image.new("L", (3, 1), 0), heatmap, opacity=1.0)).astype(int)
    assert overlay[0, 0].sum() < overlay[0, 1].sum() < overlay[0, 2].sum()


@pytest.mark.parametrize("size", [(37, 101), (101, 37), (333, 17), (1, 64), (64, 1), (3, 500)])
@pytest.mark.parametrize("corner", ["first", "last"])
def test_peak_at_the_very_edge_stays_at_the_edge_of_the_film(size: tuple[int, int], corner: str) -> None:
    width, height = size
    letterbox = fit_letterbox(width, height, 96)
    column = 0 if corner == "first" else width - 1
    row = 0 if corner == "first" else height - 1
    x, y, box_width, box_height = letterbox.box_to_input((column, row, 1, 1))
    input_map = np.zeros((96, 96), np.float32)
    input_map[min(int(y + box_height / 2), 95), min(int(x + box_width / 2), 95)] = 1.0
    film = Image.new("L", size, 0)
    overlay = build_attribution(input_map, letterbox, method="grad_cam").overlay(film)
    assert overlay.size == size
    found_row, found_column = np.unravel_index(np.asarray(overlay).sum(axis=2).argmax(), (height, width))
    one_input_pixel = (width / letterbox.scaled_size[0], height / letterbox.scaled_size[1])  # in film pixels
    assert abs(found_column - column) <= max(1.0, one_input_pixel[0])
    assert abs(found_row - row) <= max(1.0, one_input_pixel[1])


@pytest.mark.parametrize("bad", [np.nan, 1.01, -0.01])
def test_heatmap_just_outside_its_range_is_refused(bad: float) -> None:
    with pytest.raises(UsageError, match=r"\[0, 1\]"):
        render_overlay(Image.new("L", (1, 1)), np.array([[bad]], dtype=np.float32))


def test_heatmap_of_another_film_is_refused() -> None:
    with pytest.raises(UsageError, match="film's shape"):
        render_overlay(Image.new("L", (2, 1)), np.zeros((2, 1), np.float32))


@pytest.mark.parametrize("opacity", [-0.01, 1.01])
def test_opacity_just_outside_its_range_is_refused(opacity: float) -> None:
    with pytest.raises(UsageError, match="opacity"):
        render_overlay(Image.new("L", (1, 1)), np.zeros((1, 1), np.float32), opacity=opacity)
    with pytest.raises(UsageError, match="opacity"):
        add_colour_bar(Image.new("RGB", (1, 1)), opacity=opacity)


@pytest.mark.parametrize("size", [(1, 1), (500, 20), (2000, 1500)])
def test_colour_bar_leaves_the_pixels_of_the_picture_where_they_are(size: tuple[int, int]) -> None:
    overlay = Image.effect_noise(size, 90).convert("RGB")
    figure = add_colour_bar(overlay)
    np.testing.assert_array_equal(np.asarray(figure.crop((0, 0, *size))), np.asarray(overlay))
    legend = np.asarray(figure.crop((0, size[1], *figure.size)))
    assert len(np.unique(legend.reshape(-1, 3), axis=0)) > 100  # a ramp of colours, not a block


def test_solid_box_outlines_the_region_and_leaves_its_inside() -> None:
    drawn = np.asarray(draw_candidate_box(Image.new("L", (40, 30), 128), (10, 5, 20, 15), style="solid")).astype(int)
    assert (drawn[5, 12:28] == 255).all()
    assert (drawn[19, 12:28] == 255).all()
    assert (drawn[8:17, 13:26] == 128).all()


def test_dotted_box_has_gaps() -> None:
    drawn = np.asarray(draw_candidate_box(Image.new("L", (64, 64), 128), (4, 4, 56, 56), style="dotted"))
    assert {128, 255} <= set(np.unique(drawn[4, 8:56]))


def test_box_over_the_edge_is_cut_to_the_image() -> None:
    drawn = np.asarray(draw_candidate_box(Image.new("L", (20, 20), 0), (-5, -5, 50, 50), style="solid"))
    assert (drawn[0] == 255).all()
    assert (drawn[:, 19] == 255).all()


@pytest.mark.parametrize("box", [(0.0, 0.0, 0.0, 5.0), (0.0, 0.0, 5.0, -1.0)])
def test_box_without_area_is_refused(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(UsageError, match="above 0"):
        draw_candidate_box(Image.new("L", (9, 9)), box, style="solid")
