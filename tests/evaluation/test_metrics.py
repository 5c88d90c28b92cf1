import numpy as np
import pytest
import sklearn.metrics as reference

from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation import metrics

# Four calls each way, by hand: at 0.5, found 3 of 4 fractures and cleared 4 of 6 others.
Y_TRUE = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
Y_PROB = [0.9, 0.8, 0.5, 0.3, 0.7, 0.6, 0.4, 0.2, 0.1, 0.0]


def test_figures_at_a_threshold_match_the_hand_count() -> None:
    figures = metrics.metrics_at_threshold(Y_TRUE, Y_PROB, threshold=0.5)
    assert figures == pytest.approx(
        {
            "sensitivity": 3 / 4,
            "specificity": 4 / 6,
            "ppv": 3 / 5,
            "npv": 4 / 5,
            "f1": 6 / 9,
            "balanced_accuracy": (3 / 4 + 4 / 6) / 2,
            "mcc": (3 * 4 - 2 * 1) / np.sqrt(5 * 4 * 6 * 5),
            "kappa": (0.7 - 0.5) / (1 - 0.5),  # chance agreement: (5 * 4 + 5 * 6) / 100
            "accuracy": 7 / 10,
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_figures_at_a_threshold_equal_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y_true, y_prob = rng.integers(0, 2, 60), rng.random(60)
    called = (y_prob >= 0.4).astype(int)
    figures = metrics.metrics_at_threshold(y_true, y_prob, threshold=0.4)
    assert figures == pytest.approx(
        {
            "sensitivity": reference.recall_score(y_true, called),
            "specificity": reference.recall_score(y_true, called, pos_label=0),
            "ppv": reference.precision_score(y_true, called),
            "npv": reference.precision_score(y_true, called, pos_label=0),
            "f1": reference.f1_score(y_true, called),
            "balanced_accuracy": reference.balanced_accuracy_score(y_true, called),
            "mcc": reference.matthews_corrcoef(y_true, called),
            "kappa": reference.cohen_kappa_score(y_true, called),
            "accuracy": reference.accuracy_score(y_true, called),
        }
    )


def test_what_does_not_exist_is_none_and_not_a_number() -> None:
    nothing_called = metrics.metrics_at_threshold([0, 1], [0.2, 0.3], threshold=0.9)
    assert nothing_called["ppv"] is None
    assert nothing_called["mcc"] is None
    assert nothing_called["npv"] == 0.5
    everything_called = metrics.metrics_at_threshold([0, 1], [0.2, 0.3], threshold=0.0)
    assert everything_called["npv"] is None


def test_a_probability_equal_to_the_threshold_is_a_call() -> None:
    assert metrics.count_confusion([1, 0], [0.5, 0.4999999], threshold=0.5).to_dict() == {
        "true_positives": 1,
        "false_positives": 0,
        "false_negatives": 0,
        "true_negatives": 1,
    }


def test_a_threshold_outside_the_unit_interval_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"\[0, 1\]"):
        metrics.count_confusion([1, 0], [0.5, 0.4], threshold=1.0000001)


@pytest.mark.parametrize("seed", range(3))
def test_log_loss_equals_scikit_learn_even_at_certainty(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y_true = rng.integers(0, 2, 40)
    y_prob = np.concatenate([rng.random(37), [0.0, 1.0, 1.0]])
    assert metrics.log_loss(y_true, y_prob) == pytest.approx(reference.log_loss(y_true, y_prob))


def test_log_loss_by_hand() -> None:
    assert metrics.log_loss([1, 0], [0.5, 0.75]) == pytest.approx((np.log(2) + np.log(4)) / 2)


@pytest.mark.parametrize("measure", [metrics.auroc, metrics.average_precision, metrics.log_loss, metrics.brier_score])
def test_point_values_do_not_depend_on_the_order_of_the_films(measure: metrics.Measure) -> None:
    order = np.random.default_rng(0).permutation(len(Y_TRUE))
    shuffled = measure(np.array(Y_TRUE)[order], np.array(Y_PROB)[order])
    assert shuffled == pytest.approx(measure(Y_TRUE, Y_PROB), abs=1e-15)


@pytest.mark.parametrize("measure", [metrics.auroc, metrics.average_precision, metrics.log_loss, metrics.brier_score])
@pytest.mark.parametrize(("y_true", "y_prob"), [([0, 0], [0.1, 0.2]), ([0, 1], [0.1, 1.01]), ([0, 1], [-3.0, 4.0])])
def test_point_values_refuse_one_class_and_logits(
    measure: metrics.Measure, y_true: list[int], y_prob: list[float]
) -> None:
    with pytest.raises(EvaluationError):
        measure(y_true, y_prob)


def test_predictive_values_at_the_sample_prevalence_are_the_sample_ones() -> None:
    figures = metrics.threshold_figures(metrics.count_confusion(Y_TRUE, Y_PROB, threshold=0.5))
    ppv, npv = metrics.predictive_values(figures["sensitivity"], figures["specificity"], prevalence=0.4)
    assert (float(ppv), float(npv)) == pytest.approx((3 / 5, 4 / 5))


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, 5])
def test_a_prevalence_outside_the_open_unit_interval_is_refused(prevalence: float) -> None:
    with pytest.raises(EvaluationError, match="prevalence"):
        metrics.predictive_values(0.9, 0.9, prevalence=prevalence)
