"""Do the probabilities mean what they say: temperature and shift, calibration error, slope and intercept.

May depend on `inputs`, `metrics` and `bootstrap`.
"""

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_fracture.errors import EvaluationError, NoTemperatureError
from hf_fracture.evaluation.bootstrap import CONFIDENCE_LEVEL, Estimate, index_groups
from hf_fracture.evaluation.inputs import (
    Floats,
    Labels,
    check_binary,
    check_labels,
    check_logit_differences,
    check_same_length,
    check_unit_interval,
)

NUM_BINS: Final = 15
NEARLY_CONSTANT_TEMPERATURE: Final = 0.01
"""Below this, a calibrated answer magnifies the logits more than a hundredfold."""


def probability_of(logit_difference: ArrayLike, *, temperature: float = 1.0) -> Floats:
    """Return softmax's probability of fracture for two classes, (N,).

    Args:
        logit_difference: (N,) logit of fractured minus logit of not fractured, finite.
        temperature: Positive number by which the difference is divided.

    Raises:
        EvaluationError: If a difference is not finite or the temperature not positive.

    >>> probability_of([0.0, 2.0]).round(3)
    array([0.5  , 0.881])
    """
    from scipy.special import expit

    if not temperature > 0:
        raise EvaluationError(
            f"temperature must be positive, got {temperature!r}. Fit it with fit_temperature_and_shift."
        )
    return np.asarray(expit(check_logit_differences(logit_difference) / temperature), dtype=np.float64)


def fit_temperature_and_shift(y_true: ArrayLike, logit_difference: ArrayLike) -> tuple[float, float]:
    """Find the calibration (difference + shift) / temperature that minimises the log loss on validation films.

    A temperature alone cannot move the point where the answer is one half; a network whose lowest answer is too high
    needs the shift. Labels are smoothed by one film of each class, so that few films, or films that the network
    separates, give finite and modest answers; with many films the smoothing vanishes. Rankings stay as they are.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, for the temperature; Platt, Probabilistic
    Outputs for Support Vector Machines, 1999, for the shift and the labels. The numbers are those of scikit-learn's
    `CalibratedClassifierCV(method="sigmoid")`.

    Args:
        y_true: (N,) of {0, 1}, both present.
        logit_difference: (N,) logit of fractured minus logit of not fractured, before any calibration.

    Returns:
        A positive temperature and a shift, both finite, in the units of the logits; `models.evidence.adjust_head` folds
        them into a head.

    Warns:
        UserWarning: If the temperature is below `NEARLY_CONSTANT_TEMPERATURE`.

    Raises:
        EvaluationError: If a value leaves its range or one class is missing.
        NoTemperatureError: If the network scores the fractured films no higher than the others, so that no calibration
            that keeps its ranking helps.

    >>> temperature, shift = fit_temperature_and_shift([0, 0, 1, 1], [1.0, 1.0, 3.0, 3.0])
    >>> round(temperature, 4), round(shift, 4)  # Platt's targets 1/4 and 3/4 at 1 and 3
    (0.9102, -2.0)
    """
    difference, true = _check_pairs(logit_difference, y_true)
    gap = float(difference[true == 1].mean() - difference[true == 0].mean())
    if not gap > 0:
        raise NoTemperatureError(
            f"No calibration helps these films: the network scores the {int(true.sum())} fractured films {-gap:.3g} "
            f"logits lower on average than the {int((1 - true).sum())} others. Train it longer."
        )
    centre, spread = float(difference.mean()), float(difference.std())
    standardised = (difference - centre) / spread  # so that the fit does not depend on the scale of the logits
    design = np.stack([np.ones_like(standardised), standardised], axis=1)
    offset, slope = _fit_logistic(design, _smooth_labels(true), offset=np.zeros_like(standardised)).tolist()
    temperature = spread / slope
    if temperature < NEARLY_CONSTANT_TEMPERATURE:
        warnings.warn(
            f"The network is nearly constant: on the {len(true)} films that calibrate it its logits have a standard "
            f"deviation of {spread:.1g}, and the temperature of {temperature:.1g} magnifies their rounding errors as "
            "well. Train it longer or at a higher learning rate.",
            stacklevel=2,
        )
    return temperature, offset * spread / slope - centre


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """One of the bins of equal numbers of films, in the order of rising probability.

    Attributes:
        num_films: Films in the bin; not whole where the bins do not divide the films.
        mean_probability: In [0, 1].
        fractured_fraction: Share of the bin's films that are fractured, in [0, 1].
    """

    num_films: float
    mean_probability: float
    fractured_fraction: float


