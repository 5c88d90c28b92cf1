"""One answer per study: the film that shows most decides."""

from dataclasses import replace

import pytest

from hf_fracture.config import FractureRecord, OperatingPoint, Triage
from hf_fracture.inference.finding import Decision, Finding
from hf_fracture.inference.study import STUDY_COLUMNS, answer_studies

POINT = OperatingPoint(threshold=0.5, sensitivity=0.9, specificity=0.9)
RECORD = FractureRecord(
    operating_points={"balanced": POINT}, temperature=1.0, triage=Triage(screening=0.2, rule_in=0.6)
)


def film(study: str | None, probability: float | None, decision: Decision = "no fracture", view: str = "") -> Finding:
    return Finding(
        path=f"{study}-{probability}.png",
        decision=decision,
        probability=probability,
        study_id=study,
        view=view or None,
        model="m",
        seconds=0.0,
    )


def test_study_has_the_probability_of_its_most_telling_film() -> None:
    findings = [film("a", 0.1, view="frontal"), film("b", 0.3), film("a", 0.7, view="lateral"), film(None, 0.9)]
    first, second = answer_studies(findings, RECORD)
    assert (first.study_id, first.probability, first.decision, first.film) == ("a", 0.7, "fracture", "a-0.7.png")
    assert (first.num_films, first.num_answered, first.views) == (2, 2, ["frontal", "lateral"])
    assert (second.study_id, second.decision, second.operating_point) == ("b", "uncertain", "screening")


@pytest.mark.parametrize("num_films", [1, 4, 20])
def test_more_views_of_healthy_bones_do_not_add_up_to_a_fracture(num_films: int) -> None:
    # a noisy-or of twenty films at 0.15 would say 0.96
    (study,) = answer_studies([film("a", 0.15) for _ in range(num_films)], RECORD)
    assert study.decision == "no fracture"


def test_order_of_the_films_does_not_matter() -> None:
    findings = [film("a", value) for value in (0.1, 0.9, 0.4)]
    forward, backward = answer_studies(findings, RECORD), answer_studies(findings[::-1], RECORD)
    assert forward == backward


def test_film_without_an_answer_is_counted_and_does_not_decide() -> None:
    (study,) = answer_studies([film("a", None, "refused"), film("a", 0.1)], RECORD)
    assert (study.num_films, study.num_answered, study.probability) == (2, 1, 0.1)
    (silent,) = answer_studies([film("a", None, "error"), film("a", None, "refused")], RECORD)
    assert (silent.decision, silent.probability, silent.film) == ("refused", None, None)


def test_row_is_text_in_the_order_of_the_columns() -> None:
    (study,) = answer_studies([film("a", 0.7, view="frontal")], RECORD)
    row = dict(zip(STUDY_COLUMNS, replace(study, film="=x.png").to_csv_row(), strict=True))
    assert (row["probability"], row["views"], row["film"], row["body_parts"]) == ("0.700000", "frontal", "'=x.png", "")
