from typing import Any

import numpy as np
import pytest

from hf_fracture.errors import UsageError
from hf_fracture.training.crossval import Fold, choose_measured, plan_folds


def columns_of(num_groups: int, *, copies: int = 1) -> dict[str, list[Any]]:
    groups = [f"g{index}" for index in range(num_groups) for _ in range(copies)]
    names = [f"{index}{'-rotated' * copy}.png" for index in range(num_groups) for copy in range(copies)]
    return {
        "group_id": groups,
        "label": [int(group[1:]) % 3 == 0 for group in groups],
        "body_part": [("hand", "leg")[int(group[1:]) % 2] for group in groups],
        "source_path": names,
    }


def test_every_group_is_measured_once_by_a_fold_that_never_saw_it() -> None:
    columns = columns_of(60, copies=3)
    groups = np.asarray(columns["group_id"])
    folds = plan_folds(columns, num_folds=5, seed=0)
    measured = np.concatenate([fold.test for fold in folds])
    assert len(measured) == len(set(measured)) == len(set(groups[measured])) == 60
    for fold in folds:
        seen = set(groups[np.concatenate([fold.train, fold.validation])])
        assert not seen & set(groups[fold.test])
        assert not set(groups[fold.train]) & set(groups[fold.validation])
        assert len(set(groups[fold.train])) + len(fold.validation) + len(fold.test) == 60


def test_folds_and_their_validation_films_hold_the_classes_in_their_shares() -> None:
    columns = columns_of(300)
    labels = np.asarray(columns["label"])
    for fold in plan_folds(columns, num_folds=5, seed=3):
        assert labels[fold.test].mean() == pytest.approx(1 / 3, abs=0.05)
        assert labels[fold.validation].mean() == pytest.approx(1 / 3, abs=0.08)
        assert len(fold.validation) == pytest.approx(240 / 7, abs=4)


def test_folds_depend_on_ids_and_seed_and_not_on_the_order_of_films() -> None:
    columns = columns_of(40)
    order = np.random.default_rng(0).permutation(40)
    shuffled = {name: [values[index] for index in order] for name, values in columns.items()}

    def groups_of(given: dict[str, list[Any]], seed: int) -> list[set[str]]:
        return [{given["group_id"][index] for index in fold.test} for fold in plan_folds(given, num_folds=4, seed=seed)]

    assert groups_of(columns, 0) == groups_of(shuffled, 0)
    assert groups_of(columns, 0) != groups_of(columns, 1)


def test_copies_and_doubtful_films_may_train_and_never_measure() -> None:
    columns: dict[str, list[Any]] = {
        "group_id": ["a", "a", "b", "c", "c", "p", "p", "p"],
        "label": [0] * 8,
        "body_part": [None] * 8,
        "patient_id": [None] * 5 + ["x"] * 3,
        "perceptual_hash": ["1", "1", "2", "3", "3", "4", "5", "5"],
        "label_doubt": [None, None, "looks like a fracture", None, None, None, None, None],
        "read_note": [None, None, None, "truncated", None, None, None, None],
        "source_path": ["a-rotated.png", "a.png", "b.png", "c.png", "c-flipped.png", "p.png", "q2.png", "q.png"],
    }
    chosen = np.flatnonzero(choose_measured(columns)).tolist()
    assert [columns["source_path"][index] for index in chosen] == ["a.png", "c-flipped.png", "p.png", "q.png"]


def test_share_of_the_training_groups_leaves_the_measured_films_as_they_are() -> None:
    columns = columns_of(120, copies=2)
    groups, labels = np.asarray(columns["group_id"]), np.asarray(columns["label"])
    for whole, half in zip(
        *(plan_folds(columns, num_folds=3, seed=0, train_share=share) for share in (1, 0.5)), strict=True
    ):
        assert np.array_equal(half.test, whole.test)
        assert np.array_equal(half.validation, whole.validation)
        assert set(half.train) < set(whole.train)
        assert len(set(groups[half.train])) == pytest.approx(len(set(groups[whole.train])) / 2, abs=2)
        assert np.isin(groups, groups[half.train]).sum() == len(half.train)  # with all copies
        assert labels[half.train].mean() == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize("share", [0, -0.5, 1.1, float("nan")])
def test_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="above 0 and up to 1"):
        plan_folds(columns_of(8), num_folds=2, seed=0, train_share=share)


def test_dataset_that_knows_no_more_than_group_and_label_can_be_folded() -> None:
    folds = plan_folds({"group_id": [str(index) for index in range(8)], "label": [0, 1] * 4}, num_folds=2, seed=0)
    assert [type(fold) for fold in folds] == [Fold, Fold]


@pytest.mark.parametrize("num_folds", [1, 9])
def test_more_folds_than_groups_or_fewer_than_two_are_refused(num_folds: int) -> None:
    with pytest.raises(UsageError, match="num_folds"):
        plan_folds(columns_of(8), num_folds=num_folds, seed=0)
