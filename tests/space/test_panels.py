"""The panels: words first, figures as measured, nothing from a file unescaped, a map that is the attribution's own."""

import doctest
from typing import Any

import numpy as np
import pytest
from PIL import Image

import panels
import texts
from hf_fracture.explain.attribution import Attribution
from hf_fracture.inference.classifier import Examination, FractureClassifier
from hf_fracture.inference.finding import Finding, Reason


def make_finding(**changes: Any) -> Finding:
    row = {"path": None, "decision": "uncertain", "probability": 0.5, "operating_point": "screening", "model": "tiny"}
    return Finding(**{**row, "seconds": 0.2, **changes})


def make_attribution(size_px: tuple[int, int], *, full_scale: float = 1.0) -> Attribution:
    width, height = size_px
    rows, columns = np.mgrid[0:height, 0:width]
    blob = np.exp(-((columns - 0.8 * width) ** 2 + (rows - 0.2 * height) ** 2) / (0.15 * width) ** 2)
    return Attribution(values=blob.astype(np.float32), method="grad_cam", full_scale=full_scale)


def test_doctests_of_the_page_hold() -> None:
    results = doctest.testmod(panels)
    assert results.attempted >= 3
    assert results.failed == 0


@pytest.mark.parametrize(
    ("decision", "probability", "point", "word"),
    [
        ("fracture", 0.83, "rule_in", "Fracture likely"),
        ("uncertain", 0.5, "screening", "Uncertain: have it read"),
        ("no fracture", 0.1, "screening", "No fracture seen"),
    ],
)
def test_answer_comes_in_words_before_any_number(
    measured: FractureClassifier, decision: str, probability: float, point: str, word: str
) -> None:
    html = panels.render_answer(
        make_finding(decision=decision, probability=probability, operating_point=point), measured
    )
    assert word in html
    assert html.index(word) < html.index("%")


def test_answer_states_probability_points_and_worth(measured: FractureClassifier) -> None:
    html = panels.render_answer(
        make_finding(decision="fracture", probability=0.831, operating_point="rule_in"), measured
    )
    assert "83%" in html
    assert "screening 30%, balanced 50%, rule-in 70%" in html
    assert measured.evaluation is not None
    wrong = measured.evaluation["selective"]["metrics"]["false_alarms_among_called"]
    assert panels.format_share(wrong["value"]) in html
    assert panels.format_interval(wrong) in html


@pytest.mark.parametrize(
    ("decision", "probability", "figure", "is_early"),
    [
        ("fracture", 0.83, "false_alarm_fraction", False),
        ("fracture", 0.31, "false_alarm_fraction", True),
        ("no fracture", 0.1, "missed_fraction", False),
    ],
)
def test_reason_of_an_answer_brings_its_measured_error(
    measured: FractureClassifier, decision: str, probability: float, figure: str, is_early: bool
) -> None:
    html = panels.render_answer(
        make_finding(decision=decision, probability=probability, operating_point="rule_in"), measured
    )
    assert measured.evaluation is not None
    share = panels.format_share(measured.evaluation["selective"]["metrics"][figure]["value"])
    assert f"as {share} of the" in html
    assert (texts.WHY_FRACTURE_EARLY in html) is is_early


def test_answer_without_measurements_claims_none(unmeasured: FractureClassifier) -> None:
    assert unmeasured.evaluation is None
    html = panels.render_answer(
        make_finding(decision="fracture", probability=0.9, operating_point="rule_in"), unmeasured
    )
    assert "test films" not in html


@pytest.mark.parametrize(
    ("decision", "code", "word"),
    [
        ("refused", "colour_image", "Not a radiograph: colour photograph"),
        ("refused", "not_a_radiograph", "Not a radiograph"),
        ("refused", "too_small", "No answer"),
        ("refused", "unsupported_modality", "No answer"),
        ("error", "unreadable", "Could not read the file"),
    ],
)
def test_refusal_names_its_kind_and_gives_the_reason(
    measured: FractureClassifier, decision: str, code: str, word: str
) -> None:
    reason = Reason(code=code, sentence="The file: it is no film.")
    html = panels.render_answer(
        make_finding(decision=decision, probability=None, operating_point=None, reasons=[reason]), measured
    )
    assert f">{word}<" in html
    assert "It is no film." in html
    assert "class='scale'" not in html


