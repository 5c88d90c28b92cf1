"""Every figure at one threshold, as an `evaluate` module."""

from collections.abc import Sequence

import datasets
import evaluate

from hf_fracture.evaluation.metrics import metrics_at_threshold

_INPUTS = """
Args:
    predictions: Probabilities of fracture in [0, 1]; logits are refused.
    references: Labels in {0, 1}, both present.
    threshold: Called fractured at or above it; choose it on other films.
Returns:
    sensitivity, specificity, ppv, npv, f1, balanced_accuracy, mcc, kappa, accuracy; None where one does not exist.
"""


class OperatingPoint(evaluate.Metric):
    """Measure a decision at one threshold, so that all its figures belong together."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Sensitivity, specificity and what follows from them at one threshold.",
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(
        self, predictions: Sequence[float], references: Sequence[int], *, threshold: float
    ) -> dict[str, float | None]:
        return metrics_at_threshold(references, predictions, threshold=threshold)
