import numpy as np
import pytest

from hf_fracture.evaluation.predictions import Predictions, build_predictions
from hf_fracture.evaluation.subgroups import MIN_FILMS_PER_CLASS, find_subgroups


def build_table(y_true: list[int], **columns: list[str | None]) -> Predictions:
    return build_predictions(
        ids=[f"film {k}" for k in range(len(y_true))],
        group_ids=[f"group {k // 2}" for k in range(len(y_true))],
        y_true=y_true,
        logit_difference=np.linspace(-1, 1, len(y_true)),
        subgroups=columns,
    )


def test_parts_of_a_column_hold_every_film_once_and_the_most_frequent_comes_first() -> None:
    table = build_table([0, 1, 0, 1, 1], body_part=["hand", "hip", None, "hip", "hip"])
    parts = find_subgroups(table)
    assert [(part.value, part.indices.tolist(), part.num_fractured, part.num_groups) for part in parts] == [
        ("hip", [1, 3, 4], 3, 3),
        ("hand", [0], 0, 1),
        ("not recorded", [2], 0, 1),
    ]


def test_a_column_with_one_value_repeats_the_headline_and_is_left_out() -> None:
    assert find_subgroups(build_table([0, 1], source=["fracatlas", "fracatlas"])) == []


@pytest.mark.parametrize(("num_fractured", "too_few"), [(MIN_FILMS_PER_CLASS - 1, True), (MIN_FILMS_PER_CLASS, False)])
def test_nine_films_of_a_class_are_too_few_and_ten_are_not(num_fractured: int, too_few: bool) -> None:
    y_true = [1] * num_fractured + [0] * 30 + [0, 1]
    view: list[str | None] = [*["lateral"] * (num_fractured + 30), *["frontal"] * 2]
    part = next(part for part in find_subgroups(build_table(y_true, view=view)) if part.value == "lateral")
    assert part.is_too_few is too_few
    assert part.name == "view=lateral"
