"""Intervals from a bootstrap over groups of films.

Films of one group (copies, views of one study, one patient) are not independent, so whole groups are drawn with
replacement. A resample is held as the number of times each film occurs in it: the predictions are sorted once, and
every statistic is a weighted sum. `estimate` is the one place where resamples become an interval. May depend on
`inputs`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation.inputs import Floats, Indices, check_unit_interval

NUM_RESAMPLES: Final = 2000
CONFIDENCE_LEVEL: Final = 0.95
SEED: Final = 0
MAX_UNDEFINED_FRACTION: Final = 0.05
"""If a figure does not exist in more than this share of the resamples, it gets no interval."""

_ELEMENTS_PER_BATCH: Final = 200_000  # films x resamples held at once; stays within a processor's cache

Statistic = Callable[[Floats], Mapping[str, Floats]]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure and the interval that contains the true one with the stated confidence.

    Attributes:
        value: The figure on the sample itself; None if it does not exist there.
        lower: Lower limit, or None if there is no interval.
        upper: Upper limit, or None if there is no interval.
        method: `expanded_percentile` (percentiles over resampled groups, widened as `expand_tail` does); `wilson` (for
            a share: Wilson's interval with the variance over resampled groups); `exact` (Clopper-Pearson over groups,
            for a share of exactly 0 or 1, about which resampling says nothing); `wald` (normal, variance summed over
            groups); `none` (no interval can be given).
    """

    value: float | None
    lower: float | None
    upper: float | None
    method: Literal["expanded_percentile", "wilson", "exact", "wald", "none"]

    def to_dict(self) -> dict[str, float | str | None]:
        """Return a plain dictionary for a JSON file."""
        return {"value": self.value, "lower": self.lower, "upper": self.upper, "method": self.method}


def index_groups(group_ids: Sequence[str] | NDArray[np.generic]) -> tuple[int, Indices]:
    """Number the groups in the order of their ids, whatever the order of the films.

    Args:
        group_ids: (N,) one id per film.

    Returns:
        The number of groups and the group number of each film, (N,).

    Raises:
        EvaluationError: If there is no film, or an id is missing.

    >>> index_groups(["b", "a", "b"])
    (2, array([1, 0, 1]))
    """
    ids = np.asarray(group_ids)
    if ids.ndim != 1 or ids.size == 0:
        raise EvaluationError(f"group_ids must be a flat array of at least one id, got shape {ids.shape}.")
    if any(group is None or group == "" for group in ids.tolist()):
        raise EvaluationError(
            "Every film needs a group id, got None or an empty one. Prepare the dataset with hf-fracture data prepare, "
            "or give each film an id of its own."
        )
    unique, index = np.unique(ids.astype(str), return_inverse=True)
    return len(unique), index.reshape(-1)


