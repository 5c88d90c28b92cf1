"""Phantoms: reproducible, true to their box, and without a shortcut from class to global statistics."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hf_fracture.data.phantom_anatomy import BODY_PARTS
from hf_fracture.data.phantoms import Phantom, draw_phantom, write_phantom_dataset
from hf_fracture.errors import OutputExistsError, UsageError
from hf_fracture.labels import FRACTURED, LABEL_NAMES, NOT_FRACTURED

SEEDS = range(12)
WIDTH, HEIGHT = 240, 320


def draw_twins(seed: int, *, at_edge: bool = False, close_up: bool = False) -> tuple[Phantom, Phantom]:
    """Draw the intact and the fractured film of one seed."""
    intact, broken = (
        draw_phantom(seed, fractured=fractured, size_px=(WIDTH, HEIGHT), fracture_at_edge=at_edge, close_up=close_up)
        for fractured in (False, True)
    )
    return intact, broken


def pixels_of(phantom: Phantom) -> NDArray[np.int16]:
    return np.asarray(phantom.image, dtype=np.int16)


def test_same_seed_gives_same_bytes() -> None:
    first, second = (draw_phantom(3, fractured=True) for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()
    assert first.boxes == second.boxes


def test_other_seed_gives_another_film() -> None:
    films = {draw_phantom(seed, fractured=False, size_px=(120, 160)).image.tobytes() for seed in SEEDS}
    assert len(films) == len(SEEDS)


def test_all_body_parts_occur() -> None:
    parts = {draw_phantom(seed, fractured=False, size_px=(64, 64)).body_part for seed in range(40)}
    assert parts == set(BODY_PARTS)


@pytest.mark.parametrize("size_px", [(480, 640), (200, 150), (64, 64)])
def test_film_has_the_size_and_mode_asked_for(size_px: tuple[int, int]) -> None:
    phantom = draw_phantom(1, fractured=True, size_px=size_px)
    assert phantom.image.size == size_px
    assert phantom.image.mode == "L"


@pytest.mark.parametrize(("at_edge", "close_up"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("seed", SEEDS)
def test_fracture_changes_pixels_inside_its_box_only(seed: int, at_edge: bool, close_up: bool) -> None:
    intact, broken = draw_twins(seed, at_edge=at_edge, close_up=close_up)
    (x, y, width, height), *others = broken.boxes
    assert others == []
    assert 0 <= x < x + width <= WIDTH
    assert 0 <= y < y + height <= HEIGHT
    changed = pixels_of(intact) != pixels_of(broken)
    rows, columns = np.nonzero(changed)
    assert (columns.min(), columns.max() + 1) == (x, x + width)
    assert (rows.min(), rows.max() + 1) == (y, y + height)


@pytest.mark.parametrize("close_up", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_box_holds_a_line_that_is_visibly_darker(seed: int, close_up: bool) -> None:
    intact, broken = draw_twins(seed, close_up=close_up)
    darker_by = pixels_of(intact) - pixels_of(broken)
    assert np.count_nonzero(darker_by >= 15) >= 15


@pytest.mark.parametrize("seed", SEEDS)
def test_box_is_small_against_the_film(seed: int) -> None:
    _, _, width, height = draw_twins(seed)[1].boxes[0]
    assert min(width, height) >= 5
    assert width * height < 0.12 * WIDTH * HEIGHT


@pytest.mark.parametrize("seed", SEEDS)
def test_box_of_a_close_up_fills_much_of_the_film(seed: int) -> None:
    _, _, width, height = draw_twins(seed, close_up=True)[1].boxes[0]
    assert width * height > 0.04 * WIDTH * HEIGHT


@pytest.mark.parametrize("seed", SEEDS)
def test_box_of_a_fracture_at_the_edge_touches_it(seed: int) -> None:
    x, y, width, height = draw_twins(seed, at_edge=True)[1].boxes[0]
    assert x == 0 or y == 0 or x + width == WIDTH or y + height == HEIGHT


def test_box_of_other_fractures_keeps_off_the_edge() -> None:
    for seed in SEEDS:
        x, y, width, height = draw_twins(seed)[1].boxes[0]
        assert min(x, y, WIDTH - x - width, HEIGHT - y - height) > 0


def test_intact_film_has_no_box() -> None:
    phantom = draw_phantom(0, fractured=False)
    assert (phantom.label, phantom.boxes) == (NOT_FRACTURED, [])


def test_mean_brightness_does_not_give_the_class_away() -> None:
    for seed in SEEDS:
        intact, broken = draw_twins(seed)
        spread = pixels_of(intact).std()
        assert abs(pixels_of(intact).mean() - pixels_of(broken).mean()) < 0.01 * spread


def test_film_uses_the_grey_scale_without_clipping_much() -> None:
    for seed in SEEDS:
        values = pixels_of(draw_twins(seed)[0])
        assert np.percentile(values, 99.5) > 150
        assert (values == 255).mean() < 0.01


@pytest.mark.parametrize(("seed", "size_px"), [(-1, (480, 640)), (0, (63, 640)), (0, (480, 63))])
def test_impossible_request_is_refused(seed: int, size_px: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="must be"):
        draw_phantom(seed, fractured=True, size_px=size_px)


def test_dataset_rows_describe_the_files(tmp_path: Path) -> None:
    write_phantom_dataset(tmp_path / "films", num=18, seed=5, size_px=(96, 128))
    with (tmp_path / "films" / "metadata.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    files = sorted(str(path.relative_to(tmp_path / "films").as_posix()) for path in (tmp_path / "films").rglob("*.png"))
    assert sorted(row["file_name"] for row in rows) == files
    assert [row["label"] for row in rows].count(LABEL_NAMES[FRACTURED]) == 9
    for row in rows:
        assert row["file_name"].startswith(row["label"] + "/")
        assert bool(json.loads(row["boxes"])) == (row["label"] == LABEL_NAMES[FRACTURED])
        with Image.open(tmp_path / "films" / row["file_name"]) as image:
            assert (image.mode, image.size) == ("L", (96, 128))
    edge_box = json.loads(rows[15]["boxes"])[0]
    assert 0 in edge_box[:2] or edge_box[0] + edge_box[2] == 96 or edge_box[1] + edge_box[3] == 128


def test_datasets_of_other_seeds_share_no_film(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_phantom_dataset(tmp_path / str(seed), num=6, seed=seed, size_px=(64, 64))
    first, second = ({path.read_bytes() for path in (tmp_path / str(seed)).rglob("*.png")} for seed in (0, 1))
    assert len(first) == len(second) == 6
    assert not first & second


def test_dataset_needs_a_film_of_each_class(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 2"):
        write_phantom_dataset(tmp_path, num=1, seed=0)


def test_dataset_does_not_write_into_a_full_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(OutputExistsError, match="not empty"):
        write_phantom_dataset(tmp_path, num=2, seed=0)
