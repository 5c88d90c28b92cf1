"""Folds of a prepared dataset: every group is measured once, by a network that never saw it.

May depend on `data` and `errors`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hf_fracture.data.splits import assign_folds, check_disjoint, choose_share

VALIDATION_PARTS: Final = 7
"""One group in so many of a fold's training groups goes to its validation split, about 14 %."""

PLAN_COLUMNS: Final = ("group_id", "label", "body_part", "patient_id", "perceptual_hash", "label_doubt", "read_note")
"""What a plan is made from, beside `source_path`; columns that a dataset lacks are taken as not known."""

Indices = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Positions of films in the pool.

    Attributes:
        train: To learn from; copies included.
        validation: To choose the epoch, the calibration and the operating points.
        test: Measured by the network of this fold, and by no other.
    """

    train: Indices
    validation: Indices
    test: Indices


def plan_folds(
    columns: Mapping[str, Sequence[Any]], *, num_folds: int, seed: int, train_share: float = 1.0
) -> list[Fold]:
    """Divide films into folds, and each fold's training films once more, without dividing a group.

    Films are stratified by label and body part. As in a prepared dataset's own splits, validation and test hold one
    film of each set of copies, the least altered, and none whose label is in doubt; all others may train.

    Args:
        columns: `group_id` and `label`, and what is known of the other columns of a prepared dataset; N values each.
        num_folds: At least 2 and at most the number of groups.
        seed: Seeds the division.
        train_share: Share of a fold's training groups that train, in (0, 1], for a learning curve; validation and
            test stay whole.

    Returns:
        One entry per fold; their test films are all films that may measure, each once.

    Raises:
        UsageError: If there are fewer groups than folds, fewer than two folds, or the share is out of range.
    """
    groups = np.asarray([str(group) for group in columns["group_id"]])
    num_films = len(groups)
    known = {name: list(columns.get(name) or [None] * num_films) for name in (*PLAN_COLUMNS, "source_path")}
    strata = list(zip(known["label"], known["body_part"], strict=True))
    measures = choose_measured(known)
    fold_of = np.asarray(assign_folds(groups.tolist(), strata, num_folds=num_folds, seed=seed))
    folds = []
    for number in range(num_folds):
        rest = np.flatnonzero(fold_of != number)
        parts = assign_folds(
            groups[rest].tolist(),
            [known["label"][index] for index in rest],  # few groups, so that more strata would lose the shares
            num_folds=min(VALIDATION_PARTS, len(set(groups[rest]))),
            seed=seed + 1 + number,
        )
        is_validation = np.asarray(parts) == 0
        train = rest[~is_validation]
        labels = [known["label"][index] for index in train]
        kept = choose_share(groups[train].tolist(), labels, share=train_share, seed=seed + 1 + number)
        fold = Fold(
            train=train[np.asarray(kept)],
            validation=rest[is_validation & measures[rest]],
            test=np.flatnonzero((fold_of == number) & measures),
        )
        check_disjoint({name: groups[indices].tolist() for name, indices in vars(fold).items()})
        folds.append(fold)
    return folds


def choose_measured(columns: Mapping[str, Sequence[Any]]) -> NDArray[np.bool_]:
    """Choose the films that may measure: of each set of copies one, and none whose label is in doubt.

    Within a group, films of a known patient are copies where they look the same; other films of a group all are. The
    least altered film stands for its copies: read without a note, and of the shortest name, since releases name
    alterations after their original.

    Args:
        columns: The columns of `PLAN_COLUMNS` and `source_path`, N values each; None where not known.

    Returns:
        (N,) True for films that may measure.
    """
    best: dict[tuple[str, str | None], tuple[bool, int, str, int]] = {}
    rows = zip(*(columns[name] for name in (*PLAN_COLUMNS, "source_path")), strict=True)
    for index, (group, _, _, patient, appearance, doubt, note, path) in enumerate(rows):
        if doubt is not None:
            continue
        copies = (str(group), None if patient is None else appearance)
        rank = (note is not None, len(path or ""), path or "", index)
        best[copies] = min(best.get(copies, rank), rank)
    chosen = np.zeros(len(columns["group_id"]), dtype=np.bool_)
    chosen[[rank[-1] for rank in best.values()]] = True
    return chosen
