"""The three-way rule at its limits, and the order of the labels."""

import pytest

from hf_fracture.config import FractureRecord, OperatingPoint, Triage
from hf_fracture.errors import ModelFolderError
from hf_fracture.inference.decision import decide, find_fractured_index


def build_record(screening: float, rule_in: float) -> FractureRecord:
    point = OperatingPoint(threshold=0.5, sensitivity=0.9, specificity=0.9)
    return FractureRecord(
        operating_points={"balanced": point}, temperature=1.0, triage=Triage(screening=screening, rule_in=rule_in)
    )


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        (0.0, ("no fracture", "screening")),
        (0.1999, ("no fracture", "screening")),
        (0.2, ("uncertain", "screening")),
        (0.6999, ("uncertain", "screening")),
        (0.7, ("fracture", "rule_in")),
        (1.0, ("fracture", "rule_in")),
    ],
)
def test_three_way_rule_at_its_limits(probability: float, expected: tuple[str, str]) -> None:
    assert decide(probability, build_record(0.2, 0.7)) == expected


@pytest.mark.parametrize(("probability", "decision"), [(0.3999, "no fracture"), (0.4, "fracture")])
def test_one_threshold_for_both_answers_leaves_no_uncertainty(probability: float, decision: str) -> None:
    assert decide(probability, build_record(0.4, 0.4)) == (decision, "balanced")


@pytest.mark.parametrize(("probability", "decision"), [(0.4999, "no fracture"), (0.5, "fracture")])
def test_model_without_a_record_answers_by_the_larger_probability(probability: float, decision: str) -> None:
    assert decide(probability, None) == (decision, None)


@pytest.mark.parametrize(
    ("names", "index"),
    [
        (("not fractured", "fractured"), 1),
        (("fractured", "not fractured"), 0),
        (("Fracture", "Normal"), 0),
        (("healthy", "bone_fracture"), 1),
        (("NON-FRACTURED", "FRACTURED"), 1),
        (("No Fracture", "Fracture"), 1),
        (("Fracture", "unfractured"), 0),
        (("broken", "not broken"), 0),
        (("fracture_absent", "fracture_present"), 1),
    ],
)
def test_label_that_names_a_fracture_is_found(names: tuple[str, str], index: int) -> None:
    assert find_fractured_index(dict(enumerate(names))) == index
    assert find_fractured_index({str(key): name for key, name in enumerate(names)}) == index


@pytest.mark.parametrize(
    "names", [(), ("fractured",), ("LABEL_0", "LABEL_1"), ("a", "b", "fracture"), ("fracture", "broken bone")]
)
def test_labels_that_leave_it_open_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ModelFolderError, match="id2label"):
        find_fractured_index(dict(enumerate(names)))
