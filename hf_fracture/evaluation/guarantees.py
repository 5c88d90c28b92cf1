"""What the limits of the three-way rule promise about other films of the same kind, with a stated confidence.

A limit that lets k of n calibration groups through is an order statistic of their scores, so the share of all groups
that it lets through follows a beta distribution whatever the scores are. Its upper quantile is the promise. It holds
for films drawn like the calibration films; it says nothing about another clinic. May depend on `inputs`, `bootstrap`
and `config`.

Source: Angelopoulos, Bates et al., Learn then Test, 2021 (fixed sequence, exact binomial tail); Wilks, Determination of
sample sizes for setting tolerance limits, 1941.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_fracture.config import Triage
from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation.bootstrap import index_groups
from hf_fracture.evaluation.inputs import Floats, Labels, check_binary, check_same_length, check_unit_interval

CONFIDENCE_LEVEL: Final = 0.95
TARGETS: Final[tuple[float, ...]] = (0.05, 0.1)
"""Shares of missed fractures, and of false alarms, for which limits are stated."""


@dataclass(frozen=True, kw_only=True)
class RateBound:
    """How often a limit is on the wrong side, on the calibration films and at most in the long run.

    Attributes:
        num_groups: Calibration groups of the class.
        num_beyond: Groups among them with a film on the wrong side.
        bound: With the stated confidence, no larger share of all groups has one; in [0, 1].
    """

    num_groups: int
    num_beyond: int
    bound: float


@dataclass(frozen=True, kw_only=True)
class ControlledLimits:
    """Limits that keep a promise made beforehand.

    Attributes:
        max_fraction: Largest share of missed fractures, and of false alarms, in (0, 1).
        screening: Largest limit that keeps it for missed fractures; None where there are too few groups.
        rule_in: Smallest limit that keeps it for false alarms; None where there are too few groups.
    """

    max_fraction: float
    screening: float | None
    rule_in: float | None


@dataclass(frozen=True, kw_only=True)
class TriageGuarantee:
    """What the limits of the three-way rule promise.

    Attributes:
        confidence_level: Share of calibration sets for which each promise holds, in (0, 1).
        missed: Fractured groups with a film called no fracture.
        false_alarms: Groups with a film without fracture that is called fracture.
        controlled: Limits for promises made beforehand.
        warnings: Sentences about what these films cannot promise.
    """

    confidence_level: float
    missed: RateBound
    false_alarms: RateBound
    controlled: tuple[ControlledLimits, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the key `triage_guarantee` of a model's record."""
        content = asdict(self)
        return {**content, "controlled": list(content["controlled"]), "warnings": list(self.warnings)}


