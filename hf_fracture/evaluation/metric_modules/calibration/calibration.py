"""Brier score and expected calibration error over bins of equal mass, as an `evaluate` module."""

from collections.abc import Sequence

import datasets
import evaluate

from hf_fracture.evaluation.calibration import NUM_BINS, expected_calibration_error
from hf_fracture.evaluation.metrics import brier_score, log_loss

_INPUTS = """
Args:
    predictions: Probabilities of fracture in [0, 1]; logits are refused.
    references: Labels in {0, 1}, both present.
    num_bins: Bins of equal mass.
Returns:
    brier_score, log_loss, expected_calibration_error.
"""


class Calibration(evaluate.Metric):
    """State how well probabilities mean what they say."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Brier score, log loss and expected calibration error over bins of equal mass.",
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(
        self, predictions: Sequence[float], references: Sequence[int], *, num_bins: int = NUM_BINS
    ) -> dict[str, float]:
        return {
            "brier_score": brier_score(references, predictions),
            "log_loss": log_loss(references, predictions),
            "expected_calibration_error": expected_calibration_error(references, predictions, num_bins=num_bins),
        }
