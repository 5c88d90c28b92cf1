"""What a scorecard says of a method: thresholds from other films, intervals over groups, verdict and sentence."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hf_fracture.cli.explain_checks import choose_films
from hf_fracture.cli.explain_figures import (
    THRESHOLD_FRACTIONS,
    choose_thresholds,
    estimate_mean,
    is_beaten,
    list_groups,
    name_box_size,
    score_film,
    write_sentence,
)


def film(boxes: list[list[float]], **known: Any) -> dict[str, Any]:
    return {"image": Image.new("L", (100, 100)), "boxes": boxes, "group_id": "g", **known}


def share(value: float | None, lower: float | None = None, upper: float | None = None) -> dict[str, Any]:
    return {
        "peak_in_region_if_detected": {"value": value, "lower": lower, "upper": upper, "method": "expanded_percentile"}
    }


def hill(_film: Image.Image) -> NDArray[np.float64]:
    """A pyramid of height 1 over the whole film: a cut at t marks the middle 1 - t of each side."""
    ramp = 1 - np.abs(np.linspace(-1, 1, 100))
    pyramid: NDArray[np.float64] = np.minimum(ramp[:, None], ramp[None, :])
    return pyramid


@pytest.mark.parametrize("side", [20, 50, 80])
def test_threshold_is_the_one_that_fits_the_regions_of_other_films(side: int) -> None:
    middle = [50 - side / 2, 50 - side / 2, side, side]
    cuts = choose_thresholds(hill, [film([middle])])
    assert cuts.iou == cuts.candidate
    assert cuts.iou == pytest.approx(1 - side / 100, abs=0.05)
    assert cuts.iou in THRESHOLD_FRACTIONS
    assert cuts.full_scale == pytest.approx(1.0, abs=0.02)
    score = score_film(hill(Image.new("L", (1, 1))), film([middle]), cuts)
    assert score["iou"] > 0.85
    assert score["candidate_iou"] > 0.85
    assert score["candidate_centre_in_region"] == score["candidate_touches_region"] == score["peak_in_region"] == 1.0


def test_without_other_films_half_the_peak_is_taken_and_no_scale() -> None:
    cuts = choose_thresholds(hill, [])
    assert (cuts.iou, cuts.candidate, cuts.full_scale) == (0.5, 0.5, 0.0)


def test_map_of_elsewhere_and_empty_map_score_nothing() -> None:
    cuts = choose_thresholds(hill, [])
    for values in (hill(Image.new("L", (1, 1))), np.zeros((100, 100))):
        score = score_film(values, film([[0, 0, 5, 5]]), cuts)
        assert score["candidate_iou"] == score["iou"] == score["peak_in_region"] == 0.0


def test_mean_has_an_interval_over_groups_and_an_exact_one_at_its_ends() -> None:
    values, groups = [0.0, 1.0] * 20, [str(i // 2) for i in range(40)]
    assert estimate_mean(values, groups, is_share=True)["lower"] is None, "every group holds both: nothing varies"
    varied = estimate_mean(values, [str(i) for i in range(40)], is_share=True)
    assert 0.3 < varied["lower"] < 0.5 < varied["upper"] < 0.7
    assert estimate_mean([1.0] * 10, groups[::4], is_share=True)["method"] == "exact"
    assert estimate_mean([], [])["value"] is None


@pytest.mark.parametrize(
    ("method", "baselines", "verdict"),
    [
        (share(0.6, 0.5, 0.7), {"a": share(0.1, 0.0, 0.2), "b": share(0.4, 0.3, 0.499)}, True),
        (share(0.6, 0.5, 0.7), {"a": share(0.1, 0.0, 0.2), "b": share(0.4, 0.3, 0.5)}, False),
        (share(0.6), {"a": share(0.1, 0.0, 0.2)}, False),
        (share(0.6, 0.5, 0.7), {"a": share(None)}, False),
    ],
)
def test_beaten_only_where_no_interval_overlaps(method: Any, baselines: Any, verdict: bool) -> None:
    assert is_beaten(method, baselines) is verdict


def test_sentence_states_rate_interval_baselines_and_warns_where_they_are_not_beaten() -> None:
    baselines = {"centre": share(0.044, 0.0, 0.1), "edges": share(0.0, 0.0, 0.05)}
    good = write_sentence(
        {**share(0.412, 0.29, 0.53), "beats_baselines": True}, baselines, "68 detected test fractures"
    )
    assert good == (
        "On 68 detected test fractures the peak of this map lies in the marked region in 41 % (29 to 53 %); a guess at "
        "the centre 4 %, the strongest edge 0 %."
    )
    bad = write_sentence(
        {**share(0.412, 0.29, 0.53), "beats_baselines": False}, baselines, "68 detected test fractures"
    )
    assert bad == f"{good} Not clearly better: do not take it for the fracture's place."
    none = {**share(None), "beats_baselines": False}
    assert write_sentence(none, baselines, "").endswith("no fracture was detected.")


def test_groups_hold_every_film_once_a_column_the_largest_first() -> None:
    films = [
        film([[0, 0, 2, 2]], body_part="leg"),
        *[film([[0, 0, 20, 20]], body_part="hand")] * 2,
        film([[0, 0, 8, 8]]),
    ]
    groups = list_groups(films)
    assert [(column, value) for column, value, _ in groups[:3]] == [
        ("body_part", "hand"),
        ("body_part", "leg"),
        ("body_part", "not recorded"),
    ]
    for column in ("body_part", "box_size"):
        assert sorted(np.concatenate([places for name, _, places in groups if name == column])) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("area", "name"),
    [(29, "under 0.3 % of the film"), (30, "0.3 to 1 % of the film"), (100, "1 % of the film and over")],
)
def test_size_class_changes_at_its_limit(area: int, name: str) -> None:
    assert name_box_size(film([[0, 0, area / 10, 10], [5, 5, 1, 1]])) == name


@pytest.mark.parametrize(("num", "expected"), [(3, [0, 4, 9]), (10, list(range(10))), (99, list(range(10))), (0, [])])
def test_checked_films_are_spread_evenly(num: int, expected: list[int]) -> None:
    rows: list[Any] = [{"place": place} for place in range(10)]
    assert [row["place"] for row in choose_films(rows, num)] == expected
    assert choose_films([], 5) == []
