import numpy as np
import pytest
from scipy import stats

from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation.bootstrap import (
    Statistic,
    bootstrap,
    count_rarer_groups,
    draw_weights,
    estimate,
    exact_interval,
    expand_tail,
    index_groups,
    wilson_interval,
)
from hf_fracture.evaluation.curves import RankedFilms
from hf_fracture.evaluation.inputs import Floats


def mean_of(values: Floats) -> Statistic:
    return lambda weights: {"mean": weights @ values / weights.sum(axis=1)}


def test_films_of_one_group_are_always_drawn_together() -> None:
    _, index = index_groups(["a", "b", "a", "c", "b"])
    weights = np.concatenate(list(draw_weights(index, num_groups=3, num_resamples=50, seed=0)))
    assert weights.shape == (50, 5)
    assert np.array_equal(weights[:, 0], weights[:, 2])
    assert np.array_equal(weights[:, 1], weights[:, 4])
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()  # three groups drawn each time
    assert len(np.unique(weights[:, 3])) > 1


def test_each_group_is_drawn_once_on_average() -> None:
    _, index = index_groups([str(k) for k in range(20)])
    weights = np.concatenate(list(draw_weights(index, num_groups=20, num_resamples=4000, seed=1)))
    assert weights.mean(axis=0) == pytest.approx(np.ones(20), abs=0.08)
    assert weights.var() == pytest.approx(1 - 1 / 20, abs=0.03)  # multinomial


def test_the_standard_error_of_a_mean_is_the_textbook_one() -> None:
    values = np.random.default_rng(0).normal(size=200)
    means = bootstrap(mean_of(values), [str(k) for k in range(200)], num_resamples=4000)["mean"]
    assert means.std() == pytest.approx(values.std() / np.sqrt(200), rel=0.05)


def test_repeating_every_film_in_its_group_leaves_the_interval_alone() -> None:
    values, ids = np.random.default_rng(1).random(40), np.array([f"g{k}" for k in range(40)])
    alone = bootstrap(mean_of(values), ids, num_resamples=200)["mean"]
    tripled = bootstrap(mean_of(np.repeat(values, 3)), np.repeat(ids, 3), num_resamples=200)["mean"]
    assert np.allclose(alone, tripled)
    as_if_independent = bootstrap(mean_of(np.repeat(values, 3)), [str(k) for k in range(120)], num_resamples=200)
    assert as_if_independent["mean"].std() < 0.7 * tripled.std()


def test_resamples_depend_on_ids_and_seed_and_not_on_the_order_of_the_films() -> None:
    values, ids = np.arange(30.0), np.array([f"g{k % 11}" for k in range(30)])
    order = np.random.default_rng(2).permutation(30)
    first = bootstrap(mean_of(values), ids, num_resamples=100, seed=3)["mean"]
    assert np.allclose(first, bootstrap(mean_of(values[order]), ids[order], num_resamples=100, seed=3)["mean"])
    assert not np.allclose(first, bootstrap(mean_of(values), ids, num_resamples=100, seed=4)["mean"])


