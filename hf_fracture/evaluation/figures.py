"""Every figure of a report in one pass: on the sample itself, and on each resample of its groups.

Figures have names such as `auroc`, `screening/sensitivity`, `selective/coverage` and `body_part=wrist/auroc`. May
depend on `bootstrap`, `curves`, `metrics`, `selective`, `subgroups`, `predictions` and `config`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hf_fracture.config import OperatingPoint, Triage
from hf_fracture.evaluation.bootstrap import (
    CONFIDENCE_LEVEL,
    NUM_RESAMPLES,
    SEED,
    Estimate,
    bootstrap,
    count_rarer_groups,
    estimate,
    expand_tail,
)
from hf_fracture.evaluation.curves import CallCounts, RankedFilms
from hf_fracture.evaluation.inputs import Floats
from hf_fracture.evaluation.metrics import PREVALENCES, film_log_losses, predictive_values, threshold_figures
from hf_fracture.evaluation.predictions import Predictions
from hf_fracture.evaluation.selective import three_way_figures
from hf_fracture.evaluation.subgroups import Subgroup

SUBGROUP_POINT = "balanced"
"""The operating point whose sensitivity and specificity are stated for subgroups."""


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How intervals are obtained; the defaults are those of every published figure."""

    num_resamples: int = field(default=NUM_RESAMPLES, metadata={"help": "Resamples of the groups, at least 2."})
    seed: int = field(default=SEED, metadata={"help": "Seeds the resamples."})
    confidence_level: float = field(
        default=CONFIDENCE_LEVEL, metadata={"help": "Share of studies whose interval holds the truth, in (0, 1)."}
    )


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """The rules by which probabilities become calls, and where they come from.

    Attributes:
        points: Operating points by name.
        triage: Limits of the three-way rule.
        chosen_on: In words, the films on which they were chosen.
    """

    points: Mapping[str, OperatingPoint]
    triage: Triage
    chosen_on: str


class FigureTable:
    """Figures by name, each with its interval.

    Attributes:
        names: Names of all figures that are one number.
    """

    def __init__(
        self,
        values: Mapping[str, Floats],
        resampled: Mapping[str, Floats],
        *,
        num_groups: Mapping[str, int],
        num_share_groups: Mapping[str, int],
        confidence_level: float,
    ) -> None:
        """Keep the figures.

        Args:
            values: On the sample, (1,) or (1, K) by name.
            resampled: On the resamples, (B,) or (B, K) by the same names.
            num_groups: For figures of both classes, by the same names, the groups of the rarer class.
            num_share_groups: For every figure that is a share of films, the groups in its denominator.
            confidence_level: In (0, 1).
        """
        self._values = values
        self._resampled = resampled
        self._num_groups = {**num_groups, **num_share_groups}
        self._shares = frozenset(num_share_groups)
        self._confidence_level = confidence_level
        self.names = tuple(name for name, value in values.items() if value.ndim == 1)

    def __getitem__(self, name: str) -> Estimate:
        """Return one figure with its interval."""
        return estimate(
            float(self._values[name][0]),
            self._resampled[name],
            num_groups=self._num_groups[name],
            is_share=name in self._shares,
            confidence_level=self._confidence_level,
        )

    def section(self, prefix: str) -> dict[str, Estimate]:
        """Return the figures whose name begins with `prefix/`, without it."""
        return {name.removeprefix(f"{prefix}/"): self[name] for name in self.names if name.startswith(f"{prefix}/")}

    def band(self, name: str) -> tuple[Floats, Floats]:
        """Return the pointwise limits of a curve, (K,) each; NaN where it does not exist in every resample."""
        tail = expand_tail(max(2, self._num_groups[name]), confidence_level=self._confidence_level)
        lower, upper = np.quantile(self._resampled[name], [tail, 1 - tail], axis=0)
        return lower, upper


