import numpy as np
import pytest

from hf_fracture.config import Triage
from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation.curves import RankedFilms
from hf_fracture.evaluation.selective import risk_coverage_curve, three_way_figures

Y_TRUE = [0, 0, 0, 1, 0, 1, 1, 1, 0, 1]
Y_PROB = [0.0, 0.1, 0.15, 0.19, 0.2, 0.5, 0.69, 0.7, 0.8, 0.9]


def test_the_three_way_rule_by_hand() -> None:
    figures = three_way_figures(RankedFilms(Y_TRUE, Y_PROB).count_calls(), Triage(screening=0.2, rule_in=0.7))
    # Cleared: four films, one of them fractured. Called: three, one without fracture. Undecided: 0.2, 0.5, 0.69.
    assert {name: float(values[0]) for name, values in figures.items()} == pytest.approx(
        {
            "coverage": 0.7,
            "error_among_decided": 2 / 7,
            "missed_among_cleared": 1 / 4,
            "false_alarms_among_called": 1 / 3,
            "missed_fraction": 1 / sum(Y_TRUE),
            "false_alarm_fraction": 1 / (len(Y_TRUE) - sum(Y_TRUE)),
            "sensitivity_among_decided": 2 / 3,
            "specificity_among_decided": 3 / 4,
        }
    )


def test_equal_limits_decide_every_film() -> None:
    figures = three_way_figures(RankedFilms(Y_TRUE, Y_PROB).count_calls(), Triage(screening=0.5, rule_in=0.5))
    assert figures["coverage"].tolist() == [1.0]
    assert figures["error_among_decided"] == pytest.approx([0.2])


def test_a_rule_that_calls_nothing_has_no_false_alarm_share() -> None:
    figures = three_way_figures(RankedFilms(Y_TRUE, Y_PROB).count_calls(), Triage(screening=0.2, rule_in=0.95))
    assert np.isnan(figures["false_alarms_among_called"]).all()


def test_weights_count_films_as_often_as_they_occur() -> None:
    weights = np.array([[0, 0, 0, 2, 0, 0, 0, 0, 1, 3]], dtype=np.float64)
    figures = three_way_figures(RankedFilms(Y_TRUE, Y_PROB).count_calls(weights), Triage(screening=0.2, rule_in=0.7))
    assert figures["error_among_decided"] == pytest.approx([3 / 6])


def test_risk_falls_where_the_surest_films_are_right() -> None:
    curve = risk_coverage_curve([1, 0, 1, 0], [0.95, 0.1, 0.4, 0.3], threshold=0.5)
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk.tolist() == [0.0, 0.0, 0.0, 0.25]
    assert curve.area == pytest.approx(0.0625)


def test_the_curve_ends_at_the_error_of_deciding_everything() -> None:
    rng = np.random.default_rng(0)
    y_prob = rng.random(200)
    y_true = (rng.random(200) < y_prob).astype(int)
    curve = risk_coverage_curve(y_true, y_prob, threshold=0.3)
    assert curve.coverage[-1] == 1.0
    assert curve.risk[-1] == pytest.approx(np.mean((y_prob >= 0.3) != y_true))


def test_the_curve_of_calibrated_films_at_one_half_orders_by_the_larger_probability() -> None:
    rng = np.random.default_rng(1)
    y_prob = rng.random(150)
    y_true = (rng.random(150) < y_prob).astype(int)
    sure = np.argsort(-np.maximum(y_prob, 1 - y_prob))
    errors = ((y_prob >= 0.5) != y_true)[sure]
    curve = risk_coverage_curve(y_true, y_prob, threshold=0.5)
    assert np.allclose(curve.risk, np.cumsum(errors) / np.arange(1, 151))


def test_ties_are_decided_together_whatever_their_order() -> None:
    y_true, y_prob = np.array([0, 1, 0, 1, 1]), np.array([0.2, 0.2, 0.8, 0.8, 0.5])
    first = risk_coverage_curve(y_true, y_prob, threshold=0.4)
    second = risk_coverage_curve(y_true[::-1], y_prob[::-1], threshold=0.4)
    assert first.risk.tolist() == second.risk.tolist()


def test_certain_films_come_first() -> None:
    curve = risk_coverage_curve([0, 1, 1], [0.0, 1.0, 0.4], threshold=0.5)
    assert curve.coverage.tolist() == pytest.approx([2 / 3, 1.0])


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1])
def test_a_threshold_at_the_end_of_the_range_is_refused(threshold: float) -> None:
    with pytest.raises(EvaluationError, match="threshold"):
        risk_coverage_curve([0, 1], [0.1, 0.9], threshold=threshold)
