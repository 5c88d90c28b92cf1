import numpy as np
import pytest
import sklearn.metrics as reference

from hf_fracture.config import OperatingPoint, Triage
from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation.inputs import Floats, Labels
from hf_fracture.evaluation.thresholds import (
    at_sensitivity,
    at_specificity,
    at_youden,
    choose_operating_points,
    choose_triage,
    measure_operating_point,
)

Y_TRUE = [0, 0, 0, 0, 1, 1, 1, 1]
Y_PROB = [0.1, 0.2, 0.5, 0.6, 0.3, 0.6, 0.7, 0.9]


def draw_films(seed: int) -> tuple[Labels, Floats]:
    rng = np.random.default_rng(seed)
    y_true = np.concatenate([rng.integers(0, 2, 118), [0, 1]])
    return y_true, np.clip(0.25 * y_true + 0.75 * rng.random(120), 0, 1).round(2)


def test_points_by_hand() -> None:
    assert at_sensitivity(Y_TRUE, Y_PROB, min_sensitivity=0.75) == OperatingPoint(
        threshold=0.6, sensitivity=0.75, specificity=0.75
    )
    assert at_sensitivity(Y_TRUE, Y_PROB, min_sensitivity=0.76) == OperatingPoint(
        threshold=0.3, sensitivity=1.0, specificity=0.5
    )
    assert at_specificity(Y_TRUE, Y_PROB, min_specificity=0.75) == OperatingPoint(
        threshold=0.6, sensitivity=0.75, specificity=0.75
    )
    assert at_specificity(Y_TRUE, Y_PROB, min_specificity=0.76) == OperatingPoint(
        threshold=0.7, sensitivity=0.5, specificity=1.0
    )


def test_of_equal_sums_the_most_sensitive_point_is_taken() -> None:
    # 0.6: 0.75 + 0.75. 0.7: 0.5 + 1. 0.3: 1 + 0.5.
    assert at_youden(Y_TRUE, Y_PROB) == OperatingPoint(threshold=0.3, sensitivity=1.0, specificity=0.5)


@pytest.mark.parametrize("seed", range(6))
def test_points_are_the_best_among_all_thresholds(seed: int) -> None:
    y_true, y_prob = draw_films(seed)
    every = [measure_operating_point(y_true, y_prob, threshold=float(t)) for t in np.unique(y_prob)]
    points = choose_operating_points(y_true, y_prob)
    sensitive = [point for point in every if point.sensitivity >= 0.95]
    assert points["screening"].specificity == max(point.specificity for point in sensitive)
    specific = [point for point in every if point.specificity >= 0.95]
    assert points["rule_in"].sensitivity == max(point.sensitivity for point in specific)
    fpr, tpr, _ = reference.roc_curve(y_true, y_prob)
    balanced = points["balanced"]
    assert balanced.sensitivity + balanced.specificity - 1 == pytest.approx((tpr - fpr).max())


@pytest.mark.parametrize("seed", range(3))
def test_points_do_not_depend_on_the_order_of_the_films(seed: int) -> None:
    y_true, y_prob = draw_films(seed)
    order = np.random.default_rng(9).permutation(len(y_true))
    assert choose_operating_points(y_true, y_prob) == choose_operating_points(y_true[order], y_prob[order])


def test_where_the_highest_films_are_intact_nothing_observed_is_called() -> None:
    point = at_specificity([0, 1, 0], [0.2, 0.4, 0.8], min_specificity=0.95)
    assert point == OperatingPoint(threshold=0.9, sensitivity=0.0, specificity=1.0)


def test_saturated_probabilities_have_no_rule_in_point() -> None:
    with pytest.raises(EvaluationError, match="1 of 2 films without fracture have a probability of exactly 1"):
        at_specificity([0, 0, 1], [0.2, 1.0, 1.0], min_specificity=0.95)


@pytest.mark.parametrize("target", [0.0, 1.0000001, 95, -0.5])
def test_a_target_outside_its_range_is_refused(target: float) -> None:
    with pytest.raises(EvaluationError, match="min_sensitivity"):
        at_sensitivity(Y_TRUE, Y_PROB, min_sensitivity=target)
    with pytest.raises(EvaluationError, match="min_specificity"):
        at_specificity(Y_TRUE, Y_PROB, min_specificity=target)


def test_a_target_that_divides_the_films_needs_no_extra_film() -> None:
    y_true, y_prob = [1] * 100 + [0], [*np.linspace(0.01, 1.0, 100), 0.0]
    assert at_sensitivity(y_true, y_prob, min_sensitivity=0.07).sensitivity == pytest.approx(0.07)


def test_logits_are_refused() -> None:
    with pytest.raises(EvaluationError, match="softmax"):
        choose_operating_points([0, 1], [-2.0, 3.0])


def test_triage_lies_between_the_two_limits_unless_they_cross() -> None:
    points = {
        name: OperatingPoint(threshold=threshold, sensitivity=0.9, specificity=0.9)
        for name, threshold in {"screening": 0.2, "balanced": 0.4, "rule_in": 0.7}.items()
    }
    assert choose_triage(points) == Triage(screening=0.2, rule_in=0.7)
    crossed = points | {"screening": points["rule_in"], "rule_in": points["screening"]}
    assert choose_triage(crossed) == Triage(screening=0.4, rule_in=0.4)
