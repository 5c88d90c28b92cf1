"""Choose the operating points and the limits of the three-way rule, on validation films.

A threshold chosen here is then quoted for other films; it is never chosen on the films on which it is measured.
May depend on `inputs`, `curves` and `config`.
"""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from hf_fracture.config import OperatingPoint, Triage
from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation.curves import RankedFilms
from hf_fracture.evaluation.inputs import Floats, check_binary

MIN_SENSITIVITY: Final = 0.95
MIN_SPECIFICITY: Final = 0.95


def at_sensitivity(y_true: ArrayLike, y_prob: ArrayLike, *, min_sensitivity: float) -> OperatingPoint:
    """Find the most specific threshold that still reaches `min_sensitivity`.

    Args:
        y_true: (N,) of {0, 1}; 1 is fracture.
        y_prob: (N,) probability of fracture in [0, 1]. Logits are refused, not squashed for you.
        min_sensitivity: Lowest acceptable sensitivity, in (0, 1].

    Returns:
        The point with the highest observed probability that qualifies as its threshold; one always exists.

    Raises:
        EvaluationError: If a value leaves its range, a label is missing (NaN), or `y_true` holds one class only.

    >>> at_sensitivity([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], min_sensitivity=1.0)
    OperatingPoint(threshold=0.4, sensitivity=1.0, specificity=0.5)
    """
    true, prob = check_binary(y_true, y_prob)
    _check_target(min_sensitivity, "min_sensitivity")
    fractures = np.sort(prob[true == 1])[::-1]
    return measure_operating_point(true, prob, threshold=float(fractures[_num_needed(min_sensitivity, fractures) - 1]))


def at_specificity(y_true: ArrayLike, y_prob: ArrayLike, *, min_specificity: float) -> OperatingPoint:
    """Find the most sensitive threshold that still reaches `min_specificity`.

    Args:
        y_true: (N,) of {0, 1}; 1 is fracture.
        y_prob: (N,) probability of fracture in [0, 1].
        min_specificity: Lowest acceptable specificity, in (0, 1].

    Returns:
        The point with the lowest observed probability that qualifies. Where even the highest one does not, because the
        highest films are not fractured, the threshold is halfway between it and 1: nothing observed is called.

    Raises:
        EvaluationError: If a value leaves its range, one class is missing, or so many films without fracture have a
            probability of exactly 1 that no threshold reaches `min_specificity`.

    >>> at_specificity([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], min_specificity=1.0)
    OperatingPoint(threshold=0.9, sensitivity=0.5, specificity=1.0)
    """
    true, prob = check_binary(y_true, y_prob)
    _check_target(min_specificity, "min_specificity")
    intact = np.sort(prob[true == 0])
    ceiling = intact[_num_needed(min_specificity, intact) - 1]  # must stay below the threshold
    above = prob[prob > ceiling]
    if not len(above) and ceiling == 1.0:
        raise EvaluationError(
            f"No threshold reaches a specificity of {min_specificity:g}: {int((intact == 1.0).sum())} of {len(intact)} "
            "films without fracture have a probability of exactly 1. Fit a temperature first, or lower the target."
        )
    threshold = float(above.min()) if len(above) else float((1.0 + ceiling) / 2)
    return measure_operating_point(true, prob, threshold=threshold)


def at_youden(y_true: ArrayLike, y_prob: ArrayLike) -> OperatingPoint:
    """Find the threshold with the largest sum of sensitivity and specificity.

    Where several share the largest sum, the most sensitive of them is taken: a missed fracture costs more.

    Args:
        y_true: (N,) of {0, 1}; 1 is fracture.
        y_prob: (N,) probability of fracture in [0, 1].

    Raises:
        EvaluationError: If a value leaves its range or one class is missing.

    >>> at_youden([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9])
    OperatingPoint(threshold=0.4, sensitivity=1.0, specificity=0.5)
    """
    true, prob = check_binary(y_true, y_prob)
    counts = RankedFilms(true, prob).count_calls()
    tp, fp = counts.true_positives[0], counts.false_positives[0]
    gain = tp * fp[-1] - fp * tp[-1]  # in whole films, so that ties are exact
    best = int(np.flatnonzero(gain == gain.max())[-1])
    return measure_operating_point(true, prob, threshold=float(counts.thresholds[best]))


def measure_operating_point(y_true: ArrayLike, y_prob: ArrayLike, *, threshold: float) -> OperatingPoint:
    """State what a given threshold achieves on these films.

    Args:
        y_true: (N,) of {0, 1}, both present.
        y_prob: (N,) in [0, 1].
        threshold: In [0, 1].

    Raises:
        EvaluationError: If a value leaves its range or one class is missing.
    """
    true, prob = check_binary(y_true, y_prob)
    return OperatingPoint(
        threshold=threshold,
        sensitivity=float((prob[true == 1] >= threshold).mean()),
        specificity=float((prob[true == 0] < threshold).mean()),
    )


def choose_operating_points(y_true: ArrayLike, y_prob: ArrayLike) -> dict[str, OperatingPoint]:
    """Choose the three named points on validation films.

    Args:
        y_true: (N,) of {0, 1}, both present.
        y_prob: (N,) calibrated probability of fracture in [0, 1].

    Returns:
        `screening` (sensitivity >= 0.95), `balanced` (Youden), `rule_in` (specificity >= 0.95).

    Raises:
        EvaluationError: If a value leaves its range, one class is missing, or a target cannot be reached.
    """
    return {
        "screening": at_sensitivity(y_true, y_prob, min_sensitivity=MIN_SENSITIVITY),
        "balanced": at_youden(y_true, y_prob),
        "rule_in": at_specificity(y_true, y_prob, min_specificity=MIN_SPECIFICITY),
    }


def choose_triage(points: dict[str, OperatingPoint]) -> Triage:
    """Derive the limits of the three-way rule from the named points.

    Args:
        points: `screening`, `balanced` and `rule_in`.

    Returns:
        The screening and rule-in thresholds; both the balanced one where rule-in falls below screening, because then
        every film can be decided with both targets met.

    >>> point = lambda threshold: OperatingPoint(threshold=threshold, sensitivity=0.9, specificity=0.9)
    >>> choose_triage({"screening": point(0.1), "balanced": point(0.3), "rule_in": point(0.6)})
    Triage(screening=0.1, rule_in=0.6)
    >>> choose_triage({"screening": point(0.6), "balanced": point(0.3), "rule_in": point(0.1)})
    Triage(screening=0.3, rule_in=0.3)
    """
    screening, rule_in = points["screening"].threshold, points["rule_in"].threshold
    if rule_in < screening:
        balanced = points["balanced"].threshold
        return Triage(screening=balanced, rule_in=balanced)
    return Triage(screening=screening, rule_in=rule_in)


def _num_needed(target: float, films: Floats) -> int:
    return max(1, int(np.ceil(target * len(films) - 1e-9)))  # 0.07 * 100 is 7.000000000000001


def _check_target(value: float, name: str) -> None:
    if not 0.0 < value <= 1.0:
        raise EvaluationError(f"{name} must lie in (0, 1], got {value!r}. Write 0.95 for 95 %.")
