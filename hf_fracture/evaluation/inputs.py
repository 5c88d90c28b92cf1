"""What every measure accepts: true labels in {0, 1} of both classes, probabilities in [0, 1], one group id per film.

May depend on `errors` and numpy.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_fracture.errors import EvaluationError

Labels = NDArray[np.int64]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


def check_labels(y_true: ArrayLike) -> Labels:
    """Return the labels as integers, or refuse them.

    Args:
        y_true: (N,) of {0, 1}; 1 is fracture.

    Raises:
        EvaluationError: If the array is empty, not flat, holds anything but 0 and 1, or holds one class only.

    >>> check_labels([0.0, 1.0, True])
    array([0, 1, 1])
    """
    true = np.asarray(y_true)
    if true.ndim != 1 or true.size == 0:
        raise EvaluationError(
            f"y_true must be a flat array of at least one label, got shape {true.shape}. Check that the split is not "
            "empty."
        )
    if not np.isin(true, [0, 1]).all():
        raise EvaluationError(
            f"y_true must hold only 0 and 1, got {_examples(true[~np.isin(true, [0, 1])])}. Drop unlabelled films "
            "first."
        )
    num_fractured = int(np.count_nonzero(true == 1))
    if num_fractured in (0, true.size):
        raise EvaluationError(
            f"y_true must hold both classes, got {num_fractured} fractured film(s) among {true.size}. Measure on a "
            "split that has films of both."
        )
    return true.astype(np.int64)


def check_probabilities(y_prob: ArrayLike) -> Floats:
    """Return the probabilities as float64, or refuse them.

    Args:
        y_prob: (N,) probability of fracture, in [0, 1]. Logits are refused, not squashed.

    Raises:
        EvaluationError: If the array is empty, not flat, holds NaN, or leaves [0, 1].
    """
    prob = np.asarray(y_prob, dtype=np.float64)
    if prob.ndim != 1 or prob.size == 0:
        raise EvaluationError(
            f"y_prob must be a flat array of at least one probability of fracture, got shape {prob.shape}. Pass one "
            "number per film."
        )
    if np.isnan(prob).any():
        raise EvaluationError(
            f"y_prob must hold numbers, got NaN for {np.isnan(prob).sum()} of {prob.size} film(s). Find the films on "
            "which the model diverges."
        )
    if prob.min() < 0.0 or prob.max() > 1.0:
        raise EvaluationError(
            f"y_prob must lie in [0, 1], got values from {prob.min():g} to {prob.max():g}. Apply softmax to logits "
            "first."
        )
    return prob


def check_binary(y_true: ArrayLike, y_prob: ArrayLike) -> tuple[Labels, Floats]:
    """Return labels and probabilities of the same films, or refuse them.

    Args:
        y_true: (N,) of {0, 1}, both present.
        y_prob: (N,) in [0, 1].

    Raises:
        EvaluationError: If either is out of its range, or the lengths differ.
    """
    true, prob = check_labels(y_true), check_probabilities(y_prob)
    check_same_length(y_true=true, y_prob=prob)
    return true, prob


def check_logit_differences(logit_difference: ArrayLike) -> Floats:
    """Return finite logit differences (fractured minus not fractured) as float64, or refuse them.

    Raises:
        EvaluationError: If the array is empty, not flat, or holds NaN or infinity.
    """
    difference = np.asarray(logit_difference, dtype=np.float64)
    if difference.ndim != 1 or difference.size == 0:
        raise EvaluationError(
            f"logit_difference must be a flat array of at least one number, got shape {difference.shape}. Subtract the "
            "logit of 'not fractured' from that of 'fractured'."
        )
    if not np.isfinite(difference).all():
        raise EvaluationError(
            f"logit_difference must be finite, got NaN or infinity for {(~np.isfinite(difference)).sum()} of "
            f"{difference.size} film(s). Find the films on which the model diverges."
        )
    return difference


def check_unit_interval(value: float, name: str) -> None:
    """Refuse a share that is not strictly between 0 and 1.

    Raises:
        EvaluationError: Naming the value.
    """
    if not 0.0 < value < 1.0:
        raise EvaluationError(f"{name} must lie in (0, 1), got {value!r}. Write 0.95 for 95 %.")


def check_same_length(**arrays: NDArray[np.generic] | Sequence[object]) -> None:
    """Refuse arrays that cannot describe the same films.

    Raises:
        EvaluationError: Naming each array with its length.
    """
    if len({len(array) for array in arrays.values()}) > 1:
        lengths = ", ".join(f"{name} {len(array)}" for name, array in arrays.items())
        raise EvaluationError(
            f"Arrays must have one entry per film, got lengths {lengths}. Pass the same films to all."
        )


def _examples(values: NDArray[np.generic]) -> str:
    return ", ".join(list(dict.fromkeys(map(str, values.tolist())))[:3])
