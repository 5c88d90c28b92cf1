import re

import numpy as np
import pytest
from scipy.special import softmax

from hf_fracture.errors import EvaluationError, UsageError
from hf_fracture.evaluation.calibration import probability_of
from hf_fracture.evaluation.class_map import logit_difference_of, map_classes, parse_label_map

TYPES = {0: "Hairline", 1: "Normal", 2: "Spiral"}


def test_every_class_of_a_multi_class_model_gets_its_meaning() -> None:
    label_map = parse_label_map("Normal=not fractured,Hairline=fractured,Spiral=fractured")
    assert map_classes(TYPES, label_map).tolist() == [1, 0, 1]


def test_ids_that_a_config_file_made_strings_are_ordered_as_numbers() -> None:
    names = {str(index): f"type {index}" for index in range(11)}
    label_map = {name: int(name == "type 10") for name in names.values()}
    assert map_classes(names, label_map).tolist() == [0] * 10 + [1]


def test_the_probability_is_the_sum_of_softmax_over_fractured_classes() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 3)) * 3
    meanings = np.array([1, 0, 1])
    prob = probability_of(logit_difference_of(logits, meanings))
    assert prob == pytest.approx(softmax(logits, axis=1)[:, [0, 2]].sum(axis=1))


def test_swapped_classes_change_the_sign() -> None:
    logits = [[1.0, 3.0]]
    assert logit_difference_of(logits, np.array([1, 0])).tolist() == [-2.0]


@pytest.mark.parametrize(
    ("label_map", "sentence"),
    [
        (None, "without a meaning: 'Hairline', 'Normal', 'Spiral'"),
        ({"Normal": 0, "Spiral": 1}, "without a meaning: 'Hairline'"),
        ({"Normal": 0, "Spiral": 1, "Hairline": 1, "Oblique": 1}, "not a class: 'Oblique'"),
        ({"Normal": 1, "Spiral": 1, "Hairline": 1}, "got only 'fractured'"),
    ],
)
def test_a_meaning_is_never_guessed(label_map: dict[str, int] | None, sentence: str) -> None:
    with pytest.raises(EvaluationError, match=re.escape(sentence)):
        map_classes(TYPES, label_map)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("normal", "got 'normal'"),
        ("normal=negative", "got 'normal=negative'"),
        ("=fractured", "got '=fractured'"),
        ("a=fractured,a=not fractured", "twice"),
        ("", "got ''"),
    ],
)
def test_a_label_map_that_cannot_be_read_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=re.escape(sentence)):
        parse_label_map(text)


def test_a_class_name_may_hold_an_equals_sign() -> None:
    assert parse_label_map("p=1=fractured") == {"p=1": 1}


def test_logits_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(EvaluationError, match=r"shape \(N, 2\)"):
        logit_difference_of([[1.0, 2.0, 3.0]], np.array([0, 1]))
