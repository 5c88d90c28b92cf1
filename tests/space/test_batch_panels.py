"""Several films: the table, the studies, and files that are safe to open."""

import csv
import doctest
import io
import json
import zipfile
from typing import Any

import numpy as np
import pytest
from PIL import Image

import batch_panels
import comparison
from hf_fracture.explain.attribution import Attribution
from hf_fracture.inference.classifier import Examination, FractureClassifier
from hf_fracture.inference.finding import COLUMNS, Finding, Reason


def make_row(name: str, **changes: Any) -> batch_panels.BatchRow:
    answer = {
        "decision": "uncertain",
        "probability": 0.5,
        "operating_point": "screening",
        "model": "tiny",
        "seconds": 0.1,
    }
    finding = Finding(**{"path": None, **answer, **changes})
    return batch_panels.build_row(
        Examination(finding=finding, film=Image.new("L", (90, 60), 80), attribution=None), name
    )


@pytest.fixture
def rows() -> list[batch_panels.BatchRow]:
    bad = Reason(code="unreadable", sentence="The file: it is <no> film.")
    return [
        make_row("=cmd.png", study_id="abc", probability=0.2),
        make_row("../../b.png", study_id="abc", decision="fracture", probability=0.9, operating_point="rule_in"),
        make_row("<script>.png", decision="error", probability=None, operating_point=None, reasons=[bad]),
    ]


def test_doctests_hold() -> None:
    assert doctest.testmod(batch_panels).failed == 0


def test_table_holds_every_film_with_its_keys_and_nothing_unescaped(rows: list[batch_panels.BatchRow]) -> None:
    html = batch_panels.render_table(rows)
    assert html.count("<tr data-index") == 3
    assert "data-probability='0.900000'" in html
    assert "data-probability='-1.000000'" in html
    assert "<script>" not in html
    assert "It is &lt;no&gt; film." in html
    assert batch_panels.render_table([]) == ""


def test_csv_is_that_of_predict_and_runs_no_formula(rows: list[batch_panels.BatchRow]) -> None:
    table = list(csv.DictReader(io.StringIO(batch_panels.write_csv(rows))))
    assert tuple(table[0]) == COLUMNS
    assert table[0]["path"] == "'=cmd.png"
    assert table[2]["probability"] == ""


def test_zip_holds_findings_and_pictures_under_harmless_names(rows: list[batch_panels.BatchRow]) -> None:
    with zipfile.ZipFile(io.BytesIO(batch_panels.write_zip(rows))) as archive:
        names = archive.namelist()
        lines = archive.read("findings.jsonl").decode().splitlines()
    assert names[:2] == ["findings.csv", "findings.jsonl"]
    assert names[2:] == ["pictures/001_cmd.jpg", "pictures/002_b.jpg", "pictures/003_script.jpg"]
    assert [json.loads(line)["decision"] for line in lines] == ["uncertain", "fracture", "error"]


def test_study_takes_the_film_that_shows_most(rows: list[batch_panels.BatchRow], measured: FractureClassifier) -> None:
    html = batch_panels.render_studies(rows, measured)
    assert "2 / 2" in html
    assert "90%" in html
    assert "Fracture likely" in html
    assert batch_panels.render_studies(rows[2:], measured) == ""


def test_picture_in_the_file_carries_its_map() -> None:
    values = np.zeros((60, 90), dtype=np.float32)
    values[20:40, 30:60] = 1.0
    attribution = Attribution(values=values, method="grad_cam", full_scale=1.0)
    finding = Finding(
        path=None, decision="fracture", probability=0.9, operating_point="rule_in", model="m", seconds=0.1
    )
    film = Image.new("L", (90, 60), 80)
    row = batch_panels.build_row(Examination(finding=finding, film=film, attribution=attribution), "a.png")
    with Image.open(io.BytesIO(row.picture)) as picture:
        red, _, blue = (int(level) for level in np.asarray(picture)[30, 45])
        grey = np.asarray(picture)[5, 5]
    assert red > 120 > blue
    assert int(grey.max()) - int(grey.min()) < 12


def test_peaks_of_two_maps_are_measured_along_the_diagonal() -> None:
    corners = []
    for row, column in ((0, 0), (29, 39)):
        values = np.zeros((30, 40), dtype=np.float32)
        values[row, column] = 1.0
        corners.append(Attribution(values=values, method="grad_cam", full_scale=1.0))
    assert comparison.peak_distance(*corners) == pytest.approx(np.hypot(29, 39) / 50)
    assert comparison.peak_distance(corners[0], corners[0]) == 0.0
    assert comparison.peak_distance(corners[0], None) is None
