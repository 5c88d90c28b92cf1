"""Check the evaluation's own statistics where only simulation can, and write what was found.

    python scripts/measure_statistics.py [--studies 1000] [--out scripts/results/statistics.json]

Coverage: in how many simulated studies, with films that come in groups, a 95 % interval contains the truth. Promises:
in how many studies the limits of the three-way rule break what they promise with a confidence of 95 %. Scale: seconds
for every figure of 100,000 predictions with 2,000 resamples of their groups. Compute: about five minutes on two cores.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm
from tqdm import trange

from hf_fracture.config import Triage
from hf_fracture.evaluation.bootstrap import Estimate, bootstrap, estimate
from hf_fracture.evaluation.calibration import calibration_slope, probability_of
from hf_fracture.evaluation.curves import RankedFilms
from hf_fracture.evaluation.delong import auroc_difference
from hf_fracture.evaluation.figures import Decisions, Resampling, measure_figures
from hf_fracture.evaluation.guarantees import control_triage, measure_guarantee
from hf_fracture.evaluation.inputs import Floats, Labels
from hf_fracture.evaluation.predictions import build_predictions
from hf_fracture.evaluation.thresholds import choose_operating_points, choose_triage
from hf_fracture.models.checkpoint import write_json

RESULT_PATH = Path(__file__).resolve().parent / "results" / "statistics.json"
SEPARATION = 1.4
SHARED_VARIANCE = 0.6  # of a film's chance, with the other films of its group
THRESHOLD = 0.5
NUM_RESAMPLES = 500
TRUE_AUROC = float(norm.cdf(SEPARATION / np.sqrt(2)))
TRUE_SENSITIVITY = float(norm.cdf(SEPARATION / 2))


def draw_study(seed: int) -> tuple[Labels, Floats, list[str]]:
    """Draw 150 groups of one to three films that share their label and most of their chance."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(150), rng.integers(1, 4, 150))
    y_true = (rng.random(150) < 0.4).astype(np.int64)[group]
    own, shared = rng.normal(size=len(group)), rng.normal(size=150)[group]
    chance = np.sqrt(SHARED_VARIANCE) * shared + np.sqrt(1 - SHARED_VARIANCE) * own
    return y_true, np.asarray(norm.cdf(SEPARATION * (y_true - 0.5) + chance)), group.astype(str).tolist()


def find_intervals(seed: int) -> dict[str, tuple[float, Estimate]]:
    """Return the truth and the interval of each statistic in one study."""
    y_true, y_prob, groups = draw_study(seed)
    ranked = RankedFilms(y_true, y_prob)

    def measure(weights: Floats | None) -> dict[str, Floats]:
        counts = ranked.count_calls(weights)
        confusion = counts.confusion(THRESHOLD)
        return {"auroc": counts.auroc(), "sensitivity": confusion.true_positives / counts.num_fractured}

    resampled = bootstrap(measure, groups, num_resamples=NUM_RESAMPLES, seed=seed)
    found = {name: estimate(float(value[0]), resampled[name]) for name, value in measure(None).items()}
    chance = np.asarray(norm.cdf(np.random.default_rng(10**6 + seed).normal(size=len(y_true))))
    delong = auroc_difference(y_true, y_prob, chance, group_ids=groups)
    pairs = np.repeat(np.arange(200), 2)
    rng = np.random.default_rng(2 * 10**6 + seed)
    logits = rng.normal(scale=1.5, size=200)[pairs]
    labels = (rng.random(200)[pairs] < probability_of(logits)).astype(np.int64)
    return {
        "auroc, bootstrap of groups": (TRUE_AUROC, found["auroc"]),
        "sensitivity, bootstrap of groups": (TRUE_SENSITIVITY, found["sensitivity"]),
        "difference of AUROCs, DeLong by group": (
            TRUE_AUROC - 0.5,
            Estimate(value=delong.difference, lower=delong.lower, upper=delong.upper, method="wald"),
        ),
        "calibration slope, sandwich by group": (1.0, calibration_slope(logits, labels, pairs.astype(str))),
    }


def measure_coverage(num_studies: int) -> dict[str, float]:
    """Return the share of studies whose interval contains the truth, by statistic."""
    hits: dict[str, int] = {}
    for seed in trange(num_studies, desc="coverage", unit="study"):
        for name, (truth, interval) in find_intervals(seed).items():
            lower, upper = interval.lower, interval.upper
            hits[name] = hits.get(name, 0) + int(lower is not None and upper is not None and lower <= truth <= upper)
    return {name: number / num_studies for name, number in hits.items()}


def measure_promises(num_studies: int) -> dict[str, float]:
    """Return the share of studies whose limits break their promise; at most 0.05 is right."""

    def missed(triage: Triage) -> float:
        return float(norm.cdf(norm.ppf(triage.screening) - SEPARATION / 2))

    def alarms(triage: Triage) -> float:
        return float(norm.sf(norm.ppf(triage.rule_in) + SEPARATION / 2))

    broken = {"missed, limits chosen for 0.1": 0, "missed, named points": 0, "false alarms, named points": 0}
    for seed in trange(num_studies, desc="promises", unit="study"):
        rng = np.random.default_rng(seed)
        y_true = (rng.random(400) < 0.3).astype(np.int64)
        y_prob = np.asarray(norm.cdf(rng.normal(size=400) + SEPARATION * (y_true - 0.5)))
        ids = np.arange(400)
        controlled = control_triage(y_true, y_prob, ids, max_missed_fraction=0.1, max_false_alarm_fraction=0.1)
        named = choose_triage(choose_operating_points(y_true, y_prob))
        guarantee = measure_guarantee(y_true, y_prob, ids, named)
        broken["missed, limits chosen for 0.1"] += missed(controlled) > 0.1
        broken["missed, named points"] += missed(named) > guarantee.missed.bound
        broken["false alarms, named points"] += alarms(named) > guarantee.false_alarms.bound
    return {name: number / num_studies for name, number in broken.items()}


def measure_scale(num_films: int = 100_000, num_resamples: int = 2000) -> dict[str, Any]:
    """Return the seconds that every figure of a report takes."""
    rng = np.random.default_rng(0)
    y_true = (rng.random(num_films) < 0.2).astype(np.int64)
    predictions = build_predictions(
        ids=[f"film {index}" for index in range(num_films)],
        group_ids=[f"group {index // 2}" for index in range(num_films)],
        y_true=y_true,
        logit_difference=rng.normal(size=num_films) + 2 * y_true - 1,
    )
    points = choose_operating_points(predictions.y_true, predictions.y_prob)
    decisions = Decisions(points=points, triage=choose_triage(points), chosen_on="the same films")
    clocks: list[Callable[[], float]] = [time.perf_counter, time.process_time]
    before = [clock() for clock in clocks]
    measure_figures(predictions, decisions, resampling=Resampling(num_resamples=num_resamples))
    seconds = [clock() - start for clock, start in zip(clocks, before, strict=True)]
    return {
        "num_films": num_films,
        "num_resamples": num_resamples,
        "wall_seconds": round(seconds[0], 1),
        "processor_seconds": round(seconds[1], 1),
    }


def main() -> None:
    """Measure all three and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=RESULT_PATH)
    args = parser.parse_args()
    content = {
        "scale": measure_scale(),
        "num_studies": args.studies,
        "coverage_of_95_percent_intervals": measure_coverage(args.studies),
        "broken_promises_of_95_percent": measure_promises(args.studies),
    }
    write_json(args.out, content)
    print(content)


if __name__ == "__main__":
    main()
