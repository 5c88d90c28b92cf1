import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from hf_fracture.errors import EvaluationError, NoTemperatureError
from hf_fracture.evaluation.bootstrap import bootstrap
from hf_fracture.evaluation.calibration import (
    calibration_bins,
    calibration_intercept,
    calibration_slope,
    expected_calibration_error,
    fit_temperature_and_shift,
    probability_of,
)
from hf_fracture.evaluation.inputs import Floats, Labels
from hf_fracture.evaluation.metrics import log_loss


def draw_calibrated(seed: int, num: int) -> tuple[Floats, Labels]:
    """Return logit differences whose probabilities are right, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    difference = rng.normal(scale=2.0, size=num)
    return difference, (rng.random(num) < probability_of(difference)).astype(np.int64)


def fit_temperature_alone(difference: Floats, y_true: Labels) -> float:
    """Return the temperature without a shift, by a regression through the origin."""
    regression = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(difference[:, None], y_true)
    return float(1 / regression.coef_[0, 0])


@pytest.mark.parametrize("change", [(0.9, 0.0), (1.1, 0.0), (1.0, 0.05), (1.0, -0.05)])
def test_no_neighbouring_calibration_has_a_lower_loss(change: tuple[float, float]) -> None:
    difference, y_true = draw_calibrated(2, 20_000)
    temperature, shift = fit_temperature_and_shift(y_true, difference)
    best = log_loss(y_true, probability_of(difference + shift, temperature=temperature))
    other = probability_of(difference + shift + change[1], temperature=change[0] * temperature)
    assert best < log_loss(y_true, other)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(temperature: float) -> None:
    with pytest.raises(EvaluationError, match="temperature"):
        probability_of([1.0], temperature=temperature)


@pytest.mark.parametrize("difference", [[np.nan, 1.0], [np.inf, 1.0], [], [[1.0, 2.0]]])
def test_logit_differences_that_are_not_numbers_are_refused(difference: list[float]) -> None:
    with pytest.raises(EvaluationError, match="logit_difference"):
        fit_temperature_and_shift([0, 1], difference)


class ScoreAsDecision(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose decision is its one input, for scikit-learn's calibration."""

    def fit(self, scores: Floats, y_true: Labels) -> "ScoreAsDecision":
        self.classes_ = np.unique(y_true)
        return self

    def decision_function(self, scores: Floats) -> Floats:
        return np.asarray(scores[:, 0])

    def predict(self, scores: Floats) -> Labels:
        return (scores[:, 0] > 0).astype(np.int64)


def test_shift_and_temperature_by_hand() -> None:
    # Two magnitudes are met exactly: Platt's targets 1/4 at 1 and 3/4 at 3 are (d - 2) * ln 3.
    assert fit_temperature_and_shift([0, 0, 1, 1], [1, 1, 3, 3]) == pytest.approx((1 / np.log(3), -2))


def test_shift_and_temperature_equal_scikit_learn() -> None:
    difference, y_true = draw_calibrated(1, 300)
    scores = 3 * difference[:, None] + 2
    fitted = ScoreAsDecision().fit(scores, y_true)
    reference = CalibratedClassifierCV(FrozenEstimator(fitted), method="sigmoid", ensemble=False).fit(scores, y_true)
    temperature, shift = fit_temperature_and_shift(y_true, scores[:, 0])
    ours = probability_of(scores[:, 0] + shift, temperature=temperature)
    assert ours == pytest.approx(reference.predict_proba(scores)[:, 1], abs=1e-4)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.3, 2.0), (4.0, -7.0)])
def test_shift_and_temperature_undo_a_known_distortion(scale: float, offset: float) -> None:
    difference, y_true = draw_calibrated(0, 60_000)
    temperature, shift = fit_temperature_and_shift(y_true, scale * difference + offset)
    assert temperature == pytest.approx(scale, rel=0.03)
    assert shift == pytest.approx(-offset, abs=0.05 * scale)


