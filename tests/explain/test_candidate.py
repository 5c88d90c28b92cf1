"""The candidate region: where it lies, when it is drawn and how."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from hf_fracture.data.transforms import fit_letterbox
from hf_fracture.errors import UsageError
from hf_fracture.explain.attribution import Attribution, build_attribution
from hf_fracture.explain.candidate import MAX_SEARCH_PX, choose_box_style, find_candidate, measure_box_overlap
from hf_fracture.explain.overlay import draw_candidate

SUPPORTED = {"candidate": {"is_supported": True, "threshold_fraction": 0.5}}


def spot(scores: dict[str, Any] | None) -> Attribution:
    values = np.zeros((40, 40), dtype=np.float32)
    values[10:20, 5:25] = 3.0
    return build_attribution(values, fit_letterbox(40, 40, 40), method="grad_cam").with_scores(scores)


def test_box_holds_the_part_that_hangs_together_with_the_peak_and_no_other() -> None:
    values = np.zeros((30, 50))
    values[4:9, 10:14] = 2.0
    values[9, 14] = 1.5  # touches at a corner
    values[20:25, 30:45] = 1.9  # stronger than the threshold, but elsewhere
    values[5, 11] = 3.0
    assert find_candidate(values, threshold_fraction=0.5) == (10.0, 4.0, 5.0, 6.0)


def test_box_follows_a_winding_region_and_a_falling_threshold_grows_it() -> None:
    values = np.zeros((9, 9))
    values[0, :] = values[:, 8] = values[8, :] = 1.0  # a spiral, which one step of growth does not fill
    values[0, 0] = 2.0
    assert find_candidate(values, threshold_fraction=0.4) == (0.0, 0.0, 9.0, 9.0)
    assert find_candidate(values, threshold_fraction=0.6) == (0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize("at_edge", [False, True])
def test_box_on_a_large_film_is_found_to_a_few_pixels_and_stays_inside(at_edge: bool) -> None:
    height, width = 2000, 2500
    step = -(-width // MAX_SEARCH_PX)
    values = np.zeros((height, width), dtype=np.float32)
    left, top = (2200, 1900) if at_edge else (300, 700)
    values[top : top + 100, left : left + 300] = 1.0
    values[top + 40, left + 77] = 2.0
    box = find_candidate(values, threshold_fraction=0.3)
    assert box is not None
    assert np.abs(np.subtract(box, (left, top, 300, 100))).max() <= 2 * step
    assert box[0] + box[2] <= width
    assert box[1] + box[3] <= height


@pytest.mark.parametrize("values", [np.zeros((4, 5)), -np.ones((4, 5))])
def test_map_without_evidence_has_no_box(values: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    assert find_candidate(values, threshold_fraction=0.5) is None


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.1, np.nan])
def test_threshold_just_outside_its_range_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match=r"\(0, 1\)"):
        find_candidate(np.ones((2, 2)), threshold_fraction=share)


@pytest.mark.parametrize(
    ("second", "overlap"), [((0, 0, 4, 4), 1.0), ((2, 0, 4, 4), 1 / 3), ((4, 0, 1, 1), 0.0), ((1, 1, 2, 2), 0.25)]
)
def test_overlap_of_boxes_is_the_hand_computed_one(second: tuple[float, ...], overlap: float) -> None:
    assert measure_box_overlap((0, 0, 4, 4), second) == pytest.approx(overlap)
    assert measure_box_overlap(second, (0, 0, 4, 4)) == pytest.approx(overlap)


@pytest.mark.parametrize(
    "scores", [None, {}, {"candidate": None}, {"candidate": {"is_supported": False, "threshold_fraction": 0.5}}]
)
def test_no_region_where_the_measurements_do_not_support_one(scores: dict[str, Any] | None) -> None:
    assert spot(scores).candidate is None


def test_region_where_they_do() -> None:
    assert spot(SUPPORTED).candidate == (5.0, 10.0, 20.0, 10.0)


def test_empty_map_has_no_region_whatever_was_measured() -> None:
    empty = build_attribution(np.zeros((8, 8), np.float32), fit_letterbox(8, 8, 8), method="grad_cam")
    assert empty.with_scores(SUPPORTED).candidate is None


@pytest.mark.parametrize("decision", ["no fracture", "refused", "error", "anything else"])
def test_never_drawn_for_a_negative(decision: str) -> None:
    assert choose_box_style(decision) is None
    film = Image.new("L", (40, 40), 100)
    assert np.asarray(draw_candidate(film, spot(SUPPORTED), decision)).std() == 0


@pytest.mark.parametrize("scale", [1, 3])
def test_drawn_solid_for_a_fracture_and_dotted_for_an_uncertain_film(scale: int) -> None:
    film = Image.new("L", (40 * scale, 40 * scale), 100)
    solid, dotted = (np.asarray(draw_candidate(film, spot(SUPPORTED), name)) for name in ("fracture", "uncertain"))
    top, sides = 10 * scale, np.s_[7 * scale : 22 * scale]
    assert (solid[top, sides] == 255).all()
    assert {100, 255} <= set(np.unique(dotted[top, sides]))
    assert (solid[: 8 * scale] == 100).all(), "nothing is drawn away from the box"


def test_overlay_carries_the_region_of_a_called_fracture_only() -> None:
    film = Image.new("L", (40, 40), 100)
    attribution = spot(SUPPORTED)
    plain = np.asarray(attribution.overlay(film))
    np.testing.assert_array_equal(np.asarray(attribution.overlay(film, decision="no fracture")), plain)
    called = np.asarray(attribution.overlay(film, decision="fracture"))
    assert (called[10, 7:22] == 255).all()
    assert (plain[10, 7:22] != 255).any()
