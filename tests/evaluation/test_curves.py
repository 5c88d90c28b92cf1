import numpy as np
import pytest
import sklearn.metrics as reference

from hf_fracture.evaluation.curves import GRID, RankedFilms
from hf_fracture.evaluation.inputs import Floats, Labels


def draw_films(seed: int, *, num: int = 80, decimals: int = 1) -> tuple[Labels, Floats, Floats]:
    """Return labels, probabilities with many ties, and whole-number weights for three resamples."""
    rng = np.random.default_rng(seed)
    y_true = rng.integers(0, 2, num)
    y_prob = np.clip(0.3 * y_true + rng.random(num) * 0.7, 0, 1).round(decimals)
    return y_true, y_prob, rng.integers(0, 4, (3, num)).astype(np.float64)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("decimals", [1, 12])
def test_weighted_areas_equal_scikit_learn_on_repeated_films(seed: int, decimals: int) -> None:
    y_true, y_prob, weights = draw_films(seed, decimals=decimals)
    counts = RankedFilms(y_true, y_prob).count_calls(weights)
    repeated = [(np.repeat(y_true, w.astype(int)), np.repeat(y_prob, w.astype(int))) for w in weights]
    assert counts.auroc() == pytest.approx([reference.roc_auc_score(t, p) for t, p in repeated])
    assert counts.average_precision() == pytest.approx([reference.average_precision_score(t, p) for t, p in repeated])


def test_three_films_by_hand() -> None:
    counts = RankedFilms([1, 0, 1], [0.9, 0.5, 0.5]).count_calls()
    assert counts.auroc() == pytest.approx([0.75])  # one pair won, one tied
    assert counts.average_precision() == pytest.approx([0.5 * 1 + 0.5 * 2 / 3])


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.30000001, 0.95, 1.0])
def test_confusion_counts_are_the_weighted_calls(threshold: float) -> None:
    y_true, y_prob, weights = draw_films(7)
    confusion = RankedFilms(y_true, y_prob).count_calls(weights).confusion(threshold)
    called = y_prob >= threshold
    assert confusion.true_positives.tolist() == (weights @ (called & (y_true == 1))).tolist()
    assert confusion.false_positives.tolist() == (weights @ (called & (y_true == 0))).tolist()
    assert confusion.false_negatives.tolist() == (weights @ (~called & (y_true == 1))).tolist()
    assert confusion.true_negatives.tolist() == (weights @ (~called & (y_true == 0))).tolist()


def test_curves_equal_scikit_learn() -> None:
    y_true, y_prob, _ = draw_films(3)
    counts = RankedFilms(y_true, y_prob).count_calls()
    fpr, tpr, _ = reference.roc_curve(y_true, y_prob, drop_intermediate=False)
    assert np.allclose(counts.roc()[0][0], fpr)
    assert np.allclose(counts.roc()[1][0], tpr)
    precision, recall, _ = reference.precision_recall_curve(y_true, y_prob)
    assert np.allclose(counts.precision_recall()[0][0], recall[-2::-1])
    assert np.allclose(counts.precision_recall()[1][0], precision[-2::-1])


def test_the_grid_reads_the_curves_at_their_own_points() -> None:
    counts = RankedFilms([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.1]).count_calls()
    roc, precision = counts.roc_on_grid()[0], counts.precision_on_grid()[0]
    assert roc[0] == 0.5  # half of the fractures come before the first false alarm
    assert roc[GRID == 0.5] == 1.0
    assert roc[-1] == 1.0
    assert precision[GRID == 0.5] == 1.0
    assert precision[-1] == pytest.approx(2 / 3)


def test_a_resample_without_one_class_has_no_area() -> None:
    counts = RankedFilms([1, 0], [0.9, 0.1]).count_calls(np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
    assert np.isnan(counts.auroc()).tolist() == [True, True, False]
    assert np.isnan(counts.average_precision()).tolist() == [False, True, False]


def test_the_order_of_the_films_does_not_matter() -> None:
    y_true, y_prob, weights = draw_films(5)
    order = np.random.default_rng(0).permutation(len(y_true))
    first = RankedFilms(y_true, y_prob).count_calls(weights)
    second = RankedFilms(y_true[order], y_prob[order]).count_calls(weights[:, order])
    assert np.array_equal(first.true_positives, second.true_positives)
    assert np.array_equal(first.false_positives, second.false_positives)
