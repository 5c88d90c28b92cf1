"""What happens when the model may say "uncertain": coverage, the error among the decided, the risk-coverage curve.

May depend on `inputs`, `metrics` and `curves`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from hf_fracture.config import Triage
from hf_fracture.evaluation.curves import CallCounts
from hf_fracture.evaluation.inputs import Floats, check_binary, check_unit_interval
from hf_fracture.evaluation.metrics import share

SELECTIVE_FIGURES: Final[tuple[str, ...]] = (
    *("coverage", "error_among_decided", "missed_among_cleared", "false_alarms_among_called"),
    *("missed_fraction", "false_alarm_fraction", "sensitivity_among_decided", "specificity_among_decided"),
)


def three_way_figures(counts: CallCounts, triage: Triage) -> dict[str, Floats]:
    """Measure the three-way rule on each resample.

    Args:
        counts: Counts of B resamples.
        triage: Below `screening`: no fracture. At or above `rule_in`: fracture. Between: uncertain.

    Returns:
        Shares in [0, 1], each (B,); NaN where nothing is decided that way: `coverage` (decided films among all),
        `error_among_decided`, `missed_among_cleared` (fractured films among those called no fracture),
        `false_alarms_among_called` (films without fracture among those called fracture), `missed_fraction` (films
        called no fracture among all fractured ones), `false_alarm_fraction` (films called fracture among all without
        one), `sensitivity_among_decided` and `specificity_among_decided`.
    """
    low, high = counts.confusion(triage.screening), counts.confusion(triage.rule_in)
    missed, cleared = low.false_negatives, low.true_negatives
    found, alarms = high.true_positives, high.false_positives
    decided = missed + cleared + found + alarms
    total = counts.num_fractured + counts.num_intact
    return {
        "coverage": share(decided, total),
        "error_among_decided": share(missed + alarms, decided),
        "missed_among_cleared": share(missed, missed + cleared),
        "false_alarms_among_called": share(alarms, found + alarms),
        "missed_fraction": share(missed, counts.num_fractured),
        "false_alarm_fraction": share(alarms, counts.num_intact),
        "sensitivity_among_decided": share(found, found + missed),
        "specificity_among_decided": share(cleared, cleared + alarms),
    }


@dataclass(frozen=True, kw_only=True)
class RiskCoverageCurve:
    """The error that remains when only the surest films are decided.

    Attributes:
        coverage: (T,) share of films decided, rising to 1.
        risk: (T,) share of wrong calls among them.
        area: Mean risk over all coverages, in [0, 1]; lower is better.
    """

    coverage: Floats
    risk: Floats
    area: float


def risk_coverage_curve(y_true: ArrayLike, y_prob: ArrayLike, *, threshold: float) -> RiskCoverageCurve:
    """Order the films by how far their logit lies from the threshold's, and follow the error as more are decided.

    Films equally far away are decided together, so the curve does not depend on the order of the films.

    Source: Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, 2017; the distance is measured
    from the operating threshold instead of one half, because that is where this package's calls change.

    Args:
        y_true: (N,) of {0, 1}, both present.
        y_prob: (N,) in [0, 1].
        threshold: Where calls change, in (0, 1).

    Raises:
        EvaluationError: If a value leaves its range or one class is missing.

    >>> curve = risk_coverage_curve([0, 1, 0, 1], [0.01, 0.99, 0.6, 0.55], threshold=0.5)
    >>> curve.coverage.tolist(), curve.risk.round(3).tolist()
    ([0.5, 0.75, 1.0], [0.0, 0.333, 0.25])
    """
    true, prob = check_binary(y_true, y_prob)
    check_unit_interval(threshold, "threshold")
    with np.errstate(divide="ignore"):
        logit_distance = np.abs(np.log(prob) - np.log1p(-prob) - np.log(threshold) + np.log1p(-threshold))
    distances, index = np.unique(-logit_distance.round(12), return_inverse=True)  # 0.01 and 0.99 are equally sure
    decided = np.cumsum(np.bincount(index.reshape(-1), minlength=len(distances)))
    wrong = np.bincount(index.reshape(-1), weights=(prob >= threshold) != (true == 1), minlength=len(distances))
    coverage, risk = decided / len(true), np.cumsum(wrong) / decided
    return RiskCoverageCurve(coverage=coverage, risk=risk, area=float(np.sum(np.diff(coverage, prepend=0.0) * risk)))
