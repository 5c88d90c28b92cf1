import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_fracture.config import FractureRecord, OperatingPoint, Triage
from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation import metrics
from hf_fracture.evaluation.bootstrap import Estimate
from hf_fracture.evaluation.calibration import (
    expected_calibration_error,
    fit_temperature_and_shift,
    probability_of,
)
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.page import render_page
from hf_fracture.evaluation.predictions import Predictions, build_predictions
from hf_fracture.evaluation.report import (
    POINT_FIGURES,
    EvaluationReport,
    Probes,
    Provenance,
    evaluate_predictions,
    warn_of_optimism,
    write_evaluation,
)
from hf_fracture.evaluation.shortcuts import FrameProbe
from hf_fracture.evaluation.thresholds import choose_operating_points

DrawStudy = Callable[..., Predictions]
PROVENANCE = Provenance(model={"name": "m", "sha256": "0"}, dataset={"name": "d", "split": "test"})
FEW = Resampling(num_resamples=100)
RECORD = FractureRecord(
    operating_points={
        "screening": OperatingPoint(threshold=0.1, sensitivity=0.96, specificity=0.5),
        "balanced": OperatingPoint(threshold=0.3, sensitivity=0.8, specificity=0.8),
        "rule_in": OperatingPoint(threshold=0.7, sensitivity=0.5, specificity=0.96),
    },
    temperature=2.0,
    triage=Triage(screening=0.1, rule_in=0.7),
    trained_on=["fracatlas"],
)


def evaluate_ours(study: Predictions) -> EvaluationReport:
    return evaluate_predictions(None, study, record=RECORD, provenance=PROVENANCE, resampling=FEW)


def list_keys(content: Any, path: str = "") -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from list_keys(value, f"{path}/{key}")
    elif isinstance(content, list):
        for item in content:
            yield from list_keys(item, f"{path}[]")
    else:
        yield path


def test_our_model_is_measured_at_the_thresholds_it_carries(draw_study: DrawStudy) -> None:
    study = draw_study(0)
    content = evaluate_ours(study).to_dict()
    assert "fracatlas" in content["operating_points"]["chosen_on"]
    for name, point in RECORD.operating_points.items():
        section = content["operating_points"]["points"][name]
        assert section["threshold"] == point.threshold
        assert (section["chosen_sensitivity"], section["chosen_specificity"]) == (point.sensitivity, point.specificity)
        expected = metrics.metrics_at_threshold(study.y_true, study.y_prob, threshold=point.threshold)
        assert {key: section["metrics"][key]["value"] for key in POINT_FIGURES} == pytest.approx(expected)
        counts = section["confusion"]
        assert section["metrics"]["sensitivity"]["value"] == counts["true_positives"] / study.y_true.sum()
        assert sum(counts.values()) == len(study)


def test_calibration_before_takes_the_recorded_temperature_out_again(draw_study: DrawStudy) -> None:
    study = draw_study(1)
    section = evaluate_ours(study).to_dict()["calibration"]
    raw = probability_of(study.logit_difference * 2.0)
    assert (section["temperature"], section["in_model"]) == (2.0, True)
    assert section["before"]["brier_score"] == pytest.approx(metrics.brier_score(study.y_true, raw))
    assert section["before"]["expected_calibration_error"] == pytest.approx(
        expected_calibration_error(study.y_true, raw)
    )
    assert section["after"]["brier_score"] == pytest.approx(metrics.brier_score(study.y_true, study.y_prob))
    assert section["after"]["slope"]["value"] == pytest.approx(2 * section["before"]["slope"]["value"])


def test_a_foreign_model_is_tuned_on_validation_and_measured_on_test(draw_study: DrawStudy) -> None:
    validation, test = draw_study(2, prefix="v"), draw_study(3, prefix="t")
    report = evaluate_predictions(validation, test, record=None, provenance=PROVENANCE, resampling=FEW)
    content = report.to_dict()
    chosen = choose_operating_points(validation.y_true, validation.y_prob)
    points = content["operating_points"]["points"]
    assert {name: point["threshold"] for name, point in points.items()} == {
        name: point.threshold for name, point in chosen.items()
    }
    fitted = fit_temperature_and_shift(validation.y_true, validation.logit_difference)
    assert (content["calibration"]["temperature"], content["calibration"]["shift"]) == fitted
    assert content["calibration"]["in_model"] is False
    assert content["calibration"]["before"]["brier_score"] == pytest.approx(
        metrics.brier_score(test.y_true, test.y_prob)
    )