def calibration_bins(y_true: ArrayLike, y_prob: ArrayLike, *, num_bins: int = NUM_BINS) -> list[CalibrationBin]:
    """Divide the films, sorted by probability, into bins of exactly equal mass.

    A film on the border of two bins counts in each by its share, and films of equal probability share their mean
    label, so that the bins depend neither on the order of the films nor on how ties are broken.

    Args:
        y_true: (N,) of {0, 1}, both present.
        y_prob: (N,) in [0, 1].
        num_bins: At least 1; fewer films than bins give one bin per film.

    Raises:
        EvaluationError: If a value leaves its range, one class is missing, or `num_bins` is below 1.

    >>> [part.mean_probability for part in calibration_bins([0, 1, 0, 1], [0.1, 0.3, 0.5, 0.9], num_bins=2)]
    [0.2, 0.7]
    """
    true, prob = check_binary(y_true, y_prob)
    if num_bins < 1:
        raise EvaluationError(f"num_bins must be at least 1, got {num_bins}. Use 15.")
    num_bins = min(num_bins, len(true))
    values, index, counts = np.unique(prob, return_inverse=True, return_counts=True)
    films_before = np.concatenate([[0], np.cumsum(counts)]).astype(np.float64)
    edges = np.linspace(0.0, len(true), num_bins + 1)

    def per_bin(totals: Floats) -> Floats:
        totals_before = np.concatenate([[0.0], np.cumsum(totals)])
        return np.asarray(np.diff(np.interp(edges, films_before, totals_before)), dtype=np.float64)

    films = np.asarray(np.diff(edges), dtype=np.float64)
    probabilities = per_bin(values * counts.astype(np.float64)) / films
    fractions = per_bin(np.bincount(index.reshape(-1), weights=true).astype(np.float64)) / films
    return [
        CalibrationBin(num_films=float(n), mean_probability=float(p), fractured_fraction=float(np.clip(f, 0.0, 1.0)))
        for n, p, f in zip(films, probabilities, fractions, strict=True)
    ]


def expected_calibration_error(y_true: ArrayLike, y_prob: ArrayLike, *, num_bins: int = NUM_BINS) -> float:
    """Return the mean distance between stated probability and observed share over equal-mass bins, in [0, 1].

    It is biased upwards on few films, and a bootstrap makes that worse, so no interval is given for it.

    Source: Nixon et al., Measuring Calibration in Deep Learning, 2019 (equal-mass bins).

    Args:
        y_true: (N,) of {0, 1}, both present.
        y_prob: (N,) in [0, 1].
        num_bins: At least 1.

    Raises:
        EvaluationError: If a value leaves its range, one class is missing, or `num_bins` is below 1.
    """
    bins = calibration_bins(y_true, y_prob, num_bins=num_bins)
    gaps = [part.num_films * abs(part.mean_probability - part.fractured_fraction) for part in bins]
    return sum(gaps) / sum(part.num_films for part in bins)


