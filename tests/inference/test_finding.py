"""The row of a finding: its columns, what it refuses, and what spreadsheets make of it."""

import csv
import io
import json
from typing import Any

import pytest

from hf_fracture.data.spreadsheets import neutralise_formula
from hf_fracture.errors import UsageError
from hf_fracture.inference.finding import COLUMNS, Finding, Reason

REASON = Reason(code="blank", sentence="The picture is blank.")


def build_finding(**changes: Any) -> Finding:
    values = {"path": "a.png", "decision": "fracture", "probability": 0.75, "model": "m", "seconds": 0.25, **changes}
    return Finding(**values)


def test_columns_are_the_documented_ones_in_their_order() -> None:
    documented = (
        *("path", "decision", "probability", "operating_point", "reasons", "body_part", "view", "laterality"),
        *("study_id", "gate_score", "read_note", "model", "revision", "seconds"),
    )
    assert documented == COLUMNS


def test_dictionary_has_the_columns_in_order_and_survives_json() -> None:
    finding = build_finding(reasons=[REASON], gate_score=0.5)
    row = json.loads(json.dumps(finding.to_dict(), allow_nan=False))
    assert tuple(row) == COLUMNS
    assert row["reasons"] == [{"code": "blank", "sentence": "The picture is blank."}]
    assert row["probability"] == 0.75
    assert row["body_part"] is None


def test_csv_row_leaves_the_unknown_empty_and_joins_the_reasons() -> None:
    finding = build_finding(decision="refused", probability=None, reasons=[REASON, REASON], gate_score=2.0)
    row = dict(zip(COLUMNS, finding.to_csv_row(), strict=True))
    assert row["probability"] == ""
    assert row["gate_score"] == "2.000000"
    assert row["seconds"] == "0.250"
    assert row["reasons"] == "blank: The picture is blank. | blank: The picture is blank."


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "  @"])
def test_file_name_cannot_become_a_formula(start: str) -> None:
    name = f"{start}cmd|' /C calc'!A0.png"
    stream = io.StringIO()
    csv.writer(stream).writerow(build_finding(path=name, body_part=start + "x").to_csv_row())
    row = dict(zip(COLUMNS, next(csv.reader(io.StringIO(stream.getvalue(), newline=""))), strict=True))
    assert row["path"] == "'" + name
    assert row["body_part"].startswith("'")


@pytest.mark.parametrize("cell", ["wrist.png", "", "a=b", "0.5", "'quoted"])
def test_harmless_cell_stays_as_it_is(cell: str) -> None:
    assert neutralise_formula(cell) == cell


@pytest.mark.parametrize(
    "changes",
    [
        {"probability": 1.0001},
        {"probability": -0.0001},
        {"probability": float("nan")},
        {"probability": None},
        {"decision": "refused"},
        {"decision": "error"},
        {"decision": "maybe"},
    ],
)
def test_contradiction_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        build_finding(**changes)


@pytest.mark.parametrize(("decision", "probability"), [("refused", None), ("error", None)])
def test_finding_without_probability_is_no_answer(decision: str, probability: None) -> None:
    assert not build_finding(decision=decision, probability=probability).is_answer
    assert build_finding().is_answer
