"""Two models on the same films: is one better, and by how much.

May depend on `report`'s parts, never on `report` itself.

Schema of `comparison.json` (version 1). E is a figure with its interval, as in `report`.

- `schema_version`: 1. `model_a`, `model_b`, `dataset`, `software`, `bootstrap`, `cohort`: as in `evaluation.json`.
- `auroc_delong`: `auroc_a`, `auroc_b`, `difference`, `standard_error`, `lower`, `upper`, `p_value` (of the difference).
- `differences`: `auroc`, `average_precision`, `brier_score`, `log_loss`, each E, model A minus model B.
- `operating_point`: its `name`, `threshold_a`, `threshold_b`; `fractured` and `intact`: films of that class that
  `only_a_right` and `only_b_right`, and McNemar's exact `p_value`.
- `calibration`: `model_a` and `model_b`: `brier_score`, `expected_calibration_error`, `slope` E, `intercept` E.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation.bootstrap import Estimate, bootstrap, count_rarer_groups, estimate
from hf_fracture.evaluation.calibration import calibration_intercept, calibration_slope, expected_calibration_error
from hf_fracture.evaluation.curves import RankedFilms
from hf_fracture.evaluation.delong import AurocDifference, auroc_difference
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.inputs import Floats
from hf_fracture.evaluation.metrics import brier_score, film_log_losses
from hf_fracture.evaluation.predictions import Predictions

FILE_NAME: Final = "comparison.json"


@dataclass(frozen=True, kw_only=True)
class DiscordantFilms:
    """Films of one class on which exactly one of two models is right.

    Attributes:
        only_a_right: Films.
        only_b_right: Films.
        p_value: McNemar's exact test, two-sided, that both are right equally often; films are taken as independent.
    """

    only_a_right: int
    only_b_right: int
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How two models differ on the same films; every difference is A minus B.

    Attributes:
        auroc: DeLong's test, with the variance summed over groups.
        differences: Figures by name, each with a bootstrap interval over groups.
        thresholds: Of model A and model B, at the compared operating point.
        fractured: Discordant calls on fractured films.
        intact: Discordant calls on the others.
        calibration: Brier score, ECE, slope and intercept of A and of B.
    """

    auroc: AurocDifference
    differences: Mapping[str, Estimate]
    thresholds: tuple[float, float]
    fractured: DiscordantFilms
    intact: DiscordantFilms
    calibration: tuple[Mapping[str, Any], Mapping[str, Any]]

    def to_dict(self, *, point_name: str) -> dict[str, Any]:
        """Return the measured sections of `comparison.json`."""
        return {
            "auroc_delong": asdict(self.auroc),
            "differences": {name: figure.to_dict() for name, figure in self.differences.items()},
            "operating_point": {
                "name": point_name,
                "threshold_a": self.thresholds[0],
                "threshold_b": self.thresholds[1],
                "fractured": asdict(self.fractured),
                "intact": asdict(self.intact),
            },
            "calibration": {"model_a": dict(self.calibration[0]), "model_b": dict(self.calibration[1])},
        }


def compare_predictions(
    first: Predictions,
    second: Predictions,
    *,
    thresholds: tuple[float, float],
    resampling: Resampling | None = None,
) -> Comparison:
    """Compare two models that answered the same films.

    Args:
        first: Answers of model A.
        second: Answers of model B, in any order.
        thresholds: At which A and B call a fracture, in [0, 1]; chosen on other films.
        resampling: How intervals are obtained; None takes the defaults.

    Raises:
        EvaluationError: If the films, labels or groups differ, or a threshold leaves [0, 1].
    """
    second = align_predictions(first, second)
    resampling = resampling or Resampling()
    true = first.y_true
    return Comparison(
        auroc=auroc_difference(
            true,
            first.y_prob,
            second.y_prob,
            group_ids=first.group_ids,
            confidence_level=resampling.confidence_level,
        ),
        differences=measure_differences(first, second, resampling),
        thresholds=thresholds,
        fractured=count_discordant(*_find_right(first, second, thresholds, label=1)),
        intact=count_discordant(*_find_right(first, second, thresholds, label=0)),
        calibration=(_describe_calibration(first), _describe_calibration(second)),
    )


