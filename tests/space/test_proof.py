"""The evidence tab: drawn from the model folder's files, honest where they are missing."""

import doctest
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import evidence
import plots
import proof
import texts
from hf_fracture.inference.classifier import FractureClassifier


def test_doctests_of_the_plots_hold() -> None:
    assert doctest.testmod(plots).failed == 0
    assert doctest.testmod(proof).failed == 0


def test_every_measured_figure_of_the_headline_stands_in_words(measured: FractureClassifier) -> None:
    html = proof.render_proof(measured)
    assert measured.evaluation is not None
    for point in measured.evaluation["operating_points"]["points"].values():
        for rate in ("sensitivity", "specificity"):
            assert f"<b>{point['metrics'][rate]['value']:.3f}</b>" in html
    assert f"{measured.evaluation['metrics']['auroc']['lower']:.3f} to" in html
    assert texts.CALIBRATION_TITLE in html


def test_model_without_measurements_gets_one_sentence(unmeasured: FractureClassifier) -> None:
    assert "Nobody knows" in proof.render_proof(unmeasured)
    assert "<svg" not in proof.render_proof(unmeasured)


def test_leaks_are_those_of_the_committed_measurement(repository_dir: Path) -> None:
    measurement = json.loads((repository_dir / "scripts" / "results" / "inflation.json").read_text())
    html = proof.render_leaks()
    for row in measurement["rows"]:
        assert f"{row['num_copied']} of {row['num_films']} test films" in html
        assert f"{row['auroc']['value']:.3f}" in html


def test_films_of_another_collection_are_shown_as_measured() -> None:
    shipped = FractureClassifier.from_pretrained()
    rows = json.loads((shipped.model_dir / "cross_dataset.json").read_text())["model_rows"]
    shown, summary = proof.render_proof(shipped), evidence.render_summary(shipped)
    for row in rows:
        assert f"<b>{row['auroc']['value']:.3f}</b>" in shown
        is_foreign = row["tested_on"] not in row["trained_on"]
        assert (f"<b>{row['auroc']['value']:.3f}</b> ({row['auroc']['lower']:.3f} to" in summary) is is_foreign
    assert any(row["tested_on"] not in row["trained_on"] for row in rows)


def test_figures_of_other_weights_are_not_shown(measured: FractureClassifier, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(measured.model_dir, folder)
    estimate = {"value": 0.123, "lower": 0.1, "upper": 0.2}
    row = {"trained_on": ["a"], "tested_on": "b", "num_films": 9, "num_fractured": 3, "auroc": estimate}
    for weights, is_shown in (
        (json.loads((folder / "evaluation.json").read_text())["model"]["sha256"], True),
        ("", False),
    ):
        (folder / "cross_dataset.json").write_text(json.dumps({"model_sha256": weights, "model_rows": [row]}))
        assert ("<b>0.123</b>" in evidence.render_summary(FractureClassifier.from_pretrained(folder))) is is_shown


def test_refusals_and_exported_forms_of_the_shipped_model_are_shown_as_measured() -> None:
    shipped = FractureClassifier.from_pretrained()
    html = proof.render_proof(shipped)
    gate = json.loads((shipped.model_dir / "gate.json").read_text())
    for counts in gate["refusals"].values():
        assert f"{counts['num_refused']} of {counts['num_films']} refused" in html
    export = json.loads((shipped.model_dir / "export.json").read_text())
    for form in [*export["files"].values(), export["fast"]]:
        assert f"{form['auroc']:.3f} <small>original {form['auroc_exact']:.3f}" in html
    assert texts.EXPORT_NAMES["onnx/model_int8.onnx"] in html


def test_figures_of_the_page_are_up_to_date(repository_dir: Path) -> None:
    program = "import build_page_figures as f, json, sys; json.dump(f.build_figures(), sys.stdout)"
    built = subprocess.run(
        [sys.executable, "-c", program], cwd=repository_dir / "scripts", capture_output=True, check=True
    ).stdout
    assert json.loads(built) == json.loads((repository_dir / "space" / "figures.json").read_text())


@pytest.mark.parametrize(
    ("estimate", "words"),
    [
        ({"value": 0.75, "lower": 0.7, "upper": 0.8}, "0.750</b> <small>0.700 to 0.800"),
        ({"value": 0.75, "lower": None, "upper": None}, "<b>0.750</b>"),
        (None, "too few"),
    ],
)
def test_strip_says_in_words_what_it_draws(estimate: Any, words: str) -> None:
    html = plots.render_strips([plots.Strip("hand & arm", estimate)], axis=(0.5, 1.0), too_few="too few")
    assert words in html
    assert "hand &amp; arm" in html


def test_interval_stands_where_its_ends_are() -> None:
    strip = plots.Strip("hand", {"value": 0.75, "lower": 0.7, "upper": 0.8})
    html = plots.render_strips([strip], axis=(0.5, 1.0), too_few="")
    assert "left:40.00%;width:20.00%" in html
    assert "<u style='left:50.00%'>" in html


def test_reliability_is_drawn_to_scale_and_named() -> None:
    bins = [{"mean_probability": 0.0, "fractured_fraction": 0.0}, {"mean_probability": 1.0, "fractured_fraction": 0.5}]
    html = plots.render_reliability(bins, title="A 'plot'", axes=("given", "found"))
    (first, second) = re.findall(r"cx='([\d.]+)' cy='([\d.]+)'", html)
    bottom, middle = float(first[1]), float(second[1])
    assert float(second[0]) - float(first[0]) == pytest.approx(2 * (bottom - middle))
    assert "aria-label='A &#x27;plot&#x27;'" in html
