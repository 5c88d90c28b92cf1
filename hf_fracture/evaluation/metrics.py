"""Point values: ranking, probability error, and the figures at one threshold.

scikit-learn computes what it defines; the figures at a threshold are formulas over the four counts, because the
bootstrap needs them for thousands of resamples at once. May depend on `inputs`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from hf_fracture.evaluation.inputs import Floats, check_binary, check_unit_interval

Measure = Callable[[ArrayLike, ArrayLike], float]
"""A figure of true labels and probabilities."""

PREVALENCES: Final[tuple[float, ...]] = (0.05, 0.10, 0.20, 0.30)
"""Shares of fractured films at which predictive values are restated."""

PROPORTIONS: Final[tuple[str, ...]] = ("sensitivity", "specificity", "ppv", "npv", "accuracy")
"""Figures at a threshold that are a count over a count."""


def auroc(y_true: ArrayLike, y_prob: ArrayLike) -> float:
    """Return the chance that a fractured film scores above one that is not; ties count half.

    Args:
        y_true: (N,) of {0, 1}, both present.
        y_prob: (N,) in [0, 1].

    Raises:
        EvaluationError: If a value leaves its range or one class is missing.

    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.9])
    0.875
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*check_binary(y_true, y_prob)))


def average_precision(y_true: ArrayLike, y_prob: ArrayLike) -> float:
    """Return the precision averaged over the steps in sensitivity (no interpolation).

    Args:
        y_true: (N,) of {0, 1}, both present.
        y_prob: (N,) in [0, 1].

    Raises:
        EvaluationError: If a value leaves its range or one class is missing.

    >>> round(average_precision([0, 1, 1], [0.5, 0.2, 0.9]), 4)
    0.8333
    """
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*check_binary(y_true, y_prob)))


def log_loss(y_true: ArrayLike, y_prob: ArrayLike) -> float:
    """Return the mean negative logarithm of the probability given to the truth, in nats.

    Probabilities of exactly 0 or 1 are moved inwards by the float64 epsilon, as scikit-learn does.

    Args:
        y_true: (N,) of {0, 1}, both present.
        y_prob: (N,) in [0, 1].

    Raises:
        EvaluationError: If a value leaves its range or one class is missing.
    """
    true, prob = check_binary(y_true, y_prob)
    return float(film_log_losses(true, prob).mean())


def brier_score(y_true: ArrayLike, y_prob: ArrayLike) -> float:
    """Return the mean squared difference of probability and truth, in [0, 1].

    Args:
        y_true: (N,) of {0, 1}, both present.
        y_prob: (N,) in [0, 1].

    Raises:
        EvaluationError: If a value leaves its range or one class is missing.

    >>> brier_score([0, 1], [0.5, 1.0])
    0.125
    """
    from sklearn.metrics import brier_score_loss

    return float(brier_score_loss(*check_binary(y_true, y_prob)))


def film_log_losses(y_true: ArrayLike, y_prob: ArrayLike) -> Floats:
    """Return the log loss of each film, (N,), in nats; the inputs are not checked again."""
    epsilon = np.finfo(np.float64).eps
    prob = np.clip(np.asarray(y_prob, dtype=np.float64), epsilon, 1.0 - epsilon)
    return -np.log(np.where(np.asarray(y_true) == 1, prob, 1.0 - prob))


