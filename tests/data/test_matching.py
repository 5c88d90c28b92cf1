"""Aligning at points: a known map is found, what is not shown does not count, bounded memory changes nothing."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hf_fracture.data import matching
from hf_fracture.data.alignment import LEVELS, align_level, sketch_films, spread_points
from hf_fracture.data.duplicates import find_duplicate_pairs, fingerprint_image
from hf_fracture.data.matching import GIVEN_UP, Matcher

WHOLE = np.full(8, np.inf, dtype=np.float32)
IDENTITY = np.eye(2, 3, dtype=np.float32)


def draw_texture(seed: int) -> Image.Image:
    grain = np.random.default_rng(seed).integers(0, 256, (40, 40), dtype=np.uint8)
    return Image.fromarray(grain).resize((256, 256), Image.Resampling.BICUBIC)


def shrink(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.resize((128, 128), Image.Resampling.BOX))


def test_points_fill_the_disc_evenly() -> None:
    x, y = spread_points(2000)
    radius = np.hypot(x, y)
    assert radius.max() < 0.97
    assert (radius < 0.97 / 2).mean() == pytest.approx(0.25, abs=0.01)
    assert abs(x.mean()) < 0.01
    assert abs(y.mean()) < 0.01


def test_a_known_turn_and_shift_are_found() -> None:
    film = draw_texture(0)
    angle, shift_px = 4.0, 6
    moved = film.rotate(angle, Image.Resampling.BICUBIC, translate=(shift_px, 0))
    thumbnails = np.stack([shrink(film), shrink(moved)])
    maps = IDENTITY[None]
    for level in LEVELS:
        found = align_level(sketch_films(thumbnails, WHOLE[:2], level), np.array([[0, 1]]), maps, num_steps=12)
        maps = found.maps
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    expected = np.array([[cosine, sine, cosine * 2 * shift_px / 256], [-sine, cosine, -sine * 2 * shift_px / 256]])
    assert found.agreement[0] > 0.97
    assert np.abs(maps[0, :, :2] - expected[:, :2]).max() < 0.01
    assert np.hypot(*maps[0, :, 2]) == pytest.approx(2 * shift_px / 256, abs=0.01)
    assert 0.9 < found.overlap[0] <= 1.01


def test_agreement_of_a_film_with_itself_is_one_and_with_another_about_none() -> None:
    thumbnails = np.stack([shrink(draw_texture(seed)) for seed in range(3)])
    for level in LEVELS:
        sketch = sketch_films(thumbnails, WHOLE[:3], level)
        found = align_level(sketch, np.array([[0, 0], [1, 2]]), np.stack([IDENTITY, IDENTITY]), num_steps=0)
        assert found.agreement[0] == pytest.approx(1.0, abs=0.005)
        assert abs(found.agreement[1]) < 0.3
        assert found.overlap == pytest.approx(1.0)


def test_rows_that_a_film_lost_do_not_count() -> None:
    film = shrink(draw_texture(1))
    cut = film.copy()
    cut[64:] = cut[63]
    bottom = np.array([np.inf, 0.0], dtype=np.float32)
    pairs, start = np.array([[0, 1]]), IDENTITY[None]
    known = align_level(sketch_films(np.stack([film, cut]), bottom, LEVELS[2]), pairs, start, num_steps=0)
    ignored = align_level(sketch_films(np.stack([film, cut]), WHOLE[:2], LEVELS[2]), pairs, start, num_steps=0)
    assert known.agreement[0] > 0.98 > ignored.agreement[0]
    assert known.overlap[0] == pytest.approx(0.5, abs=0.02)


def test_bounded_memory_and_small_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    films = [draw_texture(seed) for seed in range(6)]
    prints = [fingerprint_image(film) for film in (*films, *(film.rotate(30) for film in films))]
    expected = find_duplicate_pairs(prints)
    monkeypatch.setattr(matching, "_FINE_FILMS", 4)
    monkeypatch.setattr(matching, "_FINE_PAIRS", 2)
    monkeypatch.setattr(matching, "_CHUNK_PAIRS", 5)
    assert find_duplicate_pairs(prints) == expected
    assert [(pair.first, pair.second) for pair in expected] == [(index, index + 6) for index in range(6)]


def test_a_pair_that_is_given_up_counts_for_little() -> None:
    thumbnails = np.stack([shrink(draw_texture(seed)) for seed in range(4)])
    matcher = Matcher(thumbnails, np.full((4, 2), 256, dtype=np.float32), np.full(4, 128))
    found = matcher.align(np.array([[0, 1], [2, 3], [0, 0]]))
    assert (found.agreement[:2] <= GIVEN_UP).all()
    assert found.agreement[2] > 0.99


def test_no_pair_is_no_work() -> None:
    matcher = Matcher(np.stack([shrink(draw_texture(0))] * 2), np.full((2, 2), 256, dtype=np.float32), np.full(2, 128))
    assert len(matcher.align(np.empty((0, 2), dtype=np.intp)).agreement) == 0
