"""Measures of a classifier of several classes that exclude one another, such as the types of fracture.

May depend on `inputs`, `bootstrap`, `curves`, `metrics` and `figures`.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation.bootstrap import bootstrap, count_rarer_groups, estimate
from hf_fracture.evaluation.curves import RankedFilms
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.inputs import Floats, check_same_length
from hf_fracture.evaluation.metrics import share

SUM_TOLERANCE: Final = 1e-4
TOP: Final = 2

ClassIndices = NDArray[np.intp]


def multiclass_metrics(
    y_true: ArrayLike,
    probabilities: ArrayLike,
    labels: Sequence[str],
    groups: Sequence[str] | NDArray[np.generic],
    *,
    resampling: Resampling | None = None,
) -> dict[str, Any]:
    """Measure a classifier of C classes, with intervals over groups.

    Args:
        y_true: (N,) class of each film, in 0..C-1; at least two classes occur.
        probabilities: (N, C) in [0, 1], each row summing to 1. Logits are refused, not squashed.
        labels: C distinct names.
        groups: (N,) one id per film.
        resampling: How intervals are obtained; None takes the defaults.

    Returns:
        `macro_auroc` (mean over the classes that occur, each against the rest), `macro_f1` (likewise), `accuracy`,
        `top_2_accuracy` (the true class is among the two most probable; a tie counts for the film), each a figure with
        its interval; `per_class`: for each label `num_films`, `auroc`, `sensitivity`, `ppv` and `f1`, figures with
        intervals, without a value for a class that does not occur; `confusion`: (C, C) lists of counts, row by true
        class, column by called class (the most probable; the first of equals).

    Raises:
        EvaluationError: If a value leaves its range, lengths differ, or fewer than two classes occur.
    """
    true, prob = check_multiclass(y_true, probabilities, labels)
    check_same_length(y_true=true, groups=groups)
    resampling = resampling or Resampling()
    num_classes = len(labels)
    present = np.bincount(true, minlength=num_classes) > 0
    one_hot = np.eye(num_classes)
    called, is_true = one_hot[prob.argmax(axis=1)], one_hot[true]  # (N, C)
    ranked = {index: RankedFilms(true == index, prob[:, index]) for index in np.flatnonzero(present).tolist()}
    own = prob[np.arange(len(true)), true]
    in_top = ((prob > own[:, None]).sum(axis=1) < TOP).astype(np.float64)

    def measure(weights: Floats) -> dict[str, Floats]:
        auroc = np.full((len(weights), num_classes), np.nan)
        for index, films in ranked.items():
            auroc[:, index] = films.count_calls(weights).auroc()
        hits, truths, calls = weights @ (called * is_true), weights @ is_true, weights @ called  # (B, C)
        f1 = np.where(present, share(2 * hits, truths + calls), np.nan)
        total = weights.sum(axis=1)
        return {
            "macro_auroc": auroc[:, present].mean(axis=1),
            "macro_f1": f1[:, present].mean(axis=1),
            "accuracy": hits.sum(axis=1) / total,
            "top_2_accuracy": weights @ in_top / total,
            "auroc": auroc,
            "sensitivity": share(hits, truths),
            "ppv": np.where(present, share(hits, calls), np.nan),
            "f1": f1,
        }

    values = measure(np.ones((1, len(true))))
    resampled = bootstrap(measure, groups, num_resamples=resampling.num_resamples, seed=resampling.seed)
    group_ids = np.asarray(groups)

    def put_interval(name: str, index: int | None = None) -> dict[str, Any]:
        value, sample = (values[name][0], resampled[name])
        if index is not None:
            value, sample = value[index], sample[:, index]
        of_share = {"sensitivity": is_true, "ppv": called}
        if name in of_share:
            num_groups = len(np.unique(group_ids[of_share[name][:, index] > 0]))
        else:
            num_groups = len(np.unique(group_ids)) if index is None else count_rarer_groups(group_ids, true == index)
        return estimate(
            float(value),
            sample,
            num_groups=num_groups,
            is_share=name in ("accuracy", "top_2_accuracy", *of_share),
            confidence_level=resampling.confidence_level,
        ).to_dict()

    return {
        **{name: put_interval(name) for name in ("macro_auroc", "macro_f1", "accuracy", "top_2_accuracy")},
        "per_class": {
            label: {
                "num_films": int((true == index).sum()),
                **{name: put_interval(name, index) for name in ("auroc", "sensitivity", "ppv", "f1")},
            }
            for index, label in enumerate(labels)
        },
        "confusion": (is_true.T @ called).astype(int).tolist(),
    }


def check_multiclass(y_true: ArrayLike, probabilities: ArrayLike, labels: Sequence[str]) -> tuple[ClassIndices, Floats]:
    """Return the classes and probabilities of the same films, or refuse them.

    Args:
        y_true: (N,) whole numbers in 0..C-1.
        probabilities: (N, C) in [0, 1], rows summing to 1.
        labels: C distinct names.

    Raises:
        EvaluationError: If a value leaves its range, shapes differ, names repeat, or fewer than two classes occur.
    """
    prob = np.asarray(probabilities, dtype=np.float64)
    if len(set(labels)) != len(labels) or prob.ndim != 2 or prob.shape[1] != len(labels) or not len(prob):
        raise EvaluationError(
            f"probabilities must have shape (N, {len(labels)}), one column for each of the {len(set(labels))} distinct "
            f"labels and at least one row, got {prob.shape}. Pass one row per film."
        )
    if np.isnan(prob).any() or prob.min() < 0 or prob.max() > 1:
        raise EvaluationError(
            f"probabilities must lie in [0, 1], got values from {prob.min():g} to {prob.max():g}. Apply softmax to "
            "logits first, and find the films on which the model diverges."
        )
    sums = prob.sum(axis=1)
    if np.abs(sums - 1).max() > SUM_TOLERANCE:
        worst = sums[np.abs(sums - 1).argmax()]
        raise EvaluationError(
            f"The probabilities of a film must sum to 1, got {worst:g}. Classes must exclude one another: use softmax, "
            "not one sigmoid per class."
        )
    return _check_class_indices(y_true, prob, labels), prob


def _check_class_indices(y_true: ArrayLike, prob: Floats, labels: Sequence[str]) -> ClassIndices:
    true = np.asarray(y_true)
    if true.ndim != 1 or not np.isin(true, np.arange(len(labels))).all():
        found = sorted(map(str, np.unique(true)))[:3]
        raise EvaluationError(
            f"y_true must be a flat array of class numbers from 0 to {len(labels) - 1}, got shape {true.shape} with "
            f"values such as {', '.join(found)}. Drop films without a type first."
        )
    check_same_length(y_true=true, probabilities=prob)
    if len(np.unique(true)) < 2:
        raise EvaluationError(
            f"y_true must hold at least two classes, got only '{labels[int(true[0])]}'. Measure on a split that has "
            "films of several."
        )
    return true.astype(np.intp)
