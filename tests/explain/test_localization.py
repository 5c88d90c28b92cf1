import numpy as np
import pytest
from PIL import Image

from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.errors import UsageError
from hf_fracture.explain.localization import centre_map, draw_regions, edge_map, score_map

BOX = [[10.0, 20.0, 5.0, 4.0]]


def one_peak(x: int, y: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    values = np.zeros((50, 40))
    values[y, x] = 1.0
    return values


@pytest.mark.parametrize(("x", "y", "hit"), [(10, 20, 1), (14, 23, 1), (15, 23, 0), (14, 24, 0), (9, 20, 0)])
def test_peak_counts_only_inside_the_box(x: int, y: int, hit: int) -> None:
    assert score_map(one_peak(x, y), BOX).peak_in_region == hit


def test_perfect_map_gets_everything_and_uniform_map_the_region_share() -> None:
    region = draw_regions(BOX, 40, 50)
    assert region.sum() == 20
    perfect = score_map(region.astype(float), BOX)
    assert (perfect.peak_in_region, perfect.mass_in_region) == (1.0, 1.0)
    uniform = score_map(np.ones((50, 40)), BOX)
    assert uniform.mass_in_region == pytest.approx(0.01)
    assert uniform.peak_in_region == pytest.approx(0.01)
    assert uniform.region_fraction == pytest.approx(0.01)


def test_negative_evidence_is_no_mass() -> None:
    values = one_peak(12, 21)
    values[0, 0] = -100.0
    assert score_map(values, BOX).mass_in_region == 1.0


@pytest.mark.parametrize("values", [np.zeros((50, 40)), -np.ones((50, 40))])
def test_map_without_evidence_points_nowhere(values: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    score = score_map(values, BOX)
    assert (score.peak_in_region, score.mass_in_region) == (0.0, 0.0)


def test_score_moves_with_a_mirrored_film() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 40))
    mirrored_box = [[40 - 10.0 - 5.0, 20.0, 5.0, 4.0]]
    assert score_map(values, BOX) == score_map(values[:, ::-1], mirrored_box)


def test_box_beyond_the_frame_still_marks_a_pixel() -> None:
    assert draw_regions([[39.9, 49.9, 3.0, 3.0]], 40, 50).sum() == 1


def test_centre_guess_peaks_in_the_middle() -> None:
    row, column = np.unravel_index(centre_map(41, 51).argmax(), (51, 41))
    assert (int(row), int(column)) == (25, 20)


def test_edge_map_peaks_at_the_only_edge() -> None:
    film = Image.new("L", (40, 30), 20)
    film.paste(220, (25, 0, 40, 30))
    columns = edge_map(film).sum(axis=0)
    assert columns.argmax() in (24, 25)
    assert columns[:15].max() == 0


def test_difference_of_twin_phantoms_hits_the_marked_fracture() -> None:
    fractured, intact = draw_phantom(3, fractured=True), draw_phantom(3, fractured=False)
    difference = np.abs(np.asarray(fractured.image, dtype=float) - np.asarray(intact.image, dtype=float))
    score = score_map(difference, fractured.boxes)
    assert score.peak_in_region == 1.0
    assert score.mass_in_region == pytest.approx(1.0)


def test_film_without_box_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one box"):
        score_map(np.ones((5, 5)), [])


@pytest.mark.parametrize("values", [np.ones(5), np.full((5, 5), np.nan)])
def test_what_is_no_finite_map_is_refused(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    with pytest.raises(UsageError, match="finite"):
        score_map(values, BOX)
