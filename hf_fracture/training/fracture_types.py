"""Types of fracture as classes: the same training, another target.

Films whose type is not known are refused rather than guessed. May depend on `models`, `data`, `config`, `labels` and
`errors`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike

from hf_fracture.data.schema import HELD_OUT
from hf_fracture.errors import TrainingError
from hf_fracture.labels import LABEL_NAMES
from hf_fracture.models.enhanced import find_output_layer

if TYPE_CHECKING:
    from datasets import DatasetDict
    from transformers import PreTrainedModel

COLUMN = "fracture_type"


def choose_target(
    dataset: "DatasetDict", target: Literal["fracture", "fracture_type"]
) -> tuple["DatasetDict", tuple[str, ...]]:
    """Return the dataset with the target in the column `label`, and the names of its classes.

    Args:
        dataset: Prepared dataset.
        target: `fracture` leaves the dataset as it is; `fracture_type` labels each film by its type, the types in
            alphabetical order. Films that are held out stay out.

    Raises:
        TrainingError: If a film has no type, or there are fewer than two types.
    """
    if target == "fracture":
        return dataset, LABEL_NAMES
    from datasets import ClassLabel, DatasetDict

    splits = {name: films for name, films in dataset.items() if name != HELD_OUT}
    for name, films in splits.items():
        unknown = films.num_rows if COLUMN not in films.column_names else sum(kind is None for kind in films[COLUMN])
        if unknown:
            raise TrainingError(
                f"Expected a fracture_type for every film, found none for {unknown:,} of {films.num_rows:,} in split "
                f"'{name}'. Use a dataset with types, such as bone_break, or leave --target out."
            )
    kinds = tuple(sorted({str(kind) for films in splits.values() for kind in films[COLUMN]}))
    if len(kinds) < 2:
        raise TrainingError(f"Expected at least two fracture types, found {list(kinds)}. Add films of another type.")
    number = {kind: index for index, kind in enumerate(kinds)}
    labelled = DatasetDict(
        {
            name: films.remove_columns("label").add_column(
                "label",
                [number[str(kind)] for kind in films[COLUMN]],
                feature=ClassLabel(names=list(kinds)),
            )
            for name, films in splits.items()
        }
    )
    return labelled, kinds


def fit_class_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """Find the temperature that minimises the log loss of a classifier of any number of classes.

    Labels are smoothed by one film spread over the classes, so that classes which the network separates give a finite
    answer.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.

    Args:
        logits: (N, C), before any temperature.
        labels: (N,) of 0..C-1.

    Returns:
        A temperature in [0.01, 100]; above 1 where the network is overconfident.

    Raises:
        TrainingError: If the logits are not finite or do not fit the labels.

    >>> round(fit_class_temperature([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]], [0, 0, 1, 1]), 1)
    4.7
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    scores, true = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.intp)
    if scores.ndim != 2 or len(scores) != len(true) or not np.isfinite(scores).all():
        raise TrainingError(
            f"Expected finite logits (N, C) for {len(true)} labels, got shape {scores.shape}. Train the network longer."
        )
    num_films, num_classes = scores.shape
    targets = np.eye(num_classes)[true] * num_films / (num_films + 1) + 1 / (num_classes * (num_films + 1))

    def loss(log_temperature: float) -> float:
        return float(-(targets * log_softmax(scores / np.exp(log_temperature), axis=1)).sum(axis=1).mean())

    bounds = (float(np.log(0.01)), float(np.log(100.0)))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x))


@torch.no_grad()
def adjust_class_head(model: "PreTrainedModel", *, temperature: float, shifts: Sequence[float]) -> None:
    """Fold a calibration into a linear head: logit k -> (logit k + shift k) / temperature.

    Args:
        model: Classifier whose last Linear layer gives the logits.
        temperature: Positive divisor.
        shifts: (C,) added before the division.

    Raises:
        ValueError: If the network does not end in a Linear layer of its classes.
    """
    _, head = find_output_layer(model)
    head.bias.add_(torch.tensor(list(shifts), dtype=head.bias.dtype)).div_(temperature)
    head.weight.div_(temperature)
