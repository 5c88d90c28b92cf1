"""AUROC and average precision with intervals from a bootstrap over groups, as an `evaluate` module."""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

from hf_fracture.evaluation.bootstrap import (
    CONFIDENCE_LEVEL,
    NUM_RESAMPLES,
    SEED,
    bootstrap,
    count_rarer_groups,
    estimate,
)
from hf_fracture.evaluation.curves import RankedFilms
from hf_fracture.evaluation.inputs import Floats

_INPUTS = """
Args:
    predictions: Probabilities of fracture in [0, 1]; logits are refused.
    references: Labels in {0, 1}, both present.
    group_ids: One id per film; films of one group are drawn together. None takes each film for its own.
    num_resamples: Resamples of the groups.
    confidence_level: In (0, 1).
    seed: Seeds the resamples.
Returns:
    auroc, average_precision: each with value, lower, upper and method.
"""


class GroupedAuroc(evaluate.Metric):
    """Rank fractured films above others: the area under the ROC and precision-recall curves."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="AUROC and average precision with intervals from a bootstrap over groups.",
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(
        self,
        predictions: Sequence[float],
        references: Sequence[int],
        group_ids: Sequence[str] | None = None,
        *,
        num_resamples: int = NUM_RESAMPLES,
        confidence_level: float = CONFIDENCE_LEVEL,
        seed: int = SEED,
    ) -> dict[str, Any]:
        ranked = RankedFilms(references, predictions)

        def measure(weights: Floats) -> dict[str, Floats]:
            counts = ranked.count_calls(weights)
            return {"auroc": counts.auroc(), "average_precision": counts.average_precision()}

        groups = [str(position) for position in range(len(references))] if group_ids is None else group_ids
        resampled = bootstrap(measure, groups, num_resamples=num_resamples, seed=seed)
        num_groups = count_rarer_groups(groups, references)
        return {
            name: estimate(
                float(value[0]), resampled[name], num_groups=num_groups, confidence_level=confidence_level
            ).to_dict()
            for name, value in measure(np.ones((1, len(references)))).items()
        }