def measure_guarantee(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    group_ids: NDArray[np.generic],
    triage: Triage,
    *,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> TriageGuarantee:
    """State what given limits promise, and which limits would promise `TARGETS`.

    The bounds are exact where each group holds one film and the limits are those of `thresholds`: their rank among the
    films of a class depends on the number of films only. They are slightly optimistic for limits that were chosen by
    looking at the same films in another way.

    Args:
        y_true: (N,) of {0, 1}, both present; the films on which the limits were chosen.
        y_prob: (N,) in [0, 1].
        group_ids: (N,) one id per film.
        triage: The limits.
        confidence_level: In (0, 1).

    Raises:
        EvaluationError: If a value leaves its range or one class is missing.
    """
    check_unit_interval(confidence_level, "confidence_level")
    lowest, highest = _score_groups(y_true, y_prob, group_ids)
    beyond = int(np.count_nonzero(lowest < triage.screening)), int(np.count_nonzero(highest >= triage.rule_in))
    bounds = [
        RateBound(
            num_groups=len(scores),
            num_beyond=number,
            bound=upper_bound(number, len(scores), confidence_level=confidence_level),
        )
        for scores, number in zip((lowest, highest), beyond, strict=True)
    ]
    return TriageGuarantee(
        confidence_level=confidence_level,
        missed=bounds[0],
        false_alarms=bounds[1],
        controlled=tuple(
            ControlledLimits(
                max_fraction=target,
                screening=_or_none(_control_screening, lowest, target, confidence_level),
                rule_in=_or_none(_control_rule_in, highest, target, confidence_level),
            )
            for target in TARGETS
        ),
        warnings=tuple(_list_warnings(len(lowest), len(highest), triage, confidence_level)),
    )


def control_triage(
    y_true: ArrayLike,
    y_prob: ArrayLike,
    group_ids: NDArray[np.generic],
    *,
    max_missed_fraction: float,
    max_false_alarm_fraction: float,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> Triage:
    """Choose limits that keep two promises made beforehand, each with the stated confidence.

    With that confidence over the choice of calibration films, at most `max_missed_fraction` of fractured groups hold a
    fractured film that is called no fracture, and at most `max_false_alarm_fraction` of the others a film called
    fracture. Where one limit keeps both promises for every film, no film is uncertain.

    Args:
        y_true: (N,) of {0, 1}, both present.
        y_prob: (N,) in [0, 1].
        group_ids: (N,) one id per film.
        max_missed_fraction: In (0, 1), chosen without looking at these films.
        max_false_alarm_fraction: In (0, 1), likewise.
        confidence_level: In (0, 1).

    Raises:
        EvaluationError: If a value leaves its range, one class is missing, or there are too few groups for a promise.

    >>> prob = np.linspace(0.001, 0.999, 100)
    >>> control_triage(prob > 0.5, prob, np.arange(100), max_missed_fraction=0.1, max_false_alarm_fraction=0.1).rule_in
    0.5
    """
    for name, value in (
        ("max_missed_fraction", max_missed_fraction),
        ("max_false_alarm_fraction", max_false_alarm_fraction),
        ("confidence_level", confidence_level),
    ):
        check_unit_interval(value, name)
    lowest, highest = _score_groups(y_true, y_prob, group_ids)
    screening = _control_screening(lowest, max_missed_fraction, confidence_level)
    rule_in = _control_rule_in(highest, max_false_alarm_fraction, confidence_level)
    if rule_in < screening:
        screening = rule_in = (screening + rule_in) / 2
    return Triage(screening=screening, rule_in=rule_in)


def describe_guarantee(guarantee: Mapping[str, Any] | None) -> list[str]:
    """Say in sentences what limits promise; nothing where it was not worked out.

    Args:
        guarantee: As `TriageGuarantee.to_dict` returns it.
    """
    if guarantee is None:
        return []
    missed, alarms, level = guarantee["missed"], guarantee["false_alarms"], guarantee["confidence_level"]
    promise = (
        f"With a confidence of {_percent(level)} each: at most {_percent(missed['bound'])} of fractures are called no "
        f"fracture ({missed['num_beyond']} of {missed['num_groups']} on validation), and at most "
        f"{_percent(alarms['bound'])} of films without one are called fracture ({alarms['num_beyond']} of "
        f"{alarms['num_groups']}). This holds for films like the validation films, counted by group; it is no promise "
        "for another clinic."
    )
    stricter = [
        f"At most {_percent(row['max_fraction'])}: no fracture below {_in_words(row['screening'])}, fracture from "
        f"{_in_words(row['rule_in'])}."
        for row in guarantee["controlled"]
    ]
    return [promise, f"Limits for promises made beforehand. {' '.join(stricter)}", *guarantee["warnings"]]


def upper_bound(num_beyond: int, num_groups: int, *, confidence_level: float = CONFIDENCE_LEVEL) -> float:
    """Bound a rate from above, given how often it showed (Clopper and Pearson, one-sided).

    Args:
        num_beyond: Groups that showed it, from 0 to `num_groups`.
        num_groups: Independent groups, at least 1.
        confidence_level: In (0, 1).

    Raises:
        EvaluationError: If a number leaves its range.

    >>> round(upper_bound(0, 59), 4), upper_bound(3, 3)
    (0.0495, 1.0)
    """
    from scipy.special import betaincinv

    check_unit_interval(confidence_level, "confidence_level")
    if not 0 <= num_beyond <= num_groups or num_groups < 1:
        raise EvaluationError(
            f"num_beyond must lie between 0 and num_groups (at least 1), got {num_beyond} of {num_groups}. Count again."
        )
    if num_beyond == num_groups:
        return 1.0
    return float(betaincinv(num_beyond + 1, num_groups - num_beyond, confidence_level))


def min_groups(max_fraction: float, *, confidence_level: float = CONFIDENCE_LEVEL) -> int:
    """Return how many calibration groups of a class a promise needs at least.

    Args:
        max_fraction: Share promised, in (0, 1).
        confidence_level: In (0, 1).

    Raises:
        EvaluationError: If a number leaves its range.

    >>> min_groups(0.05), min_groups(0.1)
    (59, 29)
    """
    check_unit_interval(max_fraction, "max_fraction")
    check_unit_interval(confidence_level, "confidence_level")
    return math.ceil(math.log1p(-confidence_level) / math.log1p(-max_fraction))


def _score_groups(y_true: ArrayLike, y_prob: ArrayLike, group_ids: NDArray[np.generic]) -> tuple[Floats, Floats]:
    """Return the lowest probability of each fractured group and the highest of each other, both sorted."""
    true, prob = check_binary(y_true, y_prob)
    ids = np.asarray(group_ids)
    check_same_length(y_true=true, group_ids=ids)
    _, group_index = index_groups(ids)
    return (
        np.sort(_reduce(prob, true, group_index, label=1, keep_lowest=True)),
        np.sort(_reduce(prob, true, group_index, label=0, keep_lowest=False)),
    )


def _reduce(
    prob: Floats, true: Labels, group_index: NDArray[np.intp], *, label: int, keep_lowest: bool
) -> NDArray[np.float64]:
    """Keep, of each group, the most extreme probability of the films of one class."""
    kept = true == label
    scores = np.full(int(group_index.max()) + 1, np.inf if keep_lowest else -np.inf)
    (np.minimum if keep_lowest else np.maximum).at(scores, group_index[kept], prob[kept])
    return np.asarray(scores[np.isfinite(scores)], dtype=np.float64)


def _count_allowed(num_groups: int, max_fraction: float, confidence_level: float) -> int:
    """Return how many calibration groups may lie beyond a limit that keeps its promise.

    Raises:
        EvaluationError: If not even none may.
    """
    if num_groups < min_groups(max_fraction, confidence_level=confidence_level):
        raise EvaluationError(
            f"To promise at most {max_fraction:g} with a confidence of {confidence_level:g}, at least "
            f"{min_groups(max_fraction, confidence_level=confidence_level)} groups of the class are needed for "
            f"calibration, got {num_groups}. Calibrate on more films, or promise less."
        )
    allowed = 0
    while upper_bound(allowed + 1, num_groups, confidence_level=confidence_level) <= max_fraction:
        allowed += 1
    return allowed


def _control_screening(lowest: Floats, max_fraction: float, confidence_level: float) -> float:
    """Return the score of the first fractured group that must not be missed."""
    return float(lowest[_count_allowed(len(lowest), max_fraction, confidence_level)])


def _control_rule_in(highest: Floats, max_fraction: float, confidence_level: float) -> float:
    """Return the next number above the score of the first other group that must not be called."""
    score = float(highest[-1 - _count_allowed(len(highest), max_fraction, confidence_level)])
    if score >= 1.0:
        raise EvaluationError(
            "No limit keeps the promise: too many films without fracture have a probability of exactly 1. Calibrate "
            "the model first."
        )
    return float(np.nextafter(score, 1.0))


def _percent(fraction: float) -> str:
    """Write a share in percent, with a digit after the point where it has one.

    >>> _percent(0.95), _percent(0.0718)
    ('95 %', '7.2 %')
    """
    return f"{round(100 * fraction, 1):g} %"


def _in_words(limit: float | None) -> str:
    return "(too few films)" if limit is None else f"{limit:.4f}"


def _or_none(
    control: Callable[[Floats, float, float], float], scores: Floats, max_fraction: float, confidence_level: float
) -> float | None:
    try:
        return control(scores, max_fraction, confidence_level)
    except EvaluationError:
        return None


def _list_warnings(num_fractured: int, num_intact: int, triage: Triage, confidence_level: float) -> list[str]:
    sentences = []
    for target in TARGETS:
        needed = min_groups(target, confidence_level=confidence_level)
        for number, what in ((num_fractured, "fractured"), (num_intact, "not fractured")):
            if number < needed:
                sentences.append(
                    f"{number} {what} groups are too few to promise an error of at most {target:g} with a confidence "
                    f"of {confidence_level:g}; {needed} are needed."
                )
    if triage.screening == triage.rule_in:
        sentences.append(
            "Both limits are one threshold that was chosen to do well on these films, so the bounds are optimistic."
        )
    return sentences