def test_shift_lowers_a_floor_that_no_temperature_can_lower() -> None:
    rng = np.random.default_rng(0)
    y_true = (rng.random(4000) < 0.2).astype(int)
    floor = np.maximum(rng.normal(size=4000) + 4 * y_true - 2, 0) - 1.5  # most films without fracture lie at -1.5
    temperature, shift = fit_temperature_and_shift(y_true, floor)
    errors = [
        expected_calibration_error(y_true, probability)
        for probability in (
            probability_of(floor, temperature=fit_temperature_alone(floor, y_true)),
            probability_of(floor + shift, temperature=temperature),
        )
    ]
    assert errors[1] < 0.5 * errors[0]


def test_shift_and_temperature_do_not_depend_on_order_or_units() -> None:
    difference, y_true = draw_calibrated(3, 80)
    order = np.random.default_rng(0).permutation(80)
    temperature, shift = fit_temperature_and_shift(y_true, difference)
    assert fit_temperature_and_shift(y_true[order], difference[order]) == pytest.approx((temperature, shift))
    with pytest.warns(UserWarning, match="nearly constant"):
        small = fit_temperature_and_shift(y_true, 1e-4 * difference)
    assert small == pytest.approx((1e-4 * temperature, 1e-4 * shift))


def test_a_nearly_constant_network_is_calibrated_with_a_warning() -> None:
    y_true, noise = np.arange(200) % 2, np.random.default_rng(0).normal(size=200)
    with pytest.warns(UserWarning, match=r"nearly constant: on the 200 films .* deviation of 1e-05"):
        temperature, _ = fit_temperature_and_shift(y_true, 1e-5 * (noise + y_true))
    assert 0 < temperature < 1e-4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_temperature_and_shift(y_true, 0.1 * (noise + y_true))


