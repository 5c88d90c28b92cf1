from collections.abc import Callable

import numpy as np
import pytest

from hf_fracture.config import OperatingPoint, Triage
from hf_fracture.evaluation import metrics
from hf_fracture.evaluation.curves import GRID
from hf_fracture.evaluation.figures import Decisions, Resampling, measure_figures, prevalence_key
from hf_fracture.evaluation.predictions import Predictions
from hf_fracture.evaluation.subgroups import find_subgroups

DECISIONS = Decisions(
    points={
        name: OperatingPoint(threshold=threshold, sensitivity=0.9, specificity=0.9)
        for name, threshold in {"screening": 0.3, "balanced": 0.4, "rule_in": 0.6}.items()
    },
    triage=Triage(screening=0.3, rule_in=0.6),
    chosen_on="other films",
)
FEW = Resampling(num_resamples=200)
DrawStudy = Callable[..., Predictions]


def test_values_are_those_of_the_point_measures(draw_study: DrawStudy) -> None:
    study = draw_study(0)
    figures = measure_figures(study, DECISIONS, resampling=FEW)
    assert figures["auroc"].value == pytest.approx(metrics.auroc(study.y_true, study.y_prob))
    assert figures["average_precision"].value == pytest.approx(metrics.average_precision(study.y_true, study.y_prob))
    assert figures["log_loss"].value == pytest.approx(metrics.log_loss(study.y_true, study.y_prob))
    assert figures["brier_score"].value == pytest.approx(metrics.brier_score(study.y_true, study.y_prob))
    for name, point in DECISIONS.points.items():
        expected = metrics.metrics_at_threshold(study.y_true, study.y_prob, threshold=point.threshold)
        assert {key: figures[f"{name}/{key}"].value for key in expected} == pytest.approx(expected)


def test_every_interval_holds_its_value(draw_study: DrawStudy) -> None:
    study = draw_study(1)
    figures = measure_figures(study, DECISIONS, subgroups=find_subgroups(study), resampling=FEW)
    assert "body_part=hand/auroc" in figures.names
    for name in figures.names:
        figure = figures[name]
        assert figure.value is not None
        assert figure.lower is not None, name
        assert figure.upper is not None
        assert figure.lower <= figure.value <= figure.upper
        assert figure.lower < figure.upper


def test_a_subgroup_is_measured_on_its_own_films(draw_study: DrawStudy) -> None:
    study = draw_study(2)
    hands = study.take(np.flatnonzero(study.subgroups["body_part"] == "hand"))
    figures = measure_figures(study, DECISIONS, subgroups=find_subgroups(study), resampling=FEW)
    assert figures["body_part=hand/auroc"].value == pytest.approx(metrics.auroc(hands.y_true, hands.y_prob))
    at_balanced = metrics.metrics_at_threshold(hands.y_true, hands.y_prob, threshold=0.4)
    assert figures["body_part=hand/sensitivity"].value == at_balanced["sensitivity"]
    assert figures["body_part=hand/specificity"].value == at_balanced["specificity"]


def test_restated_predictive_values_follow_bayes(draw_study: DrawStudy) -> None:
    figures = measure_figures(draw_study(3), DECISIONS, resampling=FEW)
    sensitivity, specificity = figures["balanced/sensitivity"].value, figures["balanced/specificity"].value
    assert sensitivity is not None
    assert specificity is not None
    expected = 0.1 * sensitivity / (0.1 * sensitivity + 0.9 * (1 - specificity))
    assert figures[f"balanced/{prevalence_key('ppv', 0.1)}"].value == pytest.approx(expected)


def test_figures_and_intervals_do_not_depend_on_the_order_of_the_films(draw_study: DrawStudy) -> None:
    study = draw_study(4)
    shuffled = study.take(np.random.default_rng(0).permutation(len(study)))
    first, second = (
        measure_figures(s, DECISIONS, subgroups=find_subgroups(s), resampling=FEW) for s in (study, shuffled)
    )
    for name in first.names:
        ours, theirs = first[name], second[name]
        assert (ours.value, ours.lower, ours.upper) == pytest.approx((theirs.value, theirs.lower, theirs.upper))


def test_more_resamples_with_the_same_seed_move_an_interval_little_and_another_level_much(
    draw_study: DrawStudy,
) -> None:
    study = draw_study(5)
    wide, narrow = (
        measure_figures(study, DECISIONS, resampling=Resampling(num_resamples=300, confidence_level=level))["auroc"]
        for level in (0.95, 0.5)
    )
    assert wide.lower is not None
    assert narrow.lower is not None
    assert wide.lower < narrow.lower


def test_bands_lie_round_their_curves(draw_study: DrawStudy) -> None:
    study = draw_study(6)
    figures = measure_figures(study, DECISIONS, resampling=FEW)
    lower, upper = figures.band("roc")
    assert lower.shape == GRID.shape
    assert (lower <= upper).all()
    assert upper[-1] == lower[-1] == 1.0
    assert np.trapezoid(lower, GRID) < metrics.auroc(study.y_true, study.y_prob) < np.trapezoid(upper, GRID)


def test_a_share_of_one_gets_an_exact_interval_over_groups(draw_study: DrawStudy) -> None:
    study = draw_study(7)
    always = Decisions(
        points={"balanced": OperatingPoint(threshold=0.0, sensitivity=1.0, specificity=0.0)},
        triage=Triage(screening=0.0, rule_in=0.0),
        chosen_on="other films",
    )
    sensitivity = measure_figures(study, always, resampling=FEW)["balanced/sensitivity"]
    num_groups = len(np.unique(study.group_ids[study.y_true == 1]))
    assert sensitivity.method == "exact"
    assert sensitivity.lower == pytest.approx(0.025 ** (1 / num_groups))
