"""Do 95 % intervals contain the truth in 95 % of studies? Simulated, with films that come in groups.

Every figure of the package, in studies of few groups and near 0 and 1 too: `scripts/measure_statistics.py`, whose
record is checked here; the figures that matter most are simulated again.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from hf_fracture.evaluation.bootstrap import Estimate, bootstrap, count_rarer_groups, estimate
from hf_fracture.evaluation.calibration import calibration_slope, probability_of
from hf_fracture.evaluation.curves import RankedFilms
from hf_fracture.evaluation.delong import auroc_difference
from hf_fracture.evaluation.inputs import Floats, Labels
from hf_fracture.models.checkpoint import read_json

NUM_STUDIES = 1000
NUM_RESAMPLES = 300
SEPARATION = 1.4
WITHIN_GROUP = 0.6  # share of the variance that films of one group have in common
TRUE_AUROC = float(norm.cdf(SEPARATION / np.sqrt(2)))

Study = tuple[Labels, Floats, list[str]]


def draw_study(seed: int) -> Study:
    """Draw 150 groups of one to three films; a group shares its label and most of its chance."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(150), rng.integers(1, 4, 150))
    y_true = (rng.random(150) < 0.4).astype(np.int64)[group]
    chance = np.sqrt(WITHIN_GROUP) * rng.normal(size=150)[group] + np.sqrt(1 - WITHIN_GROUP) * rng.normal(
        size=len(group)
    )
    return y_true, np.asarray(norm.cdf(SEPARATION * y_true - SEPARATION / 2 + chance)), group.astype(str).tolist()


def holds(interval: Estimate, truth: float) -> bool:
    assert interval.lower is not None
    assert interval.upper is not None
    return interval.lower <= truth <= interval.upper


def auroc_interval_contains_the_truth(seed: int) -> bool:
    y_true, y_prob, group_ids = draw_study(seed)
    ranked = RankedFilms(y_true, y_prob)
    resampled = bootstrap(
        lambda weights: {"auroc": ranked.count_calls(weights).auroc()},
        group_ids,
        num_resamples=NUM_RESAMPLES,
        seed=seed,
    )
    value = float(ranked.count_calls().auroc()[0])
    num_groups = count_rarer_groups(group_ids, y_true)
    return holds(estimate(value, resampled["auroc"], num_groups=num_groups), TRUE_AUROC)


def estimate_sensitivity(seed: int, *, truth: float) -> tuple[float, Floats, int]:
    """Return the sensitivity at a threshold of that true sensitivity, its resamples, and the groups it rests on."""
    y_true, y_prob, group_ids = draw_study(seed)
    found = ((y_prob >= norm.cdf(SEPARATION / 2 - norm.ppf(truth))) & (y_true == 1)).astype(np.float64)
    fractured = (y_true == 1).astype(np.float64)
    resampled = bootstrap(
        lambda weights: {"sensitivity": weights @ found / (weights @ fractured)},
        group_ids,
        num_resamples=NUM_RESAMPLES,
        seed=seed,
    )
    num_groups = len(np.unique(np.array(group_ids)[y_true == 1]))
    return float(found.sum() / fractured.sum()), resampled["sensitivity"], num_groups


def sensitivity_interval_contains_the_truth(seed: int) -> bool:
    value, resampled, num_groups = estimate_sensitivity(seed, truth=0.76)
    return holds(estimate(value, resampled, num_groups=num_groups, is_share=True), 0.76)


def interval_of_a_sensitivity_near_one_contains_the_truth(seed: int) -> bool:
    value, resampled, num_groups = estimate_sensitivity(seed, truth=0.95)
    return holds(estimate(value, resampled, num_groups=num_groups, is_share=True), 0.95)


def delong_interval_contains_the_truth(seed: int) -> bool:
    y_true, y_prob, group_ids = draw_study(seed)
    chance = np.asarray(norm.cdf(np.random.default_rng(seed + NUM_STUDIES).normal(size=len(y_true))))
    result = auroc_difference(y_true, y_prob, chance, group_ids=group_ids)
    return result.lower <= TRUE_AUROC - 0.5 <= result.upper


def slope_interval_contains_the_truth(seed: int) -> bool:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(200), 2)
    difference = rng.normal(scale=1.5, size=200)[group]
    y_true = (rng.random(200)[group] < probability_of(difference)).astype(np.int64)  # copies share their label
    return holds(calibration_slope(difference, y_true, group.astype(str)), 1.0)


def test_the_record_of_every_figure_holds_it_in_93_to_97_percent_of_1000_studies(repository_dir: Path) -> None:
    record = read_json(repository_dir / "scripts" / "results" / "statistics.json")
    assert record["num_studies"]["coverage"] >= NUM_STUDIES
    assert len(record["coverage"]) > 60
    for row in record["coverage"]:
        assert 0.93 <= row["150 groups"] <= 0.97, row
    shares = [
        row for row in record["coverage"] if row["interval"] == "wilson" and not row["figure"].startswith("types")
    ]
    assert len(shares) > 20
    for row in shares:  # of few groups, and near 0 and 1
        assert min(row["40 groups"], row["150 groups, shares near 0 and 1"]) >= 0.93, row


def count_coverage(contains: Callable[[int], bool]) -> float:
    return float(np.mean([contains(seed) for seed in range(NUM_STUDIES)]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "contains",
    [
        auroc_interval_contains_the_truth,
        sensitivity_interval_contains_the_truth,
        interval_of_a_sensitivity_near_one_contains_the_truth,
        delong_interval_contains_the_truth,
        slope_interval_contains_the_truth,
    ],
)
def test_95_percent_intervals_contain_the_truth_in_93_to_97_percent_of_studies(
    contains: Callable[[int], bool],
) -> None:
    assert 0.93 <= count_coverage(contains) <= 0.97


@pytest.mark.slow
def test_percentiles_of_a_sensitivity_near_one_contain_it_too_rarely() -> None:
    def percentiles_contain_the_truth(seed: int) -> bool:
        value, resampled, num_groups = estimate_sensitivity(seed, truth=0.95)
        return value < 1 and holds(estimate(value, resampled, num_groups=num_groups), 0.95)

    assert count_coverage(percentiles_contain_the_truth) < 0.93


@pytest.mark.slow
def test_intervals_that_take_films_for_independent_contain_it_too_rarely() -> None:
    def naive_interval_contains_the_truth(seed: int) -> bool:
        y_true, y_prob, _ = draw_study(seed)
        chance = np.asarray(norm.cdf(np.random.default_rng(seed + NUM_STUDIES).normal(size=len(y_true))))
        result = auroc_difference(y_true, y_prob, chance)
        return result.lower <= TRUE_AUROC - 0.5 <= result.upper

    assert count_coverage(naive_interval_contains_the_truth) < 0.93