@pytest.mark.parametrize("num", [2, 4, 10])
def test_few_separated_films_get_modest_probabilities(num: int) -> None:
    y_true, difference = [0, 1] * (num // 2), [-50.0, 50.0] * (num // 2)
    temperature, shift = fit_temperature_and_shift(y_true, difference)
    highest = probability_of(np.array(difference) + shift, temperature=temperature).max()
    assert highest == pytest.approx((num / 2 + 1) / (num / 2 + 2))  # one film of each class is added


@pytest.mark.parametrize(
    ("y_true", "difference"), [([1, 0, 0], [-2.0, 2.0, 1.0]), ([0, 1], [0.0, 0.0]), ([0, 0, 1], [1.0, 3.0, 2.0])]
)
def test_a_network_that_ranks_wrongly_gets_no_shift(y_true: list[int], difference: list[float]) -> None:
    with pytest.raises(NoTemperatureError, match="No calibration helps"):
        fit_temperature_and_shift(y_true, difference)


@pytest.mark.parametrize(
    ("y_true", "difference"), [([0, 1], [np.nan, 1.0]), ([1, 1], [0.0, 1.0]), ([], []), ([0, 1], [0.0])]
)
def test_what_is_no_validation_set_gets_no_shift(y_true: list[int], difference: list[float]) -> None:
    with pytest.raises(EvaluationError):
        fit_temperature_and_shift(y_true, difference)


def test_ece_by_hand() -> None:
    # Two bins: stated 0.2 observed 0.5; stated 0.7 observed 1.
    assert expected_calibration_error([0, 1, 1, 1], [0.1, 0.3, 0.5, 0.9], num_bins=2) == pytest.approx(0.3)


def test_ece_equals_a_plain_implementation_where_bins_divide_the_films() -> None:
    rng = np.random.default_rng(0)
    y_prob, y_true = rng.random(600), rng.integers(0, 2, 600)
    order = np.argsort(y_prob)
    bins = zip(np.split(y_prob[order], 15), np.split(y_true[order], 15), strict=True)
    expected = np.mean([abs(p.mean() - t.mean()) for p, t in bins])
    assert expected_calibration_error(y_true, y_prob) == pytest.approx(float(expected))


def test_bins_equal_scikit_learn_quantile_bins_where_they_divide_the_films() -> None:
    rng = np.random.default_rng(1)
    y_prob, y_true = rng.random(300), rng.integers(0, 2, 300)
    fractions, means = calibration_curve(y_true, y_prob, n_bins=15, strategy="quantile")
    bins = calibration_bins(y_true, y_prob)
    assert [part.fractured_fraction for part in bins] == pytest.approx(fractions.tolist())
    assert [part.mean_probability for part in bins] == pytest.approx(means.tolist())


def test_bins_hold_every_film_once_and_equally_many() -> None:
    y_true, y_prob = np.array([0, 1] * 50), np.linspace(0.1, 0.9, 100)
    bins = calibration_bins(y_true, y_prob, num_bins=15)
    assert [part.num_films for part in bins] == pytest.approx([100 / 15] * 15)
    assert sum(part.num_films * part.fractured_fraction for part in bins) == pytest.approx(50)
    assert sum(part.num_films * part.mean_probability for part in bins) == pytest.approx(y_prob.sum())


def test_ece_depends_neither_on_order_nor_on_how_ties_are_broken() -> None:
    rng = np.random.default_rng(3)
    y_prob, y_true = rng.random(97).round(1), np.concatenate([rng.integers(0, 2, 95), [0, 1]])
    order = rng.permutation(97)
    assert expected_calibration_error(y_true[order], y_prob[order]) == pytest.approx(
        expected_calibration_error(y_true, y_prob), abs=1e-12
    )


def test_a_constant_prevalence_forecast_is_calibrated() -> None:
    assert expected_calibration_error([0, 0, 0, 1] * 10, [0.25] * 40) == pytest.approx(0.0, abs=1e-12)


def test_no_bins_is_refused() -> None:
    with pytest.raises(EvaluationError, match="num_bins"):
        calibration_bins([0, 1], [0.1, 0.9], num_bins=0)


def test_slope_and_intercept_of_right_probabilities_are_one_and_zero() -> None:
    difference, y_true = draw_calibrated(4, 4000)
    ids = np.arange(4000).astype(str)
    slope, intercept = calibration_slope(difference, y_true, ids), calibration_intercept(difference, y_true, ids)
    assert slope.lower is not None
    assert slope.upper is not None
    assert slope.lower < 1 < slope.upper
    assert slope.upper - slope.lower < 0.2
    assert intercept.value == pytest.approx(0, abs=0.1)


def test_slope_equals_scikit_learn_and_scales_with_the_logits() -> None:
    difference, y_true = draw_calibrated(5, 250)
    ids = np.arange(250).astype(str)
    regression = LogisticRegression(C=np.inf, tol=1e-10).fit(difference[:, None], y_true)
    assert calibration_slope(difference, y_true, ids).value == pytest.approx(regression.coef_[0, 0], rel=1e-5)
    assert calibration_slope(3 * difference, y_true, ids).value == pytest.approx(regression.coef_[0, 0] / 3, rel=1e-5)


def test_intercept_makes_the_shares_equal() -> None:
    difference, y_true = draw_calibrated(6, 400)
    intercept = calibration_intercept(difference + 1.5, y_true, np.arange(400).astype(str)).value
    assert intercept is not None
    assert probability_of(difference + 1.5 + intercept).mean() == pytest.approx(y_true.mean(), abs=1e-6)
    assert intercept < -1


def test_the_sandwich_interval_of_clustered_films_agrees_with_the_bootstrap() -> None:
    rng = np.random.default_rng(7)
    difference = np.repeat(rng.normal(size=150), 3) * 1.5
    y_true = np.repeat(rng.random(150), 3) < probability_of(difference)  # copies share their label
    ids = np.repeat(np.arange(150), 3).astype(str)

    def refit(weights: Floats) -> dict[str, Floats]:
        fits = [
            LogisticRegression(C=np.inf).fit(difference[:, None], y_true, sample_weight=row).coef_[0, 0]
            for row in weights
        ]
        return {"slope": np.array(fits)}

    spread = float(bootstrap(refit, ids, num_resamples=200)["slope"].std())
    slope = calibration_slope(difference, y_true.astype(int), ids)
    assert slope.upper is not None
    assert slope.value is not None
    assert (slope.upper - slope.value) / 1.96 == pytest.approx(spread, rel=0.2)


def test_separated_films_have_no_slope() -> None:
    slope = calibration_slope([-1.0, 0.5, 0.5, 2.0], [0, 0, 1, 1], np.array(list("abcd")))
    assert slope.to_dict() == {"value": None, "lower": None, "upper": None, "method": "none"}