def measure_figures(
    predictions: Predictions,
    decisions: Decisions,
    *,
    subgroups: list[Subgroup] | None = None,
    resampling: Resampling | None = None,
) -> FigureTable:
    """Measure everything that a report states with an interval.

    Args:
        predictions: The films that are measured; not those on which `decisions` were chosen.
        decisions: Operating points and limits.
        subgroups: Parts to be measured on their own; those with too few films are passed over.
        resampling: How intervals are obtained; None takes the defaults.

    Returns:
        A table that also holds the curves `roc` and `precision`, on the grid of `curves.GRID`.

    Raises:
        EvaluationError: If there are fewer than two resamples or a confidence level outside (0, 1).
    """
    resampling = resampling or Resampling()
    parts = [_Part(predictions.take(group.indices), group) for group in subgroups or [] if not group.is_too_few]
    ranked = RankedFilms(predictions.y_true, predictions.y_prob)
    losses = np.stack(
        [film_log_losses(predictions.y_true, predictions.y_prob), (predictions.y_prob - predictions.y_true) ** 2],
        axis=1,
    )

    def measure(weights: Floats) -> dict[str, Floats]:
        counts = ranked.count_calls(weights)
        means = weights @ losses / weights.sum(axis=1, keepdims=True)
        figures = {
            "auroc": counts.auroc(),
            "average_precision": counts.average_precision(),
            "log_loss": means[:, 0],
            "brier_score": means[:, 1],
            "roc": counts.roc_on_grid(),
            "precision": counts.precision_on_grid(),
        }
        for name, point in decisions.points.items():
            figures |= {f"{name}/{key}": value for key, value in _measure_point(counts, point.threshold).items()}
        figures |= {f"selective/{key}": value for key, value in three_way_figures(counts, decisions.triage).items()}
        for part in parts:
            figures |= part.measure(weights, decisions.points[SUBGROUP_POINT].threshold)
        return figures

    values = measure(np.ones((1, len(predictions))))
    num_groups = dict.fromkeys(values, count_rarer_groups(predictions.group_ids, predictions.y_true))
    return FigureTable(
        values,
        bootstrap(measure, predictions.group_ids, num_resamples=resampling.num_resamples, seed=resampling.seed),
        num_groups=num_groups | {part.auroc_name: part.count_rarer_groups() for part in parts},
        num_share_groups=_count_denominators(predictions, decisions)
        | {name: number for part in parts for name, number in part.count_denominators().items()},
        confidence_level=resampling.confidence_level,
    )


def prevalence_key(figure: str, prevalence: float) -> str:
    """Return the name of a predictive value restated for a prevalence.

    >>> prevalence_key("ppv", 0.05)
    'ppv_at_0.05'
    """
    return f"{figure}_at_{prevalence:.2f}"


def _measure_point(counts: CallCounts, threshold: float) -> dict[str, Floats]:
    figures = threshold_figures(counts.confusion(threshold))
    restated: dict[str, Floats] = {}
    for prevalence in PREVALENCES:
        ppv, npv = predictive_values(figures["sensitivity"], figures["specificity"], prevalence=prevalence)
        restated |= {prevalence_key("ppv", prevalence): ppv, prevalence_key("npv", prevalence): npv}
    return figures | restated


class _Part:
    """A subgroup with its films sorted, so that each resample costs two running sums."""

    def __init__(self, predictions: Predictions, subgroup: Subgroup) -> None:
        self._predictions = predictions
        self._subgroup = subgroup
        self._ranked = RankedFilms(predictions.y_true, predictions.y_prob, positions=subgroup.indices)
        self.auroc_name = f"{subgroup.name}/auroc"

    def measure(self, weights: Floats, threshold: float) -> dict[str, Floats]:
        counts = self._ranked.count_calls(weights)
        figures = threshold_figures(counts.confusion(threshold))
        name = self._subgroup.name
        return {
            self.auroc_name: counts.auroc(),
            f"{name}/sensitivity": figures["sensitivity"],
            f"{name}/specificity": figures["specificity"],
        }

    def count_rarer_groups(self) -> int:
        return count_rarer_groups(self._predictions.group_ids, self._predictions.y_true)

    def count_denominators(self) -> dict[str, int]:
        fractured = self._predictions.y_true == 1
        return {
            f"{self._subgroup.name}/sensitivity": _count_groups(self._predictions, fractured),
            f"{self._subgroup.name}/specificity": _count_groups(self._predictions, ~fractured),
        }


def _count_denominators(predictions: Predictions, decisions: Decisions) -> dict[str, int]:
    """Count, for each proportion, the groups that have a film in its denominator."""
    fractured, prob = predictions.y_true == 1, predictions.y_prob
    every = np.ones_like(fractured)
    masks: dict[str, NDArray[np.bool_]] = {}
    for name, point in decisions.points.items():
        called = prob >= point.threshold
        masks |= {
            f"{name}/sensitivity": fractured,
            f"{name}/specificity": ~fractured,
            f"{name}/ppv": called,
            f"{name}/npv": ~called,
            f"{name}/accuracy": every,
        }
    cleared, called = prob < decisions.triage.screening, prob >= decisions.triage.rule_in
    masks |= {
        "selective/coverage": every,
        "selective/error_among_decided": cleared | called,
        "selective/missed_among_cleared": cleared,
        "selective/false_alarms_among_called": called,
        "selective/missed_fraction": fractured,
        "selective/false_alarm_fraction": ~fractured,
        "selective/sensitivity_among_decided": (cleared | called) & fractured,
        "selective/specificity_among_decided": (cleared | called) & ~fractured,
    }
    return {name: _count_groups(predictions, mask) for name, mask in masks.items()}


def _count_groups(predictions: Predictions, mask: NDArray[np.bool_]) -> int:
    return len(np.unique(predictions.group_ids[mask]))
