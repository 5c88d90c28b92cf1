"""Compare the AUROC of two models on the same films, and give one AUROC a standard error.

May depend on `inputs` and `bootstrap`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation.bootstrap import CONFIDENCE_LEVEL, index_groups
from hf_fracture.evaluation.inputs import Floats, Labels, check_binary, check_same_length, check_unit_interval


@dataclass(frozen=True, kw_only=True)
class AurocDifference:
    """The AUROC of model A minus that of model B on the same films.

    Attributes:
        auroc_a: In [0, 1].
        auroc_b: In [0, 1].
        difference: `auroc_a - auroc_b`.
        standard_error: Of the difference; 0 where both models rank every pair alike.
        lower: Lower limit of the difference.
        upper: Upper limit of the difference.
        p_value: Two-sided, of the hypothesis that both are equal; 1 where the standard error and difference are 0.
    """

    auroc_a: float
    auroc_b: float
    difference: float
    standard_error: float
    lower: float
    upper: float
    p_value: float


def auroc_difference(
    y_true: ArrayLike,
    y_prob_a: ArrayLike,
    y_prob_b: ArrayLike,
    *,
    group_ids: Sequence[str] | NDArray[np.generic] | None = None,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> AurocDifference:
    """Test whether two models rank the same films equally well.

    Source: DeLong, DeLong and Clarke-Pearson, Biometrics 1988; for several films per group, Obuchowski, Biometrics
    1997, which with one film per group is the former.

    Args:
        y_true: (N,) of {0, 1}, both present.
        y_prob_a: (N,) model A, in [0, 1].
        y_prob_b: (N,) model B, in [0, 1], same films in the same order.
        group_ids: (N,) groups of dependent films; None takes each film for its own.
        confidence_level: In (0, 1).

    Raises:
        EvaluationError: If a value leaves its range, one class is missing, lengths differ, or a class occurs in fewer
            than two groups, from which no variance can be had.
    """
    from scipy.special import ndtr, ndtri

    check_unit_interval(confidence_level, "confidence_level")
    true, prob_a = check_binary(y_true, y_prob_a)
    _, prob_b = check_binary(true, y_prob_b)
    aurocs, covariance = auroc_covariance(true, np.stack([prob_a, prob_b]), group_ids=group_ids)
    difference = float(aurocs[0] - aurocs[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    error = max(0.0, variance) ** 0.5
    reach = float(ndtri((1 + confidence_level) / 2)) * error
    return AurocDifference(
        auroc_a=float(aurocs[0]),
        auroc_b=float(aurocs[1]),
        difference=difference,
        standard_error=error,
        lower=difference - reach,
        upper=difference + reach,
        p_value=float(2 * ndtr(-abs(difference) / error)) if error > 0 else float(difference == 0),
    )


def auroc_covariance(
    y_true: Labels, y_probs: Floats, *, group_ids: Sequence[str] | NDArray[np.generic] | None = None
) -> tuple[Floats, Floats]:
    """Return the AUROC of several models and the covariance of these estimates.

    Args:
        y_true: (N,) of {0, 1}, both present.
        y_probs: (M, N) one row per model.
        group_ids: (N,) groups of dependent films; None takes each film for its own.

    Returns:
        AUROCs (M,) and their covariance (M, M).

    Raises:
        EvaluationError: If a class occurs in fewer than two groups, or lengths differ.
    """
    ids = np.arange(len(y_true)).astype(str) if group_ids is None else np.asarray(group_ids)
    check_same_length(y_true=y_true, group_ids=ids)
    num_groups, group_index = index_groups(ids)
    fractured = y_true == 1
    placements = np.stack([_placements(prob, fractured) for prob in y_probs])  # (M, N)
    aurocs = placements[:, fractured].mean(axis=1)
    excess = placements - aurocs[:, None]
    of_fractured = _sum_groups(excess, fractured, group_index, num_groups)  # (M, G)
    of_intact = _sum_groups(excess, ~fractured, group_index, num_groups)
    parts = [
        _scatter(of_fractured, of_fractured, len(np.unique(group_index[fractured])), "fractured"),
        _scatter(of_intact, of_intact, len(np.unique(group_index[~fractured])), "not fractured"),
    ]
    shared = _scatter(of_fractured, of_intact, num_groups, "any")
    num_fractured, num_intact = int(fractured.sum()), int((~fractured).sum())
    cross = (shared + shared.T) / (num_fractured * num_intact)
    return aurocs, parts[0] / num_fractured**2 + parts[1] / num_intact**2 + cross


def _placements(prob: Floats, fractured: NDArray[np.bool_]) -> Floats:
    """Return, for each film, the share of the other class that it is ranked rightly against."""
    from scipy.stats import rankdata

    num_fractured, num_intact = int(fractured.sum()), int((~fractured).sum())
    among_all = np.asarray(rankdata(prob), dtype=np.float64)
    below = np.empty_like(prob)
    below[fractured] = (among_all[fractured] - rankdata(prob[fractured])) / num_intact
    below[~fractured] = 1 - (among_all[~fractured] - rankdata(prob[~fractured])) / num_fractured
    return below


def _sum_groups(values: Floats, mask: NDArray[np.bool_], group_index: NDArray[np.intp], num_groups: int) -> Floats:
    kept = np.where(mask, values, 0.0)
    return np.stack([np.bincount(group_index, weights=row, minlength=num_groups) for row in kept])


def _scatter(first: Floats, second: Floats, num_groups: int, label: str) -> Floats:
    if num_groups < 2:
        raise EvaluationError(
            f"The variance of an AUROC needs at least two groups with films of each class, got {num_groups} with "
            f"'{label}' films. Measure on more groups."
        )
    return num_groups / (num_groups - 1) * first @ second.T
