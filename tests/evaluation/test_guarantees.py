import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm

from hf_fracture.config import Triage
from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation.guarantees import control_triage, measure_guarantee, min_groups, upper_bound
from hf_fracture.evaluation.inputs import Floats, Labels
from hf_fracture.evaluation.thresholds import choose_operating_points, choose_triage

NUM_STUDIES = 500
SEPARATION = 1.6


def draw_films(seed: int, *, num: int = 400, prevalence: float = 0.3) -> tuple[Labels, Floats]:
    """Draw one film per group, normal scores turned into probabilities."""
    rng = np.random.default_rng(seed)
    y_true = (rng.random(num) < prevalence).astype(np.int64)
    return y_true, np.asarray(norm.cdf(rng.normal(size=num) + SEPARATION * (y_true - 0.5)))


def draw_clustered(seed: int, *, num_groups: int = 150) -> tuple[Labels, Floats, Floats]:
    """Draw groups of one to three films that share their label and most of their chance."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(num_groups), rng.integers(1, 4, num_groups))
    y_true = (rng.random(num_groups) < 0.4).astype(np.int64)[group]
    chance = 0.8 * rng.normal(size=num_groups)[group] + 0.6 * rng.normal(size=len(group))
    return y_true, np.asarray(norm.cdf(chance + SEPARATION * (y_true - 0.5))), group.astype(np.float64)


def test_bound_by_hand() -> None:
    # None of n seen: (1 - p) ** n = 0.05.
    assert upper_bound(0, 10) == pytest.approx(1 - 0.05**0.1)
    # One of two seen: p ** 2 = 0.95.
    assert upper_bound(1, 2) == pytest.approx(np.sqrt(0.95))


@pytest.mark.parametrize(("num_beyond", "num_groups"), [(0, 7), (4, 88), (20, 407), (406, 407)])
def test_bound_equals_scipy(num_beyond: int, num_groups: int) -> None:
    test = binomtest(num_beyond, num_groups, alternative="less")
    assert upper_bound(num_beyond, num_groups) == pytest.approx(test.proportion_ci(0.95, method="exact").high)
    assert binom.cdf(num_beyond, num_groups, upper_bound(num_beyond, num_groups)) == pytest.approx(0.05)


@pytest.mark.parametrize(("num_beyond", "num_groups"), [(-1, 5), (6, 5), (0, 0)])
def test_counts_out_of_range_are_refused(num_beyond: int, num_groups: int) -> None:
    with pytest.raises(EvaluationError, match="num_beyond"):
        upper_bound(num_beyond, num_groups)


@pytest.mark.parametrize("fraction", [0.01, 0.05, 0.1, 0.3])
def test_fewest_groups_are_just_enough(fraction: float) -> None:
    enough = min_groups(fraction)
    assert upper_bound(0, enough) <= fraction < upper_bound(0, enough - 1)


@pytest.mark.parametrize("value", [0.0, 1.0, 95.0])
def test_a_share_outside_its_range_is_refused(value: float) -> None:
    y_true, y_prob = draw_films(0)
    with pytest.raises(EvaluationError, match="max_fraction"):
        min_groups(value)
    with pytest.raises(EvaluationError, match="max_missed_fraction"):
        control_triage(y_true, y_prob, np.arange(400), max_missed_fraction=value, max_false_alarm_fraction=0.1)
    with pytest.raises(EvaluationError, match="confidence_level"):
        measure_guarantee(y_true, y_prob, np.arange(400), Triage(screening=0.1, rule_in=0.9), confidence_level=value)


def test_limits_by_hand() -> None:
    # 59 fractured groups may miss none at 5 %: the limit is their lowest score. 93 others allow one above: the second.
    y_true = np.repeat([1, 0], [59, 93])
    y_prob = np.concatenate([np.linspace(0.41, 0.99, 59), np.linspace(0.01, 0.93, 93)])
    limits = control_triage(y_true, y_prob, np.arange(152), max_missed_fraction=0.05, max_false_alarm_fraction=0.0501)
    assert limits.screening == pytest.approx(0.41)
    assert limits.rule_in == pytest.approx(0.92)
    assert limits.rule_in > 0.92


def test_limits_that_cross_become_one() -> None:
    y_true = np.repeat([0, 1], 100)
    y_prob = np.concatenate([np.linspace(0, 0.4, 100), np.linspace(0.6, 1, 100)])
    limits = control_triage(y_true, y_prob, np.arange(200), max_missed_fraction=0.1, max_false_alarm_fraction=0.1)
    assert 0.4 < limits.screening == limits.rule_in < 0.65


def test_limits_and_bounds_do_not_depend_on_the_order_of_the_films() -> None:
    y_true, y_prob, groups = draw_clustered(0)
    order = np.random.default_rng(1).permutation(len(y_true))
    triage = Triage(screening=0.3, rule_in=0.7)
    first = measure_guarantee(y_true, y_prob, groups, triage)
    assert measure_guarantee(y_true[order], y_prob[order], groups[order], triage) == first


def test_too_few_groups_are_refused_and_named() -> None:
    y_true, y_prob = draw_films(0, num=60)
    with pytest.raises(EvaluationError, match="at least 59 groups of the class are needed for calibration, got"):
        control_triage(y_true, y_prob, np.arange(60), max_missed_fraction=0.05, max_false_alarm_fraction=0.1)
    guarantee = measure_guarantee(y_true, y_prob, np.arange(60), Triage(screening=0.2, rule_in=0.8))
    assert guarantee.controlled[0].screening is None
    assert any("too few to promise an error of at most 0.05" in sentence for sentence in guarantee.warnings)


def test_many_groups_need_no_warning_unless_the_limits_are_one() -> None:
    y_true, y_prob = draw_films(0)
    assert measure_guarantee(y_true, y_prob, np.arange(400), Triage(screening=0.2, rule_in=0.8)).warnings == ()
    one = measure_guarantee(y_true, y_prob, np.arange(400), Triage(screening=0.5, rule_in=0.5))
    assert "optimistic" in one.warnings[0]


def test_a_group_counts_once_and_by_its_worst_film() -> None:
    y_true, y_prob = [1, 1, 1, 0, 0], [0.1, 0.2, 0.9, 0.8, 0.9]
    groups = np.array(["a", "a", "b", "c", "c"])
    guarantee = measure_guarantee(y_true, y_prob, groups, Triage(screening=0.3, rule_in=0.5))
    assert (guarantee.missed.num_groups, guarantee.missed.num_beyond) == (2, 1)
    assert (guarantee.false_alarms.num_groups, guarantee.false_alarms.num_beyond) == (1, 1)


def test_saturated_scores_have_no_rule_in_limit() -> None:
    y_true = np.repeat([0, 1], 100)
    with pytest.raises(EvaluationError, match="probability of exactly 1"):
        control_triage(y_true, np.ones(200), np.arange(200), max_missed_fraction=0.1, max_false_alarm_fraction=0.1)


def check_rate(broken: list[bool]) -> None:
    """Check that no more than 5 % of the promises were broken, beyond three standard errors of the simulation."""
    assert np.mean(broken) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(broken))


@pytest.mark.slow
def test_promises_of_chosen_limits_are_broken_in_at_most_5_percent_of_studies() -> None:
    broken = []
    for seed in range(NUM_STUDIES):
        y_true, y_prob = draw_films(seed)
        limits = control_triage(y_true, y_prob, np.arange(400), max_missed_fraction=0.1, max_false_alarm_fraction=0.1)
        broken.append(bool(norm.cdf(norm.ppf(limits.screening) - SEPARATION / 2) > 0.1))
    check_rate(broken)
    assert np.mean(broken) > 0.01  # nor are the limits needlessly careful


@pytest.mark.slow
def test_bounds_of_the_named_points_are_broken_in_5_percent_of_studies() -> None:
    broken: dict[str, list[bool]] = {"missed": [], "false_alarms": []}
    for seed in range(NUM_STUDIES):
        y_true, y_prob = draw_films(seed)
        triage = choose_triage(choose_operating_points(y_true, y_prob))
        guarantee = measure_guarantee(y_true, y_prob, np.arange(400), triage)
        missed = norm.cdf(norm.ppf(triage.screening) - SEPARATION / 2)
        alarms = norm.sf(norm.ppf(triage.rule_in) + SEPARATION / 2)
        broken["missed"].append(bool(missed > guarantee.missed.bound))
        broken["false_alarms"].append(bool(alarms > guarantee.false_alarms.bound))
    for side in broken.values():
        check_rate(side)
        assert np.mean(side) > 0.02


@pytest.mark.slow
def test_promises_hold_for_groups_of_several_films() -> None:
    y_true, y_prob, groups = draw_clustered(10**6, num_groups=200_000)
    fractured = y_true == 1
    lowest = np.full(int(groups.max()) + 1, np.inf)
    np.minimum.at(lowest, groups[fractured].astype(int), y_prob[fractured])
    population = np.sort(lowest[np.isfinite(lowest)])

    broken = []
    for seed in range(NUM_STUDIES):
        limits = control_triage(*draw_clustered(seed), max_missed_fraction=0.15, max_false_alarm_fraction=0.15)
        broken.append(bool(np.searchsorted(population, limits.screening) / len(population) > 0.15))
    check_rate(broken)
