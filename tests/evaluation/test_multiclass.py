from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, roc_auc_score, top_k_accuracy_score

from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation.curves import RankedFilms
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.multiclass import multiclass_metrics

LABELS = ["hairline", "oblique", "spiral", "greenstick"]
FEW = Resampling(num_resamples=100)


def draw_films(seed: int, *, num: int = 200) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    y_true = rng.integers(0, 4, num)
    prob = softmax(rng.normal(size=(num, 4)) + 1.5 * np.eye(4)[y_true], axis=1)
    return y_true, prob, np.array([f"group {index // 2}" for index in range(num)])


def measure(y_true: Any, prob: Any, groups: Any = None, labels: Any = LABELS) -> dict[str, Any]:
    groups = np.arange(len(y_true)) if groups is None else groups
    return multiclass_metrics(y_true, prob, labels, groups, resampling=FEW)


def test_figures_by_hand() -> None:
    prob = [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.1, 0.4], [0.2, 0.5, 0.3]]
    found = measure([0, 1, 2, 2], prob, labels=["a", "b", "c"])
    assert found["confusion"] == [[1, 0, 0], [0, 1, 0], [1, 1, 0]]
    assert found["accuracy"]["value"] == 0.5
    assert found["top_2_accuracy"]["value"] == 1.0
    # F1 of a and b is 2 / 3 (one hit, one alarm), of c 0.
    assert found["macro_f1"]["value"] == pytest.approx(4 / 9)
    assert found["per_class"]["c"]["ppv"]["value"] is None  # never called
    # a and b rank their film first; c: 0.4 beats both others, 0.3 beats 0.1 and ties with 0.3.
    assert found["per_class"]["a"]["auroc"]["value"] == 1.0
    assert found["per_class"]["c"]["auroc"]["value"] == pytest.approx((2 + 1.5) / 4)
    assert found["macro_auroc"]["value"] == pytest.approx((1 + 1 + 3.5 / 4) / 3)


@pytest.mark.parametrize("seed", range(3))
def test_figures_equal_scikit_learn(seed: int) -> None:
    y_true, prob, groups = draw_films(seed)
    found, called = measure(y_true, prob, groups), prob.argmax(axis=1)
    assert found["macro_auroc"]["value"] == pytest.approx(roc_auc_score(y_true, prob, multi_class="ovr"))
    assert found["macro_f1"]["value"] == pytest.approx(f1_score(y_true, called, average="macro"))
    assert found["accuracy"]["value"] == pytest.approx(accuracy_score(y_true, called))
    assert found["top_2_accuracy"]["value"] == pytest.approx(top_k_accuracy_score(y_true, prob, k=2))
    assert found["confusion"] == confusion_matrix(y_true, called).tolist()
    for index, label in enumerate(LABELS):
        assert found["per_class"][label]["auroc"]["value"] == pytest.approx(
            roc_auc_score(y_true == index, prob[:, index])
        )
        assert found["per_class"][label]["f1"]["value"] == pytest.approx(f1_score(y_true == index, called == index))


def test_two_classes_give_the_binary_figures() -> None:
    y_true, prob, _ = draw_films(3)
    binary = np.stack([1 - prob[:, 0], prob[:, 0]], axis=1)
    found = measure((y_true == 0).astype(int), binary, labels=["no", "yes"])
    expected = RankedFilms(y_true == 0, prob[:, 0]).count_calls().auroc()[0]
    assert found["macro_auroc"]["value"] == pytest.approx(expected)
    assert found["top_2_accuracy"]["value"] == 1.0


def test_the_order_of_films_changes_nothing() -> None:
    y_true, prob, groups = draw_films(4)
    order = np.random.default_rng(0).permutation(len(y_true))
    turned, found = measure(y_true[order], prob[order], groups[order]), measure(y_true, prob, groups)
    assert turned["confusion"] == found["confusion"]
    for name in ("macro_auroc", "macro_f1", "accuracy", "top_2_accuracy"):
        assert turned[name] == pytest.approx(found[name])


def test_the_order_of_classes_changes_no_figure() -> None:
    y_true, prob, groups = draw_films(5)
    turned = measure((y_true + 1) % 4, np.roll(prob, 1, axis=1), groups, [LABELS[-1], *LABELS[:-1]])
    found = measure(y_true, prob, groups)
    assert turned["macro_auroc"] == pytest.approx(found["macro_auroc"])
    assert turned["per_class"]["spiral"]["f1"] == pytest.approx(found["per_class"]["spiral"]["f1"])


def test_intervals_contain_their_figure_and_groups_widen_them() -> None:
    y_true, prob, _ = draw_films(6, num=100)
    tripled = np.repeat(np.arange(100), 3)
    copies = measure(y_true[tripled], prob[tripled], tripled)
    naive = measure(y_true[tripled], prob[tripled], np.arange(300))
    widths = [found["macro_auroc"]["upper"] - found["macro_auroc"]["lower"] for found in (naive, copies)]
    assert widths[1] > 1.4 * widths[0]
    for name in ("macro_auroc", "macro_f1", "accuracy", "top_2_accuracy"):
        assert copies[name]["lower"] <= copies[name]["value"] <= copies[name]["upper"]


def test_a_class_without_films_has_no_figures_and_does_not_count() -> None:
    y_true, prob, groups = draw_films(7)
    kept = y_true != 3
    found = measure(y_true[kept], prob[kept], groups[kept])
    absent = found["per_class"]["greenstick"]
    assert absent["num_films"] == 0
    assert [absent[name]["value"] for name in ("auroc", "sensitivity", "ppv", "f1")] == [None] * 4
    aurocs = [found["per_class"][label]["auroc"]["value"] for label in LABELS[:3]]
    assert found["macro_auroc"]["value"] == pytest.approx(np.mean(aurocs))
    expected = f1_score(y_true[kept], prob[kept].argmax(axis=1), average="macro", labels=[0, 1, 2])
    assert found["macro_f1"]["value"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("y_true", "prob", "sentence"),
    [
        ([0, 1], [[2.0, -1.0], [0.5, 0.5]], r"must lie in \[0, 1\], got values from -1 to 2"),
        ([0, 1], [[np.nan, 0.5], [0.5, 0.5]], r"must lie in \[0, 1\]"),
        ([0, 1], [[0.5, 0.5 + 2e-4], [0.5, 0.5]], "must sum to 1, got 1.0002"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], "class numbers from 0 to 1"),
        ([0, 0.5], [[0.5, 0.5], [0.5, 0.5]], "class numbers from 0 to 1"),
        ([1, 1], [[0.5, 0.5], [0.5, 0.5]], "at least two classes, got only 'b'"),
        ([0, 1, 1], [[0.5, 0.5], [0.5, 0.5]], "one entry per film"),
        ([], np.zeros((0, 2)), "at least one row"),
        ([0, 1], [[1.0], [1.0]], r"shape \(N, 2\)"),
    ],
)
def test_what_cannot_be_measured_is_refused(y_true: Any, prob: Any, sentence: str) -> None:
    with pytest.raises(EvaluationError, match=sentence):
        measure(y_true, prob, labels=["a", "b"])
