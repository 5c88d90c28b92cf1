"""How much a model's answers change when the same films come in a worse or altered form.

May depend on `comparison`, `figures`, `bootstrap`, `curves` and `predictions`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_fracture.evaluation.bootstrap import Estimate, bootstrap, count_rarer_groups, estimate
from hf_fracture.evaluation.comparison import align_predictions
from hf_fracture.evaluation.curves import RankedFilms
from hf_fracture.evaluation.figures import Resampling
from hf_fracture.evaluation.inputs import Floats
from hf_fracture.evaluation.predictions import Predictions


@dataclass(frozen=True, kw_only=True)
class AlterationEffect:
    """What one alteration of the films does to a model.

    Attributes:
        name: Such as `JPEG quality 30`.
        auroc: On the altered films.
        auroc_change: Altered minus original, on the same resamples.
        flipped_fraction: Share of films whose call at the balanced point changes.
        mean_probability_shift: Mean of the absolute change of the probability, in [0, 1].
    """

    name: str
    auroc: Estimate
    auroc_change: Estimate
    flipped_fraction: Estimate
    mean_probability_shift: float

    def to_dict(self) -> dict[str, Any]:
        """Return the row of `evaluation.json`."""
        return {
            "name": self.name,
            "auroc": self.auroc.to_dict(),
            "auroc_change": self.auroc_change.to_dict(),
            "flipped_fraction": self.flipped_fraction.to_dict(),
            "mean_probability_shift": self.mean_probability_shift,
        }


def measure_alterations(
    original: Predictions,
    altered: Mapping[str, Predictions],
    *,
    threshold: float,
    resampling: Resampling | None = None,
) -> list[AlterationEffect]:
    """Compare the answers on altered films with those on the films themselves.

    Args:
        original: Answers on the films as they are.
        altered: Answers on the same films, by what was done to them.
        threshold: At which calls are compared, in [0, 1].
        resampling: How intervals are obtained; None takes the defaults.

    Returns:
        One effect per entry of `altered`, in its order.

    Raises:
        EvaluationError: If the films, labels or groups differ.
    """
    resampling = resampling or Resampling()
    return [
        _measure(name, original, align_predictions(original, answers), threshold, resampling)
        for name, answers in altered.items()
    ]


def _measure(
    name: str, original: Predictions, altered: Predictions, threshold: float, resampling: Resampling
) -> AlterationEffect:
    ranked = [RankedFilms(answers.y_true, answers.y_prob) for answers in (original, altered)]
    flipped = ((original.y_prob >= threshold) != (altered.y_prob >= threshold)).astype(np.float64)

    def measure(weights: Floats) -> dict[str, Floats]:
        before, after = (films.count_calls(weights).auroc() for films in ranked)
        share = weights @ flipped / weights.sum(axis=1)
        return {"auroc": after, "auroc_change": after - before, "flipped_fraction": share}

    values = measure(np.ones((1, len(original))))
    resampled = bootstrap(measure, original.group_ids, num_resamples=resampling.num_resamples, seed=resampling.seed)
    num_groups, num_rarer = len(np.unique(original.group_ids)), count_rarer_groups(original.group_ids, original.y_true)
    figures = {
        key: estimate(
            float(value[0]),
            resampled[key],
            num_groups=num_groups if key == "flipped_fraction" else num_rarer,
            is_share=key == "flipped_fraction",
            confidence_level=resampling.confidence_level,
        )
        for key, value in values.items()
    }
    shift = float(np.abs(altered.y_prob - original.y_prob).mean())
    return AlterationEffect(name=name, mean_probability_shift=shift, **figures)