def calibration_slope(
    logit_difference: ArrayLike,
    y_true: ArrayLike,
    group_ids: NDArray[np.generic],
    *,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> Estimate:
    """Regress the truth on the logit difference: a slope of 1 is right, below 1 overconfident, above 1 timid.

    The interval is Wald's with the sandwich variance summed over groups.

    Source: Cox, Two further applications of a model for binary regression, Biometrika 1958.

    Args:
        logit_difference: (N,) fractured minus not fractured.
        y_true: (N,) of {0, 1}, both present.
        group_ids: (N,) one id per film.
        confidence_level: In (0, 1).

    Returns:
        The slope; without a value where the films are separated perfectly, or all alike, and no slope exists.

    Raises:
        EvaluationError: If a value leaves its range or one class is missing.
    """
    difference, true = _check_pairs(logit_difference, y_true)
    fractures, intact = difference[true == 1], difference[true == 0]
    if fractures.min() >= intact.max() or fractures.max() <= intact.min():
        return Estimate(value=None, lower=None, upper=None, method="none")
    design = np.stack([np.ones_like(difference), difference], axis=1)
    coefficients = _fit_logistic(design, true, offset=np.zeros_like(difference))
    variance = _sandwich(design, true, probability_of(design @ coefficients), group_ids)
    return _wald(float(coefficients[1]), float(variance[1, 1]), confidence_level)


def calibration_intercept(
    logit_difference: ArrayLike,
    y_true: ArrayLike,
    group_ids: NDArray[np.generic],
    *,
    confidence_level: float = CONFIDENCE_LEVEL,
) -> Estimate:
    """Find the shift of the logits, at slope 1, that makes stated and observed shares of fractures equal.

    0 is right; below 0 the model states too many fractures, above 0 too few ("calibration in the large").

    Args:
        logit_difference: (N,) fractured minus not fractured.
        y_true: (N,) of {0, 1}, both present.
        group_ids: (N,) one id per film.
        confidence_level: In (0, 1).

    Raises:
        EvaluationError: If a value leaves its range or one class is missing.
    """
    difference, true = _check_pairs(logit_difference, y_true)
    design = np.ones((len(true), 1))
    coefficients = _fit_logistic(design, true, offset=difference)
    variance = _sandwich(design, true, probability_of(difference + coefficients[0]), group_ids)
    return _wald(float(coefficients[0]), float(variance[0, 0]), confidence_level)


def _check_pairs(logit_difference: ArrayLike, y_true: ArrayLike) -> tuple[Floats, Labels]:
    difference, true = check_logit_differences(logit_difference), check_labels(y_true)
    check_same_length(logit_difference=difference, y_true=true)
    return difference, true


def _smooth_labels(true: Labels) -> Floats:
    num_fractured, num_intact = int(true.sum()), int((1 - true).sum())
    return np.where(true == 1, (num_fractured + 1) / (num_fractured + 2), 1 / (num_intact + 2))


def _fit_logistic(design: Floats, targets: Floats | Labels, *, offset: Floats) -> Floats:
    from scipy.optimize import minimize

    def loss(coefficients: Floats) -> tuple[float, Floats]:
        scores = design @ coefficients + offset
        mean_loss = float(np.mean(np.logaddexp(0.0, scores) - targets * scores))
        return mean_loss, design.T @ (probability_of(scores) - targets) / len(targets)

    start = np.zeros(design.shape[1])
    return np.asarray(minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-9}).x, dtype=np.float64)


def _sandwich(design: Floats, true: Labels, prob: Floats, group_ids: NDArray[np.generic]) -> Floats:
    num_groups, group_index = index_groups(group_ids)
    scores = np.zeros((num_groups, design.shape[1]))
    np.add.at(scores, group_index, design * (true - prob)[:, None])
    bread = np.linalg.inv((design * (prob * (1 - prob))[:, None]).T @ design)
    return np.asarray(num_groups / max(1, num_groups - 1) * bread @ (scores.T @ scores) @ bread, dtype=np.float64)


def _wald(value: float, variance: float, confidence_level: float) -> Estimate:
    from scipy.special import ndtri

    check_unit_interval(confidence_level, "confidence_level")
    reach = float(ndtri((1 + confidence_level) / 2)) * variance**0.5
    return Estimate(value=value, lower=value - reach, upper=value + reach, method="wald")