def draw_weights(
    group_index: Indices, *, num_groups: int, num_resamples: int = NUM_RESAMPLES, seed: int = SEED
) -> Iterator[Floats]:
    """Draw groups with replacement and yield how often each film occurs.

    Args:
        group_index: (N,) group number of each film, in 0..num_groups-1.
        num_groups: G; each resample draws G groups.
        num_resamples: Resamples in all.
        seed: Seeds the draw; equal groups and seed give equal resamples.

    Yields:
        (b, N) film weights of the next b resamples; every weight is a whole number >= 0.
    """
    rng = np.random.default_rng(seed)
    batch_size = max(1, _ELEMENTS_PER_BATCH // max(len(group_index), num_groups))
    for start in range(0, num_resamples, batch_size):
        size = min(batch_size, num_resamples - start)
        drawn = rng.integers(num_groups, size=(size, num_groups), dtype=np.int32)
        slots = drawn.astype(np.intp) + np.arange(size, dtype=np.intp)[:, None] * num_groups
        counts = np.bincount(slots.ravel(), minlength=size * num_groups).reshape(size, num_groups)
        yield counts.astype(np.float64)[:, group_index]


def bootstrap(
    statistic: Statistic,
    group_ids: Sequence[str] | NDArray[np.generic],
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = SEED,
) -> dict[str, Floats]:
    """Compute weighted statistics over resampled groups.

    Args:
        statistic: Maps film weights (b, N) to named arrays whose first axis is b; NaN where a figure does not exist.
        group_ids: (N,) one id per film.
        num_resamples: Number of resamples, at least 2.
        seed: Seeds the draw.

    Returns:
        The arrays of all resamples by name, first axis `num_resamples`.

    Raises:
        EvaluationError: If there are fewer than two resamples, or a group id is missing.

    >>> means = bootstrap(lambda w: {"share": w @ np.array([0.0, 1.0]) / 2}, ["a", "b"], num_resamples=4, seed=1)
    >>> sorted(set(means["share"].tolist()) - {0.0, 0.5, 1.0})
    []
    """
    if num_resamples < 2:
        raise EvaluationError(f"num_resamples must be at least 2, got {num_resamples}. Use 2000 for published figures.")
    num_groups, group_index = index_groups(group_ids)
    parts: dict[str, list[Floats]] = {}
    for weights in draw_weights(group_index, num_groups=num_groups, num_resamples=num_resamples, seed=seed):
        for name, values in statistic(weights).items():
            parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def count_rarer_groups(group_ids: Sequence[str] | NDArray[np.generic], y_true: ArrayLike) -> int:
    """Count the groups with a film of the class of which fewer groups have one.

    Args:
        group_ids: (N,) one id per film.
        y_true: (N,) of {0, 1}.

    >>> count_rarer_groups(["a", "a", "b", "c"], [1, 1, 0, 0])
    1
    """
    ids, true = np.asarray(group_ids), np.asarray(y_true)
    return min(len(np.unique(ids[true == label])) for label in (0, 1))


def estimate(
    value: float,
    resampled: ArrayLike,
    *,
    num_groups: int,
    is_share: bool = False,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> Estimate:
    """Put an interval round a figure.

    A share of films gets Wilson's interval, at as many independent films as would vary like the resampled groups:
    percentiles hold the truth too rarely near 0 and 1, where it lies above the upper or below the lower limit of
    samples that vary too little. Every other figure gets expanded percentiles.

    Source: Dean and Pagano, Evaluating Confidence Interval Methods for Binomial Proportions in Clustered Surveys,
    Journal of Survey Statistics and Methodology 3(4), 2015 (Wilson's interval at the effective sample size; here its
    variance is that of the resamples times n / (n - 1)).

    Args:
        value: The figure on the sample; NaN if it does not exist.
        resampled: (B,) the figure on each resample; NaN where it does not exist.
        num_groups: n, on which the figure rests: for a share the groups in its denominator, for a figure of two
            classes those of the rarer class (`count_rarer_groups`), else all.
        is_share: Whether the figure is a count of films over a count of films.
        confidence_level: Share of studies whose interval should contain the truth, in (0, 1).

    Returns:
        An estimate with lower <= value <= upper wherever there is an interval.

    Raises:
        EvaluationError: If `confidence_level` leaves (0, 1).
    """
    check_unit_interval(confidence_level, "confidence_level")
    if np.isnan(value):
        return Estimate(value=None, lower=None, upper=None, method="none")
    if is_share and value in (0.0, 1.0) and num_groups:
        lower, upper = exact_interval(value == 1.0, num_groups=num_groups, confidence_level=confidence_level)
        return Estimate(value=float(value), lower=lower, upper=upper, method="exact")
    values = np.asarray(resampled, dtype=np.float64)
    defined = values[~np.isnan(values)]
    if num_groups < 2 or len(defined) < (1 - MAX_UNDEFINED_FRACTION) * len(values) or np.ptp(defined) == 0:
        return Estimate(value=float(value), lower=None, upper=None, method="none")
    if is_share:
        variance = float(defined.var()) * num_groups / (num_groups - 1)
        lower, upper = wilson_interval(float(value), variance=variance, confidence_level=confidence_level)
        return Estimate(value=float(value), lower=lower, upper=upper, method="wilson")
    tail = expand_tail(num_groups, confidence_level=confidence_level)
    lower, upper = (float(limit) for limit in np.quantile(defined, [tail, 1 - tail]))
    return Estimate(
        value=float(value),
        lower=min(lower, float(value)),
        upper=max(upper, float(value)),
        method="expanded_percentile",
    )


def expand_tail(num_groups: int, *, confidence_level: float) -> float:
    """Return the share of resamples to leave out on each side, so that few groups do not make intervals too narrow.

    Source: Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69(4), 2015, the
    expanded percentile interval: Phi(-sqrt(n / (n - 1)) t), t being the quantile of Student's distribution with n - 1
    degrees of freedom. Its n are observations; here they are groups.

    Args:
        num_groups: n, at least 2.
        confidence_level: In (0, 1).

    >>> round(expand_tail(10, confidence_level=0.95), 5), round(expand_tail(10**6, confidence_level=0.95), 5)
    (0.00855, 0.025)
    """
    from scipy.special import ndtr, stdtrit

    reach = stdtrit(num_groups - 1, (1 + confidence_level) / 2)
    return float(ndtr(-np.sqrt(num_groups / (num_groups - 1)) * reach))


def wilson_interval(share: float, *, variance: float, confidence_level: float) -> tuple[float, float]:
    """Return Wilson's interval of a share that varies by the given variance.

    Args:
        share: In (0, 1).
        variance: Of the share, above 0; that of N independent films is share x (1 - share) / N.
        confidence_level: In (0, 1).

    >>> [round(limit, 4) for limit in wilson_interval(0.9, variance=0.9 * 0.1 / 50, confidence_level=0.95)]
    [0.7864, 0.9565]
    """
    from scipy.special import ndtri

    z, size = float(ndtri((1 + confidence_level) / 2)), share * (1 - share) / variance
    centre = (share + z**2 / (2 * size)) / (1 + z**2 / size)
    reach = z * np.sqrt(variance + z**2 / (4 * size**2)) / (1 + z**2 / size)
    return float(max(0.0, centre - reach)), float(min(1.0, centre + reach))


def exact_interval(all_succeeded: bool, *, num_groups: int, confidence_level: float) -> tuple[float, float]:
    """Return the Clopper-Pearson interval of a share of exactly 0 or 1.

    Args:
        all_succeeded: True for a share of 1, False for 0.
        num_groups: Independent groups observed, at least 1.
        confidence_level: In (0, 1).

    >>> exact_interval(True, num_groups=10, confidence_level=0.95)
    (0.6915028921812392, 1.0)
    """
    reach = float(((1 - confidence_level) / 2) ** (1 / num_groups))
    return (reach, 1.0) if all_succeeded else (0.0, 1 - reach)