def test_calibration_before_takes_the_recorded_shift_out_again(draw_study: DrawStudy) -> None:
    study = draw_study(1)
    record = replace(RECORD, temperature=2.0, shift=-0.7)
    content = evaluate_predictions(None, study, record=record, provenance=PROVENANCE, resampling=FEW).to_dict()
    raw = probability_of(study.logit_difference * 2.0 + 0.7)  # (raw + shift) / temperature is what the model answers
    assert content["calibration"]["shift"] == -0.7
    assert content["calibration"]["before"]["brier_score"] == pytest.approx(metrics.brier_score(study.y_true, raw))
    assert content["calibration"]["after"]["log_loss"] == pytest.approx(metrics.log_loss(study.y_true, study.y_prob))


def test_what_the_limits_promise_is_stated_from_the_record_or_from_validation(draw_study: DrawStudy) -> None:
    validation, test = draw_study(2, prefix="v"), draw_study(3, prefix="t")
    ours = evaluate_predictions(
        None, test, record=replace(RECORD, triage_guarantee={"told": 1}), provenance=PROVENANCE, resampling=FEW
    )
    assert ours.to_dict()["selective"]["guarantee"] == {"told": 1}
    foreign = evaluate_predictions(validation, test, record=None, provenance=PROVENANCE, resampling=FEW)
    guarantee = foreign.to_dict()["selective"]["guarantee"]
    fractured_groups = set(validation.group_ids[validation.y_true == 1].tolist())
    assert guarantee["missed"]["num_groups"] == len(fractured_groups)
    assert f"({guarantee['missed']['num_beyond']} of {len(fractured_groups)} on validation)" in render_page(foreign)


@pytest.mark.parametrize(("auroc", "is_named"), [(0.61, True), (0.6, False)])
def test_a_probe_above_the_limit_is_named_beside_the_headline(
    draw_study: DrawStudy, auroc: float, is_named: bool
) -> None:
    interval = Estimate(value=auroc, lower=auroc - 0.1, upper=auroc + 0.1, method="expanded_percentile")
    frame = FrameProbe(auroc=interval, trained_on=9, importances={})
    headline = render_page(replace(evaluate_ours(draw_study(0)), probes=Probes(frame=frame))).split("<h2>")[0]
    assert ("may be due to how films were made" in headline) is is_named


def test_where_no_temperature_helps_none_is_stated(draw_study: DrawStudy) -> None:
    validation, test = draw_study(2, prefix="v"), draw_study(3, prefix="t")
    backwards = build_predictions(
        ids=validation.ids.tolist(),
        group_ids=validation.group_ids.tolist(),
        y_true=validation.y_true,
        logit_difference=-validation.logit_difference,
    )
    report = evaluate_predictions(backwards, test, record=None, provenance=PROVENANCE, resampling=FEW)
    section = report.to_dict()["calibration"]
    assert (section["temperature"], section["after"], section["in_model"]) == (None, None, False)
    assert section["before"]["brier_score"] == pytest.approx(metrics.brier_score(test.y_true, test.y_prob))
    assert "Nothing calibrates" in render_page(report)


def test_a_foreign_model_without_validation_films_is_refused(draw_study: DrawStudy) -> None:
    with pytest.raises(EvaluationError, match="--validation-split"):
        evaluate_predictions(None, draw_study(0), record=None, provenance=PROVENANCE, resampling=FEW)


@pytest.mark.parametrize("shared", ["film", "group"])
def test_measuring_where_thresholds_were_chosen_is_refused(draw_study: DrawStudy, shared: str) -> None:
    validation, test = draw_study(2, prefix="v"), draw_study(3, prefix="t")
    overlapping = (
        replace(test, ids=np.append(test.ids[:-1], validation.ids[:1]))
        if shared == "film"
        else replace(test, group_ids=np.append(test.group_ids[:-1], validation.group_ids[:1]))
    )
    with pytest.raises(EvaluationError, match=f"1 {shared}"):
        evaluate_predictions(validation, overlapping, record=None, provenance=PROVENANCE, resampling=FEW)


def test_a_record_without_a_named_point_is_refused(draw_study: DrawStudy) -> None:
    points = {name: point for name, point in RECORD.operating_points.items() if name != "rule_in"}
    with pytest.raises(EvaluationError, match="got no rule_in"):
        evaluate_predictions(
            None, draw_study(0), record=replace(RECORD, operating_points=points), provenance=PROVENANCE
        )