def test_percentiles_agree_with_scipy_for_independent_films() -> None:
    values = np.random.default_rng(5).exponential(size=300)
    means = bootstrap(mean_of(values), [str(k) for k in range(300)], num_resamples=4000)["mean"]
    ours = estimate(float(values.mean()), means, num_groups=10**9)  # where percentiles are not widened
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=0).confidence_interval
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high), abs=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_an_interval_contains_its_value(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y_true = rng.permutation([0] * 20 + [1] * 6)
    ranked = RankedFilms(y_true, np.clip(0.2 * y_true + 0.8 * rng.random(26), 0, 1))
    auroc = float(ranked.count_calls().auroc()[0])
    resampled = bootstrap(lambda w: {"auroc": ranked.count_calls(w).auroc()}, [str(k) for k in range(26)])["auroc"]
    interval = estimate(auroc, resampled, num_groups=6)
    assert interval.lower is not None
    assert interval.upper is not None
    assert 0 <= interval.lower <= auroc <= interval.upper <= 1
    assert interval.lower < interval.upper


def test_a_figure_that_every_resample_repeats_gets_no_interval() -> None:
    nothing = {"value": 1.0, "lower": None, "upper": None, "method": "none"}
    assert estimate(1.0, np.ones(100), num_groups=10).to_dict() == nothing


def test_a_figure_of_one_group_gets_no_interval() -> None:
    assert estimate(0.5, np.linspace(0, 1, 9), num_groups=1).method == "none"
    assert estimate(0.5, np.linspace(0, 1, 9), num_groups=1, is_share=True).method == "none"


def test_a_figure_that_does_not_exist_has_neither_value_nor_interval() -> None:
    assert estimate(np.nan, np.full(100, np.nan), num_groups=5).to_dict() == {
        "value": None,
        "lower": None,
        "upper": None,
        "method": "none",
    }


def test_a_figure_missing_in_many_resamples_gets_no_interval() -> None:
    rare = np.concatenate([np.linspace(0.2, 0.4, 90), np.full(10, np.nan)])
    assert estimate(0.3, rare, num_groups=10**9).lower is None
    few = np.concatenate([np.linspace(0.2, 0.4, 97), np.full(3, np.nan)])
    assert estimate(0.3, few, num_groups=10**9).lower == pytest.approx(0.205)


@pytest.mark.parametrize("num_groups", [1, 7, 300])
def test_the_exact_interval_is_clopper_and_pearsons(num_groups: int) -> None:
    theirs = stats.binomtest(num_groups, num_groups).proportion_ci(0.95, method="exact")
    assert exact_interval(True, num_groups=num_groups, confidence_level=0.95) == pytest.approx((theirs.low, 1.0))
    theirs = stats.binomtest(0, num_groups).proportion_ci(0.95, method="exact")
    assert exact_interval(False, num_groups=num_groups, confidence_level=0.95) == pytest.approx((0.0, theirs.high))


def test_a_sensitivity_of_one_is_not_certain() -> None:
    perfect = estimate(1.0, np.ones(50), num_groups=10, is_share=True)
    assert perfect.method == "exact"
    assert perfect.lower == pytest.approx(0.6915, abs=1e-4)


@pytest.mark.parametrize("num_groups", [2, 10, 60])
def test_percentiles_are_widened_by_hesterbergs_formula(num_groups: int) -> None:
    reach = np.sqrt(num_groups / (num_groups - 1)) * stats.t(num_groups - 1).ppf(0.975)
    assert expand_tail(num_groups, confidence_level=0.95) == pytest.approx(stats.norm.cdf(-reach))
    assert expand_tail(num_groups, confidence_level=0.95) < expand_tail(num_groups + 1, confidence_level=0.95) < 0.025
    values = np.random.default_rng(0).normal(size=10**4)
    widened = estimate(0.0, values, num_groups=num_groups)
    assert widened.method == "expanded_percentile"
    assert widened.upper == pytest.approx(np.quantile(values, stats.norm.cdf(reach)))


def test_for_normal_samples_the_widened_interval_is_students() -> None:
    sample = stats.norm.ppf((np.arange(8) + 0.5) / 8)
    normal = stats.norm(sample.mean(), sample.std() / np.sqrt(8)).ppf((np.arange(10**5) + 0.5) / 10**5)
    theirs = stats.ttest_1samp(sample, 0).confidence_interval()
    ours = estimate(float(sample.mean()), normal, num_groups=8)
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high), abs=1e-3)


@pytest.mark.parametrize(("found", "films"), [(1, 8), (45, 50), (150, 300)])
def test_the_interval_of_a_share_of_independent_films_is_wilsons(found: int, films: int) -> None:
    share = found / films
    theirs = stats.binomtest(found, films).proportion_ci(0.95, method="wilson")
    ours = wilson_interval(share, variance=share * (1 - share) / films, confidence_level=0.95)
    assert ours == pytest.approx((theirs.low, theirs.high))


def test_a_share_of_grouped_films_counts_as_many_films_as_vary_like_its_groups() -> None:
    hits = np.repeat([1.0] * 40 + [0.0] * 10, 4)  # 50 groups of four films that agree
    ids = np.repeat([str(k) for k in range(50)], 4)
    shares = bootstrap(mean_of(hits), ids, num_resamples=20_000)["mean"]
    ours = estimate(0.8, shares, num_groups=50, is_share=True)
    assert ours.method == "wilson"
    theirs = stats.binomtest(40, 50).proportion_ci(0.95, method="wilson")
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high), abs=0.005)
    mirrored = estimate(0.2, 1 - shares, num_groups=50, is_share=True)
    assert (mirrored.lower, mirrored.upper) == pytest.approx((1 - (ours.upper or 0), 1 - (ours.lower or 0)))


def test_the_rarer_class_is_counted_in_groups() -> None:
    assert count_rarer_groups(["a", "a", "a", "b", "c", "c"], [1, 1, 1, 0, 0, 1]) == 2


@pytest.mark.parametrize("ids", [[], ["a", ""], ["a", None]])
def test_a_missing_group_id_is_refused(ids: list[str]) -> None:
    with pytest.raises(EvaluationError, match="id"):
        index_groups(ids)


@pytest.mark.parametrize("confidence_level", [0.0, 1.0, 95])
def test_a_confidence_level_outside_the_open_unit_interval_is_refused(confidence_level: float) -> None:
    with pytest.raises(EvaluationError, match="confidence_level"):
        estimate(0.5, np.linspace(0, 1, 9), num_groups=9, confidence_level=confidence_level)


def test_one_resample_is_refused() -> None:
    with pytest.raises(EvaluationError, match="num_resamples"):
        bootstrap(mean_of(np.ones(2)), ["a", "b"], num_resamples=1)
