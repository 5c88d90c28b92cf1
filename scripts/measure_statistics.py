"""Check the evaluation's own statistics where only simulation can, and write what was found.

    python scripts/measure_statistics.py [--studies 1000] [--only coverage|broken_promises|scale]

Coverage: in how many simulated studies, with films that come in groups, the 95 % interval of each figure contains the
truth; in a study of usual size, in one of few groups, and in one whose shares lie near 0 and 1. The truth is the figure
on 400,000 groups. Promises: in how many studies the limits of the three-way rule break what they promise with a
confidence of 95 %. Scale: seconds for every figure of 100,000 predictions with 2,000 resamples of their groups.
Writes scripts/results/statistics.json and scale.json. Compute: about ten minutes on one core; the scale needs the
machine for itself.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.special import softmax
from scipy.stats import norm
from tqdm import trange

from hf_fracture.config import OperatingPoint, Triage
from hf_fracture.evaluation.bootstrap import Estimate
from hf_fracture.evaluation.calibration import calibration_intercept, calibration_slope
from hf_fracture.evaluation.comparison import measure_differences
from hf_fracture.evaluation.delong import auroc_difference
from hf_fracture.evaluation.figures import Decisions, Resampling, measure_figures
from hf_fracture.evaluation.guarantees import control_triage, measure_guarantee
from hf_fracture.evaluation.inputs import Floats
from hf_fracture.evaluation.metrics import PREVALENCES
from hf_fracture.evaluation.multiclass import multiclass_metrics
from hf_fracture.evaluation.predictions import Predictions, build_predictions
from hf_fracture.evaluation.robustness import measure_alterations
from hf_fracture.evaluation.thresholds import choose_operating_points, choose_triage
from hf_fracture.models.checkpoint import read_json, write_json

RESULT_PATH = Path(__file__).resolve().parent / "results" / "statistics.json"
SCALE_PATH = RESULT_PATH.with_name("scale.json")
SHARED_VARIANCE = 0.6  # of a film's chance, with the other films of its group
POINTS: Final[dict[str, float]] = {"screening": -0.7, "balanced": 0.0, "rule_in": 0.7}  # as scores
NUM_RESAMPLES = 1000
NUM_TRUE_GROUPS = 400_000
TYPES = ("spiral", "oblique", "hairline")
TYPE_SHARES = (0.5, 0.3, 0.2)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A kind of study.

    Attributes:
        num_groups: Groups of one to three films that share their label and most of their chance.
        separation: Of the classes, in standard deviations of the score.
        prevalence: Of groups.
    """

    num_groups: int
    separation: float
    prevalence: float = 0.4

    @property
    def decisions(self) -> Decisions:
        """The operating points and limits, fixed beforehand."""
        thresholds = {name: float(self.probability(np.array(score))) for name, score in POINTS.items()}
        return Decisions(
            points={
                name: OperatingPoint(threshold=t, sensitivity=0.9, specificity=0.9) for name, t in thresholds.items()
            },
            triage=Triage(screening=thresholds["screening"], rule_in=thresholds["rule_in"]),
            chosen_on="nothing",
        )

    def logit(self, score: Floats) -> Floats:
        """Return the logit that a score of model A means."""
        return self.separation * score + float(np.log(self.prevalence / (1 - self.prevalence)))

    def probability(self, score: Floats) -> Floats:
        """Return the probability that a score of model A means."""
        return np.asarray(1 / (1 + np.exp(-self.logit(score))))


SETTINGS: Final[dict[str, Setting]] = {
    "150 groups": Setting(num_groups=150, separation=1.4),
    "40 groups": Setting(num_groups=40, separation=1.4),
    "150 groups, shares near 0 and 1": Setting(num_groups=150, separation=3.2),
}


def draw_groups(rng: np.random.Generator, num_groups: int) -> tuple[Any, Callable[[], Floats]]:
    """Return the group of each film, and a source of standard normal chance that films of one group share."""
    group = np.repeat(np.arange(num_groups), rng.integers(1, 4, num_groups))

    def draw_chance() -> Floats:
        shared, own = rng.normal(size=num_groups)[group], rng.normal(size=len(group))
        return np.asarray(np.sqrt(SHARED_VARIANCE) * shared + np.sqrt(1 - SHARED_VARIANCE) * own)

    return group, draw_chance


def draw_answers(setting: Setting, seed: int, num_groups: int) -> tuple[Predictions, Predictions]:
    """Draw a study's films and the answers of two models, of which A is calibrated and B is A with more chance."""
    rng = np.random.default_rng(seed)
    group, draw_chance = draw_groups(rng, num_groups)
    y_true = (rng.random(num_groups) < setting.prevalence).astype(np.int64)[group]
    score = setting.separation * (y_true - 0.5) + draw_chance()
    names, groups = [str(film) for film in range(len(group))], group.astype(str).tolist()
    answers = [
        build_predictions(ids=names, group_ids=groups, y_true=y_true, logit_difference=setting.logit(scores))
        for scores in (score, score + 0.6 * draw_chance())
    ]
    return answers[0], answers[1]