def align_predictions(reference: Predictions, other: Predictions) -> Predictions:
    """Put the films of one table into the order of another.

    Raises:
        EvaluationError: If the tables do not hold the same films with the same labels and groups.
    """
    if sorted(reference.ids.tolist()) != sorted(other.ids.tolist()):
        only = np.setxor1d(reference.ids, other.ids)
        raise EvaluationError(
            f"Two models are compared on the same films, but {len(only)} film(s) were answered by one only, such as "
            f"'{only[0]}'. Predict the same split with both."
        )
    position = {name: index for index, name in enumerate(other.ids.tolist())}
    aligned = other.take(np.array([position[name] for name in reference.ids.tolist()], dtype=np.intp))
    for column in ("y_true", "group_ids"):
        if not np.array_equal(getattr(reference, column), getattr(aligned, column)):
            raise EvaluationError(
                f"Two models are compared on the same films, but their {column} differ. Predict the same version of "
                "the dataset with both."
            )
    return aligned


def measure_differences(first: Predictions, second: Predictions, resampling: Resampling) -> dict[str, Estimate]:
    """Subtract the figures of B from those of A, on the sample and on the same resamples of its groups.

    Args:
        first: Answers of model A.
        second: Answers of model B, same films in the same order.
        resampling: How intervals are obtained.
    """
    ranked = [RankedFilms(answers.y_true, answers.y_prob) for answers in (first, second)]
    film_errors = [
        np.stack([film_log_losses(p.y_true, p.y_prob), (p.y_prob - p.y_true) ** 2], axis=1) for p in (first, second)
    ]

    def measure(weights: Floats) -> dict[str, Floats]:
        counts = [films.count_calls(weights) for films in ranked]
        errors = weights @ (film_errors[0] - film_errors[1]) / weights.sum(axis=1, keepdims=True)
        return {
            "auroc": counts[0].auroc() - counts[1].auroc(),
            "average_precision": counts[0].average_precision() - counts[1].average_precision(),
            "brier_score": errors[:, 1],
            "log_loss": errors[:, 0],
        }

    values = measure(np.ones((1, len(first))))
    resampled = bootstrap(measure, first.group_ids, num_resamples=resampling.num_resamples, seed=resampling.seed)
    num_groups = count_rarer_groups(first.group_ids, first.y_true)
    return {
        name: estimate(
            float(value[0]), resampled[name], num_groups=num_groups, confidence_level=resampling.confidence_level
        )
        for name, value in values.items()
    }


def judge_difference(difference: Estimate) -> str:
    """Put the interval of a difference into words, for a figure of which more is better.

    >>> judge_difference(Estimate(value=0.02, lower=0.01, upper=0.03, method="wald"))
    'better'
    >>> judge_difference(Estimate(value=0.02, lower=-0.01, upper=0.05, method="wald"))
    'no difference shown'
    """
    if difference.lower is not None and difference.lower > 0:
        return "better"
    if difference.upper is not None and difference.upper < 0:
        return "worse"
    return "no difference shown"


def count_discordant(right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> DiscordantFilms:
    """Count the films on which exactly one model is right, and test whether both are right equally often.

    Source: McNemar, Psychometrika 1947; the exact form.

    Args:
        right_a: (N,) whether model A is right.
        right_b: (N,) whether model B is right.

    >>> count_discordant(np.array([True, True, True, False]), np.array([False, False, True, False])).p_value
    0.5
    """
    from scipy.stats import binomtest

    only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    p_value = float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return DiscordantFilms(only_a_right=only_a, only_b_right=only_b, p_value=p_value)


def _find_right(
    first: Predictions, second: Predictions, thresholds: tuple[float, float], *, label: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    for threshold in thresholds:
        if not 0.0 <= threshold <= 1.0:
            raise EvaluationError(
                f"thresholds must lie in [0, 1], got {threshold!r}. Take those of the models' records."
            )
    films = first.y_true == label
    right = [
        (answers.y_prob[films] >= threshold) == bool(label)
        for answers, threshold in zip((first, second), thresholds, strict=True)
    ]
    return right[0], right[1]


def _describe_calibration(answers: Predictions) -> dict[str, Any]:
    arguments = (answers.logit_difference, answers.y_true, answers.group_ids)
    return {
        "brier_score": brier_score(answers.y_true, answers.y_prob),
        "expected_calibration_error": expected_calibration_error(answers.y_true, answers.y_prob),
        "slope": calibration_slope(*arguments).to_dict(),
        "intercept": calibration_intercept(*arguments).to_dict(),
    }
