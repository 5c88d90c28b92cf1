"""Losses as the Trainer wants them: sums over films, divided once by the films of the whole optimizer step.

A mean inside the loss would be multiplied by the number of accumulation steps (transformers issue 47688); a sum
divided by `num_items_in_batch` is right for any division into batches and ranks. May depend on `config`, `labels`
and `errors`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional

from hf_fracture.errors import TrainingError

FilmLoss = Callable[[Any, Tensor, Tensor | int | None], Tensor]


def balanced_class_weights(labels: ArrayLike) -> tuple[float, float]:
    """Weigh classes by the inverse of their frequency, so that both contribute alike and the mean weight is 1.

    Args:
        labels: (N,) of {0, 1}.

    Raises:
        TrainingError: If a class is missing.

    >>> balanced_class_weights([0, 0, 0, 1])
    (0.6666666666666666, 2.0)
    """
    counts = np.bincount(np.asarray(labels), minlength=2)
    if len(counts) != 2 or counts.min() == 0:
        raise TrainingError(
            f"Expected films of both classes to train on, got {counts.tolist()} per class. Check labels and split."
        )
    negative, positive = (float(counts.sum() / (2 * count)) for count in counts)
    return negative, positive


def build_film_loss(
    *,
    class_weights: tuple[float, float],
    label_smoothing: float = 0.0,
    evidence_weight: float = 0.0,
    cells_per_fracture: float = 1.0,
) -> FilmLoss:
    """Return the Trainer's `compute_loss_func`.

    Args:
        class_weights: Weight of a film without and with fracture.
        label_smoothing: Share of certainty taken off the labels.
        evidence_weight: Weight of the positions' loss; it is read from the output's `evidence_losses`.
        cells_per_fracture: Positions that a fracture covers on average; divides the positions' loss.

    Returns:
        Function of (output, labels (N,), films in the optimizer step) giving a scalar loss.
    """
    weights = torch.tensor(class_weights, dtype=torch.float32)

    def film_loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        logits = outputs["logits"].float()
        loss = functional.cross_entropy(
            logits, labels, weight=weights.to(logits.device), reduction="sum", label_smoothing=label_smoothing
        )
        if evidence_weight > 0:
            loss = loss + evidence_weight / cells_per_fracture * outputs["evidence_losses"].sum()
        return loss / (num_items_in_batch if num_items_in_batch is not None else len(labels))

    return film_loss
