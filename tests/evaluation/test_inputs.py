import re

import numpy as np
import pytest
from numpy.typing import ArrayLike

from hf_fracture.errors import EvaluationError
from hf_fracture.evaluation.inputs import check_binary, check_labels, check_logit_differences, check_probabilities

JUST_ABOVE_ONE = float(np.nextafter(1.0, 2.0))
JUST_BELOW_ZERO = float(np.nextafter(0.0, -1.0))


def test_both_ends_of_the_range_are_probabilities() -> None:
    assert check_probabilities([0.0, 1.0]).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("value", [JUST_ABOVE_ONE, JUST_BELOW_ZERO, 2.7, np.inf])
def test_anything_outside_the_unit_interval_is_refused(value: float) -> None:
    with pytest.raises(EvaluationError, match="Apply softmax"):
        check_probabilities([0.2, value])


def test_a_missing_probability_is_refused_with_the_number_of_films() -> None:
    with pytest.raises(EvaluationError, match="NaN for 1 of 3"):
        check_probabilities([0.2, np.nan, 0.3])


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ([], "at least one label"),
        ([[0, 1]], "shape (1, 2)"),
        ([0, 1, 2], "got 2"),
        ([0, 1, np.nan], "got nan"),
        ([0, 1, -1], "got -1"),
        ([1, 1], "got 2 fractured film(s) among 2"),
        ([0, 0], "got 0 fractured film(s) among 2"),
    ],
)
def test_labels_that_cannot_be_measured_are_refused(labels: ArrayLike, sentence: str) -> None:
    with pytest.raises(EvaluationError, match=re.escape(sentence)):
        check_labels(labels)


def test_lengths_that_differ_are_both_named() -> None:
    with pytest.raises(EvaluationError, match="y_true 2, y_prob 3"):
        check_binary([0, 1], [0.1, 0.2, 0.3])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_diverged_logit_is_refused(value: float) -> None:
    with pytest.raises(EvaluationError, match="of 2 film"):
        check_logit_differences([0.0, value])
