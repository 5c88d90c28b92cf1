"""The measurements on the page are those of the model folder, and their absence is said."""

import copy
import re
from pathlib import Path

import pytest

import evidence
import panels
import program
import texts
from hf_fracture.inference.classifier import FractureClassifier
from hf_fracture.inference.finding import COLUMNS


def test_evidence_shows_each_point_with_its_intervals(measured: FractureClassifier) -> None:
    html = evidence.render_summary(measured)
    assert measured.evaluation is not None
    for point in measured.evaluation["operating_points"]["points"].values():
        for name in ("sensitivity", "specificity"):
            estimate = point["metrics"][name]
            assert f"<b>{panels.format_share(estimate['value'])}</b>" in html
            assert panels.format_interval(estimate) in html
    assert "<b>0.930</b> (0.888 to 0.966)" in html
    assert "misses 4 fractures, 34 false alarms" in html
    assert "200 films" in html


def test_evidence_of_three_answers_and_body_parts(measured: FractureClassifier) -> None:
    html = evidence.render_summary(measured)
    assert measured.evaluation is not None
    coverage = measured.evaluation["selective"]["metrics"]["coverage"]
    assert f"decides {panels.format_share(coverage['value'])} of the films" in html
    assert "too few films" in html
    assert "<b>hand</b>" in html


def test_missing_measurements_are_said_loudly(unmeasured: FractureClassifier) -> None:
    html = evidence.render_summary(unmeasured)
    assert "Nobody knows" in html
    assert "%" not in html


def test_names_from_a_model_folder_are_escaped(measured: FractureClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = copy.deepcopy(measured.evaluation)
    assert changed is not None
    changed["dataset"]["name"] = "<script>x</script>"
    monkeypatch.setitem(measured.__dict__, "evaluation", changed)
    assert "<script>" not in evidence.render_summary(measured)


def test_use_divides_the_body_parts_into_measured_and_not(
    measured: FractureClassifier, unmeasured: FractureClassifier
) -> None:
    html = evidence.render_use(measured)
    assert "Plain radiographs of hand and leg" in html
    assert "trained on some" not in html
    assert "plain radiographs (XR)" in html
    assert "{" not in html
    unknown = evidence.render_use(unmeasured)
    assert "Plain radiographs of" not in unknown
    assert "Films of hand and leg: it was trained on some" in unknown


def test_program_shows_the_address_it_is_given() -> None:
    html = program.render_program("http://example.test:1234", limits="64 MB", has_tools=False)
    assert "http://example.test:1234" in html
    assert "/predict_many" in html
    assert "hf-fracture[mcp]" in html
    assert "/gradio_api/mcp/" in program.render_program("http://example.test:1234", limits="64 MB", has_tools=True)


def test_program_documents_every_field_of_a_finding() -> None:
    assert tuple(texts.FINDING_FIELDS) == COLUMNS


def test_page_style_and_script_fetch_nothing(repository_dir: Path) -> None:
    for name in ("page.css", "page.js"):
        text = (repository_dir / "space" / name).read_text()
        assert "http" not in text
        assert "@import" not in text
        assert re.findall(r"url\((?!#)", text) == []