def share(part: Floats, whole: Floats) -> Floats:
    """Divide counts; NaN, which means "does not exist", where the whole is 0.

    Args:
        part: (...,) any number.
        whole: (...,) at least 0, of a shape that fits `part`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(whole) > 0, np.asarray(part) / np.asarray(whole), np.nan)


@dataclass(frozen=True, kw_only=True)
class ConfusionCounts:
    """Films by truth and call at one threshold, for one sample or for many resamples of it.

    Attributes:
        true_positives: (...,) fractured films called fracture.
        false_positives: (...,) other films called fracture.
        false_negatives: (...,) fractured films not called.
        true_negatives: (...,) other films not called.
    """

    true_positives: Floats
    false_positives: Floats
    false_negatives: Floats
    true_negatives: Floats

    def to_dict(self) -> dict[str, int]:
        """Return the counts of one sample as integers."""
        return {name: int(getattr(self, name)) for name in self.__dataclass_fields__}


def count_confusion(y_true: ArrayLike, y_prob: ArrayLike, *, threshold: float) -> ConfusionCounts:
    """Count calls by truth; a film is called fractured when its probability is at least `threshold`.

    Args:
        y_true: (N,) of {0, 1}, both present.
        y_prob: (N,) in [0, 1].
        threshold: In [0, 1].

    Raises:
        EvaluationError: If a value leaves its range or one class is missing.

    >>> count_confusion([0, 0, 1], [0.2, 0.5, 0.5], threshold=0.5).to_dict()
    {'true_positives': 1, 'false_positives': 1, 'false_negatives': 0, 'true_negatives': 1}
    """
    true, prob = check_binary(y_true, y_prob)
    check_binary([0, 1], [threshold, threshold])
    called = prob >= threshold
    return ConfusionCounts(
        true_positives=np.asarray(np.sum(called & (true == 1)), dtype=np.float64),
        false_positives=np.asarray(np.sum(called & (true == 0)), dtype=np.float64),
        false_negatives=np.asarray(np.sum(~called & (true == 1)), dtype=np.float64),
        true_negatives=np.asarray(np.sum(~called & (true == 0)), dtype=np.float64),
    )


def threshold_figures(counts: ConfusionCounts) -> dict[str, Floats]:
    """Turn the four counts into the figures that people quote, each of the shape of the counts.

    Where a figure does not exist (the PPV when nothing is called, the MCC when every call is the same) it is NaN here,
    and becomes null in every file; it is never replaced by a number.

    Args:
        counts: Counts with at least one film of each class.

    Returns:
        `sensitivity`, `specificity`, `ppv`, `npv`, `f1`, `balanced_accuracy`, `mcc`, `kappa`, `accuracy`.
    """
    tp, fp = counts.true_positives, counts.false_positives
    fn, tn = counts.false_negatives, counts.true_negatives
    total = tp + fp + fn + tn
    sensitivity, specificity = share(tp, tp + fn), share(tn, tn + fp)
    accuracy = share(tp + tn, total)
    chance = share((tp + fp) * (tp + fn) + (fn + tn) * (fp + tn), total**2)
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "ppv": share(tp, tp + fp),
        "npv": share(tn, tn + fn),
        "f1": share(2 * tp, 2 * tp + fp + fn),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "mcc": share(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))),
        "kappa": share(accuracy - chance, 1 - chance),
        "accuracy": accuracy,
    }


def predictive_values(sensitivity: ArrayLike, specificity: ArrayLike, *, prevalence: float) -> tuple[Floats, Floats]:
    """Restate PPV and NPV for another share of fractured films (Bayes' rule).

    Args:
        sensitivity: (...,) in [0, 1].
        specificity: (...,) in [0, 1].
        prevalence: Share of fractured films where the model would be used, in (0, 1).

    Returns:
        PPV and NPV; NaN where nothing is called, or everything.

    Raises:
        EvaluationError: If `prevalence` leaves (0, 1).

    >>> ppv, npv = predictive_values(0.9, 0.9, prevalence=0.1)
    >>> round(float(ppv), 3), round(float(npv), 3)
    (0.5, 0.988)
    """
    check_unit_interval(prevalence, "prevalence")
    sens, spec = np.asarray(sensitivity, dtype=np.float64), np.asarray(specificity, dtype=np.float64)
    found, missed = sens * prevalence, (1 - sens) * prevalence
    cleared, alarms = spec * (1 - prevalence), (1 - spec) * (1 - prevalence)
    return share(found, found + alarms), share(cleared, cleared + missed)


def metrics_at_threshold(y_true: ArrayLike, y_prob: ArrayLike, *, threshold: float) -> dict[str, float | None]:
    """Measure one threshold on one sample.

    Args:
        y_true: (N,) of {0, 1}, both present.
        y_prob: (N,) in [0, 1].
        threshold: In [0, 1].

    Returns:
        The keys of `threshold_figures`; None where a figure does not exist.

    Raises:
        EvaluationError: If a value leaves its range or one class is missing.

    >>> metrics_at_threshold([0, 1], [0.2, 0.3], threshold=0.9)["ppv"] is None
    True
    """
    figures = threshold_figures(count_confusion(y_true, y_prob, threshold=threshold))
    return {name: None if np.isnan(value) else float(value) for name, value in figures.items()}
