from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation.comparison import align_predictions, compare_predictions, count_discordant
from hf_fracture.evaluation.delong import auroc_difference
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.metrics import auroc, brier_score, log_loss
from hf_fracture.evaluation.predictions import Predictions, build_predictions

DrawStudy = Callable[..., Predictions]
FEW = Resampling(num_resamples=300)


def blur(study: Predictions, *, noise: float, seed: int = 0) -> Predictions:
    """Return the answers of a worse model on the same films."""
    return build_predictions(
        ids=study.ids.tolist(),
        group_ids=study.group_ids.tolist(),
        y_true=study.y_true,
        logit_difference=study.logit_difference + noise * np.random.default_rng(seed).normal(size=len(study)),
    )


def test_differences_are_those_of_the_two_models(draw_study: DrawStudy) -> None:
    study = draw_study(0)
    worse = blur(study, noise=3.0)
    result = compare_predictions(study, worse, thresholds=(0.4, 0.4), resampling=FEW)
    expected = {
        "auroc": auroc(study.y_true, study.y_prob) - auroc(worse.y_true, worse.y_prob),
        "brier_score": brier_score(study.y_true, study.y_prob) - brier_score(worse.y_true, worse.y_prob),
        "log_loss": log_loss(study.y_true, study.y_prob) - log_loss(worse.y_true, worse.y_prob),
    }
    assert {name: result.differences[name].value for name in expected} == pytest.approx(expected)
    assert result.auroc == auroc_difference(study.y_true, study.y_prob, worse.y_prob, group_ids=study.group_ids)


def test_bootstrap_and_delong_agree_on_the_interval(draw_study: DrawStudy) -> None:
    study = draw_study(1, num_groups=300)
    result = compare_predictions(
        study, blur(study, noise=2.0), thresholds=(0.4, 0.4), resampling=Resampling(num_resamples=1000)
    )
    interval = result.differences["auroc"]
    assert interval.lower == pytest.approx(result.auroc.lower, abs=0.015)
    assert interval.upper == pytest.approx(result.auroc.upper, abs=0.015)


def test_the_order_of_the_second_table_does_not_matter(draw_study: DrawStudy) -> None:
    study = draw_study(2)
    worse = blur(study, noise=2.0)
    shuffled = worse.take(np.random.default_rng(1).permutation(len(worse)))
    first = compare_predictions(study, worse, thresholds=(0.3, 0.5), resampling=FEW)
    second = compare_predictions(study, shuffled, thresholds=(0.3, 0.5), resampling=FEW)
    assert first.to_dict(point_name="balanced") == second.to_dict(point_name="balanced")


def test_a_model_does_not_differ_from_itself(draw_study: DrawStudy) -> None:
    study = draw_study(3)
    result = compare_predictions(study, study, thresholds=(0.4, 0.4), resampling=FEW)
    assert result.differences["auroc"].value == 0.0
    assert (result.fractured.only_a_right, result.fractured.only_b_right, result.fractured.p_value) == (0, 0, 1.0)


def test_discordant_films_by_hand() -> None:
    # A alone is right on five films, B alone on one: p = 2 * P(X <= 1) for X ~ Binomial(6, 1/2) = 2 * 7 / 64.
    right_a = np.array([True] * 5 + [False] + [True, False])
    right_b = np.array([False] * 5 + [True] + [True, False])
    result = count_discordant(right_a, right_b)
    assert (result.only_a_right, result.only_b_right) == (5, 1)
    assert result.p_value == pytest.approx(14 / 64)
    assert result.p_value == pytest.approx(2 * binom.cdf(1, 6, 0.5))


def test_each_model_is_called_at_its_own_threshold() -> None:
    ids, labels = ["a", "b", "c", "d"], [1, 1, 0, 0]
    first = build_predictions(ids=ids, group_ids=ids, y_true=labels, logit_difference=np.array([1.0, -1.0, -2.0, 0.5]))
    second = build_predictions(ids=ids, group_ids=ids, y_true=labels, logit_difference=np.array([3.0, 3.0, 1.0, 3.0]))
    # A at 0.5 finds a and clears c; B at 0.9 finds a and b and clears c.
    result = compare_predictions(first, second, thresholds=(0.5, 0.9), resampling=FEW)
    assert (result.fractured.only_a_right, result.fractured.only_b_right) == (0, 1)
    assert (result.intact.only_a_right, result.intact.only_b_right) == (0, 0)


@pytest.mark.parametrize("column", ["ids", "y_true", "group_ids"])
def test_different_films_labels_or_groups_are_refused(draw_study: DrawStudy, column: str) -> None:
    study = draw_study(4)
    changed = getattr(study, column).copy()
    changed[0] = 1 - changed[0] if column == "y_true" else "other"
    with pytest.raises(EvaluationError, match="same films"):
        align_predictions(study, replace(study, **{column: changed}))


def test_a_threshold_outside_the_unit_interval_is_refused(draw_study: DrawStudy) -> None:
    study = draw_study(5)
    with pytest.raises(EvaluationError, match="thresholds"):
        compare_predictions(study, study, thresholds=(0.4, 1.2), resampling=FEW)
