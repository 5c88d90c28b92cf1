"""Losses as the Trainer wants them: sums over films, divided once by the films of the whole optimizer step.

A mean inside the loss would be multiplied by the number of accumulation steps (transformers issue 47688); a sum
divided by `num_items_in_batch` is right for any division into batches and ranks. May depend on `config`, `labels`
and `errors`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional

from hf_fracture.errors import TrainingError

FilmLoss = Callable[[Any, Tensor, Tensor | int | None], Tensor]


def balanced_class_weights(labels: ArrayLike, *, num_classes: int = 2) -> tuple[float, ...]:
    """Weigh classes by the inverse of their frequency, so that all contribute alike and the mean weight is 1.

    Args:
        labels: (N,) of {0, …, num_classes - 1}.
        num_classes: Classes C, each of which must occur.

    Returns:
        One weight per class.

    Raises:
        TrainingError: If a class is missing.

    >>> balanced_class_weights([0, 0, 0, 1])
    (0.6666666666666666, 2.0)
    """
    counts = np.bincount(np.asarray(labels), minlength=num_classes)
    if len(counts) != num_classes or counts.min() == 0:
        wanted = "both classes" if num_classes == 2 else f"all {num_classes} classes"
        raise TrainingError(
            f"Expected films of {wanted} to train on, got {counts.tolist()} per class. Check labels and split."
        )
    return tuple(float(counts.sum() / (num_classes * count)) for count in counts)


def build_film_loss(
    *,
    class_weights: Sequence[float],
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
    evidence_weight: float = 0.0,
    cells_per_fracture: float = 1.0,
    teacher_weight: float = 0.0,
) -> FilmLoss:
    """Return the Trainer's `compute_loss_func`.

    Args:
        class_weights: Weight of a film of each class.
        label_smoothing: Share of certainty taken off the labels.
        focal_gamma: Power of (1 - probability of a class) by which that class's share of the loss is weighed; see
            `soft_cross_entropies`.
        evidence_weight: Weight of the positions' loss; it is read from the output's `evidence_losses`.
        cells_per_fracture: Positions that a fracture covers on average; divides the positions' loss.
        teacher_weight: Weight of the distance from a teacher; it is read from the output's
            `distillation_losses`, which a network in eval mode leaves out.

    Returns:
        Function of (output, labels, labels in the optimizer step) giving a scalar loss. Labels are classes (N,), or
        shares (N, C) of the classes in blended films; the Trainer counts an (N, C) tensor as N * C labels.
    """
    weights = torch.tensor(class_weights, dtype=torch.float32)

    def film_loss(outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
        logits = outputs["logits"].float()
        shares = labels.float() if labels.ndim == 2 else functional.one_hot(labels, logits.shape[1]).float()
        shares = shares * (1 - label_smoothing) + label_smoothing / logits.shape[1]
        loss = (soft_cross_entropies(logits, shares, gamma=focal_gamma) @ weights.to(logits.device)).sum()
        if evidence_weight > 0:
            loss = loss + evidence_weight / cells_per_fracture * outputs["evidence_losses"].sum()
        if teacher_weight > 0 and (distances := outputs.get("distillation_losses")) is not None:
            loss = loss + teacher_weight * distances.sum()
        num_films: Tensor | float = len(labels) if num_items_in_batch is None else num_items_in_batch
        if labels.ndim == 2 and num_items_in_batch is not None:
            num_films = num_films / labels.shape[1]
        return loss / num_films

    return film_loss


def soft_cross_entropies(logits: Tensor, shares: Tensor, *, gamma: float = 0.0) -> Tensor:
    """Return each class's part of each film's cross-entropy, easy ones weighed down.

    Source of the weight: Lin et al., Focal Loss for Dense Object Detection (2017), without its class weight. Departs
    from it in taking labels that are shares: each class's part is weighed by that class's own probability.

    Args:
        logits: (N, C).
        shares: (N, C) in [0, 1], each row summing to 1.
        gamma: Power of (1 - probability); 0 is cross-entropy.

    Returns:
        (N, C), at least 0.
    """
    log_probabilities = functional.log_softmax(logits, dim=1)
    if gamma == 0:
        return -shares * log_probabilities
    missed = -torch.expm1(log_probabilities)  # 1 - probability, exact near 0
    return -shares * missed.clamp_min(0) ** gamma * log_probabilities