def measure_study(setting: Setting, seed: int, num_groups: int, num_resamples: int) -> dict[str, Estimate]:
    """Return every figure with an interval that this package states, on one study."""
    first, second = draw_answers(setting, seed, num_groups)
    decisions, resampling = setting.decisions, Resampling(num_resamples=num_resamples, seed=seed)
    table = measure_figures(first, decisions, resampling=resampling)
    repeated = tuple(f"_at_{prevalence:.2f}" for prevalence in PREVALENCES[1:])  # the same interval, transformed
    found = {name.replace("/", ", "): table[name] for name in table.names if not name.endswith(repeated)}
    found |= {f"difference, {k}": v for k, v in measure_differences(first, second, resampling).items()}
    threshold = decisions.points["balanced"].threshold
    effect = measure_alterations(first, {"B": second}, threshold=threshold, resampling=resampling)[0]
    delong = auroc_difference(first.y_true, first.y_prob, second.y_prob, group_ids=first.group_ids)
    return found | {
        "altered films, change of auroc": effect.auroc_change,
        "altered films, flipped_fraction": effect.flipped_fraction,
        "difference of aurocs, DeLong by group": Estimate(
            value=delong.difference, lower=delong.lower, upper=delong.upper, method="wald"
        ),
        "calibration slope": calibration_slope(first.logit_difference, first.y_true, first.group_ids),
        "calibration intercept": calibration_intercept(first.logit_difference, first.y_true, first.group_ids),
        **measure_type_study(setting, seed, num_groups, resampling),
    }


def measure_type_study(setting: Setting, seed: int, num_groups: int, resampling: Resampling) -> dict[str, Estimate]:
    """Return the figures of a classifier of three types."""
    rng = np.random.default_rng(10**6 + seed)
    group, draw_chance = draw_groups(rng, num_groups)
    y_true = rng.choice(len(TYPES), p=TYPE_SHARES, size=num_groups)[group]
    scores = np.stack([setting.separation * (y_true == k) + draw_chance() for k in range(len(TYPES))], axis=1)
    measured = multiclass_metrics(y_true, softmax(scores, axis=1), TYPES, group.astype(str), resampling=resampling)
    per_class = measured.pop("per_class")[TYPES[-1]]
    figures = {**measured, **{f"rarest, {name}": value for name, value in per_class.items()}}
    return {f"types, {name}": Estimate(**value) for name, value in figures.items() if isinstance(value, Mapping)}


def measure_coverage(num_studies: int) -> list[dict[str, Any]]:
    """Return for each figure its intervals' method and, by setting, the share of them that contain the truth."""
    rows: dict[str, dict[str, Any]] = {}
    for title, setting in SETTINGS.items():
        truth = measure_study(setting, 10**9, NUM_TRUE_GROUPS, 2)
        hits: dict[str, list[bool]] = {}
        for seed in trange(num_studies, desc=title, unit="study"):
            for name, found in measure_study(setting, seed, setting.num_groups, NUM_RESAMPLES).items():
                row = rows.setdefault(name, {"figure": name, "interval": found.method})
                if found.lower is not None and found.upper is not None:
                    true = truth[name].value
                    hits.setdefault(name, []).append(true is not None and found.lower <= true <= found.upper)
                if row["interval"] in ("exact", "none"):
                    row["interval"] = found.method
        for name, contained in hits.items():
            rows[name][title] = round(float(np.mean(contained)), 4)
    return list(rows.values())


def measure_promises(num_studies: int, separation: float = 1.4) -> dict[str, float]:
    """Return the share of studies whose limits break their promise; at most 0.05 is right."""

    def missed(triage: Triage) -> float:
        return float(norm.cdf(norm.ppf(triage.screening) - separation / 2))

    def alarms(triage: Triage) -> float:
        return float(norm.sf(norm.ppf(triage.rule_in) + separation / 2))

    broken = {"missed, limits chosen for 0.1": 0, "missed, named points": 0, "false alarms, named points": 0}
    for seed in trange(num_studies, desc="promises", unit="study"):
        rng = np.random.default_rng(seed)
        y_true = (rng.random(400) < 0.3).astype(np.int64)
        y_prob = np.asarray(norm.cdf(rng.normal(size=400) + separation * (y_true - 0.5)))
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
    """Measure what is asked for and write the files; what is not measured again stays in them."""
    measures: dict[str, Callable[[int], Any]] = {
        "coverage": measure_coverage,
        "broken_promises": measure_promises,
        "scale": lambda _: measure_scale(),
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--only", choices=measures, help="measure this part alone")
    args = parser.parse_args()
    for name in [args.only] if args.only else measures:
        found = measures[name](args.studies)
        if name == "scale":
            write_json(SCALE_PATH, found)
            continue
        content = read_json(RESULT_PATH) if RESULT_PATH.is_file() else {"num_studies": {}}
        num_studies = content["num_studies"] | {name: args.studies}
        write_json(RESULT_PATH, content | {"num_studies": num_studies, name: found})


if __name__ == "__main__":
    main()
