"""The cheap tests of the gate: films and phantoms pass, what is no film does not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from hf_fracture.data.phantoms import draw_phantom
from hf_fracture.data.radiographs import Radiograph, read_radiograph
from hf_fracture.inference.appearance import RULES, Rule, judge_appearance, measure_appearance


def as_radiograph(image: Image.Image, *, has_colour: bool = False) -> Radiograph:
    return Radiograph(image=image, original_size=image.size, original_mode=image.mode, has_colour=has_colour)


def draw_page(*, ink: int, paper: int) -> Image.Image:
    page = Image.new("L", (480, 640), paper)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=14)
    for line in range(30):
        draw.text((20, 20 + 20 * line), "The quick brown fox jumps over the lazy dog, again and again." * 2, ink, font)
    return page


def draw_chart() -> Image.Image:
    chart = Image.new("L", (500, 400), 230)
    draw = ImageDraw.Draw(chart)
    for bar in range(10):
        draw.rectangle((20 + 48 * bar, 380 - 30 * bar, 50 + 48 * bar, 380), fill=20 * bar)
    return chart


def make_noise(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0]), dtype=np.uint8))


@pytest.mark.parametrize("size_px", [(480, 640), (224, 224), (300, 1000)])
@pytest.mark.parametrize("seed", range(8))
def test_phantom_passes(seed: int, size_px: tuple[int, int]) -> None:
    phantom = draw_phantom(seed, fractured=seed % 2 == 0, size_px=size_px)
    verdict = judge_appearance(as_radiograph(phantom.image))
    assert not verdict.is_refused, verdict
    assert 0.0 <= verdict.score <= 1.0


@pytest.mark.parametrize("change", ["dark", "bright", "noisy", "lower half lost"])
def test_phantom_passes_after_what_happens_to_films(change: str) -> None:
    grey = np.asarray(draw_phantom(3, fractured=True).image).astype(float)
    if change == "dark":
        grey = 255 * (grey / 255) ** 1.6
    elif change == "bright":
        grey = 255 * (grey / 255) ** 0.6
    elif change == "noisy":
        grey = grey + np.random.default_rng(0).normal(0, 6, grey.shape)
    else:
        grey[len(grey) // 2 :] = 0
    verdict = judge_appearance(as_radiograph(Image.fromarray(grey.clip(0, 255).astype(np.uint8))))
    assert not verdict.is_refused, verdict


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (Image.new("L", (400, 400), 0), "blank"),
        (Image.new("L", (400, 400), 128), "blank"),
        (Image.fromarray(np.tile(np.linspace(100, 125, 400).astype(np.uint8), (400, 1))), "low_contrast"),
        (Image.new("L", (400, 400), 255), "saturated"),
        (draw_page(ink=0, paper=255), "saturated"),
        (draw_page(ink=220, paper=25), "document"),
        (make_noise((300, 300)), "document"),
        (draw_chart(), "drawing"),
        (draw_phantom(0, fractured=False).image.resize((47, 60)), "too_small"),
        (draw_phantom(0, fractured=False).image.resize((60, 500)), "extreme_aspect"),
        (Image.new("L", (1, 1), 7), "too_small"),
        (Image.new("L", (1, 20000), 7), "extreme_aspect"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_film_is_refused_with_its_reason(image: Image.Image, code: str) -> None:
    verdict = judge_appearance(as_radiograph(image))
    assert verdict.score > 1.0
    assert code in {reason.code for reason in verdict.reasons}
    assert all(reason.sentence.endswith(".") and "{" not in reason.sentence for reason in verdict.reasons)


def test_coloured_picture_is_refused_whatever_its_grey_levels() -> None:
    film = draw_phantom(1, fractured=False).image
    assert not judge_appearance(as_radiograph(film)).is_refused
    assert [reason.code for reason in judge_appearance(as_radiograph(film, has_colour=True)).reasons] == [
        "colour_image"
    ]


def test_one_measure_gives_one_reason() -> None:
    codes = [reason.code for reason in judge_appearance(as_radiograph(Image.new("L", (400, 400), 90))).reasons]
    assert "blank" in codes
    assert "low_contrast" not in codes


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_rule_is_0_for_an_ordinary_film_and_1_at_its_limit(rule: Rule) -> None:
    step = 0.001 * (rule.limit - rule.ordinary)
    assert rule.score(rule.ordinary) == 0.0
    assert rule.score(rule.ordinary - step) == 0.0
    assert rule.score(rule.limit) == pytest.approx(1.0)
    assert rule.score(rule.limit + step) > 1.0 > rule.score(rule.limit - step)


def test_measures_of_a_hand_made_picture() -> None:
    grey = np.array([[0, 100, 100, 255], [0, 100, 100, 255], [0, 0, 0, 255]], dtype=np.uint8)
    measures = measure_appearance(Image.fromarray(grey))
    assert measures["short_side_px"] == 3
    assert measures["aspect_ratio"] == pytest.approx(4 / 3)
    assert measures["white_fraction"] == pytest.approx(3 / 7)
    # of the 2 x 3 pixels with a right and a lower neighbour four are lit, and one of them equals both
    assert measures["flat_fraction"] == pytest.approx(1 / 4)


def test_neighbour_correlation_is_that_of_numpy_along_the_worse_axis() -> None:
    grey = np.random.default_rng(1).integers(0, 256, (40, 30), dtype=np.uint8)
    across = np.corrcoef(grey[:, :-1].ravel(), grey[:, 1:].ravel())[0, 1]
    down = np.corrcoef(grey[:-1].ravel(), grey[1:].ravel())[0, 1]
    measured = measure_appearance(Image.fromarray(grey))["neighbour_correlation"]
    assert measured == pytest.approx(min(across, down), abs=1e-5)


@pytest.mark.real_data
@pytest.mark.slow
def test_at_most_one_real_film_in_two_hundred_is_refused(real_data_dir: Path) -> None:
    paths = sorted((real_data_dir / "fracatlas" / "images").rglob("*.jpg"))[::5]
    assert len(paths) > 600
    refused = [path.name for path in paths if judge_appearance(read_radiograph(path)).is_refused]
    assert len(refused) <= 0.005 * len(paths), refused