ESTIMATE = ("value", "lower", "upper", "method")
SCHEMA = {
    *("/schema_version", "/kind"),
    *(f"/model/{name}" for name in ("name", "sha256")),
    *(f"/dataset/{name}" for name in ("name", "split")),
    *(f"/bootstrap/{name}" for name in ("num_resamples", "seed", "confidence_level", "unit")),
    *(f"/cohort/{name}" for name in ("num_films", "num_groups", "num_fractured", "prevalence")),
    *(
        f"/metrics/{figure}/{part}"
        for figure in ("auroc", "average_precision", "log_loss", "brier_score")
        for part in ESTIMATE
    ),
    "/operating_points/chosen_on",
    *(
        f"/operating_points/points/{name}{rest}"
        for name in RECORD.operating_points
        for rest in (
            *("/threshold", "/chosen_sensitivity", "/chosen_specificity", "/predictive_values[]/prevalence"),
            *(f"/confusion/{sign}_{call}" for sign in ("true", "false") for call in ("positives", "negatives")),
            *(f"/metrics/{figure}/{part}" for figure in POINT_FIGURES for part in ESTIMATE),
            *(f"/predictive_values[]/{figure}/{part}" for figure in ("ppv", "npv") for part in ESTIMATE),
        )
    ),
    *(f"/calibration/{name}" for name in ("temperature", "shift", "in_model", "num_bins")),
    *(
        f"/calibration/{when}/{rest}"
        for when in ("before", "after")
        for rest in (
            *("brier_score", "log_loss", "expected_calibration_error"),
            *(f"{figure}/{part}" for figure in ("slope", "intercept") for part in ESTIMATE),
            *(f"bins[]/{part}" for part in ("num_films", "mean_probability", "fractured_fraction")),
        )
    ),
    *(f"/selective/{name}" for name in ("screening", "rule_in", "guarantee", "risk_coverage_area")),
    *(f"/selective/risk_at_coverage[]/{name}" for name in ("coverage", "risk")),
    *(
        f"/selective/metrics/{figure}/{part}"
        for figure in (
            *("coverage", "error_among_decided", "missed_among_cleared", "false_alarms_among_called"),
            *("missed_fraction", "false_alarm_fraction"),
            *("sensitivity_among_decided", "specificity_among_decided"),
        )
        for part in ESTIMATE
    ),
    *("/shortcuts", "/robustness"),  # null unless asked for
    *(f"/subgroups/{name}" for name in ("operating_point", "min_films_per_class")),
    *(
        f"/subgroups/rows[]/{name}"
        for name in ("column", "value", "num_films", "num_groups", "num_fractured", "too_few")
    ),
    *(f"/subgroups/rows[]/{figure}/{part}" for figure in ("auroc", "sensitivity", "specificity") for part in ESTIMATE),
}


def test_the_file_holds_the_keys_of_its_schema_and_no_others(draw_study: DrawStudy, tmp_path: Path) -> None:
    write_evaluation(evaluate_ours(draw_study(4)), tmp_path / "model" / "evaluation.json")
    content = json.loads((tmp_path / "model" / "evaluation.json").read_text())
    software = content.pop("software")
    assert {"python", "numpy", "scikit-learn", "scipy"} <= set(software)
    assert set(list_keys(content)) == SCHEMA


def test_parts_with_too_few_films_keep_their_counts_and_get_no_figures(draw_study: DrawStudy) -> None:
    study = draw_study(5)
    parts = study.subgroups["body_part"].copy()
    parts[:12] = "jaw"
    rows = evaluate_ours(replace(study, subgroups={"body_part": parts})).to_dict()["subgroups"]["rows"]
    jaw = next(row for row in rows if row["value"] == "jaw")
    assert jaw == {
        "column": "body_part",
        "value": "jaw",
        "num_films": 12,
        "num_groups": len(np.unique(study.group_ids[:12])),
        "num_fractured": int(study.y_true[:12].sum()),
        "too_few": True,
        "auroc": None,
        "sensitivity": None,
        "specificity": None,
    }
    assert sum(row["num_films"] for row in rows) == len(study)


def test_the_same_films_and_seed_give_the_same_file(draw_study: DrawStudy, tmp_path: Path) -> None:
    for name in ("first.json", "second.json"):
        write_evaluation(evaluate_ours(draw_study(6)), tmp_path / name)
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()


def test_figures_that_may_be_too_good_say_why() -> None:
    dataset = {"split": "validation", "num_leaked_films": 3, "used_in_development": True}
    sentences = warn_of_optimism(dataset)
    assert len(sentences) == 2
    assert "'validation' took part in training" in sentences[0]
    assert "3 of these films have a relative" in sentences[1]
