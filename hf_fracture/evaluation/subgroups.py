"""Which parts of a sample are measured on their own, and which are too few.

May depend on `inputs` and `predictions`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.evaluation.inputs import Indices
from hf_fracture.evaluation.predictions import Predictions

MIN_FILMS_PER_CLASS: Final = 10
"""A part with fewer films of either class gets no figures, only its counts."""

NOT_RECORDED: Final = "not recorded"


@dataclass(frozen=True, kw_only=True)
class Subgroup:
    """Films that share one value of one column.

    Attributes:
        column: Such as `body_part`.
        value: Such as `wrist`; `not recorded` for films of which it is not known.
        indices: Positions of its films, rising.
        num_fractured: Fractured films among them.
        num_groups: Groups that have a film among them.
    """

    column: str
    value: str
    indices: Indices
    num_fractured: int
    num_groups: int

    @property
    def is_too_few(self) -> bool:
        """True if either class has fewer than `MIN_FILMS_PER_CLASS` films."""
        return min(self.num_fractured, len(self.indices) - self.num_fractured) < MIN_FILMS_PER_CLASS

    @property
    def name(self) -> str:
        """Key of its figures, such as `body_part=wrist`."""
        return f"{self.column}={self.value}"


def find_subgroups(predictions: Predictions) -> list[Subgroup]:
    """Divide the films by each column, the most frequent value first.

    Columns with a single value are left out: their figures would repeat the headline.

    Args:
        predictions: With one or more columns in `subgroups`.

    Returns:
        Subgroups in the order of the columns; those of one column hold every film exactly once.
    """
    return [
        subgroup
        for column, values in predictions.subgroups.items()
        for subgroup in _divide(predictions, column, values)
    ]


def _divide(predictions: Predictions, column: str, values: NDArray[np.object_]) -> list[Subgroup]:
    named = np.array([NOT_RECORDED if value is None else str(value) for value in values.tolist()])
    unique, counts = np.unique(named, return_counts=True)
    if len(unique) < 2:
        return []
    ordered = sorted(zip(unique.tolist(), counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    return [_select(predictions, column, value, np.flatnonzero(named == value)) for value, _ in ordered]


def _select(predictions: Predictions, column: str, value: str, indices: Indices) -> Subgroup:
    return Subgroup(
        column=column,
        value=value,
        indices=indices,
        num_fractured=int(predictions.y_true[indices].sum()),
        num_groups=len(np.unique(predictions.group_ids[indices])),
    )