def test_every_reason_and_the_reading_note_are_shown(measured: FractureClassifier) -> None:
    reasons = [Reason(code="untested_body_part", sentence="Not tested on the skull.")]
    html = panels.render_answer(make_finding(reasons=reasons, read_note="truncated"), measured)
    assert "Not tested on the skull." in html
    assert "Reading the file: truncated." in html


def test_text_from_files_is_escaped(measured: FractureClassifier, film: Image.Image) -> None:
    evil = "<img src=x onerror=alert(1)>"
    reason = Reason(code="unreadable", sentence=evil)
    refused = make_finding(decision="error", probability=None, operating_point=None, reasons=[reason], read_note=evil)
    examination = Examination(finding=make_finding(), film=film, attribution=None)
    for html in (
        panels.render_answer(refused, measured),
        panels.render_answer(make_finding(model=evil), measured),
        panels.render_viewer(examination, evil),
        panels.render_examples("Films", "note", [(film, evil)]),
        panels.render_map_worth(evil, None, None),
    ):
        assert evil not in html
        assert "&lt;img src=x" in html


def test_scale_has_a_zone_for_each_answer(measured: FractureClassifier) -> None:
    html = panels.render_scale(0.4, (0.3, 0.7), measured)
    assert [html.count(f"class='zone {name}'") for name in ("none", "uncertain", "fracture")] == [1, 1, 1]
    assert html.count("flex:0.4078") == 2  # log-odds of 0.3 is -0.847, of 0.7 is +0.847, of the ends 4.595
    assert "flex:0.1844" in html
    assert "class='needle' style='left:45.59%'" in html
    assert html.count("class='tick'") == 3


def test_scale_of_one_threshold_has_no_uncertain_zone(measured: FractureClassifier) -> None:
    html = panels.render_scale(0.4, (0.5, 0.5), measured)
    assert "zone uncertain" not in html
    assert texts.ZONE_NAMES["uncertain"] not in html


@pytest.mark.parametrize("opacity", [0.0, 0.35, 1.0])
def test_layers_add_up_to_the_overlay(film: Image.Image, opacity: float) -> None:
    attribution = make_attribution(film.size)
    layer = np.asarray(panels.render_map(attribution), dtype=float)  # (H, W, 4)
    alpha = opacity * layer[..., 3:] / 255
    mixed = np.asarray(film, dtype=float)[..., None] * (1 - alpha) + layer[..., :3] * alpha
    expected = np.asarray(attribution.overlay(film, opacity=opacity), dtype=float)
    assert np.abs(mixed - expected).max() <= 1.0


def test_map_of_a_large_film_is_reduced_in_proportion() -> None:
    layer = panels.render_map(make_attribution((1500, 3000)))
    assert layer.size == (320, 640)
    assert layer.mode == "RGBA"


def test_film_without_evidence_says_so_and_gets_no_layer(film: Image.Image) -> None:
    empty = make_attribution(film.size, full_scale=float("inf"))
    html = panels.render_viewer(Examination(finding=make_finding(), film=film, attribution=empty), "a.png")
    assert texts.MAP_EMPTY in html
    assert "class='map'" not in html


def test_viewer_describes_its_pictures(film: Image.Image) -> None:
    examination = Examination(finding=make_finding(), film=film, attribution=make_attribution(film.size))
    html = panels.render_viewer(examination, "forearm.png")
    assert "in the upper right" in html
    assert "forearm.png, 480 x 640 px" in html
    assert html.count("src='data:image/") == 2


def test_map_worth_is_the_measured_one(measured: FractureClassifier) -> None:
    scores = measured.attribution_scores
    assert scores is not None
    row = scores["methods"]["grad_cam"]
    assert f"{row['sentence']} {texts.MAP_CAUTION}" in panels.render_map_worth("grad_cam", None, scores)
    old = {**scores, "methods": {"grad_cam": {"peak_in_region": row["peak_in_region"]}}}
    peak = panels.format_share(row["peak_in_region"]["value"])
    guess = panels.format_share(scores["baselines"]["centre"]["peak_in_region"]["value"])
    html = panels.render_map_worth("grad_cam", None, old)
    assert f"in {peak} of the fractured test films" in html
    assert f"a guess at the centre: {guess}" in html


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients"])
def test_map_without_a_score_is_called_unknown(measured: FractureClassifier, method: str) -> None:
    assert "not known" in panels.render_map_worth(method, None, measured.attribution_scores)
    assert "not known" in panels.render_map_worth(method, None, None)


def test_interval_that_cannot_be_given_is_not_invented() -> None:
    assert panels.format_interval({"value": 0.5, "lower": None, "upper": None}) == "no interval can be given"
