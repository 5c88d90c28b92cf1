import numpy as np
import pytest
from PIL import Image, ImageDraw

from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.evaluation.alterations import (
    DEGRADATIONS,
    REMOVALS,
    Alteration,
    blank_body,
    change_gamma,
    find_otsu_threshold,
    halve_resolution,
    mask_marks,
    photograph,
    rotate,
)

EVERY = {**DEGRADATIONS, **REMOVALS}


@pytest.fixture(scope="module")
def film() -> Image.Image:
    return draw_phantom(3, fractured=True, size_px=(200, 260)).image


@pytest.mark.parametrize("alter", EVERY.values(), ids=EVERY.keys())
def test_an_alteration_gives_another_grey_film_and_can_be_repeated(film: Image.Image, alter: Alteration) -> None:
    before = film.tobytes()
    first, second = alter(film), alter(film)
    assert first.mode == "L"
    assert first.tobytes() == second.tobytes()
    assert (first.size, first.tobytes()) != (film.size, before)
    assert film.tobytes() == before


@pytest.mark.parametrize("alter", EVERY.values(), ids=EVERY.keys())
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (300, 2)])
def test_tiny_and_empty_films_survive(size: tuple[int, int], alter: Alteration) -> None:
    assert min(alter(Image.new("L", size, 0)).size) >= 1


def test_half_resolution_halves_both_sides(film: Image.Image) -> None:
    assert halve_resolution(film).size == (100, 130)


def test_rotation_keeps_everything_on_a_larger_ground() -> None:
    film = Image.new("L", (100, 60), 200)
    turned = rotate(film, degrees=90)
    assert turned.size == (60, 100)
    slanted = np.asarray(rotate(film, degrees=20), dtype=float)
    assert slanted.sum() == pytest.approx(200 * 100 * 60, rel=0.02)
    assert slanted[0, 0] == 0


def test_gamma_follows_the_power_law_and_keeps_black_and_white() -> None:
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None, :])
    darker = np.asarray(change_gamma(ramp, gamma=1.6), dtype=float)[0]
    assert (darker[0], darker[255]) == (0, 255)
    assert darker[128] == pytest.approx(255 * (128 / 255) ** 1.6, abs=0.5)
    assert (np.asarray(change_gamma(ramp, gamma=0.6), dtype=float)[0] >= np.arange(256)).all()


def test_two_films_are_photographed_differently() -> None:
    first = np.asarray(photograph(Image.new("L", (80, 80), 90)), dtype=float)
    second = np.asarray(photograph(Image.new("L", (80, 80), 91)), dtype=float)
    assert np.abs(first - second).max() > 20  # the glare lies elsewhere


def test_a_photograph_still_shows_the_film(film: Image.Image) -> None:
    seen = np.asarray(photograph(film).resize((20, 26)), dtype=float).ravel()
    original = np.asarray(film.resize((20, 26)), dtype=float).ravel()
    assert np.corrcoef(seen, original)[0, 1] > 0.6


def test_blanking_takes_the_body_and_leaves_a_small_marker() -> None:
    levels = np.full((300, 200), 20, dtype=np.uint8)
    levels[60:240, 80:120] = 160  # a limb
    levels[20:26, 20:26] = 250  # a marker
    blanked = np.asarray(blank_body(Image.fromarray(levels)))
    assert (blanked[60:240, 80:120] == 20).all()
    assert (blanked[20:26, 20:26] == 250).all()


def test_marks_are_painted_with_their_surroundings_and_bone_stays() -> None:
    film = Image.new("L", (200, 300), 30)
    draw = ImageDraw.Draw(film)
    draw.rectangle((80, 30, 120, 270), fill=150)
    draw.rectangle((20, 40, 34, 54), fill=255)
    painted = np.asarray(mask_marks(film), dtype=float)
    assert painted[40:55, 20:35].max() < 60
    assert (painted[60:240, 85:116] == 150).all()


def test_a_film_without_marks_is_left_alone() -> None:
    ramp = Image.fromarray(np.tile(np.linspace(20, 120, 200), (150, 1)).astype(np.uint8))
    assert mask_marks(ramp).tobytes() == ramp.tobytes()


def test_otsu_divides_two_populations_where_the_variance_between_them_is_largest() -> None:
    rng = np.random.default_rng(0)
    levels = np.clip(np.concatenate([rng.normal(60, 10, 4000), rng.normal(180, 15, 1000)]), 0, 255)

    def separate(threshold: float) -> float:
        below, above = levels[levels <= threshold], levels[levels > threshold]
        return float(len(below) * len(above) * (below.mean() - above.mean()) ** 2)

    best = max(separate(threshold) for threshold in range(40, 200))
    assert separate(find_otsu_threshold(levels)) == pytest.approx(best, rel=1e-3)
